"""What a sweep's cells have in common, fixed before it starts, and which cells are wanted now."""

from dataclasses import dataclass
from typing import NamedTuple

from jittor_ddim.diffusion.found_spacing import Found
from jittor_ddim.diffusion.samplers import SAMPLERS
from jittor_ddim.diffusion.settings import found_timesteps
from jittor_ddim.errors import naming
from jittor_ddim.parity.workplace import FixedPlan, Workplace
from jittor_ddim.sampling import SamplerSettings
from jittor_ddim.sweep.layout import BEGINNING
from jittor_ddim.sweep.results import Row, Variant

#: Two images in each block of the jackknife.
LEAST_PAIRS = 20
#: Where sweeps are.
PLACE = Workplace("sweep", frozenset(BEGINNING))


class Plan(FixedPlan):
    """What a cell depends on besides its row and its engine."""

    network: str  # a fingerprint of the weights
    images: int  # N of every distance
    seed: int
    skip: str
    batch_size: int
    reference: str  # as asked for: train, test, both, a path or a known name
    features: str  # as asked for: what the distance is made of
    mode: str  # how images are resized for it
    device: str  # as asked for: auto, cpu or cuda
    precision: str
    compile: bool = False  # the network, where an engine has the choice
    found: Found | None = None  # the timesteps, where ``skip`` is "found"

    def settings(self, row: Row, most: int | None = None) -> SamplerSettings:
        """Return how a cell is sampled, or so many of its steps at most."""
        (sampler, eta, order), steps = row.variant, row.timesteps
        if self.found is None:
            steps = steps if most is None else min(most, steps)
            return SamplerSettings(steps, eta or 0.0, self.skip, sampler, self.seed, order)
        with naming("`spacing` found"):
            sequence = found_timesteps(self.found, steps, SAMPLERS[sampler])[:most]
        return SamplerSettings(
            sequence,
            eta or 0.0,
            self.skip,
            sampler,
            self.seed,
            order,
            found_for=self.found.network,
        )

    def calls(self, row: Row) -> int:
        """Return how often a cell calls the network for each image."""
        settings = self.settings(row)
        return SAMPLERS[settings.sampler].calls(settings.sequence(self.config))


class Wanted(NamedTuple):
    """A cell of every engine."""

    row: Row
    distance: bool  # False: only one batch is timed


@dataclass(frozen=True)
class Grid:
    """The cells that a command asks for; a later one may ask for others of the same plan."""

    timesteps: tuple[int, ...]
    time_only: tuple[int, ...]  # S that are timed on one batch, without a distance
    variants: tuple[Variant, ...]
    engines: tuple[str, ...]  # the first is what the others are compared with

    def cells(self) -> list[Wanted]:
        """Return what each engine is to do; small S, which are cheap, come first."""

        def rows(timesteps: tuple[int, ...]) -> set[Row]:
            return {Row(S, variant) for S in timesteps for variant in self.variants}

        full, every = rows(self.timesteps), rows(self.timesteps + self.time_only)
        return [Wanted(row, row in full) for row in sorted(every, key=lambda row: row.order)]
