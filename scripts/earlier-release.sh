#!/usr/bin/env bash
# Prints the folder of the programs of the last release, which the tests run beside today's as a rollout does. Builds them from
# this checkout's history into .tools/earlier when they are not there. Exits with 4 where that history is not there (a shallow clone).
set -euo pipefail
cd "$(dirname "$0")/.."

# Of the release before the one in Cargo.toml. The tag's commit, since a clone may lack tags.
release=0.6.0
commit=e18a4d98494a302a75f01a3ff0eefe8205ba638e

folder=$PWD/.tools/earlier/$release
programs=$folder/programs
roles=(bugle bugle-router bugle-worker bugle-recorder bugle-api)

complete() { local role; for role in "${roles[@]}"; do [ -x "$programs/$role" ] || return 1; done; }

if complete; then
  echo "$programs"
  exit
fi
if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
  echo "earlier-release: the history of this checkout does not reach back to $release: fetch it (git fetch --unshallow)." >&2
  exit 4
fi
echo "earlier-release: building $release …" >&2
rm -rf "$folder"
mkdir -p "$folder/source"
git archive "$commit" | tar -x -C "$folder/source"
CARGO_TARGET_DIR=$folder/target cargo build --locked --bins --manifest-path "$folder/source/Cargo.toml" >&2
mkdir "$programs"
for role in "${roles[@]}"; do
  # Without what only a debugger reads, they are a fifth as large.
  strip -S -o "$programs/$role" "$folder/target/debug/$role"
done
rm -rf "$folder/target" "$folder/source"
complete || { echo "earlier-release: the build brought no programs." >&2; exit 1; }
echo "$programs"
