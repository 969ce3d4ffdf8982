"""Python's `websockets` follows an inbox and prints a line for each notification. It connects again by itself and resumes.

Arguments: the socket's URL, the token, how many notifications to wait for.
"""

import asyncio
import json
import sys

import websockets

url, token, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])


def say(**line):
    print(json.dumps(line), flush=True)


async def follow():
    last, seen = None, 0
    async for socket in websockets.connect(url, additional_headers={"Authorization": f"Bearer {token}"}):
        try:
            if last is not None:
                await socket.send(json.dumps({"type": "resume", "after": last}))
            async for text in socket:
                frame = json.loads(text)
                if frame["type"] == "connected":
                    say(type="connected", id=frame["id"])
                    last = last or frame["id"]
                if frame["type"] != "notification.new":
                    continue
                last = frame["id"]
                notification = frame["notification"]
                say(type="notification", id=last, notification=notification["id"], title=notification["title"])
                seen += 1
                if seen == wanted:
                    return
        except websockets.ConnectionClosed:
            continue


asyncio.run(asyncio.wait_for(follow(), 60))
