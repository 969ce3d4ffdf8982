"""Verifies the `v1a` signature of a webhook: the public key is the argument, standard input is {"headers": …, "body": "…"}."""

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

received = json.load(sys.stdin)
headers = received["headers"]
key = Ed25519PublicKey.from_public_bytes(base64.b64decode(sys.argv[1].removeprefix("whpk_")))
signatures = [one.removeprefix("v1a,") for one in headers["webhook-signature"].split(" ") if one.startswith("v1a,")]


def verify(body: str) -> bool:
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    for signature in signatures:
        try:
            key.verify(base64.b64decode(signature), signed)
            return True
        except InvalidSignature:
            pass
    return False


if not verify(received["body"]):
    sys.exit("no signature of the key")
if verify(received["body"] + " "):
    sys.exit("a changed body was verified")
