"""What an alignment finds; reports show it, and align.json keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: The checks in the order in which a difference spreads.
CHECKS = (
    "parameters", "initialisation", "batch", "determinism", "eval", "train", "buffers", "loss",
    "gradients", "rate", "step", "average", "losses", "samples", "reload",
)  # fmt: skip

#: Those that depart on their own account, whatever else does.
ALONE = ("parameters", "initialisation", "batch", "determinism", "reload")
#: Those from which no other check's departure follows: training does not read buffers.
ENDS = (*ALONE, "buffers")

Status = Literal["agrees", "departs", "accepted", "not measured"]


@dataclass
class Check:
    """One comparison of the two sides."""

    name: str  # one of CHECKS
    status: Status
    compared: int = 0  # how many values, arrays or calls
    worst: float | None = None  # the largest difference, as the check measures it
    bound: float | None = None  # what is allowed
    where: str = ""  # of the largest difference
    notes: list[str] = field(default_factory=list)


@dataclass
class Cause:
    """What usually causes a departure, and how that was confirmed."""

    name: str  # a row of the table of causes
    side: str  # whose line is to be mended
    evidence: str  # numbers
    values: dict[str, str] = field(default_factory=dict)  # for the texts of the report


@dataclass
class Finding:
    """Where the sides depart, and why as far as it is known."""

    check: str
    module: str = ""  # its name on the first side; "" is the model itself
    other: str = ""  # on the second side
    type: str = ""
    arguments: list[dict[str, Any]] = field(default_factory=list)  # of either side
    where: str = ""  # a step, a parameter, or between which calls of the module
    difference: float | None = None
    inputs: list[str] = field(default_factory=list)
    smallest: list[str] = field(default_factory=list)  # inputs that still show it
    cause: Cause | None = None
    raw: list[Any] = field(default_factory=list)  # what causes are found by; not kept
    scripts: list[str] = field(default_factory=list)


@dataclass
class SideResult:
    """One side: what it is and what it costs."""

    name: str
    file: str
    environment: dict[str, str] = field(default_factory=dict)
    parameters: int = 0
    losses: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)  # columns by name
    cost: dict[str, Any] = field(default_factory=dict)


@dataclass
class Alignment:
    """All of it."""

    sides: list[SideResult]
    precision: str
    checks: list[Check] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    ratio: list[float] | None = None  # of step times: second / first, and its interval
    command: str = ""
    batch_size: int = 0

    @property
    def aligned(self) -> bool:
        """Whether no check departs."""
        return all(check.status != "departs" for check in self.checks)
