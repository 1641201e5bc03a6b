"""Which scheduler of diffusers 0.42 samples as a sampler and a spacing of this project do.

One table serves both ways: what is written for our settings, and which of our settings do what a
file asks for.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from jittor_ddim.config import DiffusionConfig
from jittor_ddim.diffusion.samplers import SAMPLERS
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.errors import UserError, differences

Options = dict[str, Any]
#: The same where n divides T: diffusers steps by T // n, or rounds ties otherwise.
_WHOLE_STEPS: dict[str, Options] = {
    "uniform": {"timestep_spacing": "leading", "steps_offset": 0},
    "trailing": {"timestep_spacing": "trailing"},
}
#: A multistep scheduler's ``leading`` and DDIM's ``linspace`` have other timesteps than ours.
_FROM_THE_END: dict[str, Options] = {
    "linspace": {"timestep_spacing": "linspace"},
    "trailing": {"timestep_spacing": "trailing"},
}
_KARRAS, _EXPONENTIAL = {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}
#: All timesteps, so that the sigmas reach from the first to the last.
_ALL = {"timestep_spacing": "linspace"}
_NO_SIGMAS = {f"use_{name}_sigmas": (False, False) for name in ("karras", "exponential", "beta")}
_MULTISTEP = {
    **_NO_SIGMAS,
    "use_flow_sigmas": (False, False),
    "lower_order_final": (True, True),
    "solver_order": (2, 2),
    "thresholding": (False, False),
}


class _Scheduler(NamedTuple):
    """A class of diffusers.

    :ivar options: with which it does what ours do, and diffusers' default, which a file may leave
        out; a sampler or a spacing may need others
    :ivar spacings: ours, by the options that space as they do
    :ivar also: other options that space alike; a file may have them, we write the first
    :ivar default_spacing: diffusers' default of ``timestep_spacing``
    :ivar pipeline: the pipeline that loads it
    :ivar averages_eps: it averages eps of whatever the network predicts
    :ivar needs_signal: it replaces alpha_bar = 0 at the last timestep, or fails there
    """

    options: dict[str, tuple[Any, Any]]
    spacings: dict[str, Options]
    also: dict[str, Options] = {}
    default_spacing: str = "linspace"
    pipeline: str = "DDPMPipeline"
    averages_eps: bool = True
    needs_signal: bool = True


_SCHEDULERS = {
    "DDIMScheduler": _Scheduler(
        {
            "clip_sample": (False, True),
            "set_alpha_to_one": (True, True),
            "thresholding": (False, False),
        },
        _WHOLE_STEPS,
        default_spacing="leading",
        pipeline="DDIMPipeline",  # which makes a DDIMScheduler of any other
        needs_signal=False,
    ),
    "DDPMScheduler": _Scheduler(
        {
            "clip_sample": (True, True),
            "clip_sample_range": (1.0, 1.0),
            "thresholding": (False, False),
            "variance_type": ("fixed_large", "fixed_small"),
        },
        # With others, whose lowest timestep is above 0, it also adds noise in the last step.
        {"uniform": _WHOLE_STEPS["uniform"]},
        default_spacing="leading",
        needs_signal=False,
    ),
    "DPMSolverMultistepScheduler": _Scheduler(
        _MULTISTEP
        | {
            "algorithm_type": ("dpmsolver++", "dpmsolver++"),
            "euler_at_final": (False, False),
            "final_sigmas_type": ("zero", "zero"),
            "lambda_min_clipped": (-math.inf, -math.inf),
            "solver_type": ("midpoint", "midpoint"),
            "use_lu_lambdas": (False, False),
        },
        _FROM_THE_END | {"logsnr": {"use_lu_lambdas": True}, "karras": _KARRAS},
        also={"logsnr": _EXPONENTIAL},
    ),
    "UniPCMultistepScheduler": _Scheduler(
        _MULTISTEP
        | {
            "disable_corrector": ([], []),
            "final_sigmas_type": ("zero", "zero"),
            "predict_x0": (True, True),
            "sigma_max": (None, None),
            "sigma_min": (None, None),
            "solver_p": (None, None),
            "solver_type": ("bh2", "bh2"),
        },
        _FROM_THE_END | {"logsnr": _EXPONENTIAL, "karras": _KARRAS},
    ),
    # With sigmas of its own it takes no last step, from timestep 0 to the image.
    "DEISMultistepScheduler": _Scheduler(
        _MULTISTEP | {"solver_type": ("logrho", "logrho")}, _FROM_THE_END
    ),
    "HeunDiscreteScheduler": _Scheduler(
        _NO_SIGMAS | {"clip_sample": (False, False)},
        _WHOLE_STEPS | {"logsnr": _ALL | _EXPONENTIAL, "karras": _ALL | _KARRAS},
    ),
    "PNDMScheduler": _Scheduler(
        {"set_alpha_to_one": (True, False), "skip_prk_steps": (True, False)},
        _WHOLE_STEPS,
        default_spacing="leading",
        pipeline="PNDMPipeline",
        averages_eps=False,
    ),
}
#: Our samplers: the class, and the options that only this sampler has.
_SAMPLERS: dict[str, tuple[str, Options]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm_noisy": ("DDPMScheduler", {}),
    "dpmpp_1m": ("DPMSolverMultistepScheduler", {"solver_order": 1}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"solver_order": 2}),
    "dpmpp_3m": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "sde_dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "deis": ("DEISMultistepScheduler", {"solver_order": 3}),
    "heun": ("HeunDiscreteScheduler", {}),
    "plms": ("PNDMScheduler", {}),
}


class _Pair(NamedTuple):
    """Settings of ours, and the class and options that sample the same."""

    sampler: str
    spacing: str
    order: int | None  # None: the usual one, which comes first
    kind: str
    options: Options


def _pairs() -> Iterator[_Pair]:
    for sampler, (kind, own) in _SAMPLERS.items():
        scheduler = _SCHEDULERS[kind]
        shared = {key: ours for key, (ours, _) in scheduler.options.items()} | own
        for order in (None, *SAMPLERS[sampler].orders):
            ordered = shared | ({} if order is None else {"solver_order": order})
            for spacing, spaced in (*scheduler.spacings.items(), *scheduler.also.items()):
                yield _Pair(sampler, spacing, order, kind, ordered | spaced)


def options_of(settings: SamplerSettings, diffusion: DiffusionConfig) -> tuple[str, Options]:
    """Return the class of the scheduler that samples with these settings, and its options.

    :param settings: of which the sampler, the spacing and the order count
    :raises UserError: if diffusers has no counterpart, with those that it has
    """
    if settings.sampler not in _SAMPLERS:
        raise UserError(
            f"`sampler` {settings.sampler}: diffusers has none like it; choose one of "
            f"{', '.join(_SAMPLERS)}"
        )
    kind, _ = _SAMPLERS[settings.sampler]
    settings = settings.settled(diffusion)
    if settings.spacing not in (spacings := _SCHEDULERS[kind].spacings):
        raise UserError(
            f"`spacing` {settings.spacing}: diffusers' {kind}, for the sampler "
            f"{settings.sampler}, has none like it; choose one of {', '.join(spacings)}"
        )
    if obstacle := _obstacle(kind, diffusion):
        raise UserError(f"`sampler` {settings.sampler}: {obstacle}; choose ddim")
    wanted = settings.sampler, settings.spacing, settings.order
    options = next(pair.options for pair in _pairs() if pair[:3] == wanted)
    # JSON has no infinity; it is the default.
    return kind, {key: value for key, value in options.items() if value != -math.inf}


def pipeline_of(kind: str) -> str:
    """Return the class of the pipeline that loads a scheduler of a class of the table."""
    return _SCHEDULERS[kind].pipeline


def counterpart(found: Options, diffusion: DiffusionConfig) -> tuple[bool, str]:
    """Tell which of our settings sample as a ``scheduler_config.json`` does.

    :returns: (True, the settings; empty for those that are the rule here), or (False, what has no
        counterpart)
    """
    kind = found.get("_class_name", "DDIMScheduler")
    if kind not in _SCHEDULERS:
        return False, str(kind)
    if obstacle := _obstacle(kind, diffusion):
        return False, obstacle
    scheduler = _SCHEDULERS[kind]
    defaults = {key: default for key, (_, default) in scheduler.options.items()}
    defaults |= {"timestep_spacing": scheduler.default_spacing, "steps_offset": 0}
    pairs = [
        (differences(defaults | found, pair.options), pair)
        for pair in _pairs()
        if pair.kind == kind
    ]
    unlike, nearest = min(pairs, key=lambda one: len(one[0]))
    if unlike:
        return False, f"{kind} with {', '.join(unlike)}"
    rule = SamplerSettings().settled(diffusion)
    if (nearest.sampler, nearest.spacing) == (rule.sampler, rule.spacing):
        return True, ""
    order = "" if nearest.order is None else f", `order` {nearest.order}"
    return True, f"`sampler` {nearest.sampler}, `spacing` {nearest.spacing}{order}"


def _obstacle(kind: str, diffusion: DiffusionConfig) -> str:
    """Why a class does not sample as ours do with such a network, or ""."""
    scheduler = _SCHEDULERS[kind]
    if diffusion.prediction != "eps" and not scheduler.averages_eps:
        return f"diffusers' {kind} needs a network that predicts eps, not {diffusion.prediction}"
    if scheduler.needs_signal and Schedule.from_config(diffusion).alpha_bar[-1] == 0:
        return f"diffusers' {kind} needs some signal at the last timestep, where alpha_bar is 0"
    return ""
