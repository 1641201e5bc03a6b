"""The official checkpoint's list: what its places mean, both ways."""

import dataclasses

import numpy as np
import pytest
from oracles import GOLDEN, golden
from trees import assert_same_tree

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints import load_weights, save_weights
from jittor_ddim.checkpoints.native import load_checkpoint, save_checkpoint
from jittor_ddim.checkpoints.official import check_optimizer, to_list, understand
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.checkpoints.torch_files import read_zip
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.errors import CheckpointError

OFFICIAL = GOLDEN / "official_ckpt_micro.pth"
CONFIG = golden("ckpt_micro")["config"]
NAMES = list(parameter_shapes(CONFIG))


def change(**optim):
    return CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update=optim)})


def plain(tree):
    """Records as arrays."""
    if hasattr(tree, "array"):
        return tree.array()
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(value) for value in tree] if isinstance(tree, list) else tree


def test_the_golden_checkpoint_is_understood():
    raw = plain(read_zip(OFFICIAL))
    contents = read_contents(OFFICIAL)
    assert contents.format == "official" and contents.config is None
    assert contents.training
    assert (contents.training.step, contents.training.epoch) == (5, 0)
    assert list(contents.weights) == NAMES  # without the prefix, in the order of the parameters
    assert contents.ema_weights is not None
    for number, name in enumerate(NAMES):
        np.testing.assert_array_equal(contents.weights[name], raw[0][f"module.{name}"])
        np.testing.assert_array_equal(contents.ema_weights[name], raw[4][name])
        for kind in ("exp_avg", "exp_avg_sq"):
            found = contents.training.optimizer[f"{kind}/{name}"]
            np.testing.assert_array_equal(found, raw[1]["state"][number][kind])
    assert len(contents.training.optimizer) == 2 * len(NAMES)


def test_there_and_back_is_the_same_to_the_bit(tmp_path):
    checkpoint = read_contents(OFFICIAL).checkpoint(CONFIG)
    save_checkpoint(tmp_path, checkpoint, keep_last=1)
    found = load_checkpoint(tmp_path)
    write_torch(tmp_path / "back.pth", to_list(found))
    first, again = plain(read_zip(OFFICIAL)), plain(read_zip(tmp_path / "back.pth"))
    for group in (first[1]["param_groups"][0], again[1]["param_groups"][0]):
        group.pop("decoupled_weight_decay", None)  # PyTorch since 2.7
    assert first[1]["param_groups"][0] == again[1]["param_groups"][0]
    first[1]["param_groups"], again[1]["param_groups"] = [], []
    assert_same_tree(_sorted(again), _sorted(first))
    twice = read_contents(tmp_path / "back.pth").checkpoint(CONFIG)
    assert dataclasses.replace(twice, weights={}, ema_weights={}, optimizer={}) == (
        dataclasses.replace(checkpoint, weights={}, ema_weights={}, optimizer={})
    )
    for field in ("weights", "ema_weights", "optimizer"):
        assert_same_tree(getattr(twice, field), getattr(checkpoint, field))


def _sorted(tree):
    if isinstance(tree, dict):
        return {key: _sorted(tree[key]) for key in sorted(tree)}
    return [_sorted(part) for part in tree] if isinstance(tree, list) else tree


def test_without_ema_the_list_has_four_places(tmp_path):
    config = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"ema": False})})
    tree = to_list(read_contents(OFFICIAL).checkpoint(config))
    assert len(tree) == 4
    write_torch(tmp_path / "x.pth", tree)
    contents = read_contents(tmp_path / "x.pth")
    assert contents.ema_weights is None
    assert_same_tree(load_weights(tmp_path / "x.pth"), contents.weights)


def test_older_steps_are_integers_and_other_optimisers_are_told():
    tree = plain(read_zip(OFFICIAL))
    weights = {name: Record(array) for name, array in tree[0].items()}
    for kinds, optimizer in ((("square_avg",), "RMSProp"), (("momentum_buffer",), "SGD")):
        state = {
            number: {"step": 5, **{kind: Record(array.array()) for kind in kinds}}
            for number, array in enumerate(weights.values())
        }
        tree = [weights, {"state": state, "param_groups": [{"params": list(state)}]}, 1, 5]
        training = understand(tree, 2**30, "pytorch").training
        assert training
        check_optimizer(training.optimizer, change(optimizer=optimizer))
        with pytest.raises(CheckpointError, match="optim.optimizer Adam"):
            check_optimizer(training.optimizer, CONFIG)
    with pytest.raises(CheckpointError, match="amsgrad true needs .*max_exp_avg_sq"):
        check_optimizer(read_contents(OFFICIAL).checkpoint(CONFIG).optimizer, change(amsgrad=True))


