#!/usr/bin/env bash
# Prints the folder of Prometheus' programs (prometheus, promtool), with which dashboards and alerts are tested. Installs Debian's
# package when there is none and it can.
set -euo pipefail

find_programs() {
  local prometheus folder
  prometheus=$(command -v prometheus) || return 1
  folder=$(dirname "$prometheus")
  [ -x "$folder/promtool" ] && echo "$folder"
}

if find_programs; then exit; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "prometheus: installing Debian's package …" >&2
  # The package would start a server of its own: where there is no policy, it is told not to while it is installed.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends prometheus \
    || { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends prometheus; }; } >&2
  find_programs && exit
fi
echo "prometheus: there are no programs: install it (Debian: apt install prometheus)." >&2
exit 1
