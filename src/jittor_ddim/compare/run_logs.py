"""Existing runs, of any engines or configs, compared by their logs."""

from datetime import datetime
from pathlib import Path
from typing import Any

from jittor_ddim.checkpoints.native import STATE, newest_checkpoint, read_json
from jittor_ddim.compare.results import Comparison, Cost, Gpu, Series, Side, Timing
from jittor_ddim.compare.series import read_series
from jittor_ddim.compare.statistics import largest, mean, ratios
from jittor_ddim.config import Config, load_config
from jittor_ddim.errors import UserError, naming
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


def compare_runs(*runs: Path, command: str) -> Comparison:
    """Compare the logs of two or more runs.

    :param runs: their folders; the first is the baseline
    :raises UserError: if a run has no steps yet, or its log is damaged
    """
    folders = [find_log_folder(path) for path in runs]
    configs = [load_config(folder / "config.yml") for folder in folders]
    sides = [_side(*each) for each in zip(folders, configs, map(str, runs), strict=True)]
    on_gpu = any(side.training and side.training.gpu_memory_mb for side in sides)
    return Comparison(
        kind="runs",
        title=" / ".join(side.name for side in sides),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=command,
        device="cuda" if on_gpu else "cpu",
        sides=sides,
        folders=[str(folder.resolve()) for folder in folders],
        differing_keys=_differing_keys(configs),
        # Step times are comparable at the same batch size only.
        ratios=ratios(
            *(
                {("train", config.training.batch_size): side.training.counted_times}
                for config, side in zip(configs, sides, strict=True)
                if side.training
            )
        ),
    )


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
    if not series.counted_times:
        return []
    figures = Timing.of(series.counted_times)
    batch_size = config.training.batch_size
    return [
        Cost(
            kind="train",
            batch_size=batch_size,
            warmup=_WARMUP,
            first_call_s=series.step_time_s[0],
            timing=figures,
            images_per_s=batch_size / figures.p50,
            peak_host_memory_mb=largest(series.host_memory_mb) or 0.0,
            cpu_utilization=mean(series.cpu_utilization[_WARMUP:]) or 0.0,
            gpu=_gpu(series),
        )
    ]


def _gpu(series: Series) -> Gpu | None:
    """The GPU figures in a log: the framework's memory, the driver's utilisation and power."""
    if series.gpu_memory_mb is None:
        return None
    return Gpu(
        allocated_mb=None,
        reserved_mb=largest(series.gpu_memory_mb),
        process_mb=None,
        utilization=mean((series.gpu_utilization or [])[_WARMUP:]),
        power_w=mean((series.gpu_power_w or [])[_WARMUP:]),
        joule_per_image=None,
    )


def _differing_keys(configs: list[Config]) -> list[str]:
    first, *others = (config.flat() for config in configs)
    return [
        f"{key}: {' / '.join(str(values[key]) for values in (first, *others))}"
        for key, value in first.items()
        if any(values[key] != value for values in others)
    ]


def _state(folder: Path) -> dict[str, Any]:
    """Engine and versions, which only a checkpoint has."""
    newest = newest_checkpoint(folder)
    if newest is None:
        return {}
    with naming(newest / STATE):
        return read_json(newest / STATE)
