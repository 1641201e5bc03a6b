"""The noise schedule: how much of an image is left at each timestep.

The DDIM paper writes alpha_t for what DDPM, and this project, call alpha_bar_t:

==================  ==================  ==========================================
here                DDPM                DDIM
==================  ==================  ==========================================
``beta[t]``         beta_t              1 - alpha_t / alpha_{t-1}
``alpha_bar[t]``    alpha_bar_t         alpha_t
``alpha_bar_at``    alpha_bar           alpha, with alpha_0 = 1 "before" timestep 0
==================  ==================  ==========================================

The solvers that came later write x_t = alpha x0 + sigma eps with alpha = sqrt(alpha_bar) and
sigma = sqrt(1 - alpha_bar), and measure time by lambda = log(alpha / sigma), half the logarithm of
the signal-to-noise ratio (Lu et al. 2022, DPM-Solver, section 2.1).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import DiffusionConfig


def make_betas(kind: str, start: float, end: float, num_timesteps: int) -> NDArray[np.float64]:
    """Return beta_t for t = 0 … T-1 of one of the five official schedules, or of ``cosine``.

    ``cosine`` (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 17) has
    alpha_bar(t) = cos^2((t/T + s) / (1 + s) pi/2) with s = 0.008, and betas of at most 0.999.

    :param kind: ``linear``, ``quad``, ``const``, ``jsd``, ``sigmoid`` or ``cosine``
    :param start: the first beta, in (0, 1); ignored by ``const``, ``jsd`` and ``cosine``
    :param end: the last beta, in (0, 1); ignored by ``jsd`` and ``cosine``
    :param num_timesteps: T
    :raises ValueError: if the kind is unknown
    """
    if kind == "linear":
        return np.linspace(start, end, num_timesteps, dtype=np.float64)
    if kind == "quad":
        return np.linspace(start**0.5, end**0.5, num_timesteps, dtype=np.float64) ** 2
    if kind == "const":
        return np.full(num_timesteps, end, np.float64)
    if kind == "jsd":  # 1/T, 1/(T-1), …, 1
        return 1.0 / np.linspace(num_timesteps, 1, num_timesteps, dtype=np.float64)
    if kind == "sigmoid":
        ramp = 1 / (1 + np.exp(-np.linspace(-6, 6, num_timesteps, dtype=np.float64)))
        return ramp * (end - start) + start
    if kind == "cosine":
        ramp = np.linspace(0, 1, num_timesteps + 1, dtype=np.float64)
        alpha_bar = np.cos((ramp + 0.008) / 1.008 * np.pi / 2) ** 2
        # Only where T is several 100,000 is a beta so small that 1 - beta is 1 in float32.
        return np.clip(1 - alpha_bar[1:] / alpha_bar[:-1], 1e-7, 0.999)
    raise ValueError(f"unknown beta schedule {kind!r}")


def _without_terminal_signal(alpha_bar: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift and scale sqrt(alpha_bar) so that the last is 0 and the first as it was.

    Lin et al. 2023, arXiv 2305.08891, algorithm 1.
    """
    root = np.sqrt(alpha_bar)
    return (root[0] * (root - root[-1]) / (root[0] - root[-1])) ** 2


@dataclass(frozen=True)
class Schedule:
    """Betas and their cumulative products.

    :ivar beta: float32 (T,)
    :ivar alpha_bar: float32 (T,), the product of (1 - beta) up to and including t
    """

    beta: NDArray[np.float32]
    alpha_bar: NDArray[np.float32]

    @classmethod
    def from_config(cls, config: DiffusionConfig) -> "Schedule":
        """Build the schedule of a config.

        The rounding is the official one: betas are made in float64 and cast to float32; the
        products of (1 - beta) accumulate in float64, as PyTorch's ``cumprod`` does on a CPU, and
        are stored as float32. With ``zero_terminal_snr`` these are rescaled first.
        """
        betas = make_betas(
            config.beta_schedule,
            config.beta_start,
            config.beta_end,
            config.num_diffusion_timesteps,
        )
        beta = betas.astype(np.float32)
        alpha = np.float32(1) - beta
        alpha_bar = np.cumprod(alpha, dtype=np.float64)
        if config.zero_terminal_snr:
            alpha_bar = _without_terminal_signal(alpha_bar)
            before = np.concatenate([[1.0], alpha_bar[:-1]])
            beta = (1 - alpha_bar / before).astype(np.float32)
        return cls(beta, alpha_bar.astype(np.float32))

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.beta)

    def alpha_bar_at(self, t: float) -> float:
        """Return alpha_bar at timestep t, and 1 at t = -1, where nothing has been destroyed.

        Between whole timesteps lambda is interpolated linearly.
        """
        if t == -1:
            return 1.0
        if t == int(t):
            return float(self.alpha_bar[int(t)])
        return 1 / (
            1 + math.exp(-2 * float(np.interp(t, range(self.num_timesteps), self.lambdas)))
        )

    @cached_property
    def lambdas(self) -> NDArray[np.float64]:
        """lambda at t = 0 … T-1, descending; -inf where alpha_bar is 0."""
        return np.array([half_log_snr(float(a)) for a in self.alpha_bar])

    def timesteps_at(self, lambdas: Any) -> list[float]:
        """Return the timesteps, in general fractions, at which lambda has these values."""
        steps = np.interp(-np.atleast_1d(lambdas), -self.lambdas, np.arange(self.num_timesteps))
        return steps.tolist()

    def descend(self, timesteps: Sequence[float]) -> Iterator[tuple[float, float, float, float]]:
        """Yield (t, t_next, alpha_bar, alpha_bar_next) of each step down ascending timesteps."""
        for t, t_next in pairwise([*reversed(timesteps), -1]):
            yield t, t_next, self.alpha_bar_at(t), self.alpha_bar_at(t_next)


def half_log_snr(alpha_bar: float) -> float:
    """Return lambda = log(alpha / sigma): -inf at alpha_bar = 0, inf at 1."""
    if alpha_bar in (0, 1):
        return math.inf if alpha_bar else -math.inf
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))
