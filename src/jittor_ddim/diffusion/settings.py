"""How to sample, checked against a config."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from jittor_ddim import arguments
from jittor_ddim.config import Config
from jittor_ddim.diffusion.samplers import check_sampler
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import SPACINGS, check_timesteps, make_timesteps

#: The official code's names of two settings, which are also those in the files we write.
OFFICIAL_NAMES = {"spacing": "skip", "sampler": "variance"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample; the fields are explained at :func:`jittor_ddim.sampling.sample_steps`."""

    timesteps: int | Sequence[int] = 50
    eta: float = 0.0
    spacing: str = "uniform"
    sampler: str = "ddim"
    seed: int = 1234

    def __post_init__(self) -> None:
        """Turn whole floats and NumPy's numbers into Python's, and refuse anything else."""
        steps = arguments.whole(self.timesteps)
        if steps is None:
            what = "an integer, or ascending integers"
            steps = arguments.integers("timesteps", self.timesteps, what)
        object.__setattr__(self, "timesteps", steps)
        object.__setattr__(self, "eta", arguments.number("eta", self.eta))
        object.__setattr__(self, "seed", arguments.seed(self.seed))

    def sequence(self, config: Config) -> list[int]:
        """Return the ascending timesteps, once everything has been checked.

        :raises UserError: naming the setting with which this config cannot be sampled
        """
        sampler = check_sampler(self.sampler, self.eta)
        if self.eta and not sampler.takes("eta"):
            _log.warning("eta %g is ignored: the sampler %s has none", self.eta, self.sampler)
        arguments.one_of("spacing", self.spacing, tuple(SPACINGS))
        schedule = Schedule.from_config(config.diffusion)
        steps = self.timesteps
        if isinstance(steps, int):
            steps = make_timesteps(schedule.num_timesteps, steps, self.spacing, sampler.calls)
        return check_timesteps(steps, schedule, config.diffusion.prediction)

    def recipe(self) -> dict[str, object]:
        """Return the settings by their official names, as files record them."""
        return {OFFICIAL_NAMES.get(name, name): value for name, value in vars(self).items()}
