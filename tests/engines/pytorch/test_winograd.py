"""Our 3x3 convolutions against PyTorch's, gradients included, and what happens without them."""

import logging
import os
import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from jittor_ddim.config import load_config
from jittor_ddim.engines.kernels import use_winograd
from jittor_ddim.errors import MachineError

pytestmark = pytest.mark.pytorch

BOUND = 1e-5  # of the maximum; measured 2.5e-6


@pytest.fixture
def winograd(pytorch_engine, monkeypatch):
    from jittor_ddim.engines.pytorch import winograd
    from jittor_ddim.engines.pytorch.compiled import winograd_functions

    monkeypatch.delenv("JITTOR_DDIM_KERNELS", raising=False)
    if not use_winograd(16, 16) or winograd_functions() is None:
        pytest.skip("this CPU has no AVX2, or there is no compiler")
    return winograd


@pytest.fixture
def calls(winograd, monkeypatch):
    """The names of the compiled functions that were called."""
    names, run = [], winograd._call

    def count(layer, name, *arguments):
        names.append(name)
        run(layer, name, *arguments)

    monkeypatch.setattr(winograd, "_call", count)
    return names


def conv3x3(in_channels, out_channels):
    from jittor_ddim.engines.pytorch.layers import Conv2d

    return Conv2d(in_channels, out_channels, 3)


def results(channels, size, last):
    """A convolution's results and gradients by name."""
    import torch

    from jittor_ddim.engines.pytorch.operations import packing_into

    torch.manual_seed(0)
    convolution = conv3x3(*channels)
    x = torch.randn(3, channels[0], *size, requires_grad=True)
    dy = torch.randn(3, channels[1], *size)
    if last:
        convolution = convolution.to(memory_format=torch.channels_last)
    y = convolution(x)
    gradients = torch.autograd.grad((y * dy).sum(), [x, convolution.weight, convolution.bias])
    with torch.no_grad():
        found = {"y": y, "without gradients": convolution(x)}
        with packing_into({}):
            found["packed"] = convolution(x)
    found |= dict(zip(("dx", "dw", "dbias"), gradients, strict=True))
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


@pytest.mark.parametrize("last", [False, True], ids=["plain order", "channels last"])
@pytest.mark.parametrize(
    ("channels", "size"),
    [((32, 48), (8, 8)), ((64, 32), (5, 7)), ((16, 16), (1, 1)), ((128, 256), (32, 32))],
)
def test_results_and_gradients(winograd, calls, monkeypatch, channels, size, last):
    found = results(channels, size, last)
    made = {"forward", "packed_size", "pack", "backward_input", "backward_weights"}
    assert set(calls) == made
    calls.clear()
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "direct")
    expected = results(channels, size, last)
    assert calls == []
    for name, a in found.items():
        assert a.shape == expected[name].shape
        assert np.abs(a - expected[name]).max() <= BOUND * np.abs(expected[name]).max(), name
    assert np.array_equal(found["y"], found["without gradients"])
    assert np.array_equal(found["y"], found["packed"])


def test_only_what_is_asked_for_is_computed(winograd, calls):
    import torch

    convolution = conv3x3(16, 16)
    torch.autograd.grad(convolution(torch.ones(1, 16, 4, 4)).sum(), [convolution.weight])
    assert "backward_input" not in calls
    calls.clear()
    x = torch.ones(1, 16, 4, 4, requires_grad=True)
    torch.autograd.grad(convolution.requires_grad_(False)(x).sum(), [x])
    assert "backward_weights" not in calls


@pytest.mark.parametrize("case", ["channels", "bfloat16", "autocast"])
def test_what_it_cannot_do_pytorch_does(winograd, calls, case):
    import torch

    channels = 24 if case == "channels" else 16
    kind = torch.bfloat16 if case == "bfloat16" else torch.float32
    x = torch.ones(1, channels, 4, 4, dtype=kind)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        assert conv3x3(channels, 16).to(kind)(x).shape == (1, 16, 4, 4)
    assert calls == []


