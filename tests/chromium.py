"""Drives headless Chromium through its debugging port: opens a page, presses, looks."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 20.0  # seconds for the browser to start, and for a condition to hold
PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DESKTOP, PHONE = (1200, 900), (400, 800)  # CSS pixels
KEY_CODES = {"Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


def wait_until(condition, seconds: float = PATIENCE):
    """The value of a function as soon as it is true, or its last one."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.03)
    return value


class Page:
    """One tab. `errors` holds what the console and uncaught exceptions said, `requests` the addresses that it asked."""

    def __init__(self, socket):
        self.socket, self.count, self.errors, self.requests, self.loaded = socket, 0, [], [], False
        self.answers = {}  # address: file that stands in for it
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        """Calls a method of the DevTools protocol and returns its result."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        own = self.count
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == own:
                assert "error" not in message, message
                return message["result"]
            self.note(message)

    def note(self, message: dict):
        """Takes notice of an event."""
        method, what = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(what["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            self.errors.append(str([argument.get("value") for argument in what["args"]]))
        elif method == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.errors.append(what["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Fetch.requestPaused":
            self.answer(what["requestId"], what["request"]["url"])

    def answer(self, request: str, url: str):
        """Answers a request that was paused from a file, or lets it go on."""
        self.count += 1
        reply, fields = "Fetch.continueRequest", {"requestId": request}
        if url in self.answers:
            body = base64.b64encode(Path(self.answers[url]).read_bytes()).decode()
            headers = [{"name": "Access-Control-Allow-Origin", "value": "*"}]
            reply = "Fetch.fulfillRequest"
            fields |= {"responseCode": 200, "responseHeaders": headers, "body": body}
        self.socket.send(json.dumps({"id": self.count, "method": reply, "params": fields}))

    def stand_in(self, answers: dict):
        """Answers requests to these addresses with files."""
        self.answers = answers
        self.call("Fetch.enable", patterns=[{"urlPattern": url} for url in answers])

    def open(self, address: str | Path, size: tuple[int, int] = DESKTOP, dark: bool = False, touch: bool = False):
        """Opens a file or an address in a window of this size and waits until it has loaded."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=touch
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.loaded = False
        self.call("Page.navigate", url=address.resolve().as_uri() if isinstance(address, Path) else address)
        self.wait(lambda: self.loaded or self.call("Runtime.evaluate", expression="0") is None)

    def run(self, script: str):
        """The value of a JavaScript expression, of its promise if it is one, as if a user had caused it."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        result = self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]["exception"].get("description")
        return result["result"].get("value")

    def wait(self, condition, seconds: float = PATIENCE):
        """Waits until a function, or a JavaScript expression, is true, and returns its value."""
        value = wait_until(condition if callable(condition) else lambda: self.run(condition), seconds)
        assert value, f"did not come true in {seconds:g} s: {condition}; errors: {self.errors}"
        return value

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """A point in an element, which is scrolled into view; x and y from 0 to 1."""
        script = f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center"}}); const b = e.getBoundingClientRect();
            return [b.left + {x} * b.width, b.top + {y} * b.height]; }})()"""
        return tuple(self.run(script))

    def click(self, selector: str, x: float = 0.5, y: float = 0.5):
        """Clicks with the mouse."""
        self.drag(selector, [(x, y)])

    def drag(self, selector: str, points: list[tuple[float, float]]):
        """Presses the mouse at the first point of an element, moves it over the others and lets go."""
        for k, point in enumerate(points):
            x, y = self.place(selector, *point)
            self._mouse("mousePressed" if k == 0 else "mouseMoved", x, y)
        self._mouse("mouseReleased", x, y)

    def _mouse(self, kind: str, x: float, y: float):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def touch(self, selector: str, points: list[tuple[float, float]]):
        """Puts a finger on the first point of an element, moves it over the others and lifts it."""
        for k, point in enumerate(points):
            x, y = self.place(selector, *point)
            kind = "touchStart" if k == 0 else "touchMove"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str):
        """Presses and lets go a key."""
        code = KEY_CODES.get(key, ord(key[0].upper()))
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path, whole: bool = True):
        """Writes a picture of the whole page, or of what the window shows, as PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        Path(path).write_bytes(base64.b64decode(picture))


@contextmanager
def chromium_page(profile: Path) -> Iterator[Page]:
    """A tab of a browser with a profile of its own; skips the test where there is none."""
    websocket = pytest.importorskip("websocket", reason="websocket-client, which Jupyter brings, is not installed")
    if PROGRAM is None:
        pytest.skip("Chromium is not installed")
    command = [PROGRAM, "--headless=new", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    command += ["--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    socket = None
    try:
        socket = websocket.create_connection(_address(profile / "DevToolsActivePort"), timeout=PATIENCE)
        yield Page(socket)
    finally:
        if socket:
            socket.close()
        browser.terminate()
        browser.wait(PATIENCE)


def _address(file: Path) -> str:
    """The address of the first tab, from the file in which the browser writes its port."""
    assert wait_until(lambda: file.exists() and file.read_text().count("\n")), "the browser did not start"
    with urllib.request.urlopen(f"http://127.0.0.1:{file.read_text().split()[0]}/json") as answer:
        return next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")
