"""What was measured, as Markdown."""

from typing import Any

import numpy as np

from benchmarks.bars import BARS
from benchmarks.contenders import PEER
from jittor_ddim.compare.statistics import ratio_of_medians

Results = dict[str, dict[str, Any]]  # by contender


def speeds(task: str, results: Results, images: int) -> list[str]:
    """Return a table of medians, ratios to the peer, and memory.

    :param images: that one measured time made: images times network calls, or trained images
    """
    unit = "images x calls/s" if task == "sample" else "images/s"
    lines = [
        f"| {task} | median s | {unit} | ratio to {PEER.name} (95 %) | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        if "failure" in result:
            lines.append(f"| {name} | – | – | {result['failure'][:80]} | – |")
            continue
        median = float(np.median(result["seconds"]))
        ratio, low, high = against_peer(results, name)
        memory = f"{result['host'] / 2**20:,.0f} MB"
        lines.append(
            f"| {name} | {median:.3f} | {images / median:.1f} | {ratio:.2f} "
            f"({low:.2f} … {high:.2f}) | {memory} |"
        )
    return lines


def promises(by_task: dict[str, Results]) -> list[str]:
    """Return a table of the project's bars and what was reached."""
    lines = ["| ratio of medians | at least | measured (95 %) |", "|---|---:|---:|"]
    for bar in BARS:
        results = by_task.get(bar.task, {})
        ratios = [
            (against_peer(results, name), name)
            for name in bar.contenders
            if "seconds" in results.get(name, {}) and "seconds" in results.get(PEER.name, {})
        ]
        if ratios:
            (ratio, low, high), name = max(ratios)
            measured = f"{ratio:.2f} ({low:.2f} … {high:.2f}), {name}"
        else:
            measured = "not measured: this machine has no bfloat16"
        lines.append(f"| {bar.what} | {bar.least} | {measured} |")
    return lines


def against_peer(results: Results, name: str) -> tuple[float, float, float]:
    """Return how many times as fast as the peer a contender is, and the interval's ends."""
    return ratio_of_medians(results[name]["seconds"], results[PEER.name]["seconds"])
