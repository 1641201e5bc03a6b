"""Sweeps with the engine of fake_engine.py on both sides, each in a process of its own."""

import json
import sys
from pathlib import Path

from comparing import CONFIG, UNHARMED

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.sweep.fill import fill
from jittor_ddim.sweep.layout import NETWORK
from jittor_ddim.sweep.plan import PLACE, Grid, Plan
from jittor_ddim.sweep.results import Variant

#: 20 images in batches of 8, 8 and 4.
PLAN = Plan(
    config=CONFIG, network="0123456789abcdef", images=20, seed=7, skip="uniform", batch_size=8,
    reference="both", features="small", mode="clean", device="cpu", precision="float32",
)  # fmt: skip
ETA_0, SIGMA_HAT = Variant("ddim", 0.0), Variant("ddpm_noisy")
NAMES = ("jittor", "pytorch", "third")
GRID = Grid((5, 3), (8,), (ETA_0, SIGMA_HAT), NAMES[:2])
_SCRIPT = Path(__file__).with_name("sweep_worker_with_fake_engine.py")


def prepare(folder: Path, plan: Plan = PLAN) -> Path:
    PLACE.claim(folder, plan)
    save_weights(folder / NETWORK, fresh_weights(plan.config, plan.seed), plan.config)
    return folder


def command(record: Path, where=UNHARMED, harm: str = "") -> list[str]:
    """What starts a worker that notes its tasks, and comes to harm before one of them."""
    return [sys.executable, str(_SCRIPT), str(record), json.dumps(where), harm]


def run(folder, where=UNHARMED, harm="", plan=PLAN, grid=GRID):
    """Fill the table; return the tasks that were given, as ("A", "B" or "C", task)."""
    record = folder.with_suffix(".record")
    record.unlink(missing_ok=True)
    line = [*command(record, where, harm), str(folder), str(folder.parent), ""]
    fill(plan, grid, folder, line, lambda count, cell: None)
    lines = record.read_text().splitlines() if record.exists() else []
    tasks = [line.split() for line in lines]
    return [("ABC"[NAMES.index(name)], task) for name, task in tasks]
