"""How far every layer is apart: found once, since the arrays themselves are large."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import layers
from jittor_ddim.atomic import write_atomic
from jittor_ddim.compare.alignment import differences, of_gradients, of_outputs
from jittor_ddim.compare.layout import INSPECTION, LAYERS
from jittor_ddim.compare.results import Difference
from jittor_ddim.config import Config

_OUTPUTS, _GRADIENTS = "outputs/", "gradients/"
Arrays = dict[str, NDArray[np.float32]]


def inspected_arrays(outputs: Arrays, gradients: Arrays) -> Arrays:
    """Return what one side found, as it is stored."""
    parts = ((_OUTPUTS, outputs), (_GRADIENTS, gradients))
    return {prefix + name: value for prefix, part in parts for name, value in part.items()}


def compare_layers(config: Config, folder: Path, sides: Sequence[Path]) -> None:
    """Store how far the layers of the sides are apart, and delete their arrays.

    :param folder: the comparison's
    :param sides: every side's, with its arrays
    """
    found = differences(*(_arrays(side / INSPECTION) for side in sides))
    gradients = of_gradients(_part(found, _GRADIENTS))
    # Layers are defined in another order than they run in; the backward pass ends at the first.
    names = [name for layer in layers(config) for name in layer.parameters]
    order = {name: place for place, name in enumerate(reversed(names))}
    gradients.sort(key=lambda d: order.get(d.name, len(order)))
    content = {"outputs": of_outputs(_part(found, _OUTPUTS)), "gradients": gradients}
    stored = {name: [one.model_dump() for one in part] for name, part in content.items()}
    write_atomic(folder / LAYERS, json.dumps(stored).encode())
    for side in sides:
        (side / INSPECTION).unlink()


def read_layers(folder: Path) -> tuple[list[Difference], list[Difference]] | None:
    """Return the differences of outputs and of gradients, each in the order of computation.

    None as long as they are not known.
    """
    path = folder / LAYERS
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    outputs, gradients = (
        [Difference.model_validate(one) for one in content[name]]
        for name in ("outputs", "gradients")
    )
    return outputs, gradients


def _part(found: Sequence[Difference], prefix: str) -> list[Difference]:
    return [
        d.model_copy(update={"name": d.name.removeprefix(prefix)})
        for d in found
        if d.name.startswith(prefix)
    ]


def _arrays(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)
