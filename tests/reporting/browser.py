"""A headless Chromium, driven over two pipes in the DevTools protocol; no library is needed for so little of it.

https://chromedevtools.github.io/devtools-protocol: messages are JSON, each followed by a zero byte.
"""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_READ, _WRITE = 3, 4  # where Chromium reads commands, and writes answers
_FREE = 10  # descriptors from here on are not these


def chromium() -> str | None:
    """The path of an installed Chromium; None if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab.

    Attributes:
        refused: what the browser's policy refused, and errors of scripts, since the page was opened.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, os.fdopen(answers, "rb")
        self._numbers = itertools.count(1)
        self._session = ""
        self.refused: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError):
            os.write(self._commands, b'{"id":0,"method":"Browser.close"}\0')
        os.close(self._commands)
        self._answers.close()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(
        self, path: Path, *, width: int = 1280, height: int = 900, script: bool = True, dark: bool = False
    ) -> None:
        """Open a file, and wait until it is loaded.

        Args:
            path: an HTML file.
            width: of the window, in CSS pixels; below 600 it has a touch screen.
            height: of the window.
            script: whether scripts run.
            dark: whether the user prefers dark pages.
        """
        self.refused = []
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self.send("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Page.navigate", url=path.resolve().as_uri())
        while (event := self._next()).get("method") != "Page.loadEventFired":
            self._note(event)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, promises awaited; works where the page's own scripts are off, too."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"].get("exception", {}).get("description")))
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Press the mouse, or a finger on a touch screen, in the middle of an element's first line."""
        x, y = self.value(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "one.scrollIntoView({block: 'center'});"
            "const box = one.getClientRects()[0]; return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        if self.value("innerWidth") < 600:
            self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
            self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, *keys: str) -> None:
        """Press keys one after another, by their names in KeyboardEvent.key."""
        codes = {"Enter": 13, " ": 32, "Tab": 9}
        for key in keys:
            more = {"text": "\r"} if key == "Enter" else {}
            code = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
            self.send("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **code, **more)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, **code)

    def choose(self, selector: str, value: str) -> None:
        """Set a field of a form, as a user who chooses or types."""
        self.value(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.value = {json.dumps(value)};"
            "for (const kind of ['input', 'change']) one.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def visible(self, selector: str) -> list[str]:
        """The texts of the elements that are seen."""
        return self.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].filter((one) => one.checkVisibility())"
            ".map((one) => one.innerText)"
        )

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a picture of what is seen, or of the whole page."""
        taken = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _next(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self._answers.read(1)) not in (b"\0", b""):
            parts += byte
        if not parts:
            raise RuntimeError("Chromium has ended")
        return json.loads(parts)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.refused.append(parameters["entry"]["text"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.refused.append(str(parameters["exceptionDetails"]["exception"].get("description")))


@contextlib.contextmanager
def opened(binary: str) -> Iterator[Page]:
    """A tab of a new Chromium, which ends with the block."""
    (read_commands, commands), (answers, write_answers) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _FREE) for one in (read_commands, write_answers)]
    os.close(read_commands)
    os.close(write_answers)

    def as_expected() -> None:
        os.dup2(theirs[0], _READ)
        os.dup2(theirs[1], _WRITE)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--no-first-run"]
        arguments += ["--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(_READ, _WRITE),
            preexec_fn=as_expected,
        )
        for one in theirs:
            os.close(one)
        page = Page(commands, answers)
        try:
            yield page
        finally:
            page.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()
