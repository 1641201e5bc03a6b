"""Two existing runs, of any engines or configs, compared by what their logs tell."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jittor_ddim.checkpoints.native import STATE, newest_checkpoint
from jittor_ddim.compare.results import Comparison, Cost, Gpu, Ratio, Series, Side
from jittor_ddim.compare.series import read_series
from jittor_ddim.compare.statistics import ratio_of_medians, timing
from jittor_ddim.config import Config, load_config
from jittor_ddim.errors import UserError
from jittor_ddim.runs.folder import find_run

_WARMUP = 3


def find_log_folder(path: Path) -> Path:
    """Return the folder of a run: the path itself, or the newest run of an experiment.

    :raises UserError: if there is no run
    """
    if (path / "config.yml").is_file():
        return path
    if (path / "logs").is_dir():
        return find_run(path, None).log_folder
    raise UserError(f"{path}: no run here; give a folder such as exp/logs/c10")


def compare_runs(first: Path, second: Path, command: str) -> Comparison:
    """Compare the logs of two runs.

    :param first: a run's folder
    :raises UserError: if a run has no steps yet, or its log is damaged
    """
    folders = [find_log_folder(path) for path in (first, second)]
    configs = [load_config(folder / "config.yml") for folder in folders]
    sides = [
        _side(folder, config, str(path))
        for folder, config, path in zip(folders, configs, (first, second), strict=True)
    ]
    return Comparison(
        kind="runs",
        title=f"{sides[0].name} / {sides[1].name}",
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=command,
        device="cuda" if any(side.training and side.training.gpu_memory_mb for side in sides)
        else "cpu",
        sides=sides,
        differing_keys=_differing_keys(*configs),
        ratios=_ratios(configs, sides),
    )  # fmt: skip


def _side(folder: Path, config: Config, name: str) -> Side:
    series = read_series(folder / "metrics.jsonl", _WARMUP)
    if series is None:
        raise UserError(f"{folder}: has no steps yet; compare it once the run has made some")
    state = _state(folder)
    return Side(
        name=name,
        engine=state.get("engine", "unknown"),
        environment=state.get("versions", {}),
        frameworks=[],
        training=series,
        warmup=_WARMUP,
        costs=_costs(series, config),
    )


def _costs(series: Series, config: Config) -> list[Cost]:
    times = series.counted_times
    if not times:
        return []
    figures = timing(times)
    batch_size = config.training.batch_size
    known = [m for m in series.host_memory_mb if m is not None]
    return [
        Cost(
            kind="train",
            batch_size=batch_size,
            warmup=_WARMUP,
            first_call_s=series.step_time_s[0],
            timing=figures,
            images_per_s=batch_size / figures.p50,
            peak_host_memory_mb=max(known, default=0.0),
            cpu_utilization=_mean(series.cpu_utilization[_WARMUP:]) or 0.0,
            gpu=_gpu(series),
        )
    ]


def _gpu(series: Series) -> Gpu | None:
    """What a log tells of a GPU, the framework's memory and the driver's figures."""
    if series.gpu_memory_mb is None:
        return None
    return Gpu(
        allocated_mb=None,
        reserved_mb=max((m for m in series.gpu_memory_mb if m is not None), default=None),
        process_mb=None,
        utilization=_mean((series.gpu_utilization or [])[_WARMUP:]),
        power_w=_mean((series.gpu_power_w or [])[_WARMUP:]),
        joule_per_image=None,
    )


def _mean(column: Sequence[float | None]) -> float | None:
    known = [value for value in column if value is not None]
    return sum(known) / len(known) if known else None


def _ratios(configs: Sequence[Config], sides: Sequence[Side]) -> list[Ratio]:
    """Step times compare only at one batch size."""
    size, other = (config.training.batch_size for config in configs)
    times = [side.training.counted_times for side in sides if side.training]
    if size != other or min(map(len, times)) < 2:
        return []
    value, low, high = ratio_of_medians(*times)
    return [Ratio(kind="train", batch_size=size, value=value, low=low, high=high)]


def _differing_keys(first: Config, second: Config) -> list[str]:
    theirs = second.flat()
    return [
        f"{key}: {value} / {theirs[key]}"
        for key, value in first.flat().items()
        if value != theirs[key]
    ]


def _state(folder: Path) -> dict[str, Any]:
    """Engine and versions, which only a checkpoint tells."""
    newest = newest_checkpoint(folder)
    if newest is None:
        return {}
    try:
        return json.loads((newest / STATE).read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{newest / STATE}: damaged; delete that checkpoint") from None
