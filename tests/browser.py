"""A real browser for tests: Debian's chromium, told what to do through its driver, by the W3C's WebDriver protocol.

The protocol is JSON over HTTP, of which a test of a page needs ten calls; so no library is needed. Whatever a page
asks the network for is recorded by the browser itself, and so is what its console says.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tests.needs import need
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
_START: Final = 30
_WAIT: Final = 20
_KEYS: Final = {
    "Enter": "\ue007", "Escape": "\ue00c", "ArrowDown": "\ue015", "ArrowUp": "\ue013", "ArrowLeft": "\ue012",
    "ArrowRight": "\ue014", "Home": "\ue011", "End": "\ue010", "Backspace": "\ue003", "Tab": "\ue004",
}  # fmt: skip


class Browser:
    """A session of a browser."""

    def __init__(self, port: int, options: list[str]) -> None:
        self._base = f"http://127.0.0.1:{port}/session"
        chrome = {"binary": need("chromium"), "args": options}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": chrome,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        found = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/{found['sessionId']}"

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self._base}{path}", data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            fault = json.load(error)["value"]
            raise AssertionError(f"{fault['error']}: {fault['message'].splitlines()[0]}") from None

    def open(self, url: str, *, seconds: float = _WAIT) -> None:
        """Go to an address and wait until the page has its data."""
        self._ask("POST", "/url", {"url": url})
        self.until("return document.documentElement.dataset.ready === 'yes'", seconds=seconds)

    def run(self, script: str, *values: object) -> Any:
        """Run the body of a function in the page and return what it returns; a policy of the page does not hold it."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(values)})

    def until(self, script: str, *values: object, seconds: float = _WAIT) -> Any:
        """Run a script again and again until it returns something true, which is returned."""
        end = time.monotonic() + seconds
        while not (found := self.run(script, *values)):
            assert time.monotonic() < end, f"never came true: {script}"
            time.sleep(0.02)
        return found

    def press(self, *keys: str) -> None:
        """Press keys one after another: characters, or names such as ``Enter``."""
        actions = [
            {"type": kind, "value": value}
            for key in keys
            for value in ([_KEYS[key]] if key in _KEYS else key)
            for kind in ("keyDown", "keyUp")
        ]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def click(self, selector: str) -> None:
        """Click the first element that a selector of CSS finds."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[_ELEMENT]}/click", {})

    def texts(self, selector: str) -> list[str]:
        """Return the texts of the elements that a selector of CSS finds."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector
        )
        return found

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Show pages as a screen of this size does, of somebody who likes it dark or not."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", features=features)

    def tell(self, method: str, **parameters: object) -> Any:
        """Call a method of the browser's own protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": method, "params": parameters})

    def picture(self) -> bytes:
        """Return what is seen, as a PNG."""
        return base64.b64decode(self._ask("GET", "/screenshot"))

    def console(self) -> list[str]:
        """Return what the console says since it was asked last, errors and breaches of policies among it."""
        return [one["message"] for one in self._ask("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[tuple[str, str]]:
        """Return methods and addresses of what was requested since it was asked last, whether it went out or not."""
        found = []
        for one in self._ask("POST", "/se/log", {"type": "performance"}):
            message = json.loads(one["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                request = message["params"]["request"]
                found.append((request["method"], request["url"]))
        return found

    def end(self) -> None:
        """End the session."""
        self._ask("DELETE", "")


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser for a block."""
    port = free_port()
    options = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
    ]
    driver = subprocess.Popen(
        [need("chromedriver"), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await(port, driver)
        session = Browser(port, options)
        try:
            yield session
        finally:
            session.end()
    finally:
        driver.terminate()
        driver.wait(_WAIT)


def _await(port: int, driver: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end and driver.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the driver of the browser does not start")
