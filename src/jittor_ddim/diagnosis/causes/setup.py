"""Causes that lie in the config: the noise schedule, the norms' groups, and where time goes."""

from __future__ import annotations

import numpy as np

from jittor_ddim.diagnosis.evidence import Evidence
from jittor_ddim.diagnosis.findings import Finding, Value
from jittor_ddim.diffusion.schedule import Schedule

#: Steps that start kernels and files.
_WARMUP = 10


def signal_left(evidence: Evidence) -> Finding | None:
    """At the last timestep images still show through, but sampling begins with noise alone."""
    alpha_bar = float(Schedule.from_config(evidence.config.diffusion).alpha_bar[-1])
    # Without images, a variance that is common for 3 x 32 x 32 pixels in -1 … 1.
    variance = evidence.sample.leading_variance if evidence.sample else 230.0
    ratio = alpha_bar * variance / (1 - alpha_bar)
    # Above 1 the direction in which images differ most (brightness, as a rule) can be read from
    # x_T. linear: 0.01 (CIFAR-10), 0.0004 (digits); quad: 0.2; linear with T = 500: 1.5, with
    # T = 200: 35 (CIFAR-10), with T = 100: 2.3 on digits.
    if ratio < 1:
        return None
    diffusion = evidence.config.diffusion
    values: dict[str, Value] = {
        "alpha_bar": alpha_bar,
        "ratio": ratio,
        "T": diffusion.num_diffusion_timesteps,
        "schedule": diffusion.beta_schedule,
        "beta_end": diffusion.beta_end,
        # The linear schedule's sum of betas is what counts: 10 at T = 1000.
        "try": float(f"{min(0.999, 20 / diffusion.num_diffusion_timesteps):.2g}"),
    }
    return Finding("signal_left", "ruins" if ratio > 10 else "harms", values)


def wasted_timesteps(evidence: Evidence) -> Finding | None:
    """At most timesteps nothing is left of the image, and training there teaches nothing."""
    share = float((Schedule.from_config(evidence.config.diffusion).alpha_bar < 1e-3).mean())
    # Of the six kinds at their defaults: linear 0.18, sigmoid 0.16, quad and cosine 0.02,
    # jsd 0.001, const 0.66.
    if share < 0.5:
        return None
    diffusion = evidence.config.diffusion
    values: dict[str, Value] = {
        "share": share,
        "schedule": diffusion.beta_schedule,
        "beta_end": diffusion.beta_end,
        "T": diffusion.num_diffusion_timesteps,
    }
    return Finding("wasted_timesteps", "costs", values)


def one_channel_groups(evidence: Evidence) -> Finding | None:
    """Norms with one channel per group remove every image's mean."""
    model = evidence.config.model
    if model.ch >= 2 * model.num_groups:
        return None
    errors = evidence.column("validation_mean_error")
    known = errors[np.isfinite(errors)][-3:]
    values: dict[str, Value] = {
        "groups": model.num_groups,
        "ch": model.ch,
        "try": max(1, model.ch // 4),
        "error": round(float(np.median(known)), 2) if len(known) else "?",
    }
    return Finding("one_channel_groups", "harms", values)


def slow_loader(evidence: Evidence) -> Finding | None:
    """Steps wait for their images."""
    waited, computed = evidence.column("data_time_s"), evidence.column("step_time_s")
    waited, computed = waited[_WARMUP:], computed[_WARMUP:]
    if len(waited) < _WARMUP:
        return None
    share = float(np.nansum(waited) / (np.nansum(waited) + np.nansum(computed)))
    if share < 0.2:  # healthy: 0.0003
        return None
    values: dict[str, Value] = {
        "share": share,
        "waited": float(np.nanmedian(waited)),
        "computed": float(np.nanmedian(computed)),
        "workers": evidence.config.data.num_workers,
        "try": max(4, 2 * evidence.config.data.num_workers),
    }
    return Finding("slow_loader", "costs", values)


def long_pauses(evidence: Evidence) -> Finding | None:
    """Validation and previews take a large part of the time."""
    paused, training = evidence.column("pause_time_s")[_WARMUP:], evidence.config.training
    computed = evidence.column("step_time_s")[_WARMUP:]
    if len(paused) < _WARMUP:
        return None
    share = float(np.nansum(paused) / (np.nansum(paused) + np.nansum(computed)))
    if share < 0.3:  # healthy: 0.01 to 0.02
        return None
    often = training.validation_freq < training.snapshot_freq
    values: dict[str, Value] = {
        "share": share,
        "longest": float(np.nanmax(paused)),
        "validation": training.validation_freq,
        "snapshot": training.snapshot_freq,
        "key": "training.validation_freq" if often else "training.snapshot_freq",
        "try": 10 * (training.validation_freq if often else training.snapshot_freq),
    }
    return Finding("long_pauses", "costs", values)
