"""What a comparison does, fixed before it starts: a resumed one must have the same plan."""

from pydantic import Field

from jittor_ddim.compare.layout import BEGINNING
from jittor_ddim.config import Config
from jittor_ddim.diffusion.settings import Variant
from jittor_ddim.engines import ENGINES
from jittor_ddim.parity.workplace import FixedPlan, Workplace

#: Where comparisons are.
PLACE = Workplace("comparison", frozenset(BEGINNING))
#: Steps that an engine takes before the next one takes over.
BLOCK = 10


class Plan(FixedPlan):
    """What every engine does."""

    title: str  # the config's name
    config: Config  # without dropout, with the batch size of the training
    data: str  # the data set, for people
    seed: int
    steps: int
    timesteps: int  # S of the sampled images
    images: int  # how many of them
    batch_sizes: tuple[int, ...]  # at which calls are timed, ascending
    weights: str  # where all start from: "fresh", or a fingerprint of the given ones
    #: The first is the baseline of ratios.
    engines: tuple[str, ...] = Field(default_factory=lambda: tuple(ENGINES), min_length=2)
    device: str  # as asked for: auto, cpu or cuda
    precision: str
    samplers: tuple[str, ...] = ()  # whose images are compared besides those of DDIM

    @property
    def variants(self) -> tuple[Variant, ...]:
        """What images are sampled by."""
        return (Variant("ddim", 0.0), Variant("ddim", 1.0), *map(Variant.of, self.samplers))

    @property
    def batch_size(self) -> int:
        """Of the training."""
        return self.config.training.batch_size

    @property
    def warmup(self) -> int:
        """Leading steps that no figure counts: they compile, fill caches, record a CUDA graph."""
        return min(5, self.steps // 2)

    def blocks(self) -> list[tuple[int, int]]:
        """Return the first and last step of every turn."""
        starts = range(1, self.steps + 1, BLOCK)
        return [(start, min(start + BLOCK - 1, self.steps)) for start in starts]


def without_dropout(config: Config, batch_size: int) -> Config:
    """Return the config of an alignment run: the engines' dropout masks differ, so none."""
    model = config.model.model_copy(update={"dropout": 0.0})
    training = config.training.model_copy(update={"batch_size": batch_size, "accumulate_steps": 1})
    return config.model_copy(update={"model": model, "training": training})
