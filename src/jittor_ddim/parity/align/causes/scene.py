"""What a test of a cause may look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jittor_ddim.parity.align.locate import Departure
from jittor_ddim.parity.align.measures import Array, distance
from jittor_ddim.parity.align.results import Finding
from jittor_ddim.parity.align.work import Work
from jittor_ddim.parity.align.worker.trees import leaves


@dataclass
class Scene:
    """Where the sides depart, with everything that was recorded there."""

    work: Work
    finding: Finding
    departure: Departure | None = None
    answers: list[Any] = field(default_factory=list)  # of both sides' passes
    grads: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)  # the first updates
    records: list[list[dict[str, Any]]] = field(default_factory=list)
    batches: list[list[Any]] = field(default_factory=list)

    @cached_property
    def kind(self) -> str:
        """The departing module's types on both sides, in small letters."""
        types = [self.finding.type]
        if self.departure:
            types += [self.departure.call["type"], self.departure.other["type"]]
        return " ".join(dict.fromkeys(types)).lower()

    @cached_property
    def x(self) -> Array | None:
        """What the departing code starts from: its first array of floats."""
        return self._array(self.departure.given) if self.departure else None

    @cached_property
    def y(self) -> list[Array]:
        """What either side makes of it; empty where that is not one array of one shape."""
        if not self.departure:
            return []
        found = [self._array(self.departure.ours), self._array(self.departure.theirs)]
        if any(array is None for array in found):
            return []
        return [array for array in found if array is not None]

    @cached_property
    def gap(self) -> float:
        """How far both are apart."""
        return distance(self.y[0], self.y[1]) if self.y else 0.0

    @cached_property
    def arguments(self) -> list[dict[str, Any]]:
        """With what either side's module was made."""
        if not self.departure:
            return [{}, {}]
        return [self.departure.call["arguments"], self.departure.other["arguments"]]

    def argument(self, *names: str) -> Any:
        """Return the first of some arguments that either side has; None without any."""
        for name in names:
            for arguments in self.arguments:
                if name in arguments:
                    return arguments[name]
        return None

    def parameter(self, name: str) -> Array | None:
        """Return the first side's parameter of the departing module."""
        if not self.departure or self.departure.where:
            return None
        module = self.departure.call["module"]
        entry = self.work.state[0].get(f"{module}.{name}" if module else name)
        return self.work.store.get(entry["array"]) if entry else None

    def explained_by(self, candidates: dict[str, Array], share: float = 0.2) -> list[str] | None:
        """Return which candidate either side's output is; None if one is neither, or both one.

        :param share: how much of the gap may stay unexplained
        """
        if len(self.y) != 2 or not candidates:
            return None
        names = []
        for y in self.y:
            gaps = {n: distance(y, c) for n, c in candidates.items() if c.shape == y.shape}
            best = min(gaps, key=lambda name: gaps[name], default=None)
            if best is None or gaps[best] > share * self.gap:
                return None
            names.append(best)
        return names if names[0] != names[1] else None

    def _array(self, tree: dict[str, Any]) -> Array | None:
        floats = [a for _, a in leaves(tree) if "float" in a["dtype"]]
        return self.work.store.get(floats[0]["array"]) if floats else None
