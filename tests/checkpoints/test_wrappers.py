"""Networks inside what training programs wrap around them; PyTorch's own format carries them."""

import numpy as np
import pytest
import safetensors.numpy
from oracles import GOLDEN, golden
from trees import assert_same_tree

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints import load_weights, read_weights
from jittor_ddim.checkpoints.diffusers_names import to_diffusers
from jittor_ddim.checkpoints.official import understand
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.errors import CheckpointError, UserError, WeightsError
from jittor_ddim.network import NetworkChoice

OFFICIAL = GOLDEN / "official_ckpt_micro.pth"
CONFIG = golden("ckpt_micro")["config"]
EMA = load_weights(OFFICIAL)
RAW = load_weights(OFFICIAL, ema=False)
ONE = np.array(1, np.int64)
VECTOR = np.ones(5, np.float32)
PREFIXES = [
    "module.", "module.module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.",
    "model.", "unet.", "net.", "ema_model.", "diffusion_model.", "model.diffusion_model.",
    "state_dict.model.module._orig_mod.", "something.of.mine.",
]  # fmt: skip


def prefixed(prefix, weights=EMA):
    return {f"{prefix}{name}": array for name, array in weights.items()}


@pytest.fixture
def file(tmp_path):
    def write(tree):
        write_torch(tmp_path / "x.pth", tree)
        return tmp_path / "x.pth"

    return write


def test_the_two_sets_differ():
    assert any((EMA[name] != RAW[name]).any() for name in EMA)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_are_peeled_off(file, tmp_path, prefix):
    assert_same_tree(load_weights(file(prefixed(prefix))), EMA)
    safetensors.numpy.save_file(prefixed(prefix), tmp_path / "x.safetensors")
    found = load_weights(tmp_path / "x.safetensors")
    assert_same_tree({name: found[name] for name in EMA}, EMA)
    assert len(found) == len(EMA)


@pytest.mark.parametrize("prefix", ["module.", "unet.", "model._orig_mod."])
def test_so_are_those_of_diffusers_names(file, prefix):
    found = load_weights(file(prefixed(prefix, to_diffusers(EMA))))
    assert_same_tree({name: found[name] for name in EMA}, EMA)
    both = {"model": to_diffusers(RAW), "ema": to_diffusers(EMA)}
    found = load_weights(file(both))
    assert_same_tree({name: found[name] for name in EMA}, EMA)


def test_a_wrapper_of_single_layers_is_peeled_off(file):
    names = {name: name.replace("mid.block_1.", "mid.block_1._orig_mod.") for name in EMA}
    names = {name: new.replace("up.", "up._fsdp_wrapped_module.") for name, new in names.items()}
    assert sum("_orig_mod" in new for new in names.values()) == 10
    assert_same_tree(load_weights(file({names[name]: array for name, array in EMA.items()})), EMA)


@pytest.mark.parametrize(
    "tree",
    [
        {"state_dict": EMA},
        {"state_dict": prefixed("model."), "epoch": 3, "global_step": 7},
        {"model_state_dict": EMA, "optimizer_state_dict": {"state": {0: {"exp_avg": VECTOR}}}},
        {"params_ema": EMA}, {"net": EMA}, {"ema_state_dict": EMA}, {"generator": EMA},
        {"model": {"state_dict": prefixed("module.")}, "args": {"lr": 0.1}},
        {"checkpoint": [{"net": EMA}, 7]},
        {"epoch": 3, **EMA},
        {"n_averaged": ONE, **prefixed("module.")},
        {"betas": VECTOR, "step": ONE, **prefixed("model.")},
        {"loss.weights": VECTOR[:1].astype(np.int32), **prefixed("model.")},
    ],
    ids=lambda tree: "+".join(list(tree)[:2]),
)  # fmt: skip
def test_one_network_is_found_wherever_it_lies(file, tree):
    path = file(tree)
    for ema in (True, False):
        assert_same_tree(load_weights(path, ema), EMA)
    assert read_contents(path).ema_weights is None


@pytest.mark.parametrize(
    "tree",
    [
        {"model": RAW, "ema": EMA},
        {"ema": EMA, "model": RAW, "step": 4},
        {"state_dict": RAW, "state_dict_ema": EMA},
        {"model_state_dict": RAW, "ema_state_dict": EMA},
        {"params": RAW, "params_ema": EMA},
        {"net": prefixed("module.", RAW), "ema": {"decay": 0.9999, "shadow": EMA}},
        {"model": RAW, "modelEMA": prefixed("_orig_mod."), "ema_rate": 0.999},
        {"model": RAW, "averaged": EMA, "optimizer": {"state": {}, "param_groups": []}},
        {"model": RAW, "ema": {"num_updates": 5, "shadow_params": list(EMA.values())}},
        {**prefixed("online_model.", RAW), **prefixed("ema_model."), "initted": ONE, "step": ONE},
        {"state_dict": {**prefixed("net.", RAW), **prefixed("net_ema.")}},
        {**RAW, **prefixed("ema.")},
    ],
    ids=lambda tree: "+".join(list(tree)[:2]),
)
def test_of_two_sets_the_average_is_the_one_that_is_called_so(file, tree):
    path = file(tree)
    assert_same_tree(load_weights(path), EMA)
    assert_same_tree(load_weights(path, ema=False), RAW)


