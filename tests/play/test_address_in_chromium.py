"""What an address of the page may say, and how the page names what it may not."""

import urllib.parse

import pytest
from browser import needs_browser
from play_page import DONE, query

pytestmark = [pytest.mark.slow, needs_browser]


def opened(browser, server, given):
    """Open an address; return what it became and what was said of it."""
    browser.open("about:blank")
    browser.open(f"{server.address}?{given}")
    browser.wait("document.querySelector('#controls .row')")
    said = browser.js("return document.querySelector('[role=alert].wrong')?.textContent ?? ''")
    return query(browser), said


@pytest.mark.parametrize(
    ("given", "possible"),
    [
        ("smapler=ddim", None),
        ("toString=1", None),
        ("constructor=2", None),
        ("__proto__=3", None),
        ("timesteps=lots", "1 … 1000"),
        ("timesteps=2.5", "1 … 1000"),
        ("timesteps=", "1 … 1000"),
        ("seed=-1", "0 … 9007199254740991"),
        ("sampler=unipc&eta=-1", "0 … 10"),
        ("guidance=NaN", "0 … 20"),
        ("num_samples=65", "1 … 64"),
        ("tab=everything", "sample, arc, picture, twins"),
        ("tab=arc&view=bogus", "x_t, x0"),
        ("tab=twins&gain=-5", "1 … 1000000"),
        ("tab=picture&mode=delete", "reconstruct, edit"),
        ("tab=picture&strength=0", "0.01 … 1"),
        ("tab=picture&picture=%3C", None),
        ("engine=abacus", "jittor, pytorch"),
        ("precision=float8", "float32, bfloat16"),
        ("sampler=magic", None),
        ("spacing=found:/etc/passwd", None),
        ("class=11", "all, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        ("network=colours&class=monster", "all, red, not red"),
        ("network=large&num_samples=9", "1 … 8"),
    ],
)
def test_what_cannot_be_is_said_and_left_out(browser, server, given, possible):
    found, said = opened(browser, server, f"lang=en&{given}")
    *right, (name, value) = urllib.parse.parse_qsl(given, keep_blank_values=True)
    assert dict(right).items() <= found.items()
    assert found.get(name) != value
    assert (f": {name}={value} ({possible})" if possible else f": {name}") in said


def test_what_can_be_is_taken_without_a_word(browser, server):
    for given in (
        "tab=arc&points=5&view=x0&other_seed=0",
        "tab=picture&mode=edit&strength=0.05&variants=2&picture=",
        "tab=twins&gain=10&num_samples=1",
        "class=all&guidance=20&eta=0.5&sampler=ddim&timesteps=1000&seed=9007199254740991",
        "network=colours&class=1",
        "class=",
    ):
        found, said = opened(browser, server, f"lang=en&{given}")
        assert said == ""
        wanted = dict(urllib.parse.parse_qsl(given, keep_blank_values=True))
        assert {name: value for name, value in wanted.items() if value}.items() <= found.items()


def test_a_class_has_its_name_in_an_address(browser, server):
    found, said = opened(browser, server, "lang=en&network=colours&class=not+red")
    assert (found["class"], said) == ("1", "")
    browser.wait(f"{DONE} > 0")
    chosen = browser.js("return document.querySelector('#control-class').selectedOptions[0].text")
    assert chosen == "not red"


def test_numbers_out_of_range_are_said_in_chinese(browser, server):
    _, said = opened(browser, server, "lang=zh&class=11&seed=-1&smapler=ddim")
    assert "seed=-1（0 … 9007199254740991）" in said
    assert "class=11（all, 0, 1" in said
    assert "smapler" in said and "已忽略" in said
