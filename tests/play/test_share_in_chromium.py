"""How the page says how to have the same again: of two engines, and of a picture of one's own."""

import base64
import io
import time

import numpy as np
import pytest
from browser import needs_browser
from PIL import Image
from play_page import DONE, DROP, opened, query
from playing import png

pytestmark = [pytest.mark.slow, needs_browser]
LINES = "return [...document.querySelectorAll('dialog[open] pre')].map(e => e.innerText)"


def dropped(browser, server, content, network="digits", more=""):
    browser.open("about:blank")
    browser.open(f"{server.address}?tab=picture&lang=en&network={network}{more}")
    browser.wait("document.querySelector('.zone')")
    browser.js(DROP, base64.b64encode(content).decode(), "a.png")
    browser.wait(f"{DONE} > 0")


def share(browser, inside=""):
    """Open the dialog; return what can be copied from it."""
    browser.click(f"{inside} .share-row > button")
    browser.wait("document.querySelector('dialog[open]')")
    return browser.js(LINES)


def file(path):
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.1)
    return path.read_bytes()


def test_two_engines_have_their_lines_and_files(browser, server, tmp_path):
    opened(browser, server, "tab=twins&lang=en&timesteps=4&num_samples=4")
    for number, engine in enumerate(("jittor", "pytorch"), start=1):
        address, command, python = share(browser, f".sides figure:nth-child({number})")
        assert address == browser.url
        assert command.startswith("ddim sample ") and f"--engine {engine} " in command
        assert f"jd.load_engine('{engine}'" in python
        browser.keys("\ue00c")  # Escape
        browser.wait("!document.querySelector('dialog[open]')")
    browser.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    made = []
    for number, engine in enumerate(("jittor", "pytorch"), start=1):
        browser.click(f".sides figure:nth-child({number}) .files button:nth-of-type(4)")
        content = file(tmp_path / f"ddim-sample-1234-{engine}.npz")
        made.append(np.load(io.BytesIO(content))["arr_0"])
    assert made[0].shape == made[1].shape == (4, 8, 8, 1)


def test_a_picture_encoded_has_its_lines_and_the_file_that_they_read(browser, server, tmp_path):
    dropped(browser, server, png(8, colour=77))
    address, command, python = share(browser)
    assert address == browser.url and "picture" in query(browser)
    assert command.startswith("ddim reconstruct picture.png ")
    assert "reconstruct(unet, network.config, x0, settings)" in python
    browser.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.click("dialog[open] [data-text=save]")
    with Image.open(io.BytesIO(file(tmp_path / "picture.png"))) as found:
        assert (found.size, found.getpixel((3, 3))) == ((8, 8), 77)
    assert not browser.js("return document.querySelector('dialog .wrong')")


def test_a_redrawn_picture_has_python_lines(browser, server):
    dropped(browser, server, png(8), more="&mode=edit")
    _, python = share(browser)
    assert "steps = settings.sequence" in python and 'Path("picture.png")' in python
    assert "No command" in browser.js("return document.querySelector('dialog').innerText")


def test_a_picture_too_large_for_an_address_is_said(browser, server):
    buffer = io.BytesIO()
    Image.effect_noise((256, 256), 90).save(buffer, "png")
    dropped(browser, server, buffer.getvalue(), "large", "&timesteps=1")
    assert "picture" not in query(browser)
    share(browser)
    said = browser.js("return document.querySelector('dialog .wrong').textContent")
    assert "too large for an address" in said


def test_before_a_run_begins_there_is_the_address_alone(browser, server):
    browser.open("about:blank")
    browser.open(f"{server.address}?lang=en")
    browser.wait("document.querySelector('.share-row')")
    browser.js("""return (async () => {
        const share = (await import("/share.js")).Share;
        const one = new share({});
        const place = document.createElement("div");
        place.id = "alone";
        place.append(one.element);
        document.body.append(place);
        const { fill } = await import("/words.js");
        fill(one.element);
    })()""")
    assert share(browser, "#alone") == [browser.url]
