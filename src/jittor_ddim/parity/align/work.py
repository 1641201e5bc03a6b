"""What the checks of one alignment share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jittor_ddim.parity.align.measures import Bounds
from jittor_ddim.parity.align.pairing import Pair
from jittor_ddim.parity.align.results import Alignment, Check, Finding, Status
from jittor_ddim.parity.align.sides import Side
from jittor_ddim.parity.align.worker.trees import Store

#: A call of a module as :mod:`~jittor_ddim.parity.align.worker.recording` describes it.
Call = Mapping[str, Any]


@dataclass
class Work:
    """Both sides, and what is known of them so far."""

    first: Side
    second: Side
    store: Store
    bounds: Bounds
    result: Alignment
    pairs: list[Pair] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)  # the second's by the first's
    state: list[dict[str, dict[str, Any]]] = field(default_factory=list)  # per side, by name
    trainable: list[str] = field(default_factory=list)  # the first's names
    #: Of either side, modules that stay in evaluation mode because they draw random numbers.
    still: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both, in order."""
        return self.first, self.second

    def note(
        self,
        name: str,
        worst: float | None,
        bound: float | None,
        compared: int,
        where: str = "",
        notes: list[str] | None = None,
    ) -> Check:
        """Add a check: it agrees if what was measured is within the bound."""
        status: Status = "not measured"
        if worst is not None and bound is not None:
            status = "agrees" if worst <= bound else "departs"
        check = Check(name, status, compared, worst, bound, where, notes or [])
        self.result.checks.append(check)
        return check

    def find(self, finding: Finding) -> None:
        """Add where the sides depart, with the module's type as far as it is known."""
        owned = [one for state in self.state[:1] for one in state.values()]
        types = [one["owner"] for one in owned if _module(one["name"]) == finding.module]
        finding.type = finding.type or (types[0] if finding.module and types else "")
        self.result.findings.append(finding)

    def to_second(self, name: str, array: Any) -> Any:
        """Return an array of the first's parameter as the second side has it."""
        pair = next(pair for pair in self.pairs if pair.first == name)
        return array.T if pair.transposed else array


def _module(name: str) -> str:
    """The module of a parameter."""
    return name.rpartition(".")[0]
