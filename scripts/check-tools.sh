#!/usr/bin/env bash
# Says in one sentence what is missing to build Bugle.
set -euo pipefail
minimum=1.94

fail() { echo "bugle: $1" >&2; exit 1; }

command -v cargo >/dev/null || fail "Rust is missing: install it from https://rustup.rs (needed: $minimum or newer)."
found=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n%s\n' "$minimum" "$found" | sort -V | head -n 1)" = "$minimum" ] \
  || fail "Rust $found is too old: $minimum or newer is needed (rustup update)."
command -v cc >/dev/null || fail "a C compiler is missing (Debian: apt install gcc libc6-dev)."
command -v python3 >/dev/null || fail "python3 is missing (Debian: apt install python3 python3-venv)."
