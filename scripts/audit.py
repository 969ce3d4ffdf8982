#!/usr/bin/env python3
"""What the programs are made of: each crate's licence, and what is there in several versions.

Fails on a licence that is not in ALLOWED, and on a double that is not in DOUBLES. Reads Cargo.lock and the crates' own manifests, and
asks nobody. `--list` prints every crate.
"""

import collections
import json
import subprocess
import sys

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "Unicode-3.0", "Unlicense", "Zlib",
}  # fmt: skip

# In two versions because crates that we need ask for both. Whoever adds one says why it cannot be had in one.
DOUBLES = {
    # The RustCrypto crates' new generation, which we and half of the others use, beside the one that sqlx, nkeys and crypto_box are still at.
    "block-buffer", "const-oid", "cpufeatures", "crypto-common", "digest", "sha1", "sha2",
    # Randomness, as each of them has it.
    "getrandom", "rand", "rand_chacha", "rand_core",
    # Kept apart by versions of the crates that use them; none is in an interface of ours.
    "base64", "hashbrown", "syn",
    # For other systems only.
    "r-efi", "windows-sys",
}  # fmt: skip

said = subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1"], check=True, stdout=subprocess.PIPE)
data = json.loads(said.stdout)
nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
packages = {package["id"]: package for package in data["packages"]}


def reached():
    """What the programs themselves are built from, without what only tests need."""
    found, waiting = set(), [package["id"] for package in data["packages"] if package["name"] == "bugle"]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        found.add(here)
        for dep in nodes[here]["deps"]:
            if any(kind["kind"] != "dev" for kind in dep["dep_kinds"]):
                waiting.append(dep["pkg"])
    return [packages[one] for one in found]


def allowed(expression):
    choices = expression.replace("/", " OR ").replace("(", "").replace(")", "").split(" OR ")
    return any(all(part.strip() in ALLOWED for part in choice.split(" AND ")) for choice in choices)


crates = sorted(reached(), key=lambda one: (one["name"], one["version"]))
versions = collections.defaultdict(list)
for one in crates:
    versions[one["name"]].append(one["version"])
doubles = {name: found for name, found in versions.items() if len(found) > 1}
bad = [one for one in crates if one["source"] and not allowed(one["license"] or "none")]

if "--list" in sys.argv:
    for one in crates:
        print(f"{one['name']} {one['version']}: {one['license']}")
print(f"audit: {len(crates) - 1} crates, {len(doubles)} of them in several versions, {len(bad)} with a licence that is not allowed")
for one in bad:
    print(f"audit: {one['name']} {one['version']} has the licence {one['license']}", file=sys.stderr)
unknown = {name: found for name, found in doubles.items() if name not in DOUBLES}
for name, found in unknown.items():
    print(f"audit: {name} is there in the versions {', '.join(found)}", file=sys.stderr)
for name in DOUBLES - set(doubles):
    print(f"audit: {name} is there once: take it out of DOUBLES", file=sys.stderr)
sys.exit(1 if bad or unknown or DOUBLES - set(doubles) else 0)
