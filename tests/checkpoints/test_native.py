import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import kill_while_saving
import numpy as np
import pytest
import safetensors.numpy
from kill_while_saving import CONFIG, make_checkpoint
from killing import ENVIRONMENT, run_script

from jittor_ddim import atomic
from jittor_ddim.architecture import check_weights, parameter_shapes
from jittor_ddim.checkpoints import load_weights, native, save_weights
from jittor_ddim.checkpoints.native import (
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    read_config,
    save_checkpoint,
)
from jittor_ddim.checkpoints.strict import check_fits
from jittor_ddim.config import parse_config
from jittor_ddim.errors import CheckpointError, MachineError, UserError, WeightsError

SMALL = parse_config(
    {
        "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1},
        "model": {
            "ch": 32, "ch_mult": [1], "num_res_blocks": 1, "in_channels": 1, "out_ch": 1,
            "attn_resolutions": [],
        },
    },
    "small",
)  # fmt: skip


def steps(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("ckpt_")) for path in list_checkpoints(folder)]


def small_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape, np.float32)
        for name, shape in parameter_shapes(SMALL).items()
    }


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name])


def test_what_is_saved_comes_back(tmp_path):
    saved = make_checkpoint(300)
    folder = save_checkpoint(tmp_path, saved, keep_last=3)
    assert folder == tmp_path / "ckpt_300"
    assert sorted(path.name for path in folder.iterdir()) == [
        "ema.safetensors", "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    for path in (folder, tmp_path):
        found = load_checkpoint(path)
        for field in ("weights", "ema_weights", "optimizer"):
            assert_same(getattr(found, field), getattr(saved, field))
        for field in ("step", "epoch", "seed", "config", "engine", "versions"):
            assert getattr(found, field) == getattr(saved, field)
    assert read_config(tmp_path) == CONFIG


def test_arrays_of_any_memory_layout_come_back(tmp_path):
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    saved = dataclasses.replace(
        make_checkpoint(1), weights={"w": transposed, "s": transposed[::2]}
    )
    found = load_checkpoint(save_checkpoint(tmp_path, saved, keep_last=1))
    np.testing.assert_array_equal(found.weights["w"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found.weights["s"], [[0, 3], [2, 5]])


def test_without_ema_there_is_no_ema_file(tmp_path):
    folder = save_checkpoint(
        tmp_path, dataclasses.replace(make_checkpoint(1), ema_weights=None), keep_last=1
    )
    assert not (folder / "ema.safetensors").exists()
    assert load_checkpoint(folder).ema_weights is None
    assert native.read_weights(folder, ema=True)[0]["conv_in.bias"][0] == 1


def test_keeps_the_newest_and_the_last_before_it(tmp_path):
    for step in (5, 10, 100, 20):  # 20: somebody resumed from an older checkpoint
        save_checkpoint(tmp_path, make_checkpoint(step), keep_last=2)
    assert steps(tmp_path) == [5, 10, 20, 100]
    save_checkpoint(tmp_path, make_checkpoint(30), keep_last=2)
    assert steps(tmp_path) == [10, 20, 30, 100]  # by number, and later ones stay
    save_checkpoint(tmp_path, make_checkpoint(110), keep_last=1)
    assert steps(tmp_path) == [100, 110]
    assert newest_checkpoint(tmp_path) == tmp_path / "ckpt_110"
    assert find_checkpoint(tmp_path, 100) == tmp_path / "ckpt_100"
    with pytest.raises(CheckpointError, match=r"no ckpt_7, only 100, 110"):
        find_checkpoint(tmp_path, 7)


def test_saving_a_step_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, make_checkpoint(8), keep_last=1)
    save_checkpoint(tmp_path, dataclasses.replace(make_checkpoint(8), seed=1), keep_last=1)
    assert load_checkpoint(tmp_path).seed == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt_8"]


def test_a_kill_before_any_operation_leaves_the_last_good_checkpoint(tmp_path):
    printed = run_script(kill_while_saving.__file__, tmp_path)
    instants = dict(line.split() for line in printed.splitlines())
    assert instants.keys() == {"20", "30"}
    assert min(int(count) for count in instants.values()) > 15  # the hook really counts


def test_a_kill_at_any_time_leaves_a_good_checkpoint(tmp_path):
    code = (
        "import pathlib, sys; from kill_while_saving import *; "
        "folder = pathlib.Path(sys.argv[1]); step = int(sys.argv[2])\n"
        "while True:\n"
        "    save_checkpoint(folder, make_checkpoint(step, 50000), 1); print(step, flush=True)\n"
        "    step += 1"
    )
    last = 0
    for delay in np.random.default_rng(0).uniform(0, 0.05, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path, str(last + 1)],
            env=ENVIRONMENT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        printed = process.communicate()[0].split()
        assert process.returncode == -signal.SIGKILL
        found = load_checkpoint(tmp_path)
        assert found.weights["conv_in.bias"][0] == found.step
        assert found.step >= max([last + 1, *(int(line) for line in printed)])
        last = found.step


@pytest.fixture
def run(tmp_path):
    for step in (100, 200, 300):
        save_checkpoint(tmp_path, make_checkpoint(step), keep_last=3)
    return tmp_path


NAMES = ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"]


def same_json(one, other):
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:  # true became tRue
        return False


@pytest.mark.parametrize("name", NAMES)
def test_any_flipped_bit_is_found(run, name):
    path = run / "ckpt_300" / name
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        if name == "state.json" and bad.lower() == good.lower() and same_json(bad, good):
            continue  # 1e-08 became 1E-08: nothing is damaged
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match=f"{name}: ") as error:
            load_checkpoint(run)
        assert "\n" not in str(error.value)
    path.write_bytes(good)
    load_checkpoint(run)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["empty", "truncated", "missing", "a folder"])
