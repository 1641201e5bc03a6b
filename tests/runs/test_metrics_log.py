import json
import math
from pathlib import Path

import numpy as np
import pytest

from jittor_ddim.errors import MachineError, UserError
from jittor_ddim.runs.metrics_log import MetricsWriter, read_columns, read_metrics


def write(path, steps, resume_step=None):
    writer = MetricsWriter(path, resume_step)
    for step in steps:
        writer.write({"step": step, "loss": step / 3})
    return writer


def test_lines_are_on_disk_at_once_and_exact(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    writer = write(path, [1, 2])
    lines = path.read_text().splitlines()  # not closed yet
    writer.close()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 1 / 3},
        {"step": 2, "loss": 2 / 3},
    ]


def test_not_a_number_is_null_and_numpy_numbers_are_numbers(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(path, None)
    writer.write({"step": np.int64(1), "loss": math.nan, "a": np.float32("inf"), "b": np.int32(7)})
    writer.close()

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads(path.read_text(), parse_constant=refuse)
    assert record == {"step": 1, "loss": None, "a": None, "b": 7}


def test_resume_drops_what_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, range(1, 8)).close()
    with path.open("a") as file:
        file.write('{"step": 8, "lo')  # killed while writing
    writer = write(path, [6, 7], resume_step=5)
    writer.close()
    assert [record["step"] for record in list(read_metrics(path))] == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl"]


def test_resume_keeps_a_whole_last_line_without_its_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    write(path, [3], resume_step=2).close()
    assert path.read_text().splitlines()[:2] == ['{"step": 1}', '{"step": 2}']
    assert len(list(read_metrics(path))) == 3


def test_a_fresh_run_starts_a_fresh_file_and_a_resume_needs_none(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [1, 2]).close()
    write(path, [1]).close()
    assert len(list(read_metrics(path))) == 1
    path.unlink()
    write(path, [5], resume_step=4).close()
    assert list(read_metrics(path))[0]["step"] == 5


@pytest.mark.parametrize(
    "broken", ['{"step": 3, "lo', "\x00\x00", "[1]", '{"loss": 1}', '{"step": "3"}']
)
def test_one_broken_last_line_is_forgiven_another_is_named(tmp_path, broken):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n' + broken)
    assert list(read_metrics(path)) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n' + broken + '\n{"step": 2}\n')
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2"):
        list(read_metrics(path))
    with pytest.raises(UserError, match="line 2"):
        MetricsWriter(path, 5)
    assert path.read_bytes() == before


def test_a_full_disk_is_one_line(tmp_path):
    writer = MetricsWriter(tmp_path / "metrics.jsonl", None)
    writer.close()
    writer._file = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115
    with pytest.raises(MachineError, match=r"metrics\.jsonl: no space left"):
        writer.write({"step": 1})
    with pytest.raises(MachineError):
        writer.close()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.metrics\.jsonl"):
        list(read_metrics(tmp_path / "nowhere" / "metrics.jsonl"))


def test_columns_have_nan_where_a_record_lacks_the_key(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "a": null}\n{"step": 2, "b": 5, "name": "x"}\n{"step": 3, "a": 2.5}\n'
    )
    columns = read_columns(path)
    assert set(columns) == {"step", "a", "b"}
    np.testing.assert_array_equal(columns["step"], [1, 2, 3])
    np.testing.assert_array_equal(columns["a"], [np.nan, np.nan, 2.5])
    np.testing.assert_array_equal(columns["b"], [np.nan, 5, np.nan])
