"""The process of ``ddim play`` with the engine of fake_engine.py.

    play_worker_with_fake_engine.py SECONDS FOLDER ENGINE DEVICE PRECISION

takes SECONDS for a network call, and notes every one in the file calls in the engine's folder.
"""

import sys
import time
from pathlib import Path

from fake_engine import FakeEngine, affine

from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.play import session
from jittor_ddim.play.layout import engine_folder

seconds = float(sys.argv.pop(1))
folder, name, precision = Path(sys.argv[1]), sys.argv[2], sys.argv[4]
calls = engine_folder(folder, engine_choice.EngineChoice(name, precision=precision)) / "calls"
OFFSET = {"jittor": 0.0, "pytorch": 2e-3}[name] + 0.01 * (precision == "bfloat16")


def denoise(weights, x_t, t, *classes):
    time.sleep(seconds)
    with calls.open("a") as file:
        file.write(f"{len(x_t)} {float(t[0])}\n")
    return affine(weights, x_t, t, *classes) + OFFSET


engine_choice.load_engine = lambda *choice: FakeEngine(name=name, denoiser=denoise)
session.main()
