"""Our kernels against the plain operations beside them, gradients included, and against NumPy."""

from functools import partial

import numpy as np
import pytest

pytestmark = pytest.mark.jittor

BOUND = 1e-5  # of the maximum; measured 1.4e-6


@pytest.fixture(params=["channels in blocks", "channels last"])
def fused(request, jittor_engine, monkeypatch):
    """The kernels in both layouts, whatever this CPU would choose."""
    from jittor_ddim.engines.jittor.operations import fused

    monkeypatch.setattr(fused, "has_avx512", lambda: request.param == "channels last")
    return fused


@pytest.fixture
def plain(jittor_engine):
    from jittor_ddim.engines.jittor.operations import plain

    return plain


def arrays(*shapes, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(shape) + offset).astype(np.float32) for shape in shapes]


def inner(fused, x):
    """x (B, C, H, W) in the layout between layers."""
    batch, channels, height, width = x.shape
    block = fused.channels_beside(channels)
    x = x.reshape(batch, channels // block, block, height, width)
    return x.transpose(0, 1, 3, 4, 2)


def agree(fused, mine, reference, inputs, images, blocks=False):
    """Compare results and gradients of every input.

    :param images: how many of the inputs are images (B, C, H, W); the rest has no layout
    :param blocks: whether the reference computes on channels in blocks too
    """
    import jittor as jt

    def run(function, wrap, unwrap):
        variables = [jt.array(array) for array in inputs]
        y = unwrap(function(*(wrap(v) for v in variables[:images]), *variables[images:]))
        weights = jt.array(arrays(y.shape, seed=1)[0])
        return [y.numpy(), *(g.numpy() for g in jt.grad((y * weights).sum(), variables))]

    inside = (lambda x: inner(fused, x), fused.to_image)
    found = run(mine, *inside)
    expected = run(reference, *(inside if blocks else (lambda x: x, lambda x: x)))
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= BOUND * np.abs(b).max(), index


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "size"),
    [
        ((64, 32), 3, 1, (1, 1, 1, 1), 8),
        ((32, 64), 3, 1, (1, 1, 1, 1), 7),
        ((32, 96), 1, 1, (0, 0, 0, 0), 8),
        ((64, 64), 3, 2, (0, 0, 1, 1), 8),
        ((32, 32), 3, 2, (0, 0, 1, 1), 7),
        ((32, 3), 3, 1, (1, 1, 1, 1), 6),
        ((32, 1), 3, 1, (1, 1, 1, 1), 8),
        ((20, 40), 3, 1, (1, 1, 1, 1), 6),
        ((40, 20), 1, 1, (0, 0, 0, 0), 6),
    ],
)
def test_convolution(fused, plain, channels, kernel, stride, padding, size):
    first, last = channels
    inputs = arrays((3, first, size, size), (last, first, kernel, kernel), (last,))
    agree(
        fused,
        lambda x, w, b: fused.convolution(x, w, b, stride, padding),
        lambda x, w, b: plain.convolution(x, w, b, stride, padding),
        inputs,
        images=1,
    )


@pytest.mark.parametrize("size", [7, 8])
def test_winograd_and_direct_convolutions(fused, monkeypatch, size):
    results = []

    def convolution(kernels, x, w, b):
        monkeypatch.setenv("JITTOR_DDIM_KERNELS", kernels)
        results.append(fused.convolution(x, w, b, 1, (1, 1, 1, 1)))
        return results[-1]

    inputs = arrays((3, 32, size, size), (64, 32, 3, 3), (64,))
    agree(fused, partial(convolution, "all"), partial(convolution, "direct"), inputs, 1, True)
    assert np.abs(results[0].numpy() - results[1].numpy()).max() > 0  # it was not the same kernel


@pytest.mark.parametrize("channels", [1, 3])
def test_a_convolution_takes_the_networks_images(fused, plain, channels):
    inputs = arrays((2, channels, 8, 8), (64, channels, 3, 3), (64,))
    padding = (1, 1, 1, 1)
    agree(
        fused,
        lambda x, w, b: fused.convolution(x, w, b, 1, padding),
        lambda x, w, b: plain.convolution(x, w, b, 1, padding),
        inputs,
        images=0,
    )


@pytest.mark.parametrize("channels", [(3, 64), (64, 96), (64, 3)])
def test_weights_are_packed_once_or_once_for_each_shape(fused, plain, channels, monkeypatch):
    import jittor as jt

    monkeypatch.delenv("JITTOR_DDIM_KERNELS", raising=False)  # which decides it too
    first, last = channels
    w, b = (jt.array(a) for a in arrays((last, first, 3, 3), (last,)))
    packed = {}
    with jt.no_grad():
        for size in (8, 4, 8):
            x = jt.array(arrays((2, first, size, size))[0])
            expected = plain.convolution(x, w, b, 1, (1, 1, 1, 1)).numpy()
            inside = x if first == 3 else inner(fused, x)
            with fused.packing_into(packed):
                y = fused.convolution(inside, w, b, 1, (1, 1, 1, 1))
            found = fused.to_image(y).numpy()
            assert np.abs(found - expected).max() <= BOUND * np.abs(expected).max()
    assert len(packed) == (1 if channels == (64, 96) else 2)


