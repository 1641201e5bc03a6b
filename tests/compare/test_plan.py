"""Which folder a comparison may take, and what it says of one that it may not."""

import pytest
from comparing import CONFIG, PLAN

from jittor_ddim.compare.layout import BEGINNING
from jittor_ddim.compare.plan import PLACE, Plan, without_dropout
from jittor_ddim.errors import UserError

claim = PLACE.claim


def changed(**keys):
    return PLAN.model_copy(update=keys)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def measured(folder):
    """A comparison that has done something."""
    claim(folder, PLAN)
    (folder / "jittor").mkdir()
    (folder / "jittor" / "weights.json").write_text("{}")
    return folder


@pytest.mark.parametrize("there", [False, True])
def test_a_new_folder_is_claimed_and_found_again(tmp_path, there):
    folder = tmp_path / "a" / "b"
    if there:
        folder.mkdir(parents=True)
    assert claim(folder, PLAN) is False
    assert Plan.model_validate_json((folder / "plan.json").read_bytes()) == PLAN
    assert claim(folder, PLAN) is True
    assert claim(measured(folder), PLAN) is True


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"steps": 13}, r"\(steps 12 instead of 13\)"),
        ({"seed": 1, "images": 9}, r"\(seed 7 instead of 1, images 6 instead of 9\)"),
        ({"config": without_dropout(CONFIG, 8)}, r"\(training.batch_size 4 instead of 8\)"),
    ],
)
def test_another_plan_is_named(tmp_path, keys, named):
    folder = measured(tmp_path)
    before = files(folder)
    with pytest.raises(UserError, match=named):
        claim(folder, changed(**keys))
    assert files(folder) == before


def test_a_plan_that_came_to_nothing_gives_way(tmp_path):
    """As after "set `device` to cpu"."""
    claim(tmp_path, PLAN)
    (tmp_path / "jittor").mkdir()
    for name in BEGINNING - {"plan.json"}:
        (tmp_path / "jittor" / name).write_text("x")
    assert claim(tmp_path, changed(device="cuda")) is False
    assert [path.name for path in tmp_path.rglob("*")] == ["plan.json"]
    assert claim(tmp_path, changed(device="cuda")) is True


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"steps": 5}', b"\xff\xfe"])
def test_a_damaged_plan_is_left_alone(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    before = files(tmp_path)
    with pytest.raises(UserError, match="plan.json of another version"):
        claim(tmp_path, PLAN)
    assert files(tmp_path) == before


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    before = files(tmp_path)
    with pytest.raises(UserError, match="is not empty and holds no comparison"):
        claim(tmp_path, PLAN)
    assert files(tmp_path) == before


def test_what_a_killed_start_left_is_no_hindrance(tmp_path):
    (tmp_path / ".plan.json.123.tmp").write_text("{")
    assert claim(tmp_path, PLAN) is False


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="choose another `out`"):
        claim(tmp_path / "file", PLAN)


@pytest.mark.parametrize(
    ("steps", "blocks"),
    [(2, [(1, 2)]), (10, [(1, 10)]), (25, [(1, 10), (11, 20), (21, 25)])],
)
def test_turns(steps, blocks):
    assert changed(steps=steps).blocks() == blocks


@pytest.mark.parametrize(("steps", "warmup"), [(2, 1), (5, 2), (6, 3), (60, 5)])
def test_warmup_leaves_half_of_a_short_training(steps, warmup):
    assert changed(steps=steps).warmup == warmup


def test_an_alignment_run_differs_in_three_keys():
    model = CONFIG.model.model_copy(update={"dropout": 0.3})
    training = CONFIG.training.model_copy(update={"accumulate_steps": 2})
    config = CONFIG.model_copy(update={"model": model, "training": training})
    found = without_dropout(config, 16)
    assert (found.model.dropout, found.training.batch_size) == (0, 16)
    assert found.training.accumulate_steps == 1
    assert config.model.dropout == 0.3
    assert found.model_copy(update={"model": model, "training": training}) == config
