"""From the files of all sides to one comparison, however far they have come."""

import json
import statistics
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from jittor_ddim.compare import alignment, layout
from jittor_ddim.compare.plan import BLOCK, Plan
from jittor_ddim.compare.results import (
    Alignment,
    Check,
    Comparison,
    Cost,
    Gpu,
    Located,
    Phase,
    Samples,
    Series,
    Side,
    Timing,
)
from jittor_ddim.compare.series import read_series
from jittor_ddim.compare.statistics import Seconds, largest, mean, ratios
from jittor_ddim.data.transforms import to_uint8
from jittor_ddim.engines import describe_engine
from jittor_ddim.parity.contender import read_failure
from jittor_ddim.parity.layout import ENVIRONMENT


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
        alignment=_alignment(plan, folder, folders, sides),
        ratios=ratios(*seconds),
    )
    return comparison, _samples(plan, folders)


def _side(plan: Plan, folder: Path, seconds: Seconds) -> Side:
    environment = _json(folder / ENVIRONMENT)
    series = read_series(folder / layout.METRICS, plan.warmup)
    compile_s = None
    if series and (times := series.counted_times) and series.step_time_s[0]:
        compile_s = max(0.0, series.step_time_s[0] - statistics.median(times))
    return Side(
        name=describe_engine(folder.name).title,
        engine=folder.name,
        environment=environment.get("environment", {}),
        frameworks=environment.get("frameworks", []),
        failure=read_failure(folder),
        cold_start_s=environment.get("cold_start_s"),
        compile_s=compile_s,
        training=series,
        warmup=plan.warmup,
        phases=_phases(folder, series, plan.warmup),
        costs=[_cost(plan, folder, series, *key, times) for key, times in seconds.items()],
    )


def _measured_seconds(plan: Plan, folder: Path) -> Seconds:
    """The seconds of all timed calls; the training's own come first."""
    found: Seconds = {}
    if (folder / layout.TRAINING).exists():
        series = read_series(folder / layout.METRICS, plan.warmup)
        if series and (times := series.counted_times):
            found["train", plan.batch_size] = times
    for kind in ("train", "sample"):
        for size in plan.batch_sizes:
            if rounds := _json(folder / layout.cost_file(kind, size)).get("rounds"):
                found[kind, size] = [second for part in rounds for second in part["seconds"]]
    return found


def _cost(
    plan: Plan, folder: Path, series: Series | None, kind: Any, batch_size: int, times: list[float]
) -> Cost:
    figures = Timing.of(times)
    stored = _json(folder / layout.cost_file(kind, batch_size))
    if stored:
        parts, warmup, series = stored["rounds"], stored["warmup"]["seconds"], None
        utilization = mean(part["cpu_utilization"] for part in parts)
        first, left_out = warmup[0], len(warmup)
    else:  # the training itself
        assert series
        parts = _json(folder / layout.TURNS)
        utilization = mean(series.cpu_utilization[plan.warmup :])
        first, left_out = series.step_time_s[0], plan.warmup
    return Cost(
        kind=kind,
        batch_size=batch_size,
        warmup=left_out,
        first_call_s=first,
        timing=figures,
        images_per_s=batch_size / figures.p50,
        peak_host_memory_mb=largest(part["peak_host_memory_mb"] for part in parts) or 0.0,
        cpu_utilization=utilization or 0.0,
        gpu=_gpu(parts, series, plan.warmup),
    )


def _gpu(parts: Sequence[dict[str, Any]], series: Series | None, warmup: int) -> Gpu | None:
    """The GPU's figures of all parts, those of a training by step; None where there was none."""
    memory = [part["gpu"] for part in parts if part.get("gpu")]
    if not memory:
        return None

    def mean_of(key: str, column: list[float | None] | None) -> float | None:
        return mean([part.get(key) for part in parts] + (column or [])[warmup:])

    counted = [part for part in parts if part.get("joule") is not None]
    images = sum(part["images"] for part in counted)
    return Gpu(
        allocated_mb=largest(m["allocated_mb"] for m in memory),
        reserved_mb=largest(m["reserved_mb"] for m in memory),
        process_mb=largest(m["process_mb"] for m in memory),
        utilization=mean_of("gpu_utilization", series.gpu_utilization if series else None),
        power_w=mean_of("power_w", series.gpu_power_w if series else None),
        joule_per_image=sum(part["joule"] for part in counted) / images if counted else None,
    )


