"""A headless Chromium over its debugging protocol, as far as the tests need one."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp

BINARY = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
START_S = 60.0


class Browser:
    """One page. `console` collects what the page logs as errors, its exceptions and what its policy blocked."""

    def __init__(self, profile: Path) -> None:
        assert BINARY is not None
        flags = (
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--disable-extensions",
            "--remote-debugging-port=0",
        )
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        self._process = subprocess.Popen(
            [BINARY, *flags, *sandbox, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        self._id = 0
        self.console: list[str] = []
        try:
            self._loop.run_until_complete(self._connect(profile / "DevToolsActivePort"))
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    async def _connect(self, port_file: Path) -> None:
        deadline = time.monotonic() + START_S
        self._session = aiohttp.ClientSession()
        while True:
            try:
                port = int(port_file.read_text().splitlines()[0])
                async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    page = next(t for t in await answer.json() if t["type"] == "page")
                break
            except (OSError, IndexError, StopIteration, aiohttp.ClientError):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise TimeoutError("Chromium did not start") from None
                await asyncio.sleep(0.1)
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, params), 60))

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._id += 1
        mine = self._id
        await self._socket.send_json({"id": mine, "method": method, "params": params})
        async for message in self._socket:
            event = json.loads(message.data)
            if event.get("id") == mine:
                if "error" in event:
                    raise RuntimeError(f"{method}: {event['error']['message']}")
                return dict(event["result"])
            self._note(event)
        raise RuntimeError("Chromium closed the connection")

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.console.append(json.dumps(params["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.console.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.console.append(json.dumps(params["args"]))

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page at a size, with touch and a phone's viewport below 600 pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")  # else an address that differs in its #part loads nothing
        self.until("location.href === 'about:blank'")
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def script(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 30) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.script(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                raise TimeoutError(expression)
            time.sleep(0.05)

    def key(self, key: str) -> None:
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A PNG of what is in view, or of the whole page."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """End the browser that this object started."""
        if hasattr(self, "_session"):
            self._loop.run_until_complete(self._session.close())
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._loop.close()
