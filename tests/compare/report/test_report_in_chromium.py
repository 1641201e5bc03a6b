"""The page in a real browser: what it draws, how fast, and that it complains about nothing."""

import html
import json
import re
import shutil
import subprocess

import comparison_example as example
import numpy as np
import pytest
from PIL import Image

from jittor_ddim.compare.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed"),
]
QUIET = [
    f"--{flag}"
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-sync",
        "disable-background-networking",
        "disable-component-update",
        "disable-dev-shm-usage",
        "hide-scrollbars",
        "enable-logging=stderr",
        "v=0",
    )
]
#: Measures the page once it is loaded, and hands the result to whoever framed it.
PROBE = """<script>
addEventListener("load", () => {
  const boxes = {};
  for (const e of document.querySelectorAll("figure svg, figure img")) {
    const r = e.getBoundingClientRect();
    const name = e.closest("figure").id || e.alt + Object.keys(boxes).length;
    boxes[name] = [r.x, r.y + scrollY, r.width, r.height];
  }
  const texts = [...document.querySelectorAll(".plot text")].map(
    e => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getCTM().a, e.getCTM().b));
  const result = JSON.stringify({
    boxes, smallest: Math.min(...texts), load: performance.now(),
    width: document.documentElement.scrollWidth, window: innerWidth,
    height: document.documentElement.scrollHeight,
    broken: [...document.images].filter(i => !i.naturalWidth).length,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    first: getComputedStyle(document.querySelector(".sides .first")).color});
  const pre = document.createElement("pre");
  pre.id = "probe"; pre.textContent = result; pre.hidden = true;
  document.body.append(pre);
  parent.postMessage(result, "*");
});
</script>"""
FRAME = """<!doctype html><iframe src="{name}" width="390" height="844"></iframe><script>
addEventListener("message", e => {{
  const pre = document.createElement("pre");
  pre.id = "probe"; pre.textContent = e.data; document.body.append(pre);
}});
</script>"""


def chromium(page, profile, *arguments):
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={profile}", *arguments, page.as_uri()],
        capture_output=True,
        timeout=120,
        check=False,
    )
    log = done.stderr.decode(errors="replace")
    assert done.returncode == 0, log
    assert "CONSOLE" not in log, log
    return done.stdout.decode()


def probe(page, profile, *arguments):
    dom = chromium(page, profile, "--dump-dom", *arguments)
    found = re.search(r'<pre id="probe"[^>]*>(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    return json.loads(html.unescape(found[1]))


def with_probe(page):
    """A copy of the page that also measures itself; its policy would forbid the script."""
    source = page.read_text(encoding="utf-8")
    source, count = re.subn(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", source)
    assert count == 1
    copy = page.with_name(f"probed_{page.name}")
    copy.write_text(source.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    return copy


@pytest.fixture(scope="module", params=["en", "zh"])
def page(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return write_report(example.complete(gpu=True), example.samples(), folder, request.param)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_renders_and_no_plot_is_blank(page, tmp_path, scheme):
    # 0 is dark and 1 is light, in Blink's mojom::PreferredColorScheme.
    colours = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    window = "--window-size=1200,900"
    found = probe(with_probe(page), tmp_path, colours, window)
    assert found["broken"] == 0
    assert found["load"] < 2000
    assert len(found["boxes"]) == 12 + 8
    size = f"--window-size=1200,{int(found['height'])}"
    chromium(page, tmp_path, colours, size, f"--screenshot={tmp_path / 'page.png'}")
    with Image.open(tmp_path / "page.png") as image:
        shown = np.asarray(image.convert("L")).astype(int)
    paper = shown[0, 0]
    assert (paper > 240) if scheme == "light" else (paper < 40)
    for name, (x, y, width, height) in found["boxes"].items():
        box = shown[round(y) : round(y + height), round(x) : round(x + width)]
        assert box.size > 10_000 and box.std() > 1.5, name
        marked = (abs(box - paper) > 60).mean()
        # A difference of images may be all but black.
        assert marked > 0.004 or not name.startswith("figure-"), f"{name}: {marked:.2%} marked"


def contrast(one, other):
    """The contrast ratio of two CSS colours (WCAG 2.2)."""
    light = []
    for colour in (one, other):
        parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        light.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("scheme", [0, 1])
def test_a_phone_reads_it_without_scrolling_sideways(page, tmp_path, scheme):
    frame = page.with_name("phone.html")
    waiting = "--virtual-time-budget=5000"  # the message comes after the page is loaded
    frame.write_text(FRAME.format(name=with_probe(page).name), encoding="utf-8")
    found = probe(frame, tmp_path, f"--blink-settings=preferredColorScheme={scheme}", waiting)
    assert found["window"] == 390
    assert found["width"] <= 390
    assert found["smallest"] > 7.5
    assert contrast(found["paper"], found["ink"]) > 7
    assert contrast(found["paper"], found["first"]) > 4.5
