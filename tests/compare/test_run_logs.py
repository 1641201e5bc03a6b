"""Two runs by their logs."""

import json

import pytest
from comparing import make_run

from jittor_ddim.compare.run_logs import compare_runs
from jittor_ddim.errors import UserError


def test_equal_configs(tmp_path):
    folders = make_run(tmp_path, "a", 0.5), make_run(tmp_path, "b", 1.0)
    found = compare_runs(*folders, command="ddim compare a b")
    assert (found.kind, found.device, found.differing_keys) == ("runs", "cpu", [])
    assert found.alignment is None and found.command == "ddim compare a b"
    (ratio,) = found.ratios
    assert (ratio.kind, ratio.batch_size) == ("train", 4)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0)
    for side, folder, speed in zip(found.sides, folders, (8.0, 4.0), strict=True):
        assert (side.name, side.engine, side.warmup) == (str(folder), "unknown", 3)
        (cost,) = side.costs
        assert (cost.timing.count, cost.images_per_s, cost.first_call_s) == (5, speed, 4 / speed)
        assert (cost.peak_host_memory_mb, cost.cpu_utilization, cost.gpu) == (108.0, 60.0, None)
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_other_batch_sizes_have_no_ratio(tmp_path):
    found = compare_runs(
        make_run(tmp_path, "a"), make_run(tmp_path, "b", batch_size=8), command=""
    )
    assert found.differing_keys == ["training.batch_size: 4 / 8"]
    assert found.ratios == []
    assert [side.costs[0].images_per_s for side in found.sides] == [8.0, 16.0]


def test_three_runs_are_held_against_the_first(tmp_path):
    folders = [
        make_run(tmp_path, name, seconds) for name, seconds in (("a", 1), ("b", 2), ("c", 3))
    ]
    folders.append(make_run(tmp_path, "d", batch_size=8))
    found = compare_runs(*folders, command="")
    assert [(ratio.side, ratio.value) for ratio in found.ratios] == [(1, 2.0), (2, 3.0)]
    assert found.differing_keys == ["training.batch_size: 4 / 4 / 4 / 8"]
    assert found.title == " / ".join(map(str, folders))


def test_a_gpus_figures(tmp_path):
    gpu = {"gpu_memory_mb": 2000.0, "gpu_utilization": 90, "gpu_power_w": 250.0}
    found = compare_runs(make_run(tmp_path, "a"), make_run(tmp_path, "b", **gpu), command="")
    assert found.device == "cuda" and found.sides[0].costs[0].gpu is None
    figures = found.sides[1].costs[0].gpu
    assert (figures.reserved_mb, figures.utilization, figures.power_w) == (2000.0, 90.0, 250.0)


def test_runs_that_are_shorter_than_the_warmup(tmp_path):
    found = compare_runs(make_run(tmp_path, "a", steps=3), make_run(tmp_path, "b"), command="")
    assert found.sides[0].costs == [] and found.ratios == []
    assert found.sides[0].training.cause == ["warmup"] * 3


def test_an_experiment_stands_for_its_newest_run(tmp_path):
    folder = make_run(tmp_path / "one", "a")
    found = compare_runs(tmp_path / "one", folder, command="")
    assert found.sides[0].training == found.sides[1].training


def test_the_engine_is_that_of_the_checkpoint(tmp_path):
    folder = make_run(tmp_path, "a")
    (folder / "ckpt_8").mkdir()
    state = {"engine": "pytorch", "versions": {"torch": "2"}}
    (folder / "ckpt_8" / "state.json").write_text(json.dumps(state))
    side = compare_runs(folder, folder, command="").sides[0]
    assert (side.engine, side.environment) == ("pytorch", {"torch": "2"})
    (folder / "ckpt_8" / "state.json").write_text('{"engine": ')
    with pytest.raises(UserError, match="state.json: damaged"):
        compare_runs(folder, folder, command="")


def without_log(folder):
    (folder / "metrics.jsonl").unlink()


def with_empty_log(folder):
    (folder / "metrics.jsonl").write_text("")


def with_damaged_log(folder):
    (folder / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')


def with_damaged_config(folder):
    (folder / "config.yml").write_text("data: [")


def without_config(folder):
    (folder / "config.yml").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_log, "has no steps yet"),
        (with_empty_log, "has no steps yet"),
        (with_damaged_log, "line 2 is damaged"),
        (with_damaged_config, "config.yml: not plain YAML"),
        (without_config, "no run here"),
    ],
)
def test_a_run_without_anything_to_compare(tmp_path, damage, message):
    good, bad = make_run(tmp_path, "good"), make_run(tmp_path, "bad")
    damage(bad)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(UserError, match=message):
            compare_runs(*pair, command="")
