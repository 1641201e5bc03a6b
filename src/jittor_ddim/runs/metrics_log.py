"""metrics.jsonl: one JSON object a training step, for programs to read.

The keys are those of the run's documentation; ``step`` counts from 1. Not-a-number and infinity,
which JSON lacks, are written as null.
"""

import json
import math
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import disk_errors, writing
from jittor_ddim.errors import UserError

#: A step this many times slower than the median one wants an explanation.
SLOW = 1.5


class MetricsWriter:
    """Writes metrics.jsonl, flushed line by line: a killed run leaves at most one broken line."""

    def __init__(self, path: Path, resume_step: int | None) -> None:
        """Start a fresh file, or cut an old one back to a checkpoint and continue it.

        :param resume_step: the last step to keep; None starts anew
        :raises UserError: if the old file is damaged before its last line
        """
        with writing(path) as kept:
            if resume_step is not None and path.exists():
                for record in read_metrics(path):
                    if record["step"] <= resume_step:
                        kept.write(f"{json.dumps(record)}\n".encode())
        self._path = path
        with disk_errors(path):
            self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one step's numbers; ``step`` is needed.

        :raises MachineError: if the disk is full
        """
        step = int(record["step"])
        values = {key: _plain(value) for key, value in record.items()}
        with disk_errors(self._path):
            self._file.write(json.dumps({**values, "step": step}, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        with disk_errors(self._path):
            self._file.close()


def read_columns(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the numbers of a metrics.jsonl by key, NaN where a record lacks one.

    A long run has more steps than fit into memory as dictionaries; errors as
    :func:`read_metrics`.
    """
    columns: dict[str, array[float]] = {}
    rows = 0
    for record in read_metrics(path):
        for key, value in record.items():
            if isinstance(value, (int, float)):
                column = columns.setdefault(key, array("d"))
                column.extend([math.nan] * (rows - len(column)))
                column.append(value)
        rows += 1
    for column in columns.values():
        column.extend([math.nan] * (rows - len(column)))
    return {key: np.array(column, np.float64) for key, column in columns.items()}


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a metrics.jsonl, in order, without a broken last line.

    :raises UserError: if the file is missing, or naming the line that is damaged
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of a run, such as exp/logs/c10")
    broken: int | None = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if broken is not None:
                raise UserError(f"{path}: line {broken} is damaged; delete that line")
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict) and type(record.get("step")) is int:
                yield record
            else:
                broken = number


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
