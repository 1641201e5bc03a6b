"""Comparisons as they may come: complete, with a failure, of two runs, on a GPU, with gaps."""

import math
from typing import Any

import numpy as np

from jittor_ddim.compare.alignment import of_gradients, of_outputs
from jittor_ddim.compare.results import (
    Alignment,
    Check,
    Comparison,
    Cost,
    Difference,
    Gpu,
    Ratio,
    Samples,
    Series,
    Side,
    Timing,
)
from jittor_ddim.diffusion.settings import Variant

BOUNDS = {
    "weights": 0.0,
    "outputs": 2e-5,
    "gradients": 1e-4,
    "losses": 2e-5,
    "grad_norms": 2e-5,
    "images_eta0": 0.001,
    "images_eta1": 0.001,
}
MEASURED = {
    "weights": 0.0,
    "outputs": 3.14e-6,
    "gradients": 2.71e-5,
    "losses": 1.83e-6,
    "grad_norms": 2.96e-6,
    "images_eta0": 0.0,
    "images_eta1": 0.000244,
}
LAYERS = [
    "temb.dense.0",
    "temb.dense.1",
    "conv_in",
    *(f"down.{i}.block.{j}" for i in range(4) for j in range(2)),
    "mid.block_1",
    "mid.attn_1",
    "mid.block_2",
    *(f"up.{i}.block.{j}" for i in (3, 2, 1, 0) for j in range(3)),
    "norm_out",
    "conv_out",
]


def alignment(**measured: float) -> Alignment:
    """Seven checks; a keyword replaces what one of them measured."""
    random = np.random.default_rng(7)
    checks = [
        Check(
            name=name,
            measured=value,
            bound=BOUNDS[name],
            worst="up.0.block.2" if name == "outputs" else "",
            first="" if value <= BOUNDS[name] else "down.1.block.0",
            count=len(LAYERS) if name == "outputs" else 20,
        )
        for name, value in (MEASURED | measured).items()
    ]
    outputs = [
        Difference(
            name=name,
            max_abs=0.0 if k < 2 else 4e-7 * (1 + 0.3 * k) * float(random.uniform(0.6, 1.4)),
            scale=float(random.uniform(1, 6)),
        )
        for k, name in enumerate(LAYERS)
    ]
    gradients = [
        Difference(
            name=f"{name}.{part}",
            max_abs=float(random.uniform(0.2, 9)) * 1e-6,
            scale=float(random.uniform(0.5, 2)),
        )
        for name in reversed(LAYERS)
        for part in ("bias", "weight")
    ]
    return Alignment(checks=checks, outputs=of_outputs(outputs), gradients=of_gradients(gradients))


