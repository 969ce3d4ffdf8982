"""Publishes one event in each of the three encodings through JetStream: arguments are the server and the prefix."""

import asyncio
import json
import sys

import nats


async def main(server: str, prefix: str) -> None:
    connection = await nats.connect(server)
    stream = connection.jetstream()
    subject = f"{prefix}.events.default.order.placed"
    data = {"order": 7, "price": "12.50"}
    await stream.publish(subject, json.dumps(data).encode(), headers={"Nats-Msg-Id": "py-bare"})
    structured = {"specversion": "1.0", "id": "py-structured", "source": "/python", "type": "order:placed", "data": data}
    headers = {"Content-Type": "application/cloudevents+json", "Nats-Msg-Id": "/python/py-structured"}
    await stream.publish(subject, json.dumps(structured).encode(), headers=headers)
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "py-binary",
        "ce-source": "/python",
        "ce-type": "order:placed",
        "Content-Type": "application/json",
        "Nats-Msg-Id": "/python/py-binary",
    }
    await stream.publish(subject, json.dumps(data).encode(), headers=headers)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
