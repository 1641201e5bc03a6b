"""How to sample, checked against a config."""

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jittor_ddim import arguments
from jittor_ddim.config import Config, DiffusionConfig
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
    """A sampler and its eta or order: a curve of a sweep, a set of images of a comparison."""

    sampler: str
    eta: float | None = None  # of `ddim` (eq. 16); the others take none
    order: int | None = None  # None: the sampler's usual one

    @classmethod
    def of(cls, stored: float | str) -> "Variant":
        """Return what a file calls by the eta of ``ddim``, or another sampler: ``ipndm:4``.

        :raises UserError: if what stands for the order is no integer
        """
        if not isinstance(stored, str):
            return cls("ddim", stored)
        name, colon, order = stored.partition(":")
        if colon and not order.isdecimal():
            raise UserError(f"{stored}: write SAMPLER or SAMPLER:ORDER, for instance ipndm:4")
        return cls(name, order=int(order) if colon else None)

    @property
    def stored(self) -> float | str:
        """What files call it; see :meth:`of`."""
        return self._name(":") if self.eta is None else self.eta

    @property
    def tag(self) -> str:
        """What it is called in the name of a file."""
        return self._name("-") if self.eta is None else f"eta{self.eta:g}"

    @property
    def title(self) -> str:
        """What people read in the column η."""
        return _TITLES.get(self.sampler, self._name(" ")) if self.eta is None else f"{self.eta:g}"

    def _name(self, mark: str) -> str:
        return self.sampler if self.order is None else f"{self.sampler}{mark}{self.order}"


def found_timesteps(found: Found, count: int, sampler: Sampler) -> tuple[float, ...]:
    """Return the timesteps that were found for so many network calls of a sampler.

    :raises UserError: naming the numbers of calls for which there are some
    """
    length = most_timesteps(count, sampler.calls)
    if length not in found.sequences:
        choice = ", ".join(map(str, sorted(map(sampler.calls, map(range, found.sequences)))))
        raise UserError(f"has timesteps for {choice} network calls, not {count}")
    return tuple(found.sequences[length])


def usual_spacing(diffusion: DiffusionConfig) -> str:
    """Return how timesteps are spaced unless something else is asked for.

    It is ``uniform``, and ``trailing`` for a zero-terminal-SNR schedule, which has to be sampled
    from its end (Lin et al. 2023, arXiv 2305.08891, section 3.3).
    """
    return "trailing" if diffusion.zero_terminal_snr else "uniform"


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample; the fields are explained at :func:`jittor_ddim.sampling.sample_steps`.

    :ivar spacing: None: :func:`usual_spacing` of the network
    :ivar integer_timesteps: round the timesteps of a spacing that asks for fractions
    """

    timesteps: int | Sequence[float] = 50
    eta: float = 0.0
    spacing: str | None = None
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
        file = self.spacing.partition(_FOUND)[2] if isinstance(self.spacing, str) else ""
        if file and self.spacing == _FOUND + file:
            self._look_up(Path(file), sampler)
        elif self.spacing is not None and (self.found_for is None or self.spacing != "found"):
            arguments.one_of("spacing", self.spacing, (*SPACINGS, f"{_FOUND}FILE"))
        if self.eta and not sampler.takes("eta"):  # of ddpm_noisy, where it is ignored officially
            _log.warning("eta %g is ignored: the sampler %s has none", self.eta, self.sampler)

    @property
    def count(self) -> int:
        """S, or how many timesteps were given."""
        return self.timesteps if isinstance(self.timesteps, int) else len(self.timesteps)

    def settled(self, diffusion: DiffusionConfig) -> "SamplerSettings":
        """Return the same with a network's usual spacing, where one is needed and none chosen."""
        settled = copy(self)
        if self.spacing is None and isinstance(self.timesteps, int):
            object.__setattr__(settled, "spacing", usual_spacing(diffusion))
        return settled

    def sequence(self, config: Config) -> Timesteps:
        """Return the ascending timesteps, once everything has been checked.

        :raises UserError: naming the setting with which this config cannot be sampled
        """
        schedule, steps = Schedule.from_config(config.diffusion), self.unrounded(config)
        if self.integer_timesteps:
            steps = sorted({round(t) for t in steps})
        return check_timesteps(steps, schedule, config.diffusion.prediction)

    def unrounded(self, config: Config) -> Sequence[float]:
        """Return the timesteps as the spacing has them, or as they were given.

        :raises UserError: if the spacing has not so many
        """
        if not isinstance(self.timesteps, int):
            return self.timesteps
        spacing = self.spacing or usual_spacing(config.diffusion)
        schedule, sampler = Schedule.from_config(config.diffusion), SAMPLERS[self.sampler]
        return make_timesteps(schedule, self.timesteps, spacing, sampler.calls)

    def _look_up(self, path: Path, sampler: Sampler) -> None:
        """Replace S by the timesteps that a file has for it, so that they are what is recorded."""
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

        One that is not :meth:`settled` has the official spacing.
        Newer settings are recorded only where they are used: older files still compare equal.
        """
        later = {"order": None, "integer_timesteps": False}
        steps = self.timesteps if isinstance(self.timesteps, int) else list(self.timesteps)
        plain = {"timesteps": steps, "spacing": self.spacing or "uniform"}
        return {
            OFFICIAL_NAMES.get(name, name): value
            for name, value in (vars(self) | plain).items()
            if name != "found_for" and (name not in later or value != later[name])
        }
