"""Our kernels against the plain operations beside them, and against NumPy in float64."""

import numpy as np
import pytest

pytestmark = pytest.mark.jittor

SHAPE = (3, 64, 8, 8)
BOUND = 1e-5  # of the maximum; measured 2.8e-6


def _inputs():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(SHAPE) * 3 + 20  # a large mean, where E[x^2] - E[x]^2 would cancel
    weight, bias = rng.standard_normal((2, SHAPE[1]))
    dy = rng.standard_normal(SHAPE)
    return [array.astype(np.float32) for array in (x, weight, bias, dy)]


def _reference(x, weight, bias, activate):
    groups = x.astype(np.float64).reshape(len(x), 32, -1)
    deviation = np.sqrt(groups.var(axis=2, keepdims=True) + 1e-6)
    y = ((groups - groups.mean(axis=2, keepdims=True)) / deviation).reshape(x.shape)
    y = y * weight[:, None, None] + bias[:, None, None]
    return y / (1 + np.exp(-y)) if activate else y


def _run(function, activate):
    import jittor as jt

    x, weight, bias, dy = (jt.array(array) for array in _inputs())
    y = function(x, weight, bias, activate)
    return [v.numpy() for v in (y, *jt.grad((y * dy).sum(), [x, weight, bias]))]


@pytest.mark.parametrize("activate", [False, True])
def test_the_fused_group_norm_and_its_gradients_are_the_plain_ones(jittor_engine, activate):
    from jittor_ddim.engines.jittor import kernels

    assert kernels.use_kernels()
    fused, plain = _run(kernels.group_norm, activate), _run(kernels.plain_group_norm, activate)
    for name, a, b in zip(("y", "dx", "dweight", "dbias"), fused, plain, strict=True):
        assert np.abs(a - b).max() <= BOUND * np.abs(b).max(), name


@pytest.mark.parametrize("activate", [False, True])
def test_the_fused_group_norm_is_right(jittor_engine, activate):
    from jittor_ddim.engines.jittor import kernels

    expected = _reference(*_inputs()[:3], activate)
    found = _run(kernels.group_norm, activate)[0]
    assert np.abs(found - expected).max() <= BOUND * np.abs(expected).max()


def test_the_environment_turns_the_kernels_off(jittor_engine, monkeypatch):
    from jittor_ddim.engines.jittor import kernels

    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "plain")
    assert not kernels.use_kernels()
