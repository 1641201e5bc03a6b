"""A real Chromium, driven by WebDriver (https://www.w3.org/TR/webdriver2)."""

import base64
import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest
import requests

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver, which are not installed"
)
_FLAGS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
    "disable-background-networking", "disable-component-update", "disable-dev-shm-usage",
    "hide-scrollbars",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_PATIENCE = 60.0


class Browser:
    def __init__(self, address, session):
        self._address, self._session = f"{address}/session/{session}", session

    def _do(self, method, path, **body):
        send = {"json": body} if method == "post" else {}
        answer = requests.request(method, f"{self._address}/{path}", timeout=90, **send)
        value = answer.json()["value"]
        assert answer.ok, value
        return value

    def open(self, url):
        self._do("post", "url", url=url)

    @property
    def url(self):
        return self._do("get", "url")

    def js(self, script, *arguments):
        """What a function's body returns; a promise is waited for."""
        return self._do("post", "execute/sync", script=script, args=list(arguments))

    def element(self, selector):
        return self._do("post", "element", using="css selector", value=selector)[_ELEMENT]

    def click(self, selector):
        self._do("post", f"element/{self.element(selector)}/click")

    def type(self, selector, text):
        self._do("post", f"element/{self.element(selector)}/value", text=text)

    def keys(self, *keys):
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._do("post", "actions", actions=[{"type": "key", "id": "keys", "actions": actions}])

    def wait(self, condition, what=None):
        """Wait until a JavaScript expression holds, and return its value."""
        until = time.monotonic() + _PATIENCE
        while not (found := self.js(f"return {condition}")):
            assert time.monotonic() < until, what or condition
            time.sleep(0.05)
        return found

    def resize(self, width, height, dark=False, calm=False):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if calm else "no-preference",
        }
        media = [{"name": name, "value": value} for name, value in features.items()]
        self.cdp("Emulation.setEmulatedMedia", features=media)

    def cdp(self, command, **params):
        return self._do("post", "goog/cdp/execute", cmd=command, params=params)

    def screenshot(self, path, whole=True):
        shot = self.cdp("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self):
        """What the console has said since the last time."""
        return [entry["message"] for entry in self._do("post", "se/log", type="browser")]


@contextmanager
def browsing(profile):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        [DRIVER, f"--port={port}", "--silent"], stdout=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    options = {
        "binary": CHROMIUM,
        "args": [f"--{flag}" for flag in (*_FLAGS, f"user-data-dir={profile}")],
        "prefs": {"intl.accept_languages": "en"},
    }
    wanted = {
        "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
    }
    session = None
    try:
        until = time.monotonic() + 60
        while session is None:
            try:
                found = requests.post(
                    f"{address}/session", data=json.dumps({"capabilities": wanted}), timeout=90
                ).json()["value"]
                session = found["sessionId"]
            except requests.ConnectionError:
                assert time.monotonic() < until
                time.sleep(0.1)
        yield Browser(address, session)
    finally:
        if session:
            requests.delete(f"{address}/session/{session}", timeout=30)
        driver.terminate()
        driver.wait(30)