def test_packed_weights_have_the_room_that_onednn_asks_for(fused, plain):
    """With AVX-512 it lays these out in more room than any rule from channel counts had said."""
    import jittor as jt

    x, w, b = (jt.array(a) for a in arrays((1, 256, 4, 4), (512, 256, 1, 1), (512,)))
    expected = plain.convolution(x, w, b, 1, (0, 0, 0, 0)).numpy()
    with jt.no_grad(), fused.packing_into({}):
        y = fused.convolution(inner(fused, x), w, b, 1, (0, 0, 0, 0))
        found = fused.to_image(y).numpy()
    assert np.abs(found - expected).max() <= BOUND * np.abs(expected).max()


@pytest.mark.parametrize(
    ("channels", "groups", "shifted"),  # a channel alone in its group forgets its shift
    [
        *[(channels, 32, False) for channels in (32, 64, 96, 384)],
        *[(channels, 32, True) for channels in (64, 96, 384)],
        *[(channels, 8, True) for channels in (32, 40, 64, 96)],
        *[(channels, 5, True) for channels in (20, 40)],  # 20: channels that are no whole blocks
        (48, 1, True),
    ],
)
@pytest.mark.parametrize("activate", [False, True])
def test_group_norm(fused, plain, channels, groups, shifted, activate):
    inputs = [arrays((3, channels, 6, 6), offset=20)[0]]  # E[x^2] - E[x]^2 would cancel
    inputs += arrays((channels,), (channels,), *([(3, channels)] if shifted else []))
    agree(
        fused,
        lambda x, w, b, s=None: fused.group_norm(x, w, b, groups, activate, s),
        lambda x, w, b, s=None: plain.group_norm(x, w, b, groups, activate, s),
        inputs,
        images=1,
    )


@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("groups", [32, 8])
def test_group_norm_is_right(fused, groups, activate):
    """Of a large image with a large mean, against float64."""
    import jittor as jt

    x = arrays((1, 32, 160, 160), offset=50)[0]
    w, b = arrays((32,), (32,))
    wide = x.astype(np.float64).reshape(groups, -1)
    deviation = np.sqrt(wide.var(axis=1, keepdims=True) + 1e-6)
    y = ((wide - wide.mean(axis=1, keepdims=True)) / deviation).reshape(x.shape)
    y = y * w[:, None, None] + b[:, None, None]
    expected = y / (1 + np.exp(-y)) if activate else y
    found = fused.group_norm(inner(fused, jt.array(x)), jt.array(w), jt.array(b), groups, activate)
    found = fused.to_image(found).numpy()
    assert np.abs(found - expected).max() <= BOUND * np.abs(expected).max()


def test_attention(fused, plain):
    agree(fused, fused.attention, plain.attention, arrays(*[(3, 64, 4, 4)] * 3), images=3)


def test_attention_is_right(plain):
    import jittor as jt

    inputs = arrays(*[(2, 32, 3, 3)] * 3)
    q, k, v = (x.astype(np.float64).reshape(2, 32, 9) for x in inputs)
    scores = np.exp(np.einsum("bci,bcj->bij", q, k) / 32**0.5)
    weights = scores / scores.sum(axis=2, keepdims=True)
    expected = np.einsum("bij,bcj->bci", weights, v).reshape(2, 32, 3, 3)
    found = plain.attention(*(jt.array(x) for x in inputs)).numpy()
    assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize("channels", [(64, 32), (16, 20), (20, 12)])
def test_concatenation(fused, plain, channels):
    inputs = arrays(*[(2, count, 4, 4) for count in channels])
    agree(fused, fused.concatenate, plain.concatenate, inputs, images=2)


@pytest.mark.parametrize("name", ["double", "halve"])
def test_resampling(fused, plain, name):
    inputs = arrays((2, 64, 6, 6))
    agree(fused, getattr(fused, name), getattr(plain, name), inputs, images=1)


def test_the_environment_turns_the_kernels_off(jittor_engine, monkeypatch):
    from jittor_ddim.engines.jittor.operations import fused, operations, plain

    monkeypatch.delenv("JITTOR_DDIM_KERNELS", raising=False)
    assert operations() is fused
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "plain")
    assert operations() is plain


def test_a_network_is_the_same_without_our_kernels(jittor_engine, monkeypatch):
    from oracles import golden, recipe_weights

    from jittor_ddim.architecture import parameter_shapes

    tiny = golden("unet_tiny")
    weights = recipe_weights(parameter_shapes(tiny["config"]))
    results = []
    for kernels in ("all", "direct", "plain"):
        monkeypatch.setenv("JITTOR_DDIM_KERNELS", kernels)
        unet = jittor_engine.unet(tiny["config"], weights)
        results.append(unet.predict(tiny["x"], tiny["t"]))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 0 < np.abs(results[one] - results[other]).max() <= 2e-5


def test_the_plain_group_norm_of_a_large_image(plain):
    """Jittor adds one number after another, here two million: rows come first."""
    import jittor as jt

    (x,) = arrays((1, 64, 256, 256), offset=2.0, seed=3)
    ones, zeros = jt.ones(64), jt.zeros(64)
    found = plain.group_norm(jt.array(x), ones, zeros, 2, False).numpy()
    grouped = x.astype(np.float64).reshape(1, 2, -1)
    centred = grouped - grouped.mean(2, keepdims=True)
    expected = centred / np.sqrt(np.square(centred).mean(2, keepdims=True) + 1e-6)
    assert np.abs(found - expected.reshape(x.shape)).max() <= 5e-6
