"""What the server says to a reader of Chinese."""

import base64

import pytest
from browser import needs_browser
from play_page import DONE, DROP
from playing import bomb, png, serving

from jittor_ddim.play import app

pytestmark = [pytest.mark.slow, needs_browser]
WRONG = "document.querySelector('.zone .wrong').textContent"


def refused(browser, server, content):
    """What is said of a dropped picture."""
    browser.open("about:blank")
    browser.open(f"{server.address}?tab=picture&lang=zh")
    browser.wait("document.querySelector('.zone')")
    browser.js(DROP, base64.b64encode(content).decode(), "a.png")
    return browser.wait(WRONG)


@pytest.mark.parametrize("side", [8_000, 10_000, 60_000])
def test_a_picture_of_too_many_pixels_is_refused_in_chinese(browser, server, side):
    assert (
        refused(browser, server, bomb(side, side)) == "图片的像素太多，请缩小到 50 百万像素以内。"
    )


def test_a_server_that_is_busy_says_so_in_chinese(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "_PICTURES_BYTES", 10)
    monkeypatch.setattr(app, "_MOST_UNDER_WAY", 0)
    with serving(tmp_path) as busy:
        assert refused(browser, busy, png()) == "服务器正忙，请过一分钟再试。"
        browser.open(f"{busy.address}?lang=zh")
        browser.wait("document.querySelector('.line.wrong')")
        said = browser.js("return document.querySelector('.line').textContent")
        assert said == "服务器正忙，请过一分钟再试。"


def test_what_is_only_there_in_english_is_announced_in_chinese(browser, server):
    assert refused(browser, server, b"no picture").startswith(
        "程序返回的信息（英文）：the picture"
    )
    browser.open(f"{server.address}?lang=zh&network=gone")
    browser.wait(f"{DONE} > 0")
    said = browser.js("return document.querySelector('[role=alert]').textContent")
    assert said.startswith("程序返回的信息（英文）：network must be one of")
