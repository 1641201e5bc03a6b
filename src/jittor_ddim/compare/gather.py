"""From the files that both sides left to one comparison, whatever is there of them."""

import json
import statistics
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.compare.alignment import (
    check_curve,
    check_gradients,
    check_images,
    check_outputs,
    check_weights,
)
from jittor_ddim.compare.layers import read_layers
from jittor_ddim.compare.layout import (
    METRICS,
    PHASES,
    TRAINING,
    TURNS,
    WEIGHTS,
    cost_file,
    samples_file,
)
from jittor_ddim.compare.plan import BLOCK, Plan
from jittor_ddim.compare.results import (
    Alignment,
    Check,
    Comparison,
    Cost,
    Difference,
    Gpu,
    Phase,
    Ratio,
    Samples,
    Series,
    Side,
)
from jittor_ddim.compare.series import read_series
from jittor_ddim.compare.side_by_side import ETAS
from jittor_ddim.compare.statistics import ratio_of_medians, timing
from jittor_ddim.data.transforms import to_uint8
from jittor_ddim.parity.layout import ENVIRONMENT, FAILURE

_NAMES = {"jittor": "Jittor", "pytorch": "PyTorch"}


def gather(plan: Plan, folder: Path, command: str) -> tuple[Comparison, list[Samples]]:
    """Read what the sides have finished.

    :param folder: the comparison's
    :param command: what was typed, for the report
    """
    folders = [folder / name for name in plan.engines]
    seconds = [_measured_seconds(plan, side) for side in folders]
    sides = [_side(plan, side, times) for side, times in zip(folders, seconds, strict=True)]
    devices = [d for side in folders if (d := _json(side / ENVIRONMENT).get("device"))]
    comparison = Comparison(
        kind="engines",
        title=plan.title,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=command,
        device=devices[0] if devices else plan.device,
        sides=sides,
        protocol=_protocol(plan),
        alignment=_alignment(folder, folders, sides),
        ratios=_ratios(*seconds),
    )
    return comparison, _samples(plan, folders)


def _side(plan: Plan, folder: Path, seconds: dict[tuple[str, int], list[float]]) -> Side:
    environment, failure = _json(folder / ENVIRONMENT), _json(folder / FAILURE)
    series = read_series(folder / METRICS, plan.warmup)
    costs = [_cost(plan, folder, series, *key, times) for key, times in seconds.items()]
    compile_s = None
    if series and (times := series.counted_times) and series.step_time_s[0]:
        compile_s = max(0.0, series.step_time_s[0] - statistics.median(times))
    return Side(
        name=_NAMES[folder.name],
        engine=folder.name,
        environment=environment.get("environment", {}),
        frameworks=environment.get("frameworks", []),
        failure=f"{failure['task']}: {failure['error']}" if failure else None,
        cold_start_s=environment.get("cold_start_s"),
        compile_s=compile_s,
        training=series,
        warmup=plan.warmup,
        phases=_phases(folder, series, plan.warmup),
        costs=costs,
    )


def _measured_seconds(plan: Plan, folder: Path) -> dict[tuple[str, int], list[float]]:
    """The seconds of all timed calls by kind and batch size; the training's own come first."""
    found: dict[tuple[str, int], list[float]] = {}
    if (folder / TRAINING).exists():
        series = read_series(folder / METRICS, plan.warmup)
        if series and (times := series.counted_times):
            found["train", plan.batch_size] = times
    for kind in ("train", "sample"):
        for size in plan.batch_sizes:
            if rounds := _json(folder / cost_file(kind, size)).get("rounds"):
                found[kind, size] = [second for part in rounds for second in part["seconds"]]
    return found


def _cost(
    plan: Plan, folder: Path, series: Series | None, kind: Any, batch_size: int, times: list[float]
) -> Cost:
    figures = timing(times)
    stored = _json(folder / cost_file(kind, batch_size))
    if stored:
        parts, warmup = stored["rounds"], stored["warmup"]["seconds"]
        utilization = float(np.mean([part["cpu_utilization"] for part in parts]))
        first, left_out = warmup[0], len(warmup)
    else:  # the training itself
        assert series
        parts = _json(folder / TURNS)
        measured = [u for u in series.cpu_utilization[plan.warmup :] if u is not None]
        utilization = float(np.mean(measured)) if measured else 0.0
        first, left_out = series.step_time_s[0], plan.warmup
    return Cost(
        kind=kind,
        batch_size=batch_size,
        warmup=left_out,
        first_call_s=first,
        timing=figures,
        images_per_s=batch_size / figures.p50,
        peak_host_memory_mb=max((part["peak_host_memory_mb"] for part in parts), default=0.0),
        cpu_utilization=utilization,
        gpu=_gpu(parts, series if not stored else None, plan.warmup),
    )


