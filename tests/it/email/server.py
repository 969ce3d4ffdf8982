"""A mail server of aiosmtpd: arguments are the host, the port and a folder with settings.json, cert.pem and key.pem.

settings.json: {"security": "none" | "starttls" | "tls", "user": …, "password": …}. What it accepts becomes N.json in the folder, as
Python's own e-mail package reads it. A line in the file `rcpt` is the reply to the next RCPT; while there is a file `hold`
a message is received and never answered, which the file `held` shows.
"""

import asyncio
import base64
import json
import pathlib
import ssl
import sys
from email import policy
from email.parser import BytesParser

from aiosmtpd.smtp import SMTP, AuthResult

host, port, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
settings = json.loads((folder / "settings.json").read_text())


def read(envelope, session):
    message = BytesParser(policy=policy.default).parsebytes(envelope.original_content)
    part = lambda kind: message.get_body((kind,))
    text, html = part("plain"), part("html")
    return {
        "from": envelope.mail_from,
        "to": envelope.rcpt_tos,
        "hello": session.host_name,
        "encrypted": session.ssl is not None,
        "user": session.auth_data,
        "headers": [[name, str(value)] for name, value in message.items()],
        "raw": base64.b64encode(envelope.original_content).decode(),
        "types": [part.get_content_type() for part in message.walk()],
        "text": text.get_content().replace("\r\n", "\n") if text else None,
        "html": html.get_content().replace("\r\n", "\n") if html else None,
        "files": [
            {
                "name": part.get_filename(),
                "type": part.get_content_type(),
                "content": base64.b64encode(part.get_payload(decode=True)).decode(),
            }
            for part in message.iter_attachments()
        ],
        "defects": [repr(defect) for part in message.walk() for defect in part.defects]
        + [repr(defect) for part in message.walk() for value in part.values() for defect in value.defects],
    }


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        script = folder / "rcpt"
        lines = script.read_text().splitlines() if script.exists() else []
        if lines:
            script.write_text("\n".join(lines[1:]))
            return lines[0]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        if (folder / "hold").exists():
            (folder / "held").touch()
            await asyncio.Event().wait()
        number = len(list(folder.glob("*.mail.json")))
        part = folder / "part"
        part.write_text(json.dumps(read(envelope, session)))
        part.rename(folder / f"{number:04}.mail.json")
        return f"250 2.0.0 ok: queued as M{number}"


def authenticate(server, session, envelope, mechanism, data):
    if (data.login.decode(), data.password.decode()) == (settings["user"], settings["password"]):
        return AuthResult(success=True, auth_data=data.login.decode())
    return AuthResult(success=False, handled=False)


async def main():
    context = None
    if settings["security"] != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    starttls = settings["security"] == "starttls"

    def session():
        return SMTP(
            Handler(),
            hostname="mail.test",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            auth_required=bool(settings.get("user")),
            # Of a connection that began with TLS it does not know.
            auth_require_tls=starttls,
            authenticator=authenticate,
            auth_exclude_mechanism=[] if settings.get("user") else ["LOGIN", "PLAIN"],
        )

    loop = asyncio.get_running_loop()
    implicit = context if settings["security"] == "tls" else None
    server = await loop.create_server(session, host, port, ssl=implicit)
    await server.serve_forever()


asyncio.run(main())
