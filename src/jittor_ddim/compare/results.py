"""What a comparison found, as data: ``results.json`` holds it, the report shows it.

Two or more sides are compared; the first is the one that the others are held against. Every number
that the report prints is here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from jittor_ddim.diffusion.settings import Variant

Pixels = NDArray[np.uint8]

#: Why a step took longer than its neighbours.
Cause = Literal[
    "warmup",
    "compile",
    "garbage collection",
    "data wait",
    "snapshot",
    "processor wait",
    "unknown",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)
#: What is checked, in the order in which a difference would spread.
CHECKS = ("weights", "outputs", "gradients", "losses", "grad_norms", "images_eta0", "images_eta1")
#: The parts of a training step.
Phase = Literal["data", "forward", "backward", "optimizer"]
PHASES: tuple[Phase, ...] = get_args(Phase)


class _Result(BaseModel):
    # JSON has no NaN; as a string it can be read back.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class Difference(_Result):
    """How far two arrays of one name are apart."""

    name: str
    max_abs: float  # the largest absolute difference of two elements
    scale: float  # the largest magnitude on the first side
    side: int = 1  # the one of the others that is furthest from the first
    reference: float | None = None  # what a check divides by, where that is not the scale

    @property
    def relative(self) -> float:
        """The difference relative to its reference; for an array of zeros the difference."""
        return self.max_abs / (self.reference or self.scale or 1.0)


class Check(_Result):
    """One line of the verdict: a measured number and the bound that it must not exceed.

    ``measured`` is a share of the maximum, except of weights (how many parameters differ) and
    images (the share of pixels that are more than 1/255 apart).
    """

    name: str  # in CHECKS, or images_SAMPLER
    measured: float
    bound: float
    worst: str = ""  # the layer, parameter or step of the measured number
    first: str = ""  # the first one above the bound, in the order of computation
    count: int = 0  # how many arrays, steps or pixels were compared
    side: int = 1  # the one of the others that is furthest from the first
    #: Of a curve with wider bounds than usual: how far at most a side departs from itself if its
    #: weights start one rounding away.
    rounding: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the measured number is within the bound; NaN is not."""
        return self.measured <= self.bound


class Located(_Result):
    """Where the sides depart according to ``ddim align``, which goes module by module."""

    side: int = 1  # the one that was held against the first
    check: str = ""  # the first that departs, one of ddim align's; "": none
    module: str = ""  # in which it does
    where: dict[str, str] = {}  # by language: a step, a parameter, or between which calls
    cause: str | None = None  # one of ddim align's
    evidence: dict[str, str] = {}  # by language: how that was measured
    report: str = ""  # its report, in the comparison's folder


class Alignment(_Result):
    """Whether all sides compute the same model."""

    checks: list[Check]
    outputs: list[Difference]  # by layer, in the order of the forward pass
    gradients: list[Difference]  # by parameter, in the order of the backward pass
    located: Located | None = None  # None: nothing departs, or it was not looked for

    @property
    def aligned(self) -> bool | None:
        """Whether every check passed; None if none failed but some were not made."""
        if not all(check.passed for check in self.checks):
            return False
        return True if {check.name for check in self.checks} >= set(CHECKS) else None


class Series(_Result):
    """A training run, one element per step; None where nothing was measured."""

    step: list[int]
    loss: list[float | None]  # the official sum over C, H, W, mean over the batch
    grad_norm: list[float | None]
    step_time_s: list[float | None]
    data_time_s: list[float | None]
    cause: list[Cause | None]  # None: an ordinary step
    host_memory_mb: list[float | None]
    cpu_utilization: list[float | None]  # percent of all cores
    gpu_memory_mb: list[float | None] | None = None  # None: no GPU
    gpu_utilization: list[float | None] | None = None
    gpu_power_w: list[float | None] | None = None

    @property
    def counted_times(self) -> list[float]:
        """The seconds of all steps but those of a warm-up.

        A process that was started again has another warm-up.
        """
        steps = zip(self.step_time_s, self.cause, strict=True)
        return [time for time, cause in steps if time is not None and cause != "warmup"]


class Timing(_Result):
    """Seconds of equal calls, warm-up excluded."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing":
        """Return the figures of some calls.

        :param seconds: at least one
        """
        p50, p95, p99 = map(float, np.percentile(seconds, (50, 95, 99)))
        mean, longest = float(np.mean(seconds)), float(np.max(seconds))
        return cls(count=len(seconds), mean=mean, p50=p50, p95=p95, p99=p99, max=longest)


class Gpu(_Result):
    """What a measurement used of the GPU."""

    allocated_mb: float | None  # arrays of the framework, at the peak
    reserved_mb: float | None  # what the framework holds for arrays, at the peak
    process_mb: float | None  # what the driver says of the process
    utilization: float | None  # percent, mean
    power_w: float | None  # mean
    joule_per_image: float | None


class Cost(_Result):
    """What one kind of call cost at one batch size."""

    kind: Literal["train", "sample"]  # a training step; one network call while sampling
    batch_size: int
    warmup: int  # calls excluded
    first_call_s: float | None  # compiling included
    timing: Timing
    images_per_s: float  # at the median: images through a step, or through one network call
    peak_host_memory_mb: float
    cpu_utilization: float
    gpu: Gpu | None = None  # None: no GPU here


class Side(_Result):
    """An engine or a run that is compared."""

    name: str  # for people: an engine's title, or the path of a run
    engine: str  # its name; "unknown" of a run without a checkpoint
    environment: dict[str, str]  # what the numbers depend on, by label
    frameworks: list[str]  # the engines' modules that were loaded when its process ended
    failure: str | None = None  # why its process stopped early; what it had finished is kept
    cold_start_s: float | None = None  # from the start of the process to a usable engine
    compile_s: float | None = None  # of the first training step, beyond a median one
    training: Series | None = None
    warmup: int = 0  # leading steps of the training, excluded from all figures
    phases: dict[Phase, float] | None = None  # seconds per step, measured in separate steps
    costs: list[Cost] = []


class Ratio(_Result):
    """Time of a side over time of the first: above 1 the first is faster.

    ``low`` and ``high`` bound 95 % of the bootstrap of the ratio of medians.
    """

    kind: Literal["train", "sample"]
    batch_size: int
    value: float
    low: float
    high: float
    side: int = 1


class Comparison(_Result):
    """Everything."""

    kind: Literal["engines", "runs"]  # measured side by side; or read from the logs of runs
    title: str  # for instance "cifar10.yml"
    created: str  # ISO 8601, with the time zone
    command: str
    device: str  # "cpu" or "cuda"
    sides: list[Side]  # two or more
    folders: list[str] = []  # of runs: where they are; older results do not tell
    differing_keys: list[str] = []  # of runs: the config keys in which they differ
    protocol: dict[str, str] = {}  # what was done, by label: steps, batch size, seed, data, …
    alignment: Alignment | None = None
    ratios: list[Ratio] = []


@dataclass(frozen=True)
class Samples:
    """What the sides made of the same x_T with the same weights, one element per side."""

    variant: Variant
    timesteps: int
    images: tuple[Pixels, ...]  # uint8 (N, H, W, C)
    frames: tuple[Pixels, ...] | None  # uint8 (F, N, H, W, C), from noise to image
