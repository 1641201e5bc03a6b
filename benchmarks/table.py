"""What was measured, as Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.entrants import PEER
from jittor_ddim.compare.statistics import ratio_of_medians


def ratio_text(seconds: Sequence[float], peer: Sequence[float]) -> str:
    """Return how many times as fast as the peer, and the 95 % interval."""
    return "{:.2f} ({:.2f} … {:.2f})".format(*ratio_of_medians(seconds, peer))


def speeds(title: str, unit: str, results: dict[str, dict[str, Any]], amount: int) -> list[str]:
    """Return a table of medians, ratios to the peer, and memory; of a GPU energy and load too.

    :param results: by entrant: ``failure``, or ``seconds``, ``host`` and ``device`` (bytes),
        and of a GPU ``joules`` and ``gpu_utilization``
    :param amount: of the unit in one measured time
    """
    lines = [
        f"| {title} | median s | {unit}/s | ratio to {PEER.name} (95 %) | peak memory "
        "| J per 1,000 | GPU busy |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    peer = results.get(PEER.name, {}).get("seconds")
    for name, result in results.items():
        if "failure" in result:
            lines.append(f"| {name} | {result['failure'][:80]} | | | | | |")
            continue
        seconds, joules = result["seconds"], result.get("joules")
        median = float(np.median(seconds))
        memory = (result["device"] or result["host"]) / 2**20
        cells = [
            name,
            f"{median:.4g}",
            f"{amount / median:,.4g}",
            ratio_text(seconds, peer) if peer else "",
            f"{memory:,.0f} MB",
            f"{1000 * joules / (amount * len(seconds)):.1f}" if joules else "",
            f"{result['gpu_utilization']} %" if "gpu_utilization" in result else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
