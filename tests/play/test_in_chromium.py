"""The page in a real browser: what people do with it, and that it complains about nothing."""

import base64
import io
import json
import time

import numpy as np
import pytest
from browser import browsing, needs_browser
from PIL import Image
from play_page import DONE, DROP, opened, query
from playing import serving

pytestmark = [pytest.mark.slow, needs_browser]
#: The pixels of the board, as a string that is equal for equal pictures.
BOARD = "document.querySelector('.board').toDataURL()"
SLIDE = """const input = document.querySelector(arguments[0]);
input.value = arguments[1];
input.dispatchEvent(new Event(input.tagName === "SELECT" ? "change" : "input"));"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("play"), seconds=0.01) as server:
        server.events({"timesteps": 1})
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium):
    chromium.resize(1280, 900)
    chromium.complaints()
    yield chromium
    assert chromium.complaints() == []


def test_a_page_that_opens_costs_ten_network_calls_and_nothing_else(browser, server):
    before = server.calls()
    opened(browser, server)
    assert server.calls() - before == 10  # how soon that is: tools/measure_play.py
    asked = "performance.getEntriesByType('resource').filter(e => e.name.includes('/api/')).length"
    browser.wait(f"{asked} >= 2")  # a request is listed once its answer has ended
    assert browser.js(f"return {asked}") == 2  # about, run
    assert "16 images, 10 network calls" in browser.js(
        "return document.querySelector('.line').textContent"
    )


def test_sliding_gives_other_images_and_another_address(browser, server):
    opened(browser, server)
    before, done = browser.js(f"return {BOARD}"), browser.js(f"return {DONE}")
    browser.js(SLIDE, "#control-timesteps", 3)
    browser.wait(f"{DONE} > {done}")
    assert query(browser)["timesteps"] == "4"
    assert browser.js(f"return {BOARD}") != before
    assert browser.js("return document.querySelectorAll('.ticks line').length") == 4


def test_an_address_gives_the_same_images_again(browser, server):
    opened(browser, server)
    browser.js(SLIDE, "#control-sampler", "ddim")
    browser.js(SLIDE, "#control-eta", 0.75)
    browser.js(SLIDE, "#control-class", "3")
    done = browser.js(f"return {DONE}")
    browser.js(SLIDE, "#control-guidance", 1.5)
    browser.wait(f"{DONE} > {done}")
    time.sleep(0.3)
    address, board = browser.url, browser.js(f"return {BOARD}")
    assert {"eta": "0.75", "class": "3", "guidance": "1.5"}.items() <= query(browser).items()
    browser.open("about:blank")
    browser.open(address)
    browser.wait(f"{DONE} > 0")
    assert browser.js(f"return {BOARD}") == board
    assert browser.url == address


def test_a_new_setting_ends_the_run(browser, server):
    opened(browser, server)
    done = browser.js(f"return {DONE}")
    browser.js(SLIDE, "#control-timesteps", 21)  # 1000
    browser.wait("document.querySelector('progress').value > 0")
    time.sleep(0.5)
    browser.js(SLIDE, "#control-timesteps", 0)
    browser.wait(f"{DONE} > {done}")
    count = server.calls()
    time.sleep(0.7)
    assert server.calls() == count


def test_scrubbing_shows_every_state(browser, server):
    opened(browser, server)
    last = browser.js(f"return {BOARD}")
    assert browser.js("return document.querySelector('.strip input').max") == "10"
    browser.js(SLIDE, ".strip input", 0)
    noise = browser.js(f"return {BOARD}")
    browser.click(".views button:nth-child(2)")
    predicted = browser.js(f"return {BOARD}")
    assert len({last, noise, predicted}) == 3
    assert query(browser)["view"] == "x0"


def test_another_network_is_chosen_and_its_classes_have_names(browser, server):
    opened(browser, server, "lang=en&seed=7&class=3&spacing=uniform&timesteps=6")
    before = browser.js(f"return {BOARD}")
    browser.js(SLIDE, "#control-network", "colours")
    browser.wait("document.querySelector('#network').textContent.startsWith('colours')")
    browser.wait(f"{DONE} > 0")
    shown = browser.js(
        "return [...document.querySelectorAll('#control-class option')].map(o => o.textContent)"
    )
    assert shown == ["each in turn", "none", "red", "not red"]
    kept = {"network": "colours", "seed": "7", "timesteps": "6", "class": "all"}
    assert kept.items() <= query(browser).items()
    assert browser.js(f"return {BOARD}") != before
    assert browser.js("return document.querySelectorAll('#control-network').length") == 1
    address, board = browser.url, browser.js(f"return {BOARD}")
    browser.open("about:blank")
    browser.open(address)
    browser.wait(f"{DONE} > 0")
    assert browser.js(f"return {BOARD}") == board
    browser.js(SLIDE, "#control-precision", "bfloat16")
    browser.wait(f"{DONE} > 1")
    assert query(browser)["precision"] == "bfloat16"
    assert (server.folder / "jittor-bfloat16" / "calls").exists()


def test_of_large_images_fewer_can_be_chosen(browser, server):
    opened(browser, server, "lang=en&num_samples=64&timesteps=1")
    browser.js(SLIDE, "#control-network", "large")
    browser.wait("document.querySelector('#network').textContent.includes('256')")
    browser.wait(f"{DONE} > 0")
    assert query(browser)["num_samples"] == "8"
    assert not browser.js("return document.querySelector('#control-class')")


def test_of_a_network_with_fewer_timesteps_fewer_are_asked_for(browser, server):
    opened(browser, server)
    moved = """return Promise.all([import("/state.js"), import("/server.js")]).then(
        async ([{usual, moved}, {about}]) => {
            const found = await about();
            return moved({...usual(found), timesteps: 1000, seed: 7}, {...found, timesteps: 100});
        })"""
    found = browser.js(moved)
    assert (found["timesteps"], found["seed"]) == (100, 7)


def test_a_network_that_is_gone_is_said_and_another_one_shown(chromium, server):
    chromium.open(f"{server.address}?lang=en&network=logs/gone&seed=7")
    chromium.wait(f"{DONE} > 0")
    said = chromium.js("return document.querySelector('[role=alert]').textContent")
    assert "network must be one of digits" in said
    assert query(chromium)["network"] == "digits" and query(chromium)["seed"] == "7"
    assert all("status of 400" in line for line in chromium.complaints())


def test_an_arc_and_its_ends(browser, server):
    opened(browser, server, "tab=arc&lang=en&points=5")
    assert "5 images" in browser.js("return document.querySelector('.line').textContent")
    browser.click("[data-name=other_seed] button")
    browser.wait(f"{DONE} > 1")


def test_the_same_again(browser, server):
    opened(browser, server)
    browser.click(".share-row > button")
    browser.wait("document.querySelector('dialog').open")
    shown = browser.js("return [...document.querySelectorAll('dialog pre')].map(e => e.innerText)")
    assert shown[0] == browser.url
    assert shown[1].startswith("ddim sample ") and "--spacing logsnr" in shown[1]
    assert "jd.sample(" in shown[2]
    browser.keys("\ue00c")  # Escape
    browser.wait("!document.querySelector('dialog').open")


def test_downloads(browser, server, tmp_path):
    opened(browser, server)
    browser.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    for number, suffix in enumerate(("png", "gif", "webp", "npz"), start=1):
        browser.click(f".files button:nth-of-type({number})")
        path = tmp_path / f"ddim-sample-1234.{suffix}"
        until = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < until, suffix
            time.sleep(0.1)
        browser.wait("!document.querySelector('.files button').disabled")
    assert np.load(path)["arr_0"].shape == (16, 8, 8, 1)


def picture():
    buffer = io.BytesIO()
    ramp = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype(np.uint8)
    Image.fromarray(ramp).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_dropped_picture_comes_back_and_is_part_of_the_address(browser, server):
    browser.open(f"{server.address}?tab=picture&lang=en")
    browser.wait("document.querySelector('.zone')")
    browser.js(DROP, picture(), "../../a.png")
    browser.wait("document.querySelectorAll('.four canvas').length === 4")
    assert browser.js("return document.querySelectorAll('.found tr.now').length") == 1
    done = browser.js(f"return {DONE}")
    browser.js(SLIDE, "#control-timesteps", 13)
    browser.wait(f"{DONE} > {done}")
    browser.wait("document.querySelectorAll('.found tr').length === 3")
    address, error = browser.url, browser.js("return document.querySelector('tr.now').innerText")
    browser.open("about:blank")
    browser.open(address)
    browser.wait("document.querySelector('tr.now')")
    assert browser.js("return document.querySelector('tr.now').innerText") == error
    browser.js(SLIDE, "#control-mode", "edit")
    browser.wait("document.querySelector('.line')?.textContent.startsWith('4 images')")
    assert query(browser)["mode"] == "edit"


def test_states_that_a_slow_connection_lost_are_not_taken_for_others(browser, server):
    browser.open(f"{server.address}?tab=picture&lang=en")
    browser.wait("document.querySelector('.zone')")
    browser.js(DROP, picture(), "a.png")
    browser.wait("document.querySelectorAll('.four canvas').length === 4")
    first = "document.querySelector('.four canvas').toDataURL()"
    original, done = browser.js(f"return {first}"), browser.js(f"return {DONE}")
    browser.js("""const whole = fetch;
        window.fetch = async (path, ...more) => {
            const answer = await whole(path, ...more);
            if (path !== "api/run") return answer;
            const events = (await answer.text()).split("\\n\\n");
            return new Response(events.filter(e => !e.includes('"up"')).join("\\n\\n"));
        };""")
    browser.js(SLIDE, "#control-timesteps", 3)
    browser.wait(f"{DONE} > {done}")
    browser.wait("document.querySelectorAll('.four canvas').length === 3")  # without its noise
    assert browser.js(f"return {first}") == original


def test_what_is_no_picture_is_said_on_the_page(chromium, server):
    chromium.open(f"{server.address}?tab=picture&lang=en")
    chromium.wait("document.querySelector('.zone')")
    chromium.js(DROP, base64.b64encode(b"not a picture").decode(), "a.png")
    chromium.wait("document.querySelector('.zone .wrong').textContent.includes('cannot be read')")
    # The browser notes every answer that is not 200.
    assert all("status of 400" in line for line in chromium.complaints())


def test_two_engines(browser, server):
    opened(browser, server, "tab=twins&lang=en&timesteps=5&sampler=ddim&spacing=uniform")
    rows = browser.js("return [...document.querySelectorAll('.times tr')].map(e => e.innerText)")
    assert rows[0].split() == ["Jittor", "PyTorch"]
    largest = float(rows[3].split()[-1])
    assert 1e-4 < largest < 0.1  # the offset of play_worker_with_fake_engine.py
    for calls in (20, 21):  # two new settings, the first one not waited for
        browser.js(SLIDE, "#control-timesteps", calls)
        time.sleep(0.3)  # until it has begun
    browser.js(SLIDE, ".strip-slider input", 0)  # what is shown is still there
    assert browser.js("return document.querySelector('.times').innerText").count("\n") == 4
    browser.js(SLIDE, "#control-timesteps", 0)
    browser.wait(f"{DONE} > 1")


def test_the_language_is_switched_and_stays(browser, server):
    opened(browser, server)
    browser.click("#language")
    browser.wait("document.documentElement.lang === 'zh-Hans'")
    text = browser.js("return document.body.innerText")
    assert "采样器" in text and "Sampler" not in text and "network calls" not in text
    assert query(browser)["lang"] == "zh"
    browser.open(browser.url)
    browser.wait(f"{DONE} > 0")
    assert "次网络调用" in browser.js("return document.querySelector('.line').textContent")


def test_a_server_that_ends_is_said(chromium, tmp_path):
    with serving(tmp_path, seconds=0.05) as server:
        chromium.open(f"{server.address}?lang=en&timesteps=1000&spacing=uniform")
        chromium.wait("document.querySelector('progress')?.value > 0")
    chromium.wait("document.querySelector('.line.wrong')")
    said = chromium.js("return document.querySelector('.line').textContent")
    assert "Is ddim play still running?" in said
    chromium.complaints()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("tab", ["sample", "arc", "picture", "twins"])
def test_a_phone_needs_no_scrolling_sideways(browser, server, tab, language):
    browser.resize(360, 740)
    browser.open(f"{server.address}?tab={tab}&lang={language}")
    browser.wait("document.querySelector('#controls .row')")
    time.sleep(0.3)
    assert browser.js("return document.documentElement.scrollWidth") <= 360
    small = browser.js("""return [...document.querySelectorAll('button, select, input:not(#file)')]
    .filter(e => e.checkVisibility() && e.getBoundingClientRect().width < 24).length""")
    assert small == 0


def test_everything_has_a_name_and_the_keyboard_reaches_it(browser, server):
    opened(browser, server)
    tree = browser.cdp("Accessibility.getFullAXTree")["nodes"]
    kinds = {"button", "slider", "combobox", "spinbutton", "tab", "img", "progressbar", "textbox"}
    nameless = [
        node["role"]["value"]
        for node in tree
        if not node["ignored"]
        and node["role"]["value"] in kinds
        and not node.get("name", {}).get("value", "").strip()
    ]
    assert nameless == []
    seen = set()
    for _ in range(40):
        browser.keys("\ue004")  # Tab
        seen.add(browser.js("const e = document.activeElement; return e.id || e.className"))
    wanted = {"tab-sample", "language", "control-engine", "control-timesteps", "board", "choice"}
    assert wanted <= seen, json.dumps(sorted(seen))


def test_arrow_keys_choose_tab_and_image(browser, server):
    opened(browser, server)
    browser.js("document.querySelector('#tab-sample').focus()")
    browser.keys("\ue014")  # →
    browser.wait("document.activeElement.id === 'tab-arc'")
    assert query(browser)["tab"] == "arc"
    browser.wait(f"{DONE} > 0")
    film = browser.js("return document.querySelector('.film').toDataURL()")
    browser.js("document.querySelector('.board').focus()")
    browser.keys("\ue014")
    assert browser.js("return document.querySelector('.film').toDataURL()") != film


def test_who_asked_for_less_motion_gets_none(browser, server):
    browser.resize(1280, 900, calm=True)
    opened(browser, server)
    browser.js("""window.seen = new Set();
    new MutationObserver(() => seen.add(document.querySelector('.strip input').ariaValueText))
      .observe(document.querySelector('.strip input'), {attributes: true});""")
    browser.click(".views button:nth-child(3)")
    time.sleep(1)
    assert browser.js("return seen.size") == 1


def contrast(one, other):
    light = []
    for colour in (one, other):
        parts = np.array(colour) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        light.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read_in_light_and_dark(browser, server, dark):
    browser.resize(1280, 900, dark)
    opened(browser, server)
    colours = browser.js("""const numbers = name => {
      const e = document.createElement("i");
      e.style.color = `var(--${name})`;
      document.body.append(e);
      return getComputedStyle(e).color.match(/\\d+/g).slice(0, 3).map(Number);
    };
    return Object.fromEntries(
      ["paper", "card", "ink", "soft", "accent", "wrong", "wash"].map(n => [n, numbers(n)]));""")
    for ground in ("paper", "card"):
        assert contrast(colours["ink"], colours[ground]) > 7
        assert contrast(colours["soft"], colours[ground]) > 4.5
        assert contrast(colours["wrong"], colours[ground]) > 4.5
    assert contrast(colours["accent"], colours["wash"]) > 4.5
    assert (sum(colours["paper"]) < 150) == dark
