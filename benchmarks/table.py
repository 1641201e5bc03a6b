"""What was measured, as Markdown."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.bars import Bar
from benchmarks.contenders import PEER
from jittor_ddim.compare.statistics import ratio_of_medians


def speeds(task: str, results: dict[str, dict[str, Any]], images: int) -> list[str]:
    """Return a table of medians, ratios to the peer, and memory.

    :param results: by contender, the peer among them
    :param images: that one measured time made: images times network calls, or trained images
    """
    unit = "images x calls/s" if task == "sample" else "images/s"
    lines = [
        f"| {task} | median s | {unit} | ratio to {PEER.name} (95 %) | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    peer = results[PEER.name].get("seconds")
    for name, result in results.items():
        if "failure" in result:
            lines.append(f"| {name} | – | – | {result['failure'][:80]} | – |")
            continue
        median = float(np.median(result["seconds"]))
        ratio = "–"
        if peer:
            ratio = "{:.2f} ({:.2f} … {:.2f})".format(*ratio_of_medians(result["seconds"], peer))
        memory = f"{result['host'] / 2**20:,.0f} MB"
        lines.append(f"| {name} | {median:.3f} | {images / median:.1f} | {ratio} | {memory} |")
    return lines


def promises(bars: Iterable[Bar]) -> list[str]:
    """Return a table of the project's promises and what was reached."""
    lines = ["| promise | bar | measured (95 %) |", "|---|---:|---:|"]
    return lines + [f"| {bar.what} | {bar.promised} | {bar.found} |" for bar in bars]
