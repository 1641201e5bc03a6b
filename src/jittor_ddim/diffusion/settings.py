"""How to sample, checked against a config."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jittor_ddim import arguments
from jittor_ddim.config import Config
from jittor_ddim.diffusion.found_spacing import Found, read_found
from jittor_ddim.diffusion.samplers import ENCODERS, SAMPLERS, Sampler, check_sampler
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import (
    SPACINGS,
    Timesteps,
    check_timesteps,
    make_timesteps,
    most_timesteps,
)
from jittor_ddim.errors import UserError, naming

#: The official code's names of two settings, which are also those in the files we write.
OFFICIAL_NAMES = {"spacing": "skip", "sampler": "variance"}
#: Before the path of a file that ``ddim spacing`` made.
_FOUND = "found:"
#: How tables and plots call samplers; others go by their own names.
_TITLES = {"ddpm_noisy": "σ̂ (ddpm_noisy)"}
_log = logging.getLogger(__name__)


class Variant(NamedTuple):
    """A sampler and its eta: one curve of a sweep, one set of images of a comparison."""

    sampler: str
    eta: float | None = None  # of `ddim` (eq. 16); the others take none

    @classmethod
    def of(cls, stored: float | str) -> "Variant":
        """Return what a file calls by the eta of ``ddim``, or by the name of another sampler."""
        return cls(stored) if isinstance(stored, str) else cls("ddim", stored)

    @property
    def stored(self) -> float | str:
        """What files call it; see :meth:`of`."""
        return self.sampler if self.eta is None else self.eta

    @property
    def title(self) -> str:
        """What people read in the column η."""
        return _TITLES.get(self.sampler, self.sampler) if self.eta is None else f"{self.eta:g}"


def found_timesteps(found: Found, count: int, sampler: Sampler) -> tuple[float, ...]:
    """Return the timesteps that were found for so many network calls of a sampler.

    :raises UserError: naming the numbers of calls for which there are some
    """
    length = most_timesteps(count, sampler.calls)
    if length not in found.sequences:
        choice = ", ".join(map(str, sorted(map(sampler.calls, map(range, found.sequences)))))
        raise UserError(f"has timesteps for {choice} network calls, not {count}")
    return tuple(found.sequences[length])


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample; the fields are explained at :func:`jittor_ddim.sampling.sample_steps`.

    :ivar integer_timesteps: round the timesteps of a spacing that asks for fractions
    """

    timesteps: int | Sequence[float] = 50
    eta: float = 0.0
    spacing: str = "uniform"
    sampler: str = "ddim"
    seed: int = 1234
    order: int | None = None
    integer_timesteps: bool = False
    found_for: str | None = None  # the network, by its fingerprint, of ``found:FILE``

    def __post_init__(self) -> None:
        """Turn whole floats and NumPy's numbers into Python's, and check what no config decides.

        :raises UserError: naming the setting
        """
        steps = arguments.whole(self.timesteps)
        if steps is None:
            what = "an integer, or ascending numbers"
            steps = tuple(arguments.numbers("timesteps", self.timesteps, what))
        object.__setattr__(self, "timesteps", steps)
        object.__setattr__(self, "eta", arguments.number("eta", self.eta))
        object.__setattr__(self, "seed", arguments.seed(self.seed))
        if self.order is not None:
            object.__setattr__(self, "order", arguments.integer("order", self.order))
        sampler = check_sampler(self.sampler, self.eta, self.order)
        if isinstance(self.spacing, str) and self.spacing.startswith(_FOUND):
            self._look_up(sampler)
        elif self.found_for is None or self.spacing != "found":
            arguments.one_of("spacing", self.spacing, (*SPACINGS, f"{_FOUND}FILE"))
        if self.eta and not sampler.takes("eta"):  # of ddpm_noisy, where it is ignored officially
            _log.warning("eta %g is ignored: the sampler %s has none", self.eta, self.sampler)

    @property
    def count(self) -> int:
        """S, or how many timesteps were given."""
        return self.timesteps if isinstance(self.timesteps, int) else len(self.timesteps)

    def sequence(self, config: Config) -> Timesteps:
        """Return the ascending timesteps, once everything has been checked.

        :raises UserError: naming the setting with which this config cannot be sampled
        """
        sampler = SAMPLERS[self.sampler]
        schedule = Schedule.from_config(config.diffusion)
        steps = self.timesteps
        if isinstance(steps, int):
            steps = make_timesteps(schedule, steps, self.spacing, sampler.calls)
        if self.integer_timesteps:
            steps = sorted({round(t) for t in steps})
        return check_timesteps(steps, schedule, config.diffusion.prediction)

    def _look_up(self, sampler: Sampler) -> None:
        """Replace S by the timesteps that a file has for it, so that they are what is recorded."""
        path = Path(self.spacing.removeprefix(_FOUND))
        found, steps = read_found(path), self.timesteps
        if isinstance(steps, int):
            with naming(path):
                steps = found_timesteps(found, steps, sampler)
        object.__setattr__(self, "timesteps", steps)
        object.__setattr__(self, "spacing", "found")
        object.__setattr__(self, "found_for", found.network)

    def encoder_order(self) -> int:
        """Return the order of the solver that goes from an image up to its x_T.

        :raises UserError: if the sampler has none, or adds noise
        """
        if self.sampler not in ENCODERS or self.eta:
            names = " and ".join(ENCODERS)
            raise UserError(
                f"sampler {self.sampler}, eta {self.eta:g}: images are encoded by {names} alone, "
                "with eta 0"
            )
        return ENCODERS[self.sampler]

    def recipe(self) -> dict[str, object]:
        """Return the settings by their official names, as files record them.

        Newer settings are recorded only where they are used: older files still compare equal.
        """
        later = {"order": None, "integer_timesteps": False}
        steps = self.timesteps if isinstance(self.timesteps, int) else list(self.timesteps)
        return {
            OFFICIAL_NAMES.get(name, name): value
            for name, value in (vars(self) | {"timesteps": steps}).items()
            if name != "found_for" and (name not in later or value != later[name])
        }
