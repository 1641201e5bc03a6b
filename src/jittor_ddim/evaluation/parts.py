"""A part of a set of images, measured by one of several processes, as a file."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jittor_ddim.evaluation.extractor import Extracted, Floats
from jittor_ddim.metrics.moments import MomentsAccumulator


def write_part(file: BinaryIO, extracted: Extracted, tally: dict[str, int]) -> None:
    """Write what was extracted from a part, and what was counted in it.

    Features and logits are in it where they were kept; else it is (D + 1) D numbers of float64.
    """
    kept = {"features": extracted.features, "logits": extracted.logits}
    arrays = {name: array for name, array in kept.items() if array is not None}
    count, mean, scatter = extracted.sums.state()
    told = np.array(json.dumps(tally))
    np.savez(file, count=np.int64(count), mean=mean, scatter=scatter, tally=told, **arrays)


def join_parts(
    first: Extracted, tally: dict[str, int], others: Sequence[Path]
) -> tuple[Extracted, dict[str, int]]:
    """Return what was extracted from all parts, in their order.

    :param first: the part that begins the set; it is used up
    """
    sums, counts = MomentsAccumulator(), Counter(tally)
    sums.join(*first.sums.state())
    kept: dict[str, list[Floats]] = {"features": [], "logits": []}
    for name, array in (("features", first.features), ("logits", first.logits)):
        kept[name] += [] if array is None else [array]
    for path in others:
        with np.load(path, allow_pickle=False) as part:
            sums.join(int(part["count"]), part["mean"], part["scatter"])
            counts.update(json.loads(str(part["tally"])))
            for name, arrays in kept.items():
                arrays += [part[name]] if name in part else []
    features, logits = (np.concatenate(arrays) if arrays else None for arrays in kept.values())
    return Extracted(sums, features, logits), dict(counts)
