"""Do all sides compute the same model? From their arrays to differences and checks.

Every side is compared with the first; the one furthest from it counts.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import layers
from jittor_ddim.atomic import write_atomic
from jittor_ddim.compare.layout import INSPECTION, LAYERS
from jittor_ddim.compare.results import Check, Difference, Series
from jittor_ddim.config import Config
from jittor_ddim.parity.rounding import FACTOR, growth, widened


@dataclass(frozen=True)
class Bounds:
    """How far sides may be apart."""

    outputs: float  # a share of the output's maximum, or of 1 if that is smaller
    gradients: float  # of the largest gradient of all parameters
    losses: float  # of the first 20 steps, relative; later ones grow apart as rounding does
    grad_norms: float  # likewise
    pixels: float  # the share of pixels that may be more than 1/255 apart


#: By precision, as in docs/precision.md. Those of bfloat16 are three to four times what engines
#: differed by on digits.yml; TF32 has three bits more, and an eighth of them.
BOUNDS = {
    "float32": Bounds(2e-5, 1e-4, 2e-5, 1e-4, 1e-3),
    "tf32": Bounds(6e-3, 2.5e-3, 4e-3, 4e-2, 2.5e-2),
    "bfloat16": Bounds(5e-2, 2e-2, 3e-2, 0.3, 0.2),
}
LOSS_STEPS = 20
#: By the check: the column of a training's log.
_CURVES = {"losses": "loss", "grad_norms": "grad_norm"}

Arrays = Mapping[str, NDArray[Any]]
#: Columns of a training's log.
Curves = Mapping[str, Sequence[float | None]]
_OUTPUTS, _GRADIENTS = "outputs/", "gradients/"


def differences(first: Arrays, *others: Arrays) -> list[Difference]:
    """Return the differences of arrays by name, in the order of the first mapping.

    An array that one side lacks, or has in another shape, is infinitely far apart.
    """
    found = []
    for name in _names(first, *others):
        of_sides = [
            _difference(name, first.get(name), other.get(name), side)
            for side, other in enumerate(others, start=1)
        ]
        found.append(max(of_sides, key=lambda difference: _badness(difference.max_abs)))
    return found


def against_first(check: Callable[[Any, Any], Check], first: Any, others: Sequence[Any]) -> Check:
    """Return the check of the side that is furthest from the first.

    :param check: compares the first side with another
    """
    found = [
        check(first, other).model_copy(update={"side": side})
        for side, other in enumerate(others, start=1)
    ]
    return max(found, key=lambda check: _badness(check.measured))


def inspected_arrays(outputs: Arrays, gradients: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays of one side as they are stored."""
    parts = ((_OUTPUTS, outputs), (_GRADIENTS, gradients))
    return {prefix + name: value for prefix, part in parts for name, value in part.items()}


def compare_layers(config: Config, folder: Path, sides: Sequence[Path]) -> None:
    """Store the differences of all layers, and delete the arrays, which are large.

    :param folder: the comparison's
    :param sides: every side's, with its arrays
    """
    found = differences(*(read_arrays(side / INSPECTION) for side in sides))
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
    parts = (content["outputs"], content["gradients"])
    outputs, gradients = ([Difference.model_validate(one) for one in part] for part in parts)
    return outputs, gradients