def series(steps: int, seed: int, median: float, gpu: bool) -> Series:
    """A run whose loss falls, with one slow step in fifty; the losses of all seeds agree."""
    common, own = np.random.default_rng(0), np.random.default_rng(seed)
    step = np.arange(1, steps + 1)
    loss = 3072 * (0.03 + 0.97 * np.exp(-step / 25)) * common.lognormal(0, 0.06, steps)
    loss *= 1 + 1.5e-6 * own.normal(size=steps)
    times = median * own.lognormal(0, 0.05, steps)
    cause: list[Any] = [None] * steps
    slow = {1: (30, "warmup"), 2: (6, "warmup"), 3: (1.2, "warmup"), 40: (14, "compile")}
    kinds = ("garbage collection", "data wait", "snapshot", "processor wait", "unknown")
    slow |= {k: (float(own.uniform(2, 4)), kinds[k // 50 % 5]) for k in range(75, steps + 1, 50)}
    for k, (factor, name) in slow.items():
        if k <= steps:
            times[k - 1], cause[k - 1] = median * factor, name
    gaps: list[Any] = own.uniform(30, 60, steps).tolist()
    gaps[0] = None
    return Series(
        step=step.tolist(),
        loss=loss.tolist(),
        grad_norm=(loss / 900).tolist(),
        step_time_s=times.tolist(),
        data_time_s=(0.02 * times).tolist(),
        cause=cause,
        host_memory_mb=(1500 + 200 * seed + 40 * np.log(step)).tolist(),
        cpu_utilization=(85 + own.normal(0, 4, steps)).clip(0, 100).tolist(),
        gpu_memory_mb=(9000 + 900 * seed + 0 * step).tolist() if gpu else None,
        gpu_utilization=gaps if gpu else None,
        gpu_power_w=(300 + own.normal(0, 12, steps)).tolist() if gpu else None,
    )


def cost(kind, batch: int, seconds: float, gpu: bool) -> Cost:
    """The cost of one kind of call, with a tail."""
    return Cost(
        kind=kind,
        batch_size=batch,
        warmup=3,
        first_call_s=40 * seconds,
        timing=Timing(
            count=1200,
            mean=1.02 * seconds,
            p50=seconds,
            p95=1.13 * seconds,
            p99=1.31 * seconds,
            max=2.2 * seconds,
        ),
        images_per_s=batch / seconds,
        peak_host_memory_mb=1400 + 21.3 * batch,
        cpu_utilization=87.5,
        gpu=Gpu(
            allocated_mb=800 + 90.0 * batch,
            reserved_mb=900 + 100.0 * batch,
            process_mb=1300 + 100.0 * batch,
            utilization=91.2,
            power_w=310.5,
            joule_per_image=None if kind == "train" else 0.42,
        )
        if gpu
        else None,
    )


def side(name: str, seed: int, speed: float, steps: int = 400, gpu: bool = False) -> Side:
    """One engine, measured completely."""
    engine = name.lower()
    costs = [cost("train", b, speed * (0.04 + 0.052 * b), gpu) for b in (1, 4, 16, 32)]
    costs += [cost("sample", b, speed * (0.006 + 0.0143 * b), gpu) for b in (1, 4, 16, 64)]
    return Side(
        name=name,
        engine=engine,
        environment={
            "version": "1.3.11.0" if engine == "jittor" else "2.13.0",
            "Python": "3.11.9",
            "CPU": "AMD EPYC 9R14, 2 cores",
            "precision": "float32",
            "threads": "2",
        },
        frameworks=["torch" if engine == "pytorch" else engine],
        cold_start_s=12.345 * seed,
        compile_s=24.68 if engine == "jittor" else None,
        training=series(steps, seed, 0.87 * speed, gpu),
        warmup=3,
        phases={
            "data": 0.012,
            "forward": 0.27 * speed,
            "backward": 0.49 * speed,
            "optimizer": 0.051,
        },
        costs=costs,
    )


def ratios() -> list[Ratio]:
    """In training the first side is faster, in sampling nothing can be told."""
    train = [
        Ratio(kind="train", batch_size=b, value=v, low=v - 0.04, high=v + 0.05)
        for b, v in ((1, 1.21), (4, 1.27), (16, 1.31), (32, 1.328))
    ]
    return [*train, Ratio(kind="sample", batch_size=64, value=1.013, low=0.981, high=1.047)]


def complete(steps: int = 400, gpu: bool = False) -> Comparison:
    """Both sides measured in everything."""
    return Comparison(
        kind="engines",
        title="cifar10.yml",
        created="2026-11-25T21:30:00+00:00",
        command="ddim compare --config cifar10.yml --engines jittor pytorch",
        device="cuda" if gpu else "cpu",
        sides=[side("Jittor", 1, 1.0, steps, gpu), side("PyTorch", 2, 1.32, steps, gpu)],
        protocol={
            "order": "blocks of 50 steps, interleaved at random",
            "batch size": "16",
            "seed": "1234",
            "data": "the same arrays on both sides, made beforehand",
            "dropout": "0",
        },
        alignment=alignment(),
        ratios=ratios(),
    )


def of_three() -> Comparison:
    """A third engine; its outputs are those that are furthest from the first's."""
    comparison = complete(steps=30)
    comparison.sides.append(side("NumPy", 3, 2.0, 30))
    assert comparison.alignment
    comparison.alignment.checks[1].side = 2
    comparison.ratios = [
        Ratio(kind="train", batch_size=32, value=0.8, low=0.78, high=0.82),
        Ratio(kind="train", batch_size=32, value=2.0, low=1.9, high=2.1, side=2),
    ]
    return comparison


def with_failure() -> Comparison:
    """The second side died half-way: no alignment of what it never reached, no ratios."""
    comparison = complete()
    broken = comparison.sides[1]
    comparison.sides[1] = broken.model_copy(
        update={
            "failure": "MemoryError: cannot allocate <3 GiB> & more",
            "training": series(170, 2, 1.1, gpu=False),
            "phases": None,
            "costs": broken.costs[:2],
            "frameworks": [],
        }
    )
    whole = alignment()
    comparison.alignment = Alignment(
        checks=whole.checks[:4], outputs=whole.outputs, gradients=whole.gradients
    )
    comparison.ratios = []
    return comparison


def of_runs() -> Comparison:
    """Two experiment folders: only what their logs hold."""
    sides = [
        Side(
            name=f"exp/logs/{name}",
            engine="jittor",
            environment={"Jittor": "1.3.11.0"},
            frameworks=[],
            training=series(steps, seed, 0.9, gpu=False),
            warmup=2,
        )
        for name, seed, steps in (("first_$run$", 1, 300), ("second<run>&", 2, 220))
    ]
    return Comparison(
        kind="runs",
        title="first_$run$ and second<run>&",
        created="2026-11-25T21:30:00+00:00",
        command="ddim compare exp/logs/a exp/logs/b",
        device="cpu",
        sides=sides,
        differing_keys=["training.batch_size", "optim.lr"],
    )


def with_gaps() -> Comparison:
    """NaN losses, steps without a time, a check that is no number, a side without training."""
    comparison = complete(steps=60)
    first, second = comparison.sides
    assert first.training
    first.training.loss[30:] = [math.nan] * 30
    first.training.step_time_s[5] = None
    first.training.cpu_utilization = [None] * 60
    first.cold_start_s = None
    comparison.sides[1] = second.model_copy(update={"training": None, "phases": None})
    comparison.alignment = alignment(outputs=math.nan, losses=0.5)
    comparison.alignment.outputs[9].max_abs = math.nan
    comparison.ratios[0] = Ratio(
        kind="train", batch_size=32, value=math.nan, low=math.nan, high=math.nan
    )
    comparison.ratios = comparison.ratios[:1]
    return comparison


def samples(
    count: int = 64, size: int = 32, frames: int = 24, channels: int = 3, sides: int = 2
) -> list[Samples]:
    """Smooth coloured blobs out of noise; all sides but the first are off in a few pixels."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:size, 0:size] / size
    centre = random.uniform(0.25, 0.75, (count, 2, 1, 1))
    radius = random.uniform(0.02, 0.12, (count, 1, 1))
    blob = np.exp(-((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2) / radius)
    colour = random.uniform(60, 255, (count, 1, 1, channels))
    sky = random.uniform(10, 120, (count, 1, 1, channels)) * (0.4 + 0.6 * y[None, :, :, None])
    clean = blob[..., None] * colour + (1 - blob[..., None]) * sky
    made = []
    for eta in (0.0, 1.0):
        noise = random.normal(128, 64, clean.shape)
        weight = np.linspace(0, 1, frames)[:, None, None, None, None] ** 2
        moving = (weight * clean + (1 - weight) * noise).clip(0, 250).astype(np.uint8)
        other = moving.copy()
        other[:, 0, 2:7, 2:7] += 1 if eta == 0 else 3
        made.append(
            Samples(
                variant=Variant("ddim", eta),
                timesteps=50,
                images=(moving[-1], *[other[-1]] * (sides - 1)),
                frames=(moving, *[other] * (sides - 1)),
            )
        )
    return made
