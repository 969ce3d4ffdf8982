"""Opens a push message as a browser would, with http-ece and py-vapid: prints what is in it, or fails."""
import base64
import json
import sys

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02

private, auth, audience = sys.argv[1:]
request = json.load(sys.stdin)


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


key = ec.derive_private_key(int.from_bytes(decoded(private), "big"), ec.SECP256R1())
headers = request["headers"]
assert headers["content-encoding"] == "aes128gcm", headers
# py-vapid takes the two parameters without the space that RFC 8292 shows between them.
authorization = headers["authorization"].replace(", k=", ",k=")
assert Vapid02.verify(authorization), "the VAPID signature is not valid"
token = authorization.split("t=", 1)[1].split(",", 1)[0]
claims = json.loads(decoded(token.split(".")[1]))
assert claims["aud"] == audience, claims
assert claims["sub"] == "mailto:ops@example.com", claims
plain = http_ece.decrypt(base64.b64decode(request["body"]), private_key=key, auth_secret=decoded(auth), version="aes128gcm")
print(plain.decode())
