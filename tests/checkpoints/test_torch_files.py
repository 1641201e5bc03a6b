"""PyTorch's files, against PyTorch itself and against the golden files."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from oracles import GOLDEN
from trees import assert_same_tree

from jittor_ddim.checkpoints import load_weights
from jittor_ddim.checkpoints.torch_files import read_legacy, read_zip
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.errors import CheckpointError

ZIP, LEGACY = GOLDEN / "pesser_micro.ckpt", GOLDEN / "pesser_micro_legacy.ckpt"
TREE = [
    {"module.w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.float32)},
    {"state": {0: {"step": np.array(5, np.float32)}}, "groups": [{"lr": 1e-3, "on": True}]},
    [0, 1, -1, 127, 128, -128, -129, 255, 256, 2**31, -(2**40)],
    {"betas": (0.9, 0.999), "none": None, "off": False, "ß": "naïve", "": [], "e": ()},
    {"transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T, "empty": np.zeros((0, 2))},
    {"i8": np.array([-(2**40)]), "u1": np.array([255], np.uint8), "b": np.array([True, False])},
]


def swapped(path, target):
    """The same zip as a machine of the other byte order writes it."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as other:
        for name in source.namelist():
            data = source.read(name)
            if "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            other.writestr(name, b"big" if name.endswith("byteorder") else data)
    return target


def swapped_legacy(data: bytes) -> bytes:
    file = io.BytesIO(data)
    head = [pickle.load(file) for _ in range(3)]
    begin = file.tell()
    read = read_legacy(data)
    keys_at = data.index(b"\x80\x02]", begin)
    file.seek(keys_at)
    keys = pickle.load(file)
    out = [pickle.dumps(part, 2) for part in head[:2]]
    out += [pickle.dumps({**head[2], "little_endian": False}, 2), data[begin : file.tell()]]
    storages = {}
    for key in keys:
        count = np.frombuffer(file.read(8), "<i8").item()
        storages[key] = np.frombuffer(file.read(4 * count), "<f4")
        out += [np.array(count, ">i8").tobytes(), storages[key].astype(">f4").tobytes()]
    assert len(storages) == len(read)
    return b"".join(out)


def test_both_formats_hold_the_same(tmp_path):
    one, other = load_weights(ZIP), load_weights(LEGACY)
    official = load_weights(GOLDEN / "official_ckpt_micro.pth")
    assert len(one) == 104
    for name, array in one.items():
        assert array.dtype == np.float32 and array.flags.writeable
        np.testing.assert_array_equal(array, other[name])
        np.testing.assert_array_equal(array, official[name])
    assert any(not np.array_equal(array, plain) for array, plain in zip(
        one.values(), load_weights(GOLDEN / "official_ckpt_micro.pth", ema=False).values(),
        strict=True,
    ))  # fmt: skip


def test_the_other_byte_order_is_read(tmp_path):
    right = load_weights(ZIP)
    big = load_weights(swapped(ZIP, tmp_path / "big.ckpt"))
    (tmp_path / "legacy.ckpt").write_bytes(swapped_legacy(LEGACY.read_bytes()))
    legacy = load_weights(tmp_path / "legacy.ckpt")
    for name, array in right.items():
        np.testing.assert_array_equal(big[name], array)
        np.testing.assert_array_equal(legacy[name], array)


def test_the_name_tells_nothing(tmp_path):
    for source in (ZIP, LEGACY):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(source.read_bytes())
        assert len(load_weights(path)) == 104


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "sub" / "x.pth"
    write_torch(path, TREE)
    assert_same_tree(read_zip(path), TREE)
    first = path.read_bytes()
    write_torch(path, TREE)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["x.pth"]
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry):
                begin = entry.header_offset + 30 + len(entry.filename) + len(entry.extra)
                assert begin % 64 == 0
    with pytest.raises(TypeError):
        write_torch(tmp_path / "y.pth", {"a": object()})
    assert not (tmp_path / "y.pth").exists()


def test_a_zip_that_is_not_pytorchs_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "f", "w") as archive:
        archive.writestr("0.png", b"")
    with pytest.raises(CheckpointError, match="not a PyTorch file"):
        load_weights(tmp_path / "f")


@pytest.mark.pytorch
def test_pytorch_reads_what_is_written(tmp_path):
    import torch

    write_torch(tmp_path / "x.pth", TREE)
    for options in ({}, {"mmap": True}):
        found = torch.load(tmp_path / "x.pth", weights_only=True, **options)
        assert_same_tree(found, TREE)


@pytest.mark.pytorch
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [
    "float32", "float16", "bfloat16", "float64",
    "int64", "int32", "int16", "int8", "uint8", "bool",
])  # fmt: skip
def test_what_pytorch_writes_is_read(tmp_path, dtype, zipped):
    import torch

    whole = (torch.randn(4, 5, 6) * 100).to(getattr(torch, dtype))
    tree = {
        "whole": whole, "transposed": whole.transpose(0, 2), "part": whole[1:3, ::2, 4],
        "scalar": whole[0, 0, 0], "empty": whole[:0], "expanded": whole[:, :1, :1].clone(),
        "parameter": torch.nn.Parameter(whole.clone(), requires_grad=whole.is_floating_point()),
    }  # fmt: skip
    path = tmp_path / "x.pt"
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    found = read_zip(path) if zipped else read_legacy(path.read_bytes())
    assert found.keys() == tree.keys()
    for name, tensor in tree.items():
        wanted = tensor.detach().float() if dtype == "bfloat16" else tensor.detach()
        assert_same_tree(found[name], wanted.numpy())


@pytest.mark.pytorch
@pytest.mark.parametrize("path", [ZIP, LEGACY, GOLDEN / "official_ckpt_micro.pth"])
def test_the_golden_files_are_read_as_pytorch_reads_them(path):
    import torch

    tree = torch.load(path, weights_only=True)
    for ema in (True, False) if isinstance(tree, list) else (True,):
        expected = tree[4 if ema else 0] if isinstance(tree, list) else tree
        found = load_weights(path, ema=ema)
        assert len(found) == len(expected)
        for name, tensor in expected.items():
            np.testing.assert_array_equal(found[name.removeprefix("module.")], tensor.numpy())


@pytest.mark.pytorch
def test_what_programs_save_beside_a_network_is_no_obstacle(tmp_path):
    import argparse

    import torch

    weights = {"conv_in.weight": torch.ones(2, 3)}
    tree = {
        "model": weights, "args": argparse.Namespace(lr=0.1, path="x", inner=argparse.Namespace()),
        "size": weights["conv_in.weight"].shape, "device": torch.device("cpu"),
        "dtype": torch.float16,
    }  # fmt: skip
    for zipped in (True, False):
        torch.save(tree, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        found = load_weights(tmp_path / "x.pt")
        assert list(found) == ["conv_in.weight"] and (found["conv_in.weight"] == 1).all()


@pytest.mark.pytorch
def test_a_sparse_or_lazily_conjugated_tensor_is_refused(tmp_path):
    import torch

    for tensor in (torch.eye(3).to_sparse(), torch.randn(3, dtype=torch.cfloat)):
        torch.save({"w": tensor}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match="refused"):
            load_weights(tmp_path / "x.pt")
