"""Record `ddim play` in a real browser, for the README.

    PYTHONPATH=tests python tools/record_play.py docs/images/play.gif [OPTION…]

OPTIONs are those of `ddim play`, such as --model tiles --engine jittor. Needs chromium and
chromedriver. Someone moves the controls: other classes, fewer and more network calls, guidance.
A frame lasts as long as it stayed on the screen, but none longer than LONGEST.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from pathlib import Path

from browser import Browser, browsing
from PIL import Image

SIZE = (1120, 720)
DONE = "Number(document.querySelector('[data-done]')?.dataset.done ?? 0)"
MOVE = """const input = document.querySelector(arguments[0]);
input.value = arguments[1];
input.dispatchEvent(new Event(input.tagName === "SELECT" ? "change" : "input"));"""
#: What is moved where; a scene ends when the images are there.
SCENES = [
    ("#control-class", "3"), ("#control-class", "2"), ("#control-guidance", "2"),
    ("#control-timesteps", "4"), ("#control-timesteps", "9"), ("#control-seed", "8"),
]  # fmt: skip
LONGEST = 1.2
COLOURS = 96

Frame = tuple[float, Image.Image]


def look(browser: Browser) -> Frame:
    """Return the time and what the page shows."""
    shot = b64decode(browser.cdp("Page.captureScreenshot")["data"])
    return time.monotonic(), Image.open(io.BytesIO(shot)).convert("RGB")


def record(browser: Browser) -> list[Frame]:
    """Return the frames of all scenes."""
    frames = [look(browser)]
    for selector, value in SCENES:
        done = browser.js(f"return {DONE}")
        browser.js(MOVE, selector, value)
        while browser.js(f"return {DONE}") == done:
            frames.append(look(browser))
        frames.append(look(browser))
        time.sleep(LONGEST)
    return [*frames, look(browser)]


def save(frames: list[Frame], path: Path) -> None:
    """Write a GIF with one palette, each frame as long as it was seen."""
    palette = frames[-1][1].quantize(COLOURS)
    pictures = [picture.quantize(palette=palette, dither=0) for _, picture in frames[:-1]]
    times = [when for when, _ in frames]
    seen = [min(LONGEST, after - before) for before, after in zip(times, times[1:], strict=False)]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], loop=0, optimize=False,
        duration=[max(20, round(1000 * seconds)) for seconds in seen],
    )  # fmt: skip
    print(json.dumps({"frames": len(pictures), "seconds": round(sum(seen), 1),
                      "megabytes": round(path.stat().st_size / 1e6, 2)}))  # fmt: skip


def main() -> None:
    """Start the server, record, write the GIF."""
    path, options = Path(sys.argv[1]), sys.argv[2:]
    line = [sys.executable, "-m", "jittor_ddim", "play", "--no_browser", *options]
    with (
        subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as profile,
    ):
        try:
            assert server.stdout
            address = json.loads(server.stdout.readline())["address"]
            with browsing(profile) as browser:
                browser.resize(*SIZE, dark=True)
                browser.open(f"{address}?lang=en")
                browser.wait(f"{DONE} > 0")
                time.sleep(1)
                save(record(browser), path)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
