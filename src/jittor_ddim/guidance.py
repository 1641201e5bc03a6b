"""Which classes to draw, and how strongly: classifier-free guidance.

Ho and Salimans, "Classifier-free diffusion guidance" (2022), eq. 6, with their w: the network's
output becomes (1 + w) output(class) - w output(no class). w = 0 is the class as it was learnt.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.config import Config
from jittor_ddim.engines.base import UNet
from jittor_ddim.errors import NotFiniteError, UserError

_NAMED = 20  # classes that a message names


@dataclass(frozen=True)
class Classes:
    """The classes of numbered samples.

    :ivar chosen: they take turns, by number or name; None: no class
    :ivar guidance: w, >= 0
    :ivar run: how many samples in a row are of one class
    """

    chosen: tuple[int | str, ...] | None = None
    guidance: float = 0.0
    run: int = 1

    @classmethod
    def every(cls, config: Config) -> "Classes":
        """Return all classes that a network has learnt, in turn; no class for one without."""
        learnt = config.training.class_dropout < 1
        count = config.model.num_classes if learnt else None
        return cls(None if count is None else tuple(range(count)))

    def numbered(self, config: Config) -> "Classes":
        """Return the classes by their numbers, once a network can draw them.

        :raises UserError: see :func:`check_labels` and :func:`class_number`
        """
        chosen = self.chosen
        if chosen is not None:
            chosen = tuple(class_number(config, label) for label in chosen)
        check_labels(config, chosen, self.guidance)
        return replace(self, chosen=chosen)

    def labels(self, indices: Sequence[int]) -> list[int | str] | None:
        """Return the class of each of these samples."""
        if self.chosen is None:
            return None
        return [self.chosen[index // self.run % len(self.chosen)] for index in indices]

    def of(self, indices: Sequence[int]) -> tuple[list[int | str] | None, float]:
        """Return labels and guidance of these samples, as :func:`predictor` takes them."""
        return self.labels(indices), self.guidance

    def recipe(self) -> dict[str, object]:
        """Return the settings as files record them: nothing without classes."""
        if self.chosen is None:
            return {}
        return {"classes": list(self.chosen), "guidance": self.guidance}


def class_number(config: Config, label: int | str) -> int:
    """Return the number of a class that is given by its number or its name.

    A text of digits is a number unless a class is called so.

    :raises UserError: naming the classes that look like it, or all
    """
    names = config.data.class_names or ()
    if not isinstance(label, str):
        return label
    if label in names:
        return names.index(label)
    if label.removeprefix("-").isdecimal():
        return int(label)
    if not names:
        raise UserError(
            f"class {label}: the network's classes have no names (data.class_names); give its "
            "number, from 0"
        )
    near = difflib.get_close_matches(label, names, 1)
    shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    hint = f"did you mean {near[0]}?" if near else f"there are {shown}"
    raise UserError(f"class {label}: no class is called so; {hint}")


def check_labels(config: Config, labels: Sequence[int] | None, guidance: float) -> None:
    """Check that a network can draw these classes.

    :param labels: None: samples of no class
    :raises UserError: naming what it has not learnt
    """
    if not (math.isfinite(guidance) and guidance >= 0):
        raise UserError(f"guidance must be a finite number >= 0, got {guidance:g}")
    count = config.model.num_classes
    if count is None:
        if labels is not None or guidance:
            what = "guidance" if labels is None else "a class"
            raise UserError(
                f"{what}: the network has no classes (its config has no model.num_classes); leave "
                "it out"
            )
        return
    wrong = [label for label in labels or () if not 0 <= label < count]
    if wrong:
        raise UserError(
            f"class {wrong[0]}: the network has the classes 0 … {count - 1} "
            f"(model.num_classes {count})"
        )
    if guidance and labels is None:
        raise UserError(f"guidance {guidance:g} is towards a class; choose one")
    if config.training.class_dropout == 1 and labels is not None:
        raise UserError(
            "a class: the network was never shown one (training.class_dropout 1); leave it out"
        )
    if config.training.class_dropout == 0 and (guidance or labels is None):
        what = f"guidance {guidance:g}" if guidance else "no class"
        raise UserError(
            f"{what}: the network has learnt images with their class alone "
            "(training.class_dropout 0); " + ("use guidance 0" if guidance else "choose a class")
        )


def predictor(
    unet: UNet,
    config: Config,
    rows: Sequence[int],
    labels: Sequence[int | str] | None = None,
    guidance: float = 0.0,
) -> Callable[[Any, float], Any]:
    """Return the network of some samples, a function of x_t and t on its device.

    It raises NotFiniteError at its first output that is not finite. Every call is checked: a
    sampler may clip what is not finite, and nothing would show it.

    :param rows: the indices of the samples, for the message
    :param labels: the class of each sample, by number or name; None: no class
    :raises UserError: see :func:`check_labels` and :func:`class_number`; also if there are more
        or fewer labels
    """
    guidance = arguments.number("guidance", guidance)
    if isinstance(labels, (list, tuple)):
        labels = [class_number(config, label) for label in labels]
    numbers = None if labels is None else arguments.integers("labels", labels)
    check_labels(config, numbers, guidance)
    network = _guided(unet, config, numbers, guidance, len(rows))

    def predict(x_t: Any, t: float) -> Any:
        output = network(x_t, t)
        if (row := first_not_finite(unet.to_host(output))) is not None:
            raise NotFiniteError(
                f"the network's output is not finite at timestep {t}, first for sample "
                f"{rows[row]}: its weights are broken (check where they come from), or too large "
                "for bfloat16 (use precision float32)"
            )
        return output

    return predict


def _guided(
    unet: UNet, config: Config, labels: Sequence[int] | None, guidance: float, count: int
) -> Callable[[Any, float], Any]:
    """Return the network; guided samples are computed with and without class in one batch."""
    placed = unet.place_labels(labels, count)
    if not guidance or labels is None:
        return lambda x_t, t: unet.predict_on_device(x_t, t, placed)
    none = [config.model.num_classes or 0] * count
    both = unet.place_labels([*labels, *none], 2 * count)

    def guided(x_t: Any, t: float) -> Any:
        output = unet.predict_on_device(unet.join(x_t, x_t), t, both)
        return (1 + guidance) * output[:count] - guidance * output[count:]

    return guided


def first_not_finite(x: NDArray[np.float32]) -> int | None:
    """Return the first image of a batch (B, C, H, W) with a number that is not finite."""
    finite = np.isfinite(x)
    return None if finite.all() else int(np.argmin(finite.all(axis=(1, 2, 3))))
