"""Our 3x3 convolutions against PyTorch's, gradients included, and what happens without them."""

import logging

import numpy as np
import pytest

pytestmark = pytest.mark.pytorch

BOUND = 1e-5  # of the maximum; measured 2.5e-6


@pytest.fixture
def winograd(pytorch_engine):
    from jittor_ddim.engines.pytorch import winograd
    from jittor_ddim.engines.pytorch.library import library

    if library() is None:
        pytest.skip("there is no compiler")
    return winograd


def results(winograd, channels, size, last):
    """A convolution's result, with and without a gradient in sight, and all its gradients."""
    import torch

    torch.manual_seed(0)
    convolution = winograd.Conv3x3(*channels)
    x = torch.randn(3, channels[0], *size, requires_grad=True)
    dy = torch.randn(3, channels[1], *size)
    if last:
        convolution = convolution.to(memory_format=torch.channels_last)
    y = convolution(x)
    gradients = torch.autograd.grad((y * dy).sum(), [x, convolution.weight, convolution.bias])
    with torch.no_grad():
        again = convolution(x)
        convolution.freeze()
        frozen = convolution(x)
    return [part.detach().numpy() for part in (y, again, frozen, *gradients)]


@pytest.mark.parametrize("last", [False, True], ids=["plain order", "channels last"])
@pytest.mark.parametrize(
    ("channels", "size"),
    [((32, 48), (8, 8)), ((64, 32), (5, 7)), ((16, 16), (1, 1)), ((128, 256), (32, 32))],
)
def test_results_and_gradients(winograd, monkeypatch, channels, size, last):
    calls = []
    run = winograd._call
    monkeypatch.setattr(winograd, "_call", lambda name, *a: [calls.append(name), run(name, *a)])
    found = results(winograd, channels, size, last)
    assert calls.count("forward") == 3 and "pack" in calls and "backward_weights" in calls
    calls.clear()
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "direct")
    expected = results(winograd, channels, size, last)
    assert calls == []
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= BOUND * np.abs(b).max(), index
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_only_what_is_asked_for_is_computed(winograd, monkeypatch):
    import torch

    calls = []
    run = winograd._call
    monkeypatch.setattr(winograd, "_call", lambda name, *a: [calls.append(name), run(name, *a)])
    convolution = winograd.Conv3x3(16, 16)
    y = convolution(torch.ones(1, 16, 4, 4))
    torch.autograd.grad(y.sum(), [convolution.weight])
    x = torch.ones(1, 16, 4, 4, requires_grad=True)
    torch.autograd.grad(convolution.requires_grad_(False)(x).sum(), [x])
    assert calls == ["forward", "backward_weights", "forward", "backward_input"]


@pytest.mark.parametrize("case", ["channels", "bfloat16", "autocast"])
def test_what_it_cannot_do_pytorch_does(winograd, monkeypatch, case):
    import torch

    monkeypatch.setattr(winograd, "_call", lambda *_: pytest.fail("called"))
    channels = 24 if case == "channels" else 16
    kind = torch.bfloat16 if case == "bfloat16" else torch.float32
    x = torch.ones(1, channels, 4, 4, dtype=kind)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        assert winograd.Conv3x3(channels, 16).to(kind)(x).shape == (1, 16, 4, 4)


def test_a_library_is_compiled_once(winograd, monkeypatch, tmp_path):
    from jittor_ddim.engines.pytorch import library

    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path))
    first = library._compiled("g++")
    assert [first] == list((tmp_path / "kernels").iterdir())
    monkeypatch.setattr(library.subprocess, "run", lambda *_: pytest.fail("compiled again"))
    assert library._compiled("g++") == first


@pytest.mark.parametrize("case", ["missing", "failing", "no place"])
def test_without_a_compiler_it_says_so_once(pytorch_engine, monkeypatch, tmp_path, caplog, case):
    import torch

    from jittor_ddim.engines.pytorch import library, winograd

    (tmp_path / "file").touch()
    compilers = {"missing": "no-such-compiler", "failing": "false", "no place": "g++"}
    folders = {"no place": tmp_path / "file"}
    monkeypatch.setenv("CXX", compilers[case])
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(folders.get(case, tmp_path)))
    library.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                y = winograd.Conv3x3(16, 16)(torch.ones(1, 16, 4, 4))
        assert y.shape == (1, 16, 4, 4)
        [record] = caplog.records
        assert "PyTorch's own convolutions are used" in record.getMessage()
        assert compilers[case] in record.getMessage()
    finally:
        library.library.cache_clear()
