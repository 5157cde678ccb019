"""A Chromium without a window, driven over a pipe with the DevTools protocol; no driver has to be installed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
PATIENCE = 60.0
"""Seconds until a browser that does not answer is given up."""

# Chromium reads commands from descriptor 3 and writes answers to 4, whatever those are here.
_EXEC = """\
import os, sys
ends = [int(end) for end in sys.argv[1:3]]
while min(ends) < 5:
    ends = [os.dup(end) if end < 5 else end for end in ends]
for end, wanted in zip(ends, (3, 4)):
    os.dup2(end, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""

KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
    "Tab": 9,
    " ": 32,
    "Enter": 13,
    "Escape": 27,
    "F1": 112,
    "a": 65,
    "b": 66,
    "s": 83,
}


class Page:
    """One tab. `problems` are what a console would show, `requests` the addresses that were asked for."""

    def __init__(self, sending: IO[bytes], receiving: int) -> None:
        self._sending, self._receiving = sending, receiving
        self._buffer = b""
        self._last = self._loads = 0
        self._session: str | None = None
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, path: Path, *, hash_: str = "", width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        self.visit(path.as_uri() + hash_, width=width, height=height, dark=dark)

    def visit(self, address: str, *, width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        # From a blank page: a change of the hash alone would load nothing.
        for url in ("about:blank", address):
            self.problems.clear()
            self.requests.clear()
            loads = self._loads
            self._call("Page.navigate", url=url)
            while self._loads == loads:
                self._note(self._next())

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise's when it is kept."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"].get("exception", answer)["description"])
        return answer["result"].get("value")

    def press(self, key: str, held: int = 0) -> None:
        """A key by its name, with `held` down: the sum of 1 Alt, 2 Ctrl, 8 Shift."""
        typed = "\r" if key == "Enter" else key
        text = {"text": typed} if len(typed) == 1 and not held else {}
        code = f"Key{key.upper()}" if len(key) == 1 and key.isalpha() else key
        which = {"key": key, "code": code, "windowsVirtualKeyCode": KEYS[key], "modifiers": held}
        self._call("Input.dispatchKeyEvent", type="keyDown", **which, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **which)

    def type(self, text: str) -> None:
        """A key for each character, as an editor wants them."""
        for character in text:
            self._call("Input.dispatchKeyEvent", type="keyDown", key=character, text=character)
            self._call("Input.dispatchKeyEvent", type="keyUp", key=character)

    def hover(self, selector: str) -> tuple[float, float]:
        """Moves the pointer to the middle of an element."""
        box = self.run(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        self.move(*box)
        return box

    def move(self, x: float, y: float) -> None:
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        self.click_at(*self.hover(selector))

    def click_at(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def names(self) -> list[tuple[str, str]]:
        """Role and name of everything, as a screen reader is told."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]

    def screenshot(self) -> bytes:
        """A PNG of the window."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        self._session = None
        self._call("Browser.close")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        command = {"id": self._last, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        self._sending.write(json.dumps(command).encode() + b"\0")
        self._sending.flush()
        while (message := self._next()).get("id") != self._last:
            self._note(message)
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']['message']}")
        return message["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._receiving], [], [], PATIENCE)[0]:
                raise AssertionError(f"the browser has not said anything for {PATIENCE:.0f} s")
            piece = os.read(self._receiving, 1 << 16)
            if not piece:
                raise AssertionError("the browser has ended; run it by hand to see why")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loads += 1
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.consoleAPICalled":
                self.problems.append(str(params["args"]))
            case "Runtime.exceptionThrown":
                self.problems.append(str(params["exceptionDetails"]))
            case "Log.entryAdded":
                self.problems.append(params["entry"]["text"])


@contextlib.contextmanager
def chromium(executable: str, profile: Path) -> Iterator[Page]:
    """A browser with an empty profile in the folder `profile`, for as long as the context lasts."""
    commands, sending = os.pipe()
    receiving, answers = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _EXEC, str(commands), str(answers), executable, *OPTIONS, f"--user-data-dir={profile}"],
        pass_fds=(commands, answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    with os.fdopen(sending, "wb") as commander:
        try:
            page = Page(commander, receiving)
            yield page
            page.close()
            process.wait(PATIENCE)
        finally:
            os.close(receiving)
            process.kill()
            process.wait()