def test_the_average_of_latent_diffusion_has_names_without_dots(file):
    network = prefixed("model.diffusion_model.", RAW)
    average = {f"diffusion_model.{name}".replace(".", ""): array for name, array in EMA.items()}
    counters = {"model_ema.decay": np.array(0.9999, np.float32), "model_ema.num_updates": ONE}
    tree = {**network, **prefixed("model_ema.", average), **counters, "betas": VECTOR}
    path = file({"state_dict": tree, "global_step": 3})
    assert_same_tree(load_weights(path), EMA)
    assert_same_tree(load_weights(path, ema=False), RAW)
    del tree["model_ema.diffusion_modelconv_outbias"]
    with pytest.raises(CheckpointError, match=r"tensors that are not part of it \(model_ema\."):
        load_weights(file({"state_dict": tree}))


def test_an_average_without_names_must_fit(file):
    short = {"model": RAW, "ema": {"shadow_params": list(EMA.values())[:-1]}}
    with pytest.raises(CheckpointError, match="ema shadow_params has no names"):
        load_weights(file(short))


def test_several_networks_are_not_chosen_from(file):
    for tree, places in (
        ({"teacher": EMA, "student": RAW}, "teacher, student"),
        ({**prefixed("a."), **prefixed("b.", RAW)}, "a, b"),
        ({"model": RAW, "ema_0.999": EMA, "ema_0.9999": EMA}, r"ema_0\.999, ema_0\.9999"),
    ):
        with pytest.raises(CheckpointError, match=f"holds 2 networks, at {places}; save only"):
            load_weights(file(tree))
    many = {f"n{i}.conv_in.weight": VECTOR for i in range(50)}
    with pytest.raises(CheckpointError, match="holds 50 networks"):
        load_weights(file(many))


def test_what_stands_beside_a_network_may_be_a_part_of_it(file):
    tree = {**prefixed("model."), "head.weight": np.ones((2, 2), np.float32)}
    with pytest.raises(CheckpointError, match=r"model\..*1 tensors .*\(head\.weight\)"):
        load_weights(file(tree))


def test_another_network_is_refused_by_what_was_found_and_what_is_wanted(file, tmp_path):
    other = {f"layer{i}.weight": VECTOR for i in range(9)}
    for tree in ({"state_dict": other, "epoch": 3}, {"a": {"b": {"c": other}}}):
        with pytest.raises(CheckpointError) as refusal:
            load_weights(file(tree))
        message = str(refusal.value)
        assert "9 tensors (layer0.weight, layer1.weight, layer2.weight, …)" in message
        assert "x.pth" in message and "conv_in.weight, temb.dense.0.weight" in message
        assert "\n" not in message
    with pytest.raises(
        UserError, match=r"9 tensors are named layer0.* instead of conv_in\.weight"
    ):
        NetworkChoice(config=None, pretrained=file(other)).find_network()
    with pytest.raises(WeightsError, match=r"missing \(temb\.dense.*9 unknown \(layer0\.weight"):
        NetworkChoice(config=CONFIG, pretrained=file(other)).find_network()


@pytest.mark.parametrize("width", [1, 2, 20])
def test_a_tree_without_end_is_refused_at_once(width):
    """A pickle may share its parts: sixty levels of two are more than any memory holds."""
    tree = {"deepest": 1}
    for _ in range(5000 if width == 1 else 60):
        tree = {f"key{i}": tree for i in range(width)}
    with pytest.raises(CheckpointError, match="key0.*expected a network") as refusal:
        understand(tree, 2**20, "pytorch")
    assert len(str(refusal.value)) < 700
    with pytest.raises(CheckpointError, match="expected a network"):
        understand([tree] * 5, 2**20, "pytorch")


@pytest.mark.parametrize("prefix", ["", "module.module.", "model."])
def test_a_network_that_lacks_or_adds_something_is_still_refused(file, tmp_path, prefix):
    missing, added, scalar = dict(EMA), dict(EMA), dict(EMA)
    del missing["mid.attn_1.q.bias"]
    added["mid.attn_2.q.bias"] = VECTOR
    scalar["mid.gain"] = np.array(2, np.float32)
    for tree, named in (
        (missing, r"missing \(mid\.attn_1\.q\.bias\)"),
        (added, r"unknown \(mid\.attn_2\.q\.bias\)"),
        (scalar, r"unknown \(mid\.gain\)"),
    ):
        with pytest.raises(WeightsError, match=named):
            NetworkChoice(config=CONFIG, pretrained=file(prefixed(prefix, tree))).find_network()
    shapes = parameter_shapes(CONFIG)
    found = read_weights(file(prefixed(prefix)))[0]
    assert {name: array.shape for name, array in found.items()} == shapes


def test_the_official_list_may_be_wrapped_twice(file):
    tree = [prefixed("module.module.", RAW), {"x": 1}, 0, 5, prefixed("module.")]
    contents = read_contents(file(tree))
    assert contents.format == "official" and contents.ema_weights is not None
    assert_same_tree(contents.weights, RAW)
    assert_same_tree(contents.ema_weights, EMA)


@pytest.mark.pytorch
def test_what_pytorch_itself_wraps_is_read(tmp_path):
    """Names as DataParallel, torch.compile and AveragedModel make them, and Jittor's .pkl."""
    import pickle

    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_in = torch.nn.Conv2d(3, 4, 3)
            self.conv_out = torch.nn.Conv2d(4, 3, 3)

    network = Network()
    right = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    compiled = torch.compile(torch.nn.DataParallel(network), backend="eager")
    assert isinstance(compiled, torch.nn.Module)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    for wrapped in (torch.nn.DataParallel(network), compiled, averaged):
        torch.save({"state_dict": wrapped.state_dict()}, tmp_path / "x.ckpt")
        assert_same_tree(load_weights(tmp_path / "x.ckpt"), right)
        names = {name: tensor.numpy() for name, tensor in wrapped.state_dict().items()}
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(names, 4))
        assert_same_tree(load_weights(tmp_path / "x.pkl"), right)
