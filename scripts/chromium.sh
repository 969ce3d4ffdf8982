#!/usr/bin/env bash
# Prints the path of Chromium, in which the tests open the example page. Installs Debian's package when there is none and it can.
set -euo pipefail

find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

if find_browser; then exit; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "chromium: installing Debian's package …" >&2
  { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium \
    || { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; }; } >&2
  find_browser && exit
fi
echo "chromium: there is none: install it (Debian: apt install chromium)." >&2
exit 1
