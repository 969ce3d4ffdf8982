"""Opens a page in headless Chromium, over its debugging protocol, and prints what an expression is whenever that changes.

Arguments: the browser, the page's URL, an expression of JavaScript, the value at which to end.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import websockets

browser, page, expression, end = sys.argv[1:5]
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server", "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]


async def port_of(profile):
    file = Path(profile) / "DevToolsActivePort"
    while not file.exists() or len(file.read_text().splitlines()) < 2:
        await asyncio.sleep(0.05)
    return file.read_text().splitlines()


async def watch(profile):
    port, path = await port_of(profile)
    async with websockets.connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
        number = 0

        async def call(method, session=None, **params):
            nonlocal number
            number += 1
            message = {"id": number, "method": method, "params": params}
            if session:
                message["sessionId"] = session
            await socket.send(json.dumps(message))
            while True:
                answer = json.loads(await socket.recv())
                if answer.get("id") == number:
                    return answer.get("result", {})

        target = (await call("Target.createTarget", url=page))["targetId"]
        session = (await call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        before = None
        while before != end:
            # While a page loads there may be nothing to evaluate in.
            answer = await call("Runtime.evaluate", session, expression=expression)
            found = answer.get("result", {}).get("value")
            if found != before:
                print(found, flush=True)
                before = found
            await asyncio.sleep(0.05)


async def main():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            browser, *FLAGS, f"--user-data-dir={profile}", "about:blank", stdout=null, stderr=null
        )
        try:
            await asyncio.wait_for(watch(profile), 60)
        finally:
            process.terminate()
            await process.wait()


asyncio.run(main())
