"""A headless Chromium that a test drives, over the two pipes of its own protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE_SECONDS = 60.0


def find() -> str | None:
    """The program, if there is one: `CHROMIUM` names it, or it is in the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab, its errors and what it asked the network for.

    Args:
        width: of the window, pixels.
        height: likewise.
        dark: whether the reader prefers dark pages.
        phone: whether it says that it is a phone.
    """

    def __init__(self, width: int = 1200, height: int = 900, dark: bool = False, phone: bool = False) -> None:
        self._size, self._dark, self._phone = (width, height), dark, phone
        self.errors: list[str] = []
        """Of the console, and what was thrown and not caught."""
        self.requests: list[str] = []
        """Addresses asked for."""

    def __enter__(self) -> Self:
        program = find()
        assert program is not None
        self._scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={self._scratch.name}", "--no-first-run", "--disable-extensions"]
        flags += ["--disable-background-networking", "--disable-dev-shm-usage", "about:blank"]
        # the protocol has its commands on descriptor 3 and its answers on 4
        shell = 'exec "$0" "$@" 3<&' + str(theirs_in) + " 4>&" + str(theirs_out)
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", shell, program, *flags], pass_fds=(theirs_in, theirs_out), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self._sent, self._session, self._buffer = 0, "", b""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")
        width, height = self._size
        scale = {"width": width, "height": height, "deviceScaleFactor": 2 if self._phone else 1}
        self._ask("Emulation.setDeviceMetricsOverride", mobile=self._phone, **scale)
        theme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[theme])
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._out.close()
        self._in.close()
        self._scratch.cleanup()

    def open(self, address: str) -> None:
        """Go there, and wait until all charts are drawn."""
        self.requests.clear()
        self._ask("Page.navigate", url=address)
        self.wait("document.documentElement?.dataset.drawn !== undefined")

    def run(self, program: str) -> Any:
        """The value of a JavaScript expression."""
        found = self._ask("Runtime.evaluate", expression=program, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"]["exception"].get("description", program))
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while not self.run(condition):
            assert time.monotonic() < until, f"never true: {condition}; console: {self.errors}"
            time.sleep(0.05)

    def picture(self, path: Path, whole: bool = False) -> None:
        """Write what the window shows, or the whole page, as PNG."""
        found = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """Print it on A4."""
        found = self._ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        height = self.run("document.documentElement.scrollHeight")
        return {"clip": {"x": 0, "y": 0, "width": self._size[0], "height": height, "scale": 1}}

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._sent:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._in.fileno(), 1 << 16)
            assert read, "Chromium has ended"
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        method, about = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.errors.append(" ".join(str(each.get("value")) for each in about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.errors.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
