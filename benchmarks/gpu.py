"""The race on a GPU: one entrant after the other, each alone on the device.

What an entrant has done is kept in a file of its own, so that a run that stopped goes on. Those
that are compiled fill the compiler's cache before, all at once, which takes minutes.
"""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.entrants import Entrant, on_gpu
from benchmarks.kept import kept
from benchmarks.processes import process
from benchmarks.table import speeds
from jittor_ddim.errors import UserError
from jittor_ddim.parity.process import WorkerFailed

_BATCHES = (128, 512)
_CALLS = 10  # of the network in one sampling
_WARM_UP = 5
_SAMPLINGS, _STEPS = 5, 12  # that count
#: The S x eta table's rows of the earlier report (an RTX 4090).
_ROWS = tuple((steps, eta) for steps in (50, 100, 500, 1000) for eta in (0.0, 0.5, 1.0))
_ROWS_BATCH = 128
_FASTEST = Entrant("pytorch", "bfloat16", compiled=True, graphs=True)

_log = logging.getLogger("jittor_ddim.bench")


def measure_all(folder: Path, seconds: float) -> dict[str, dict[str, Any]]:
    """Return the figures by entrant, task and batch.

    :param seconds: after which no other entrant starts
    """
    end = time.monotonic() + seconds
    paths = {entrant: folder / f"{entrant.file_name}.json" for entrant in on_gpu()}
    with ThreadPoolExecutor() as pool:
        missing = [c for c in paths if c.compiled and not paths[c].exists()]
        list(pool.map(lambda entrant: _fill_cache(entrant, folder / "compiling"), missing))
    found = {}
    for entrant, path in paths.items():
        if not path.exists() and time.monotonic() > end:
            _log.warning("No time left for %s", entrant.name)
            continue
        _log.info("%.0f s left: %s", end - time.monotonic(), entrant.name)
        found[entrant.name] = kept(path, lambda c=entrant: _measure(c, folder / "workers"))
    return found


def _fill_cache(entrant: Entrant, folder: Path) -> None:
    """Compile what the entrant will need; failures are for the measured run to tell."""
    with suppress(WorkerFailed, UserError), process(entrant, folder, "cuda") as (worker, _):
        for batch in _BATCHES:
            worker.call("sample", batch=batch, calls=1, repeats=1)
            worker.call("release")
            worker.call("train", batch=batch, repeats=1)
            worker.call("release")


def _measure(entrant: Entrant, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"sample": {}, "train": {}}
    try:
        with process(entrant, folder, "cuda") as (worker, environment):
            found["environment"] = environment
            for batch in _BATCHES:
                worker.call("sample", batch=batch, calls=_WARM_UP, repeats=1)
                figures = worker.call("sample", batch=batch, calls=_CALLS, repeats=_SAMPLINGS)
                found["sample"][str(batch)] = figures | worker.call("peak_memory")
                if entrant == _FASTEST and batch == _ROWS_BATCH:
                    found["rows"] = [
                        worker.call("sample", batch=batch, calls=steps, repeats=1, eta=eta)
                        | {"timesteps": steps, "eta": eta}
                        for steps, eta in _ROWS
                    ]
                worker.call("release")
                worker.call("train", batch=batch, repeats=_WARM_UP)
                figures = worker.call("train", batch=batch, repeats=_STEPS)
                found["train"][str(batch)] = figures | worker.call("peak_memory")
                worker.call("release")
    except (WorkerFailed, UserError) as error:
        _log.error("%s: %s", entrant.name, error)
        found["failure"] = str(error)
    return found


def describe(raw: dict[str, dict[str, Any]]) -> str:
    """Return the tables as Markdown."""
    lines = []
    for task, unit, amount in (("sample", "images x calls", _CALLS), ("train", "images", 1)):
        for batch in map(str, _BATCHES):
            results = {name: r[task][batch] for name, r in raw.items() if batch in r[task]}
            lines += [*speeds(f"{task}, batch {batch}", unit, results, int(batch) * amount), ""]
    for row in next((result["rows"] for result in raw.values() if "rows" in result), []):
        seconds = row["seconds"][0] / _ROWS_BATCH
        lines.append(f"S = {row['timesteps']}, eta = {row['eta']}: {seconds:.5f} s an image")
    lines += [f"{name}: {r['failure']}" for name, r in raw.items() if "failure" in r]
    return "\n".join(lines) + "\n"