def _part(found: Sequence[Difference], prefix: str) -> list[Difference]:
    return [
        d.model_copy(update={"name": d.name.removeprefix(prefix)})
        for d in found
        if d.name.startswith(prefix)
    ]


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz``."""
    with np.load(path) as file:
        return dict(file)


def check_weights(first: Mapping[str, str], second: Mapping[str, str]) -> Check:
    """Count the parameters whose hashes differ."""
    names = _names(first, second)
    different = [name for name in names if first.get(name) != second.get(name)]
    where = different[0] if different else ""
    return Check(
        name="weights",
        measured=len(different),
        bound=0,
        worst=where,
        first=where,
        count=len(names),
    )


def of_outputs(found: Sequence[Difference]) -> list[Difference]:
    """Measure each output relative to its own maximum, or to 1 if that is smaller."""
    return [d.model_copy(update={"reference": max(1.0, d.scale)}) for d in found]


def of_gradients(found: Sequence[Difference]) -> list[Difference]:
    """Measure all gradients relative to the largest one.

    A gradient that is zero in exact arithmetic, as that of a bias before a normalisation, is
    nothing but rounding: measured by itself it could never agree.
    """
    largest = max((difference.scale for difference in found), default=0.0)
    return [d.model_copy(update={"reference": largest or 1.0}) for d in found]


def check_curves(
    sides: Sequence[Series], bounds: Bounds, again: Sequence[Curves] = ()
) -> list[Check]:
    """Compare the losses (``losses``) and the gradient norms (``grad_norms``) of the first steps.

    A bound is wider where rounding alone drives a side further from itself, see
    :mod:`jittor_ddim.parity.rounding`.

    :param again: of every side, the first steps from weights that are one rounding away
    """
    first, *others = sides
    checks = []
    for name, key in _CURVES.items():
        growths = [
            growth(getattr(side, key), twin[key]) for side, twin in zip(sides, again, strict=False)
        ]
        check = partial(_check_curve, name, getattr(bounds, name), growths)
        checks.append(against_first(check, first, others))
    return checks


def _check_curve(
    name: str, bound: float, growths: Sequence[Sequence[float]], first: Series, second: Series
) -> Check:
    """Return the check of one curve: the step that is furthest above its bound, or nearest."""
    key = _CURVES[name]
    curves = zip(first.step, getattr(first, key), getattr(second, key), strict=False)
    pairs = list(curves)[:LOSS_STEPS]
    bounds = widened(bound, growths, len(pairs))
    # Relative to what is allowed: of several steps the measured one need not be the largest.
    relative = [
        (
            abs(b - a) / (abs(a) or 1.0) / own if a is not None and b is not None else math.nan,
            str(step),
        )
        for (step, a, b), own in zip(pairs, bounds, strict=True)
    ]
    check = _check(name, 1.0, relative)
    place = [step for _, step in relative].index(check.worst)
    widest = max(bounds)
    wider = widest / FACTOR if widest > bound else None
    measured = {"measured": check.measured * bounds[place], "bound": bounds[place]}
    return check.model_copy(update={**measured, "rounding": wider})


def check_images(
    name: str, bounds: Bounds, first: NDArray[np.float32], second: NDArray[np.float32]
) -> Check:
    """Return the share of pixels that are more than 1/255 apart.

    :param first: intensities (N, C, H, W) in [0, 1]
    """
    apart = ~(np.abs(first.astype(np.float64) - second) <= 1 / 255)  # not-a-number is apart
    per_image = apart.reshape(len(apart), -1).mean(axis=1)
    return Check(
        name=name,
        measured=float(apart.mean()),
        bound=bounds.pixels,
        worst=str(int(per_image.argmax())) if apart.any() else "",
        first=str(int(per_image.nonzero()[0][0])) if apart.any() else "",
        count=apart.size,
    )


def _difference(
    name: str, first: NDArray[Any] | None, other: NDArray[Any] | None, side: int
) -> Difference:
    if first is None or other is None or first.shape != other.shape:
        return Difference(name=name, max_abs=math.inf, scale=0.0, side=side)
    # In float64, where the difference of two float32 is exact; NaN stays NaN.
    apart = float(np.abs(first.astype(np.float64) - other.astype(np.float64)).max())
    return Difference(name=name, max_abs=apart, scale=float(np.abs(first).max()), side=side)


def check_layers(name: str, bounds: Bounds, found: Sequence[Difference]) -> Check:
    """Check ``outputs`` or ``gradients``, measured as :func:`of_outputs` and the next say."""
    check = _check(name, getattr(bounds, name), [(one.relative, one.name) for one in found])
    side = next((one.side for one in found if one.name == check.worst), 1)
    return check.model_copy(update={"side": side})


def _check(name: str, bound: float, found: Sequence[tuple[float, str]]) -> Check:
    """Compare each (number, where) with the bound."""
    worst, where = max(found, key=lambda pair: _badness(pair[0]))
    above = [place for value, place in found if not value <= bound]
    return Check(
        name=name,
        measured=worst,
        bound=bound,
        worst=where,
        first=above[0] if above else "",
        count=len(found),
    )


def _badness(value: float) -> tuple[bool, float]:
    """The order of the worst: not-a-number above every number."""
    return math.isnan(value), value


def _names(*mappings: Mapping[str, Any]) -> list[str]:
    """Every name once, those of the first mapping first."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
