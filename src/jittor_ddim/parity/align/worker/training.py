"""Training steps of a side, with what can be seen of them from outside."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from jittor_ddim.parity.align.worker.frameworks import Framework
from jittor_ddim.parity.align.worker.packed import split
from jittor_ddim.parity.align.worker.trees import Store
from jittor_ddim.stopwatch import StepWatch


class Trainer:
    """A model and its optimiser.

    The side's ``optimizer`` may return one of its framework's, or anything with ``step(loss)``:
    where the side clips gradients, schedules the rate or averages weights. Then its attribute
    ``average``, if there is one, is a module or a dictionary of tensors by name.
    """

    def __init__(self, side: ModuleType, framework: Framework, model: Any, store: Store) -> None:
        """:param store: gets gradients and averages"""
        self._side, self._framework, self._model, self._store = side, framework, model, store
        make = getattr(side, "optimizer", None)
        self._optimizer = make(model) if make else framework.optimizer(model)
        self._inner = _inner(self._optimizer)
        self._watch = StepWatch()
        self.watch: list[str] = []
        self._rates: list[float | None] = []
        self._listen()

    def step(self, batch: Any, scalar: Callable[[Any], float], detailed: bool) -> dict[str, Any]:
        """Do one step and return its figures.

        :param detailed: whether to keep the gradients as the optimiser used them, and the average
        """
        self._rates = []

        def act() -> float:
            loss = self._side.loss(self._model, batch)
            self._framework.step(self._optimizer, loss)
            value = scalar(loss)
            self._framework.wait()
            return value

        with self._watch.running():
            loss, figures = self._watch.time(act)
        rate = self._rates[0] if self._rates else self._rate()
        record: dict[str, Any] = {"loss": loss, **figures, "rate": rate}
        if detailed:
            tensors = self._framework.state(self._model)
            used = self._framework.used_gradients(self._inner, [tensors[n] for n in self.watch])
            record["used"] = self._store.put_all(split(dict(zip(self.watch, used))))  # noqa: B905
            record["average"] = self._average()
        return record

    def _listen(self) -> None:
        """Note the rate of every step: a cover may set it just before."""
        step = getattr(self._inner, "step", None)
        if not callable(step) or not hasattr(self._inner, "param_groups"):
            return

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._rates.append(self._rate())
            return step(*args, **kwargs)

        self._inner.step = watched

    def _rate(self) -> float | None:
        groups = getattr(self._inner, "param_groups", None)
        rate = groups[0].get("lr") if groups else None
        rate = getattr(self._inner, "lr", None) if rate is None else rate
        return None if rate is None else float(rate)

    def _average(self) -> dict[str, str | None] | None:
        average = getattr(self._optimizer, "average", None)
        if average is None:
            return None
        if not isinstance(average, dict):
            average = self._framework.state(average)
        arrays = {name: self._framework.plain(tensor) for name, tensor in average.items()}
        return self._store.put_all(split(arrays))


def _inner(optimizer: Any) -> Any:
    """The framework's own optimiser, of which the side's may be a cover."""
    if hasattr(optimizer, "param_groups"):
        return optimizer
    inside = vars(optimizer).values() if hasattr(optimizer, "__dict__") else ()
    return next((one for one in inside if hasattr(one, "param_groups")), optimizer)
