"""Which files are taken for the Inception network, and what is said of the others."""

import hashlib

import numpy as np
import pytest
from file_server import serving
from oracles import inception_recipe_weights
from safetensors.numpy import save_file

from jittor_ddim.checkpoints import inception_weights
from jittor_ddim.checkpoints.inception_weights import NAME, obtain_inception, read_inception
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.errors import CheckpointError, DownloadError, WeightsError
from jittor_ddim.metrics.inception import convolutions

CONTENT = b"weights, let us say"


@pytest.fixture(scope="module")
def weights():
    return inception_recipe_weights()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("INCEPTION", "MIRROR"):
        monkeypatch.delenv(f"JITTOR_DDIM_{name}", raising=False)
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "inception"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_other_files_load_and_are_called_so(weights, tmp_path):
    path = tmp_path / "mine.safetensors"
    counters = {f"{c.name}.bn.num_batches_tracked": np.int64(0) for c in convolutions()}
    save_file(weights | {name: np.array(n) for name, n in counters.items()}, path)
    found = read_inception(path)
    assert not found.published and found.sha256 == sha256(path.read_bytes())
    assert set(found.arrays) == set(weights)
    np.testing.assert_array_equal(found.arrays["fc.weight"], weights["fc.weight"])


def test_a_file_of_pytorch(weights, tmp_path, monkeypatch):
    path = tmp_path / "state.pth"
    write_torch(path, weights)
    digest = sha256(path.read_bytes())
    assert not read_inception(path).published
    monkeypatch.setitem(inception_weights.PUBLISHED, NAME, digest)
    path.rename(tmp_path / "renamed.pth")
    assert read_inception(tmp_path / "renamed.pth").published  # whatever it is called


def test_a_published_name_means_the_published_file(weights, tmp_path):
    path = tmp_path / NAME
    write_torch(path, weights)
    with pytest.raises(CheckpointError, match=r"expected sha256 6726825d.*found .*rename it"):
        read_inception(path)


def test_other_networks_are_refused(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    some = {name: array for name, array in weights.items() if not name.startswith("fc")}
    save_file(some | {"fc.weight": np.zeros((1000, 2048), np.float32)}, path)
    with pytest.raises(
        WeightsError, match=r"not FID's Inception .*fc.bias.*fc.weight \(1000, 2048"
    ):
        read_inception(path)
    with pytest.raises(CheckpointError, match="No such file"):
        read_inception(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="Is a directory"):
        read_inception(str(tmp_path))


def test_download_cache_and_mirror(cache, monkeypatch):
    monkeypatch.setattr(inception_weights, "_SHA256", sha256(CONTENT))
    with serving() as server:
        server.files[NAME] = CONTENT
        monkeypatch.setenv("JITTOR_DDIM_MIRROR", f"{server.url}/")
        told = []
        assert obtain_inception(None, lambda *numbers: told.append(numbers)) == cache / NAME
        assert (cache / NAME).read_bytes() == CONTENT and told[-1] == (len(CONTENT), len(CONTENT))
        assert obtain_inception() == cache / NAME and len(server.requests) == 1
        (cache / NAME).write_bytes(b"damaged")
        server.files[NAME] = b"something else"
        with pytest.raises(DownloadError, match=r"expected sha256 .*`features` small"):
            obtain_inception()


def test_a_copy_takes_the_place_of_a_download(tmp_path, monkeypatch):
    copy = tmp_path / "folder" / "inception-2015-12-05.pt"
    copy.parent.mkdir()
    copy.touch()
    for place in (copy, copy.parent):
        monkeypatch.setenv("JITTOR_DDIM_INCEPTION", str(place))
        assert obtain_inception() == copy
    assert obtain_inception(copy) == copy
    copy.unlink()
    with pytest.raises(CheckpointError, match="JITTOR_DDIM_INCEPTION: no file .*; .*unset"):
        obtain_inception()
    with pytest.raises(CheckpointError, match="`inception` .*no such file"):
        obtain_inception(copy)


#: The convolutions of a TorchScript archive, in the order in which the published file has them.
BLOCK_5 = "conv tower.conv tower.conv_1 tower_1.conv tower_1.conv_1 tower_1.conv_2 tower_2.conv"
BLOCK_6A = "conv tower.conv tower.conv_1 tower.conv_2"
BLOCK_6 = (
    "conv tower.conv tower.conv_1 tower.conv_2 tower_1.conv tower_1.conv_1 tower_1.conv_2 "
    "tower_1.conv_3 tower_1.conv_4 tower_2.conv"
)
BLOCK_7A = "tower.conv tower.conv_1 tower_1.conv tower_1.conv_1 tower_1.conv_2 tower_1.conv_3"
BLOCK_7 = (
    "conv tower_conv tower_mixed_conv tower_mixed_conv_1 tower_1_conv tower_1_conv_1 "
    "tower_1_mixed_conv tower_1_mixed_conv_1 tower_2_conv"
)
BLOCKS = [BLOCK_5] * 3 + [BLOCK_6A] + [BLOCK_6] * 4 + [BLOCK_7A] + [BLOCK_7] * 2


def tensorflow_names():
    yield from ("conv", "conv_1", "conv_2", "conv_3", "conv_4")
    for number, block in enumerate(BLOCKS):
        for conv in block.split():
            yield f"mixed{f'_{number}' if number else ''}.{conv}"


@pytest.mark.pytorch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_archive(weights, tmp_path):
    import torch

    class Layer(torch.nn.Module):
        def forward(self, x):
            return x

    class Container(torch.nn.Module):
        def forward(self, x):
            return x

    def place(root, name, layer):
        *parents, last = name.split(".")
        for parent in parents:
            if not hasattr(root, parent):
                root.add_module(parent, Container())
            root = getattr(root, parent)
        root.add_module(last, layer)

    root = Container()
    kinds = {"beta": "bias", "mean": "running_mean", "var": "running_var"}
    for name, conv in zip(tensorflow_names(), convolutions(), strict=True):
        layer = Layer()
        kernel = torch.from_numpy(weights[f"{conv.name}.conv.weight"])
        layer.weight = torch.nn.Parameter(kernel)
        layer.strides = [conv.stride, conv.stride]
        for theirs, ours in kinds.items():
            layer.register_buffer(theirs, torch.from_numpy(weights[f"{conv.name}.bn.{ours}"]))
        place(root, f"layers.{name}", layer)
    output = torch.nn.Linear(2048, 1008)
    with torch.no_grad():
        output.weight.copy_(torch.from_numpy(weights["fc.weight"]))
        output.bias.copy_(torch.from_numpy(weights["fc.bias"]))
    root.add_module("output", output)
    path = tmp_path / "script.pt"
    torch.jit.script(root).save(path)

    found = read_inception(path).arrays
    assert set(found) == set(weights)
    for name, array in weights.items():
        expected = np.ones_like(array) if name.endswith("bn.weight") else array
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
