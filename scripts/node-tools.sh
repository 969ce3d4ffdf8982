#!/usr/bin/env bash
# Prints the folder of the npm packages that the tests take as foreign clients of live streams, in this checkout's .tools.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(eventsource@4.1.0 ws@8.23.0)
folder=$PWD/.tools/node
stamp=$folder/packages

fail() { echo "node tools: $1" >&2; exit 1; }

if [ "$(cat "$stamp" 2>/dev/null)" = "${packages[*]}" ]; then
  echo "$folder"
  exit
fi
command -v node >/dev/null || fail "node is missing: install it (Debian: apt install nodejs npm)."
command -v npm >/dev/null || fail "npm is missing: install it (Debian: apt install npm)."
echo "node tools: installing ${packages[*]} …" >&2
mkdir -p "$folder"
echo '{ "private": true, "type": "module" }' > "$folder/package.json"
npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts --silent "${packages[@]}" >&2 || fail "the npm registry cannot be reached."
echo "${packages[*]}" > "$stamp"
echo "$folder"