def test_wrong_channels_are_pytorchs_error(winograd):
    import torch

    with pytest.raises(RuntimeError, match="channels"):
        conv3x3(32, 16)(torch.ones(1, 16, 4, 4))


def test_what_the_cpp_throws_names_the_layer_and_the_process_goes_on(winograd):
    import torch

    x, no_memory_for = torch.ones(1, 16, 4, 4), winograd._Sizes(1, 4, 4, 2**42, 16)
    with pytest.raises(
        MachineError, match=r"^mid.block_1.conv1: .* failed: std::bad_alloc; JITTOR"
    ):
        winograd._call("mid.block_1.conv1", "backward_input", no_memory_for, x, x, x)
    assert conv3x3(16, 16)(x).isfinite().all()


@pytest.mark.parametrize("function", ["forward", "pack", "backward_input", "backward_weights"])
def test_a_network_knows_whose_kernel_failed(winograd, pytorch_engine, monkeypatch, function):
    config = load_config("digits.yml")
    x = np.ones((2, 1, 8, 8), np.float32)
    t = np.array([5, 900])
    layer, run = "mid.block_2.conv1", winograd._call
    libraries = winograd.winograd_functions()

    def broken(name, called, *arguments):
        failing = (name, called) == (layer, function)
        fake = SimpleNamespace(**{f"ddim_{called}": lambda *_: b"there is no room"})
        monkeypatch.setattr(winograd, "winograd_functions", lambda: fake if failing else libraries)
        run(name, called, *arguments)

    unet, trainer = pytorch_engine.unet(config), pytorch_engine.trainer(config)
    expected = unet.predict(x, t)
    monkeypatch.setattr(winograd, "_call", broken)
    with pytest.raises(MachineError, match=f"^{layer}: .* failed: there is no room"):
        if function == "pack":
            unet.load(unet.weights())
            unet.predict(x, t)
        else:
            trainer.step(x, t, x)
    monkeypatch.undo()
    assert np.array_equal(unet.predict(x, t), expected)
    assert np.isfinite(trainer.step(x, t, x))


@pytest.fixture
def compiled(winograd, monkeypatch, tmp_path):
    """The module, with an empty cache."""
    from jittor_ddim.engines.pytorch import compiled

    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path))
    compiled.winograd_functions.cache_clear()
    yield compiled
    compiled.winograd_functions.cache_clear()


def test_it_is_compiled_once(compiled, monkeypatch, tmp_path):
    assert compiled.winograd_functions() is not None
    compiled.winograd_functions.cache_clear()
    monkeypatch.setattr(compiled.subprocess, "run", lambda *_, **__: pytest.fail("again"))
    assert compiled.winograd_functions() is not None
    assert len(list((tmp_path / "kernels").iterdir())) == 1


def test_a_damaged_library_is_compiled_anew(compiled, tmp_path):
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    path = tmp_path / "kernels" / f"winograd-{compiled._fingerprint(compiler)}.so"
    path.parent.mkdir()
    path.write_bytes(b"no library")
    assert compiled.winograd_functions() is not None
    assert path.read_bytes() != b"no library"


@pytest.mark.parametrize("case", ["no-such-compiler", "false", "no place"])
def test_where_it_cannot_be_compiled_it_says_so_once(
    compiled, winograd, monkeypatch, tmp_path, caplog, case
):
    import torch

    if case == "no place":
        (tmp_path / "file").touch()
        monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "file"))
    else:
        monkeypatch.setenv("CXX", case)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            y = conv3x3(16, 16)(torch.ones(1, 16, 4, 4))
    assert y.shape == (1, 16, 4, 4)
    [record] = caplog.records
    assert "PyTorch's own convolutions are used" in record.getMessage()
    assert ("file" if case == "no place" else case) in record.getMessage()
