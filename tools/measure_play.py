"""Measure how soon `ddim play` shows its first images, in a real browser.

    PYTHONPATH=tests python tools/measure_play.py [OPTION…]

OPTIONs are those of `ddim play`, such as --model tiles --engine jittor. The page is opened VISITS
times, 16 images with 10 network calls. Printed as JSON, in seconds: for each visit, from opening
the page, until it asked for images, until the first state was drawn, and until the last one was;
of that, what the network and the sampler took. The rest is encoding, transport and drawing.
Measure alone on the machine. Needs chromium and chromedriver.
"""

import json
import sys
import tempfile
from statistics import median

from browser import Browser, browsing
from record_play import DONE, playing

VISITS = 7
ASKED = "performance.getEntriesByType('resource').find(e => e.name.endsWith('api/run'))"
TIMES = (
    f"const asked = {ASKED};"
    + """
const mark = name => performance.getEntriesByName(name)[0];
return {asked: asked.startTime, begun: mark("begun").startTime, done: mark("done").startTime,
  computing: 1000 * mark("done").detail.seconds};"""
)


def visit(browser: Browser, address: str) -> dict[str, float]:
    """Return the times of one visit, in seconds."""
    browser.open("about:blank")
    browser.open(f"{address}?lang=en")
    browser.wait(f"{DONE} > 0")
    browser.wait(ASKED)  # it is listed once its answer has ended
    return {name: round(time / 1000, 3) for name, time in browser.js(TIMES).items()}


def main() -> None:
    """Start the server, visit, print."""
    with (
        playing(sys.argv[1:]) as address,
        tempfile.TemporaryDirectory() as profile,
        browsing(profile) as browser,
    ):
        visits = [visit(browser, address) for _ in range(VISITS)]
    medians = {name: median(one[name] for one in visits) for name in visits[0]}
    print(json.dumps({"visits": visits, "median": medians}, indent=1))


if __name__ == "__main__":
    main()