@dataclasses.dataclass
class Record:
    value: np.ndarray

    def array(self):
        return self.value


def test_an_optimiser_of_another_kind_leaves_the_weights(caplog):
    record = Record(np.zeros(3, np.float32))
    contents = understand([{"w": record}, {"defaults": {}}, 0, 1], 2**20, "jittor")
    assert contents.training is None and list(contents.weights) == ["w"]
    assert "only the weights are used" in caplog.text


@pytest.mark.parametrize(
    "tree", [{}, [], 3, None, {"w": 1}, [{"w": Record(np.zeros(1))}, {}, "0", 1], {1: Record(0)}]
)
def test_other_trees_are_refused(tree):
    with pytest.raises(CheckpointError, match="neither a state dict nor"):
        understand(tree, 2**20, "pytorch")


def test_moments_of_another_shape_are_refused():
    record = Record(np.zeros(3, np.float32))
    state = {0: {"step": 1, "exp_avg": Record(np.zeros(4, np.float32))}}
    groups = [{"params": [0]}]
    with pytest.raises(CheckpointError, match="exp_avg/w has a wrong shape"):
        understand([{"w": record}, {"state": state, "param_groups": groups}, 0, 1], 99, "pytorch")


def test_a_state_dict_alone_is_what_the_official_code_takes_as_pretrained(tmp_path):
    weights = load_weights(OFFICIAL)
    save_weights(tmp_path / "x.ckpt", weights, CONFIG, format="official")
    assert list(read_zip(tmp_path / "x.ckpt")) == NAMES
    assert_same_tree(load_weights(tmp_path / "x.ckpt"), weights)


@pytest.mark.pytorch
@pytest.mark.parametrize("optim", [{}, {"amsgrad": True}, {"optimizer": "RMSProp"},
                                   {"optimizer": "SGD"}])  # fmt: skip
def test_pytorchs_optimisers_go_on_from_what_is_written(tmp_path, optim):
    """As the official code resumes: load, set eps, load into model, optimiser and average."""
    import torch

    config = change(**optim)
    kinds = {"RMSProp": ["square_avg"], "SGD": ["momentum_buffer"]}.get(
        config.optim.optimizer,
        ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * config.optim.amsgrad,
    )
    checkpoint = read_contents(OFFICIAL).checkpoint(config)
    optimizer = {
        f"{kind}/{name}": np.full_like(array, i + 1)
        for i, kind in enumerate(kinds)
        for name, array in checkpoint.weights.items()
    }
    checkpoint = dataclasses.replace(checkpoint, optimizer=optimizer)
    write_torch(tmp_path / "ckpt.pth", to_list(checkpoint))

    states = torch.load(tmp_path / "ckpt.pth", weights_only=True)
    states[1]["param_groups"][0]["eps"] = config.optim.eps
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in states[0].values()]
    real = {
        "Adam": lambda: torch.optim.Adam(parameters, lr=1.0, amsgrad=config.optim.amsgrad),
        "RMSProp": lambda: torch.optim.RMSprop(parameters, lr=1.0),
        "SGD": lambda: torch.optim.SGD(parameters, lr=1.0, momentum=0.9),
    }[config.optim.optimizer]()
    real.load_state_dict(states[1])
    assert real.param_groups[0]["lr"] == config.optim.lr
    for number, parameter in enumerate(parameters):
        state = real.state[parameter]
        assert {key for key in state if key != "step"} == set(kinds)
        for i, kind in enumerate(kinds):
            assert state[kind].shape == parameter.shape and (state[kind] == i + 1).all()
        assert int(state.get("step", 5)) == 5
        parameter.grad = torch.ones_like(parameter) * (number + 1)
    real.step()
    assert states[2:4] == [0, 5] and list(states[4]) == NAMES


@pytest.mark.pytorch
def test_adam_takes_the_same_step_from_our_file_as_from_the_official_one(tmp_path):
    import torch

    write_torch(tmp_path / "ours.pth", to_list(read_contents(OFFICIAL).checkpoint(CONFIG)))
    results = []
    for path in (OFFICIAL, tmp_path / "ours.pth"):
        states = torch.load(path, weights_only=True)
        parameters = [torch.nn.Parameter(tensor) for tensor in states[0].values()]
        adam = torch.optim.Adam(parameters, lr=7.0)
        adam.load_state_dict(states[1])
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 0.5)
        adam.step()
        results.append([parameter.detach() for parameter in parameters])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
