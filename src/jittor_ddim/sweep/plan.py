"""What a sweep's cells have in common, fixed before it starts, and which cells are wanted now."""

from dataclasses import dataclass
from typing import NamedTuple

from jittor_ddim.parity.workplace import FixedPlan, Workplace
from jittor_ddim.sampling import SamplerSettings
from jittor_ddim.sweep.layout import BEGINNING
from jittor_ddim.sweep.results import Eta, sort_key

#: Two images in each block of the jackknife.
LEAST_PAIRS = 20
#: Where sweeps are.
PLACE = Workplace("sweep", frozenset(BEGINNING))


class Plan(FixedPlan):
    """What a cell depends on besides its S, its eta and its engine."""

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
    compile: bool = False  # PyTorch's network, before it samples

    def settings(self, timesteps: int, eta: Eta) -> SamplerSettings:
        """Return how a cell is sampled."""
        if isinstance(eta, str):
            return SamplerSettings(timesteps, 0.0, self.skip, eta, self.seed)
        return SamplerSettings(timesteps, eta, self.skip, "ddim", self.seed)


class Wanted(NamedTuple):
    """A cell of both engines."""

    timesteps: int
    eta: Eta
    distance: bool  # False: only one batch is timed


@dataclass(frozen=True)
class Grid:
    """The cells that a command asks for; a later one may ask for others of the same plan."""

    timesteps: tuple[int, ...]
    time_only: tuple[int, ...]  # S that are timed on one batch, without a distance
    etas: tuple[Eta, ...]
    engines: tuple[str, ...]  # one, or both

    def cells(self) -> list[Wanted]:
        """Return what each engine is to do; small S, which are cheap, come first."""
        full = {(timesteps, eta) for timesteps in self.timesteps for eta in self.etas}
        timed = {(timesteps, eta) for timesteps in self.time_only for eta in self.etas}
        return [Wanted(*key, key in full) for key in sorted(full | timed, key=sort_key)]
