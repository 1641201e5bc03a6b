"""Record `ddim play` in a real browser, for the README.

    PYTHONPATH=tests python tools/record_play.py docs/images/play.gif [OPTION…]

OPTIONs are those of `ddim play`, such as --model tiles --engine jittor. Needs chromium and
chromedriver. Someone moves the controls: another class, guidance, fewer and more network calls,
other seeds. A frame lasts as long as it was on the screen, but none longer than LONGEST.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from browser import Browser, browsing
from PIL import Image

#: Of the window, and how it is scaled, so that a README shows it as it is: 804 pixels wide.
WINDOW, SCALE = (1200, 800), 0.67
START = "lang=en&tab=sample&timesteps=10&class=all&seed=1"
DONE = "Number(document.querySelector('[data-done]')?.dataset.done ?? 0)"
#: The control that is moved has the focus, and so a frame around it.
MOVE = """const input = document.querySelector(arguments[0]);
input.focus({preventScroll: true});
input.value = arguments[1];
input.dispatchEvent(new Event(input.tagName === "SELECT" ? "change" : "input"));
input.dispatchEvent(new Event("change"));"""
#: What is moved where; a scene ends when the images are there. A button is pressed.
SCENES: list[tuple[str, list[float]]] = [
    ("#control-class", [3]),
    ("#control-guidance", [0.25, 0.5, 0.75, 1]),
    ("#control-seed", [2]),
    (".views button:nth-child(2)", []),  # the predicted x0
    ("#control-timesteps", [5, 4, 3, 2]),  # the slider's stops: 10 to 3 calls
    ("#control-timesteps", [3, 4, 5, 6]),
    (".views button:nth-child(1)", []),
    ("#control-class", [2]),
    ("#control-seed", [3]),
]
LONGEST, TICK = 1.2, 0.06
PATIENCE = 60.0
MOST_BYTES = 3_000_000

Frame = tuple[float, Image.Image]


def look(browser: Browser) -> Frame:
    """Return the time and what the page shows."""
    shot = b64decode(browser.cdp("Page.captureScreenshot")["data"])
    return time.monotonic(), Image.open(io.BytesIO(shot)).convert("RGB")


def record(browser: Browser) -> Iterator[Frame]:
    """Yield what is seen in all scenes."""
    yield look(browser)
    for selector, values in SCENES:
        done = browser.js(f"return {DONE}")
        for value in values:
            browser.js(MOVE, selector, str(value))
            yield look(browser)
            time.sleep(TICK)
        if not values:
            browser.click(selector)
        begin = time.monotonic()
        while values and browser.js(f"return {DONE}") == done:
            if time.monotonic() - begin > PATIENCE:
                raise SystemExit(f"{selector} = {value}: no image after {PATIENCE:.0f} s")
            yield look(browser)
        yield look(browser)
        time.sleep(LONGEST)
    yield look(browser)


def save(frames: list[Frame], path: Path) -> None:
    """Write a GIF with one palette, with fewer colours and frames the larger it would be."""
    new = [k for k, (_, now) in enumerate(frames) if not k or now != frames[k - 1][1]]
    frames = [*(frames[k] for k in new), frames[-1]]  # what did not change is one frame
    times = [when for when, _ in frames]
    seen = [min(LONGEST, after - before) for before, after in zip(times, times[1:], strict=False)]
    pictures = [picture for _, picture in frames[:-1]]
    # Colours are chosen for what was looked at longest, which is no noise.
    longest = sorted(range(len(seen)), key=seen.__getitem__)[-12:]
    some = [pictures[k] for k in sorted(longest)]
    mosaic = Image.fromarray(np.concatenate([np.asarray(picture) for picture in some]))
    for colours, step in ((128, 1), (64, 1), (64, 2), (48, 3), (32, 4)):
        palette = mosaic.quantize(colours)
        reduced = [picture.quantize(palette=palette, dither=0) for picture in pictures[::step]]
        lasts = [sum(seen[i : i + step]) for i in range(0, len(seen), step)]
        reduced[0].save(
            path, save_all=True, append_images=reduced[1:], loop=0, optimize=False,
            duration=[max(20, round(1000 * seconds)) for seconds in lasts],
        )  # fmt: skip
        if path.stat().st_size < MOST_BYTES:
            break
    print(json.dumps({"frames": len(reduced), "seconds": round(sum(seen), 1), "colours": colours,
                      "megabytes": round(path.stat().st_size / 1e6, 2)}))  # fmt: skip


@contextmanager
def playing(options: list[str]) -> Iterator[str]:
    """Run `ddim play` and yield the address of its page."""
    line = [sys.executable, "-m", "jittor_ddim", "play", "--no_browser", "--port", "0", *options]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield json.loads(server.stdout.readline())["address"]
        finally:
            server.terminate()


def main() -> None:
    """Start the server, record, write the GIF."""
    with (
        playing(sys.argv[2:]) as address,
        tempfile.TemporaryDirectory() as profile,
        browsing(profile) as browser,
    ):
        browser.resize(*WINDOW, dark=True)
        browser.cdp("Emulation.setDeviceMetricsOverride", width=WINDOW[0], height=WINDOW[1],
                    deviceScaleFactor=SCALE, mobile=False)  # fmt: skip
        browser.open(f"{address}?{START}")
        browser.wait(f"{DONE} > 0")
        time.sleep(1)
        save(list(record(browser)), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
