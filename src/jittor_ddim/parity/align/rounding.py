"""How far rounding alone moves training: the first side against itself, from weights a little off.

A ReLU near zero or a BatchNorm of few numbers makes a hundredth of a gradient out of a rounding
error. So where both sides depart in training though all their modules agree, the first side does
it again from weights that are off by as much as modules were, and what it then departs from itself
is no difference of the sides. How a curve's bound widens is :mod:`jittor_ddim.parity.rounding`.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from jittor_ddim.parity.align.measures import distance, wide
from jittor_ddim.parity.align.work import Work
from jittor_ddim.parity.rounding import growth, widened

Arrays = dict[str, Any]

_log = logging.getLogger(__name__)

#: How often weights are drawn, and by how much the sides' gradients and first updates may exceed
#: the largest departure; of losses, many steps later, it is rounding.FACTOR.
_DRAWS, _ALLOWED = (1, 2), 3.0
#: Of the bound of a module: weights are off by this at least.
_LEAST = 1 / 30
#: A gradient this much smaller than the largest is rounding: an optimiser that divides by its
#: magnitude makes a step of it whose sign is chance.
_SMALL = 1e-3
#: Checks of training from which those of the losses follow.
_EARLIER = {"gradients", "rate", "step"}


def largest(grads: Arrays) -> float:
    """Return the largest element of all gradients."""
    return max((float(np.abs(g).max(initial=0)) for g in grads.values()), default=0.0)


def gradient_gaps(grads: Arrays, others: Arrays) -> dict[str, float]:
    """Return how far gradients are apart at most, relative to the largest of the first's."""
    scale = largest(grads) or 1.0
    gaps = {
        name: float(np.abs(g - others[name].reshape(g.shape)).max(initial=0)) / scale
        for name, g in grads.items()
    }
    # The largest of numbers among which is NaN may be any of them.
    return {name: gap if math.isfinite(gap) else math.inf for name, gap in gaps.items()}


def counted(grads: Arrays, name: str) -> Any:
    """Return which elements of a parameter have a gradient that is more than rounding."""
    return np.abs(grads[name]) > _SMALL * largest(grads)


def update_gaps(grads: Arrays, steps: Arrays, others: Arrays) -> dict[str, float]:
    """Return how far first updates are apart, where the gradient is more than rounding."""
    masks = {name: counted(grads, name) for name in steps if name in grads}
    return {
        name: distance(steps[name][mask], others[name][mask])
        for name, mask in masks.items()
        if mask.any()
    }


class Rounding:
    """What rounding explains of a difference in training; measured when it is asked for."""

    def __init__(self, work: Work, steps: int) -> None:
        """:param steps: how many training steps there are"""
        self._work, self._steps = work, steps
        checks = {check.name: check for check in work.result.checks}
        #: Where modules or the loss depart, it is not rounding that spreads.
        self._sensible = all(checks[name].status == "agrees" for name in ("train", "loss"))
        self._off = max(checks["train"].worst or 0.0, _LEAST * work.bounds.module)
        self._trained: list[list[dict[str, Any]]] = []

    def gradients(self, grads: Arrays) -> float:
        """Return how far the first side's gradients may be from the second's."""
        gaps = [0.0]
        for draw in _DRAWS if self._sensible else ():
            answer = self._work.first.call(
                "gradients", train=True, still=self._work.still[0], seed=0, **self._nudge(draw)
            )
            found = {
                name: self._get(answer["gradients"].get(name), g) for name, g in grads.items()
            }
            gaps += gradient_gaps(grads, found).values()
        return _ALLOWED * max(gaps)

    def updates(self, grads: Arrays, steps: Arrays) -> float:
        """Return how far the first update may be from the second side's."""
        gaps = [0.0]
        for records in self._trainings():
            begin, after = records[0]["start"], records[0]["state"]
            found = {
                name: (self._get(after[name]) - self._get(begin[name])).reshape(step.shape)
                for name, step in steps.items()
            }
            gaps += update_gaps(grads, steps, found).values()
        return _ALLOWED * max(gaps)

    def losses(self, losses: list[float], bound: float) -> list[float]:
        """Return how far the loss of each step may be from the second side's.

        What departs earlier in training explains the losses better than rounding does.

        :param bound: what is allowed at least
        """
        departed = {c.name for c in self._work.result.checks if c.status == "departs"}
        trained = [] if departed & _EARLIER else self._trainings()
        again = [[record["loss"] for record in records] for records in trained]
        growths = [growth(losses, found) for found in again]
        return widened(bound, growths, len(losses))

    def _trainings(self) -> list[list[dict[str, Any]]]:
        if self._sensible and not self._trained:
            _log.info("The same from weights off by %.0e: what rounding explains", self._off)
            for draw in _DRAWS:
                self._trained.append(
                    self._work.first.call(
                        "train", first=0, count=self._steps, still=self._work.still[0],
                        **self._nudge(draw),
                    )
                )  # fmt: skip
        return self._trained

    def _nudge(self, draw: int) -> dict[str, float]:
        return {"off": self._off, "draw": draw}

    def _get(self, key: str | None, like: Any = None) -> Any:
        return np.zeros_like(like) if key is None else wide(self._work.store.get(key))
