"""The race on a GPU: one contender after the other, each alone on the device.

What a contender has done is kept in a file of its own, so that a run that stopped goes on. Those
that are compiled fill the compiler's cache on the host while the first ones are measured.
"""

import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import PEER, Contender, on_gpu
from benchmarks.processes import process
from jittor_ddim.atomic import write_atomic
from jittor_ddim.compare.statistics import ratio_of_medians
from jittor_ddim.errors import UserError
from jittor_ddim.workers.process import WorkerFailed

BATCHES = (128, 512)
CALLS = 10  # of the network in one sampling
_WARM_UP = 5
_SAMPLINGS, _STEPS = 5, 12  # that count
#: The S x eta table's rows of the earlier report (an RTX 4090).
ROWS = tuple((steps, eta) for steps in (50, 100, 500, 1000) for eta in (0.0, 0.5, 1.0))
_ROWS_BATCH = 128
_FASTEST = Contender("pytorch", "bfloat16", compiled=True, graphs=True)

Results = dict[str, Any]  # by contender
_log = logging.getLogger("jittor_ddim.bench")


def measure_all(
    folder: Path,
    seconds: float = float("inf"),
    device: str = "cuda",
    batches: Sequence[int] = BATCHES,
    rows: Sequence[tuple[int, float]] = ROWS,
) -> Results:
    """Return the figures by contender, task and batch.

    :param seconds: after which no other contender starts
    """
    end = time.monotonic() + seconds
    wanted = [c for c in on_gpu() if not _path(folder, c).exists()]
    with ThreadPoolExecutor() as pool:
        compiling = {
            c: pool.submit(_fill_cache, c, folder, device, batches) for c in wanted if c.compiled
        }
        for contender in wanted:
            if contender in compiling:
                compiling[contender].result()
            if time.monotonic() > end:
                _log.warning("No time left for %s", contender.name)
                continue
            _log.info("%.0f s: %s", end - time.monotonic(), contender.name)
            found = _measure(contender, folder, device, batches, rows)
            write_atomic(_path(folder, contender), json.dumps(found, indent=1).encode())
    return {
        c.name: json.loads(_path(folder, c).read_text())
        for c in on_gpu()
        if _path(folder, c).exists()
    }


def _path(folder: Path, contender: Contender) -> Path:
    return folder / f"{contender.name.replace(' ', '-')}.json"


def _fill_cache(contender: Contender, folder: Path, device: str, batches: Sequence[int]) -> None:
    """Compile what the contender will need; failures are for the measured run to tell."""
    failing = suppress(WorkerFailed, UserError)
    with failing, process(contender, folder / "compiling", device) as (worker, _):
        for batch in batches:
            worker.call("sample", batch=batch, calls=1, repeats=1)
            worker.call("release")
            worker.call("train", batch=batch, repeats=1)
            worker.call("release")


def _measure(
    contender: Contender,
    folder: Path,
    device: str,
    batches: Sequence[int],
    rows: Sequence[tuple[int, float]],
) -> dict[str, Any]:
    found: dict[str, Any] = {"sample": {}, "train": {}}
    try:
        with process(contender, folder / "workers", device) as (worker, environment):
            found["environment"] = environment
            for batch in batches:
                worker.call("sample", batch=batch, calls=_WARM_UP, repeats=1)
                figures = worker.call("sample", batch=batch, calls=CALLS, repeats=_SAMPLINGS)
                found["sample"][str(batch)] = figures | worker.call("peak_memory")
                if contender == _FASTEST and batch == _ROWS_BATCH:
                    found["rows"] = [
                        worker.call("sample", batch=batch, calls=steps, repeats=1, eta=eta)
                        | {"timesteps": steps, "eta": eta}
                        for steps, eta in rows
                    ]
                worker.call("release")
                worker.call("train", batch=batch, repeats=_WARM_UP)
                figures = worker.call("train", batch=batch, repeats=_STEPS)
                found["train"][str(batch)] = figures | worker.call("peak_memory")
                worker.call("release")
    except (WorkerFailed, UserError) as error:
        _log.error("%s: %s", contender.name, error)
        found["failure"] = str(error)
    return found


def describe(raw: Results) -> str:
    """Return the tables as Markdown."""
    peer = raw.get(PEER.name, {})
    lines = []
    for task, images in (("sample", CALLS), ("train", 1)):
        batches = dict.fromkeys(batch for result in raw.values() for batch in result[task])
        for batch in batches:
            unit = "network calls x images/s" if task == "sample" else "images/s"
            lines += [
                f"| {task}, batch {batch} | median ms | {unit} | ratio to {PEER.name} (95 %) "
                "| J/1000 | GPU busy | memory |",
                "|---|---:|---:|---:|---:|---:|---:|",
            ]
            for name, result in raw.items():
                if figures := result[task].get(batch):
                    lines.append(_row(name, figures, int(batch) * images, peer[task].get(batch)))
            lines.append("")
    for row in next((result["rows"] for result in raw.values() if "rows" in result), []):
        seconds = row["seconds"][0] / _ROWS_BATCH
        lines.append(f"S = {row['timesteps']}, eta = {row['eta']}: {seconds:.5f} s an image")
    lines += [f"{name}: {r['failure']}" for name, r in raw.items() if "failure" in r]
    return "\n".join(lines) + "\n"


def _row(name: str, figures: dict[str, Any], images: int, peer: dict[str, Any] | None) -> str:
    seconds = figures["seconds"]
    median = float(np.median(seconds))
    cells = [name, f"{1000 * median:.1f}", f"{images / median:,.0f}"]
    if peer:
        ratio, low, high = ratio_of_medians(seconds, peer["seconds"])
        cells.append(f"{ratio:.2f} ({low:.2f} … {high:.2f})")
    else:
        cells.append("–")
    joules = figures.get("joules")
    cells.append(f"{1000 * joules / (images * len(seconds)):.1f}" if joules else "–")
    busy = figures.get("gpu_utilization")
    cells.append("–" if busy is None else f"{busy} %")
    memory = figures["device"] or figures["host"]
    cells.append(f"{memory / 2**30:.1f} GiB")
    return f"| {' | '.join(cells)} |"