def _phases(folder: Path, series: Series | None, warmup: int) -> dict[Phase, float] | None:
    steps = _json(folder / layout.PHASES)
    if not steps or not series:
        return None
    waits = [wait for wait in series.data_time_s[warmup:] if wait is not None]
    parts: dict[Phase, float] = {"data": statistics.median(waits) if waits else 0.0}
    for phase in ("forward", "backward", "optimizer"):
        parts[phase] = statistics.median(step[phase] for step in steps)
    return parts


def _alignment(
    plan: Plan, folder: Path, folders: Sequence[Path], sides: Sequence[Side]
) -> Alignment | None:
    """Every check for which all sides have the data."""
    outputs, gradients = alignment.read_layers(folder) or ([], [])
    bounds = alignment.BOUNDS[plan.precision]
    checks = _of_the_start(folder, folders, bounds)
    if all(side.training for side in sides):
        trained = [side.training for side in sides if side.training]
        checks += alignment.check_curves(trained, bounds, _again(folders))
    for variant in plan.variants:
        if _all_have(folders, layout.samples_file(variant)):
            files = [folder / layout.samples_file(variant) for folder in folders]
            first, *others = (alignment.read_arrays(file)["images"] for file in files)
            name = f"images_{variant.tag}"
            check = partial(alignment.check_images, name, bounds)
            checks.append(alignment.against_first(check, first, others))
    located = _json(folder / layout.LOCATED)
    return (
        Alignment(
            checks=checks,
            outputs=outputs,
            gradients=gradients,
            located=Located.model_validate(located) if located else None,
        )
        if checks
        else None
    )


def _of_the_start(folder: Path, folders: Sequence[Path], bounds: alignment.Bounds) -> list[Check]:
    """The checks of what comes before the first step."""
    checks: list[Check] = []
    if _all_have(folders, layout.WEIGHTS):
        first, *others = (_json(folder / layout.WEIGHTS) for folder in folders)
        checks.append(alignment.against_first(alignment.check_weights, first, others))
    if found := alignment.read_layers(folder):
        for name, differences in zip(("outputs", "gradients"), found, strict=True):
            checks.append(alignment.check_layers(name, bounds, differences))
    return checks


def rounding_in_question(plan: Plan, folder: Path) -> bool:
    """Return whether the curves of finished trainings depart where nothing before them did.

    Then it is to be found out whether rounding explains it.
    """
    folders = [folder / name for name in plan.engines]
    bounds = alignment.BOUNDS[plan.precision]
    before = _of_the_start(folder, folders, bounds)
    if not (_all_have(folders, layout.TRAINING) and all(check.passed for check in before)):
        return False
    series = [read_series(side / layout.METRICS, plan.warmup) for side in folders]
    curves = alignment.check_curves([one for one in series if one], bounds) if all(series) else []
    return not all(check.passed for check in curves)


def _again(folders: Sequence[Path]) -> list[alignment.Curves]:
    """The first steps that all sides took again, one rounding away; [] if they did not."""
    found = [_json(folder / layout.ROUNDING) for folder in folders]
    return found if all(found) else []


def _samples(plan: Plan, folders: Sequence[Path]) -> list[Samples]:
    found = []
    for variant in plan.variants:
        if _all_have(folders, layout.samples_file(variant)):
            files = [folder / layout.samples_file(variant) for folder in folders]
            arrays = [alignment.read_arrays(file) for file in files]
            frames = tuple(a["frames"] for a in arrays) if "frames" in arrays[0] else None
            images = tuple(to_uint8(a["images"]) for a in arrays)
            found.append(Samples(variant, plan.timesteps, images, frames))
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


def _all_have(folders: Sequence[Path], name: str) -> bool:
    return all((folder / name).exists() for folder in folders)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
