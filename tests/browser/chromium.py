"""A headless Chromium, driven over its own protocol: pages, scripts, keys, the mouse, pictures of the screen.

Only websocket-client is needed. The browser is Debian's `chromium` (`apt-get install chromium`), Google Chrome, or
what `$CHROMIUM` names.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import websocket

from tools.lifeline import Lifeline

NONE_FOUND = "there is no Chromium: `apt-get install chromium`, or name one in CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-extensions", "--no-first-run", "--mute-audio", "--hide-scrollbars",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--remote-debugging-port=0",
    # what a page asks of other machines (fonts, statistics, lists of packs) is refused at once
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}

_SHIFT = 8  # the protocol's bit for the key


class PageError(Exception):
    """A script failed, or what was waited for did not come."""


def find() -> str | None:
    """The browser's command; None where there is none."""
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [shutil.which(name) for name in _NAMES]
    if not any(found) and _MAC.is_file():
        return str(_MAC)
    return next(filter(None, found), None)


class Chromium:
    """A browser process with an empty profile; a context manager."""

    def __enter__(self) -> Chromium:
        command = find()
        if command is None:
            raise PageError(NONE_FOUND)
        self.profile = Path(tempfile.mkdtemp(prefix="chromium-"))
        self.process = subprocess.Popen(
            [command, *_FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.lifeline = Lifeline(self.process.pid)
        try:
            self.port = self._port()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process and drop its profile."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.lifeline.let_go()
        shutil.rmtree(self.profile, ignore_errors=True)

    @contextlib.contextmanager
    def page(self, width: int = 1600, height: int = 1000) -> Iterator[Page]:
        """A new tab."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=20) as answer:
            target = json.load(answer)
        page = Page(target["webSocketDebuggerUrl"], width, height)
        try:
            yield page
        finally:
            page.close()

    def _port(self) -> int:
        file, end = self.profile / "DevToolsActivePort", time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            if file.is_file() and (lines := file.read_text(encoding="utf-8").splitlines()):
                return int(lines[0])
            time.sleep(0.05)
        raise PageError("Chromium did not start")


class Page:
    """One tab.

    `errors` holds what the page complained of, as text with the address it came from.
    """

    def __init__(self, address: str, width: int, height: int) -> None:
        self.socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self.errors: list[str] = []
        self._calls = 0
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        # a tab behind another draws no frames: what moves with the canvas would be left where it was
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        with contextlib.suppress(PageError, OSError, websocket.WebSocketException):
            self.call("Page.close")
        self.socket.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        self._calls += 1
        self.socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self._calls:
                if "error" in message:
                    raise PageError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def open(self, url: str) -> None:
        """Go to an address. An editor with unsaved work refuses to leave: take a new tab."""
        self.call("Page.navigate", url=url)

    def run(self, script: str, **values: Any) -> Any:
        """The JSON value of an expression or, if it starts with `return` or has several lines, of a function's body.

        `values` are constants in it; promises are waited for.

        Raises:
            PageError: the script threw.
        """
        constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
        body = script if "return" in script else f"return ({script});"
        expression = f"(async () => {{\n{constants}{body}\n}})()"
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60, **values: Any) -> Any:
        """The first true value of a script.

        Raises:
            PageError: none came within `seconds`; the text has what the page complained of.
        """
        end, last = time.monotonic() + seconds, None
        while time.monotonic() < end:
            try:
                last = self.run(script, **values)
            except PageError as error:  # a page that is still loading lacks what the script names
                last = error
            else:
                if last:
                    return last
            time.sleep(0.1)
        raise PageError(f"{script!r} gave {last!r} for {seconds:.0f} s; the page's errors: {self.errors[-5:]}")

    def screenshot(self, file: Path) -> Path:
        """Save what the tab shows as PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return file

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the left button at one place and let it go at another."""
        for kind, (x, y), buttons in (
            ("mouseMoved", start, 0), ("mousePressed", start, 1), ("mouseMoved", end, 1), ("mouseReleased", end, 0),
        ):  # fmt: skip
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key by its name."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key], "modifiers": _SHIFT if shift else 0}
        writes = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **named, **writes)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text: str) -> None:
        """Write where the cursor is."""
        self.call("Input.insertText", text=text)

    def _note(self, message: dict[str, Any]) -> None:
        kind, data = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            details = data["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif kind == "Runtime.consoleAPICalled" and data["type"] == "error":
            words = (part.get("value", part.get("description", "")) for part in data["args"])
            frames = (frame["url"] for frame in data.get("stackTrace", {}).get("callFrames", [])[:1])
            self.errors.append(" ".join(map(str, [*words, *frames])))
        elif kind == "Log.entryAdded" and data["entry"]["level"] == "error":
            self.errors.append(f"{data['entry']['text']} {data['entry'].get('url', '')}")
