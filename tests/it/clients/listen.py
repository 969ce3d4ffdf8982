"""Prints so many messages of a subject, one JSON object a line, after a line `ready`: arguments are server, subject and count.

With a fourth one, a stream of that name takes the subject first, and the messages are those that it stored.
"""

import asyncio
import json
import sys

import nats


def show(message) -> None:
    print(json.dumps({"subject": message.subject, "headers": dict(message.headers or {}), "body": message.data.decode()}))


async def main(server: str, subject: str, count: str, stream: str = "") -> None:
    connection = await nats.connect(server)
    if stream:
        await connection.jetstream().add_stream(name=stream, subjects=[subject])
        subscription = await connection.jetstream().subscribe(subject, stream=stream)
    else:
        subscription = await connection.subscribe(subject)
    await connection.flush()
    print("ready", flush=True)
    for _ in range(int(count)):
        show(await subscription.next_msg(timeout=60))
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