def test_damage_names_the_file_and_the_newest_good_checkpoint(run, name, damage):
    path = run / "ckpt_300" / name
    data = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"")
    (run / "ckpt_200" / name).unlink()
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(run)
    message = str(error.value)
    assert message.startswith(str(path))
    assert message.endswith(f"{run / 'ckpt_100'}; delete ckpt_300 to resume from there")
    shutil.rmtree(run / "ckpt_100")
    with pytest.raises(CheckpointError, match="no other good checkpoint"):
        load_checkpoint(run / "ckpt_300")


def test_only_the_file_that_is_needed_must_be_good(run):
    (run / "ckpt_300" / "optimizer.safetensors").unlink()
    assert native.read_weights(run, ema=False)[0]["conv_in.bias"][0] == 300
    assert native.read_weights(run, ema=True)[0]["conv_in.bias"][0] == 150


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (b"[1, 2]", "not a JSON object"),
        (b"\xff\xfe", "not JSON"),
        (b"{}", "not the state"),
        (b'{"format": 2}', "format 2.* upgrade"),
        (b'{"format": 1}', "checksum"),
    ],
)
def test_a_wrong_state_is_refused(run, state, problem):
    (run / "ckpt_300" / "state.json").write_bytes(state)
    with pytest.raises(CheckpointError, match=problem):
        read_config(run)


@pytest.mark.parametrize("change", [{"step": "many"}, {"colour": 1}, {"config": {"data": {}}}])
def test_a_wrong_state_with_a_right_checksum_is_refused(run, change):
    path = run / "ckpt_300" / "state.json"
    state = json.loads(path.read_text())
    del state["checksum"], state["format"]
    state.update(change)
    path.write_text(json.dumps({"format": 1, **state, "checksum": native._checksum(state)}))
    with pytest.raises(CheckpointError, match=f"{next(iter(change))}.* is wrong, or unknown"):
        load_checkpoint(run)


@pytest.mark.parametrize("name", ["", "nowhere", "ckpt_5"])
def test_no_checkpoint_is_an_error(tmp_path, name):
    with pytest.raises(CheckpointError, match="no checkpoint in it|missing"):
        load_checkpoint(tmp_path / name)
    assert newest_checkpoint(tmp_path / name) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("calls", range(5))  # before the first, …, after the last array file