def _gpu(parts: Sequence[dict[str, Any]], series: Series | None, warmup: int) -> Gpu | None:
    """The GPU's figures of all parts, those of a training by step; None where there was none."""
    memory = [part["gpu"] for part in parts if part.get("gpu")]
    if not memory:
        return None

    def largest(key: str) -> float | None:
        return max((m[key] for m in memory if m[key] is not None), default=None)

    def mean(key: str, column: list[float | None] | None) -> float | None:
        values = [part.get(key) for part in parts] + (column or [])[warmup:]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    counted = [part for part in parts if part.get("joule") is not None]
    images = sum(part["images"] for part in counted)
    return Gpu(
        allocated_mb=largest("allocated_mb"),
        reserved_mb=largest("reserved_mb"),
        process_mb=largest("process_mb"),
        utilization=mean("gpu_utilization", series.gpu_utilization if series else None),
        power_w=mean("power_w", series.gpu_power_w if series else None),
        joule_per_image=sum(part["joule"] for part in counted) / images if counted else None,
    )


def _phases(folder: Path, series: Series | None, warmup: int) -> dict[Phase, float] | None:
    steps = _json(folder / PHASES)
    if not steps or not series:
        return None
    waits = [wait for wait in series.data_time_s[warmup:] if wait is not None]
    parts: dict[Phase, float] = {"data": statistics.median(waits) if waits else 0.0}
    for phase in ("forward", "backward", "optimizer"):
        parts[phase] = statistics.median(step[phase] for step in steps)
    return parts


def _alignment(folder: Path, folders: Sequence[Path], sides: Sequence[Side]) -> Alignment | None:
    """Every check for which both sides have what it takes."""
    checks: list[Check] = []
    outputs: list[Difference] = []
    gradients: list[Difference] = []
    if _both(folders, WEIGHTS):
        checks.append(check_weights(*(_json(folder / WEIGHTS) for folder in folders)))
    if found := read_layers(folder):
        outputs, gradients = found
        checks += [check_outputs(outputs), check_gradients(gradients)]
    first, second = (side.training for side in sides)
    if first and second:
        checks += [check_curve(name, first, second) for name in ("losses", "grad_norms")]
    for eta in ETAS:
        if _both(folders, samples_file(eta)):
            pair = [_arrays(folder / samples_file(eta))["images"] for folder in folders]
            checks.append(check_images("images_eta0" if eta == 0 else "images_eta1", *pair))
    return Alignment(checks=checks, outputs=outputs, gradients=gradients) if checks else None


def _ratios(
    first: dict[tuple[str, int], list[float]], second: dict[tuple[str, int], list[float]]
) -> list[Ratio]:
    ratios = []
    for kind, size in first:
        key: Any = (kind, size)
        if key in second and min(len(first[key]), len(second[key])) > 1:
            value, low, high = ratio_of_medians(first[key], second[key])
            ratios.append(Ratio(kind=key[0], batch_size=size, value=value, low=low, high=high))
    return ratios


def _samples(plan: Plan, folders: Sequence[Path]) -> list[Samples]:
    found = []
    for eta in ETAS:
        if _both(folders, samples_file(eta)):
            first, second = (_arrays(folder / samples_file(eta)) for folder in folders)
            frames = (first["frames"], second["frames"]) if "frames" in first else None
            images = to_uint8(first["images"]), to_uint8(second["images"])
            found.append(Samples(eta, plan.timesteps, images, frames))
    return found


def _protocol(plan: Plan) -> dict[str, str]:
    return {
        "data": plan.data,
        "steps": str(plan.steps),
        "batch_size": str(plan.batch_size),
        "seed": str(plan.seed),
        "weights": plan.weights,
        "dropout": "0",
        "warmup": str(plan.warmup),
        "block": str(BLOCK),
        "timesteps": str(plan.timesteps),
        "images": str(plan.images),
        "precision": plan.precision,
    }


def _both(folders: Sequence[Path], name: str) -> bool:
    return all((folder / name).exists() for folder in folders)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return dict(file)
