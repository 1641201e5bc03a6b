"""How far every layer is apart: found once, since the arrays themselves are large."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import layers
from jittor_ddim.atomic import write_atomic
from jittor_ddim.compare.alignment import differences, of_gradients, of_outputs
from jittor_ddim.compare.layout import INSPECTION, LAYERS
from jittor_ddim.compare.results import Difference
from jittor_ddim.config import Config

_OUTPUTS, _GRADIENTS = "outputs", "gradients"
Arrays = dict[str, NDArray[np.float32]]


def inspected_arrays(outputs: Arrays, gradients: Arrays) -> Arrays:
    """Return what one side found, as it is stored."""
    return {f"{_OUTPUTS}/{name}": value for name, value in outputs.items()} | {
        f"{_GRADIENTS}/{name}": value for name, value in gradients.items()
    }


def compare_layers(config: Config, folder: Path, sides: Sequence[Path]) -> None:
    """Store how far the layers of both sides are apart, and delete their arrays.

    :param folder: the comparison's
    :param sides: the two sides', both with their arrays
    """
    first, second = (_arrays(side / INSPECTION) for side in sides)
    found = differences(first, second)
    outputs = of_outputs(_part(found, _OUTPUTS))
    gradients = of_gradients(_part(found, _GRADIENTS))
    order = _backward_order(config)
    gradients.sort(key=lambda d: order.get(d.name, len(order)))
    content = {
        _OUTPUTS: [difference.model_dump() for difference in outputs],
        _GRADIENTS: [difference.model_dump() for difference in gradients],
    }
    write_atomic(folder / LAYERS, json.dumps(content).encode())
    for side in sides:
        (side / INSPECTION).unlink()


def read_layers(folder: Path) -> tuple[list[Difference], list[Difference]] | None:
    """Return the differences of outputs and of gradients, each in the order of computation.

    None as long as they are not known.
    """
    path = folder / LAYERS
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    outputs, gradients = (
        [Difference.model_validate(item) for item in content[name]]
        for name in (_OUTPUTS, _GRADIENTS)
    )
    return outputs, gradients


def _part(found: Sequence[Difference], name: str) -> list[Difference]:
    prefix = f"{name}/"
    return [
        d.model_copy(update={"name": d.name.removeprefix(prefix)})
        for d in found
        if d.name.startswith(prefix)
    ]


def _backward_order(config: Config) -> dict[str, int]:
    """The place of each parameter in the backward pass: from the last layer to the first.

    Layers are defined in another order than they are executed in.
    """
    names = [name for layer in layers(config) for name in layer.parameters]
    return {name: place for place, name in enumerate(reversed(names))}


def _arrays(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)