def test_a_full_disk_leaves_what_was_there(run, monkeypatch, code, calls):
    left = calls
    sync = os.fsync

    def fail(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    before = sorted(run.rglob("*"))
    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(MachineError, match=r"ckpt_400: .*; (free|choose)"):
        save_checkpoint(run, make_checkpoint(400), keep_last=1)
    monkeypatch.undo()
    assert sorted(run.rglob("*")) == before
    assert load_checkpoint(run).step == 300


def change(**changes: object):
    tree = CONFIG.model_dump()
    for key, value in changes.items():
        section, name = key.split("__")
        tree[section][name] = value
    return type(CONFIG).model_validate(tree)


def test_another_network_is_refused_by_its_keys(run):
    check_fits(read_config(run), change(model__dropout=0.5, optim__lr=1.0), run)
    check_fits(read_config(run), change(model__attn_resolutions=(16, 7)), run)
    with pytest.raises(CheckpointError) as error:
        check_fits(CONFIG, change(model__ch=64, data__image_size=16), run)
    assert "model.ch 128 instead of 64" in str(error.value)
    assert "data.image_size 32 instead of 16" in str(error.value)
    assert "dropout" not in str(error.value)


def test_weights_that_do_not_fit_are_named():
    shapes = {"a": (2,), "b": (3, 1), "c": (1,), "d": ()}
    good = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    check_weights(good, shapes)
    bad = {**good, "b": np.zeros((1, 3), np.float32), "c": np.zeros(1), "e": np.zeros(1)}
    del bad["a"]
    with pytest.raises(WeightsError) as error:
        check_weights(bad, shapes)
    for part in ("1 missing (a)", "1 unknown (e)", "b (1, 3) instead of (3, 1)", "c float64"):
        assert part in str(error.value)
    many = {f"x{i}": np.zeros(1, np.float32) for i in range(9)}
    with pytest.raises(WeightsError, match=r"9 unknown \(x0, x1, x2, …\)"):
        check_weights({**good, **many}, shapes)


def test_weights_alone_come_back(tmp_path):
    path = tmp_path / "w.safetensors"
    weights = small_weights()
    save_weights(path, weights, SMALL)
    assert_same(load_weights(path), weights)
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]
    safetensors.numpy.save_file(weights, path)  # somebody else's file, without a config
    assert_same(load_weights(str(path)), weights)


def test_weights_of_a_run_are_its_moving_average_unless_asked(tmp_path):
    weights = small_weights()
    average = {name: value / 2 for name, value in weights.items()}
    saved = dataclasses.replace(
        make_checkpoint(3), config=SMALL, weights=weights, ema_weights=average
    )
    save_checkpoint(tmp_path, saved, keep_last=1)
    assert_same(load_weights(tmp_path), average)
    assert_same(load_weights(tmp_path / "ckpt_3", ema=False), weights)


def test_weights_of_another_network_are_refused(tmp_path, run):
    path = tmp_path / "w.safetensors"
    weights = small_weights()
    del weights["conv_in.bias"]
    with pytest.raises(WeightsError, match=r"w.safetensors: .*1 missing \(conv_in.bias\)"):
        save_weights(path, weights, SMALL)
    assert not path.exists()
    safetensors.numpy.save_file(weights, path, {"config": SMALL.model_dump_json()})
    with pytest.raises(WeightsError, match=r"w.safetensors: .*conv_in.bias"):
        load_weights(path)
    with pytest.raises(WeightsError, match="missing"):
        load_weights(run)  # its arrays are not those of its config


def test_unreadable_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, small_weights(), SMALL)
    data = path.read_bytes()
    like_a_pickle = b"\x80\x04" + data[2:100]  # a length of so many bytes, cut short
    for bad in (b"", b"garbage" * 9, data[:-4], data[:100], like_a_pickle):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match="not a readable"):
            load_weights(path)
    safetensors.numpy.save_file(small_weights(), path, {"config": "{"})
    with pytest.raises(CheckpointError, match="metadata"):
        load_weights(path)
    (tmp_path / "model.ckpt").write_bytes(b"PK")  # a zip begins so, but goes on
    with pytest.raises(CheckpointError, match="not recognised"):
        load_weights(tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match="no such"):
        load_weights(tmp_path / "nothing.safetensors")


def test_unknown_formats_and_places_are_refused(tmp_path):
    weights = small_weights()
    with pytest.raises(UserError, match="format must be one of native, .*got 'onnx'"):
        save_weights(tmp_path / "w.safetensors", weights, SMALL, format="onnx")
    save_weights(tmp_path / "any name", weights, SMALL)
    assert load_weights(tmp_path / "any name").keys() == weights.keys()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another path"):
        save_weights(tmp_path / "file" / "w.safetensors", weights, SMALL)
