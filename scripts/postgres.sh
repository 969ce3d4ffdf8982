#!/usr/bin/env bash
# Prints the directory of PostgreSQL's server programs (initdb, postgres, pg_ctl). Installs Debian's package when there
# are none and it can. The tests start a private cluster with them; none of the system's is touched.
set -euo pipefail

complete() { [ -x "$1/initdb" ] && [ -x "$1/postgres" ] && [ -x "$1/pg_ctl" ]; }

find_programs() {
  local initdb folder
  if initdb=$(command -v initdb) && complete "$(dirname "$initdb")"; then
    dirname "$initdb"
    return
  fi
  for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin | sort -Vr); do
    if complete "$folder"; then
      echo "$folder"
      return
    fi
  done
  return 1
}

if [ -n "${BUGLE_TEST_POSTGRES_BIN:-}" ] && complete "$BUGLE_TEST_POSTGRES_BIN"; then
  echo "$BUGLE_TEST_POSTGRES_BIN"
  exit
fi
find_programs && exit

as_root=()
if [ "$(id -u)" != 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "postgres: no server programs found, and installing them needs root: install PostgreSQL 13 or newer." >&2
    exit 3
  fi
fi
if ! command -v apt-get >/dev/null; then
  echo "postgres: no server programs found: install PostgreSQL 13 or newer." >&2
  exit 3
fi

echo "postgres: installing Debian's package …" >&2
# The package would start a cluster of its own: it is told not to.
"${as_root[@]}" mkdir -p /etc/postgresql-common
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
  echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold postgresql >&2
}
if ! { "${as_root[@]}" apt-get update >&2 && install; }; then
  echo "postgres: Debian's package could not be installed: install PostgreSQL 13 or newer." >&2
  exit 3
fi
find_programs || { echo "postgres: the package brought no server programs." >&2; exit 3; }
