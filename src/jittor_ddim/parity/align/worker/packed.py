"""Attention's three projections, one parameter in the frameworks and three in most ports.

``in_proj_weight`` (3 E x E) is told as ``q_proj.weight``, ``k_proj.weight`` and ``v_proj.weight``
(E x E each), and ``in_proj_bias`` likewise, so that they pair with a port's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_PACKED = re.compile(r"(.*\.)?in_proj_(weight|bias)$")


def split(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays under the names of their parts; None instead of an array stays None."""
    found = {}
    for name, array in arrays.items():
        match = _PACKED.match(name)
        if not match or (array is not None and len(array) % 3):
            found[name] = array
            continue
        pieces = [None] * 3 if array is None else np.split(array, 3)
        module, kind = match[1] or "", match[2]
        found.update((f"{module}{one}_proj.{kind}", p) for one, p in zip("qkv", pieces))  # noqa: B905
    return found


def join(parts: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays made of parts.

    :param like: arrays by name, which give those parts that there are none of
    """
    found = {}
    for name, array in like.items():
        pieces = [parts.get(part, piece) for part, piece in split({name: array}).items()]
        found[name] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return found
