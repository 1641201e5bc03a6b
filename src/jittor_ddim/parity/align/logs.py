"""Losses from what a training left behind: JSON lines, CSV, TensorBoard events, or any text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from jittor_ddim.errors import UserError
from jittor_ddim.parity.align.measures import relative

_N = TypeVar("_N", int, float)

#: A column is the loss if it is called so; the first that is there.
_LOSSES = ("loss", "train_loss", "train/loss", "loss/train", "training_loss")
_STEPS = ("step", "iter", "iteration", "global_step", "batch")
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"
#: ``loss=0.34``, ``Loss: 0.34``, ``train_loss 0.34``; of several in a line, the first.
_LOSS = re.compile(rf"\b(?:train(?:ing)?[_/ ])?loss\b\s*[:=]?\s*({_NUMBER})", re.IGNORECASE)
#: ``Step: 12``, ``iter=12``, ``[12/500]``, or the count of a tqdm line, ``12/500 [00:03<``.
_STEP = re.compile(
    r"\b(?:global_step|step|iter(?:ation)?|batch)\b\s*[:=\[]?\s*(\d+)|(\d+)/\d+ \[", re.IGNORECASE
)

Losses = dict[int, float]


def read_losses(path: Path, pattern: str | None = None) -> Losses:
    """Return the losses of a log by step, in order; where no step is told, lines are counted.

    Of a step that is told twice, as by a progress bar, the last loss counts.

    :param path: a file, or a folder that holds ``metrics.jsonl`` or TensorBoard's events
    :param pattern: a regular expression for text, with a group ``loss`` and, if there is one,
        ``step``
    :raises UserError: if there are no losses in it
    """
    path = _file_in(path)
    if "tfevents" in path.name:
        found = _of_events(path)
    elif pattern:
        found = list(_of_text(path, _compiled(pattern)))
    elif path.suffix in (".jsonl", ".json"):
        found = list(_of_rows(path, _json_rows(path)))
    elif path.suffix in (".csv", ".tsv"):
        found = list(_of_rows(path, _csv_rows(path)))
    else:
        found = list(_of_text(path, None))
    if not found:
        what = "the pattern matches nothing" if pattern else "no losses found"
        raise UserError(f"{path}: {what}; give a `pattern` with a group loss")
    return {
        counted if step is None else step: value for counted, (step, value) in enumerate(found)
    }


def _file_in(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    inside = path / "metrics.jsonl"
    if inside.is_file():
        return inside
    events = sorted(path.rglob("*tfevents*"), key=lambda file: file.stat().st_mtime)
    if not events:
        raise UserError(f"{path}: holds neither metrics.jsonl nor TensorBoard events")
    return events[-1]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise UserError(f"`pattern` {pattern}: {error}") from None
    if "loss" not in found.groupindex:
        raise UserError(f"`pattern` {pattern}: has no group (?P<loss>…)")
    return found


def _of_text(path: Path, pattern: re.Pattern[str] | None) -> Iterator[tuple[int | None, float]]:
    # A progress bar returns to the start of its line.
    for line in re.split(r"[\r\n]+", _read(path)):
        if pattern:
            match = pattern.search(line)
            if match:
                named = match.groupdict()
                step = named.get("step")
                number = _number(int, path, "step", step) if step else None
                yield number, _number(float, path, "loss", named["loss"])
        elif match := _LOSS.search(line):
            steps = _STEP.search(line)
            step = (steps[1] or steps[2]) if steps else None
            yield (int(step) if step else None), float(match[1])


def _read(path: Path) -> str:
    """Return a text; of other encodings than UTF-8, only what is not ASCII is lost."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _number(kind: Callable[[str], _N], path: Path, name: str, text: str) -> _N:
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"{path}: the pattern's {name} {text[:40]!r} is no number") from None


def _json_rows(path: Path) -> Iterator[dict[str, object]]:
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                raise UserError(f"{path}: line {number} is no JSON") from None
            if isinstance(row, dict):
                yield row


def _csv_rows(path: Path) -> Iterator[dict[str, object]]:
    lines = io.StringIO(_read(path))
    try:
        for row in csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ","):
            yield {str(key): value for key, value in row.items()}
    except csv.Error as error:
        raise UserError(f"{path}: no CSV: {error}") from None


def _of_rows(path: Path, rows: Iterator[dict[str, object]]) -> Iterator[tuple[int | None, float]]:
    for row in rows:
        named = {str(key).strip().lower(): value for key, value in row.items()}
        value = next((named[name] for name in _LOSSES if named.get(name) not in (None, "")), None)
        if value is None:
            continue
        step = next((named[name] for name in _STEPS if named.get(name) not in (None, "")), None)
        try:
            yield (None if step is None else int(float(str(step)))), float(str(value))
        except (ValueError, OverflowError):  # an infinite step
            raise UserError(f"{path}: {step!r}, {value!r} are no step and loss") from None


def _of_events(path: Path) -> list[tuple[int | None, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow

    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    tag = next((tag for tag in tags if tag.lower() in _LOSSES), None)
    tag = tag or next((tag for tag in tags if "loss" in tag.lower()), None)
    return [(event.step, float(event.value)) for event in events.Scalars(tag)] if tag else []


def in_common(first: Losses, second: Losses) -> tuple[list[int], list[float], list[float]]:
    """Return the steps of both logs, and either's losses.

    :raises UserError: if they have none in common
    """
    steps = sorted(set(first) & set(second))
    if not steps:
        ranges = [f"{min(own)} … {max(own)}" for own in (first, second)]
        raise UserError(f"the logs have no step in common: {ranges[0]} and {ranges[1]}")
    return steps, [first[step] for step in steps], [second[step] for step in steps]


def largest_gap(first: list[float], second: list[float]) -> tuple[float, int]:
    """Return the largest relative difference, and its place."""
    gaps = [relative(a, b) for a, b in zip(first, second, strict=True)]
    place = max(range(len(gaps)), key=lambda k: gaps[k])
    return gaps[place], place
