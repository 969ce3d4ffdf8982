#!/usr/bin/env bash
# Prints the path of a Python that has the packages of the tests' foreign clients and mail server, in a venv of this checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(nats-py==2.16.0 websockets==17.4 standardwebhooks==1.1.0 aiosmtpd==1.4.6 cloudevents==2.2.0 cryptography==50.0.2 http-ece==1.2.1 py-vapid==1.9.4)
venv=$PWD/.tools/venv
stamp=$venv/packages

fail() { echo "test tools: $1" >&2; exit 1; }

if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "${packages[*]}" ]; then
  echo "$venv/bin/python"
  exit
fi
command -v python3 >/dev/null || fail "python3 is missing: install it (Debian: apt install python3 python3-venv)."
echo "test tools: making a venv with ${packages[*]} …" >&2
mkdir -p .tools
python3 -m venv --clear "$venv" >&2 || fail "python3 cannot make a venv: install it (Debian: apt install python3-venv)."
"$venv/bin/pip" install --quiet "${packages[@]}" >&2 || fail "PyPI cannot be reached."
echo "${packages[*]}" > "$stamp"
echo "$venv/bin/python"
