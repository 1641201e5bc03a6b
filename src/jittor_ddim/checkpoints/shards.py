"""Weights cut into several files, as Hugging Face's libraries do it.

``NAME.safetensors.index.json`` has a ``weight_map`` from tensors to the files beside it.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

from jittor_ddim.checkpoints.wrappers import some
from jittor_ddim.errors import CheckpointError

_PART = re.compile(r"-\d+-of-0*(\d+)\b")


def read_index(path: Path) -> dict[Path, list[str]]:
    """Return which file beside an index has which tensors.

    :raises CheckpointError: if it is no index, or a file is missing or lies elsewhere
    """
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise CheckpointError("damaged, not JSON") from None
    names = tree.get("weight_map") if isinstance(tree, dict) else None
    if not isinstance(names, dict) or not names:
        raise CheckpointError("not a file of weights: JSON without a weight_map")
    parts: dict[Path, list[str]] = defaultdict(list)
    for name, file in names.items():
        if not isinstance(file, str) or file in ("", ".", "..") or re.search(r"[/\\\0]", file):
            raise CheckpointError(
                f"refused: {name[:80]} is to be in {str(file)[:80]!r}, which is no file beside it"
            )
        parts[path.parent / file].append(name)
    if missing := [part.name for part in parts if not part.is_file()]:
        raise CheckpointError(
            f"{len(missing)} of its {len(parts)} files are missing ({some(missing)}); get them too"
        )
    return parts


def check_whole(path: Path) -> None:
    """Refuse a file that is one part of several, by its name and an index beside it.

    :raises CheckpointError: naming the remedy
    """
    is_indexed = next(path.parent.glob("*.index*.json"), None) is not None
    if is_indexed and (match := _PART.search(path.name)) and int(match[1]) > 1:
        raise CheckpointError(
            f"is one of {match[1]} files of these weights; give their folder, or the file that "
            "ends in .index.json"
        )
