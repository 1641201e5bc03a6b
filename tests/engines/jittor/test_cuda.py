"""The kernels for GPUs, compiled for a CPU, against the plain operations and float64.

Their arithmetic is tested, their barriers (cuda_on_cpu/ runs a block's threads in two orders) and
what they ask of cuDNN and cuBLAS, whose functions are written there by their documents; not how
fast they are, nor whether a GPU agrees.
"""

from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest

pytestmark = pytest.mark.jittor

#: Of the maximum. In bfloat16 what is compared is rounded already; a convolution's results are too.
BOUNDS = {"float32": 1e-5, "tf32": 1e-5, "bfloat16": 4e-3}
PRECISIONS = tuple(BOUNDS)


@pytest.fixture(params=[True, False], ids=["forwards", "backwards"])
def gpu(request, emulate_gpu):
    emulate_gpu(request.param)


@pytest.fixture
def one_order(emulate_gpu):
    emulate_gpu()


def rounded(array):
    """The nearest bfloat16 numbers: nothing more is lost where they are multiplied."""
    bits = array.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def arrays(*shapes, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [rounded((rng.standard_normal(s) + offset).astype(np.float32)) for s in shapes]


def inner(x):
    """x (B, C, H, W) in the layout between layers."""
    from jittor_ddim.engines.jittor.operations import fused

    batch, channels, height, width = x.shape
    block = fused.channels_beside(channels)
    x = x.reshape(batch, channels // block, block, height, width)
    return x.transpose(0, 1, 3, 4, 2)


def agree(name, inputs, images, precision, *arguments, whole=False):
    """Compare results and gradients of every input with the plain operation's.

    :param images: how many of the inputs are images (B, C, H, W); the rest has no layout
    :param whole: whether they are the network's own images
    """
    import jittor as jt

    from jittor_ddim.engines.jittor.operations import fused, plain

    def run(function, wrap, unwrap):
        variables = [jt.array(array) for array in inputs]
        wrapped = [*(wrap(v) for v in variables[:images]), *variables[images:]]
        y = unwrap(function(*wrapped[:3], *arguments, *wrapped[3:]))
        weights = jt.array(arrays(y.shape, seed=1)[0])
        return [y.numpy(), *(g.numpy() for g in jt.grad((y * weights).sum(), variables))]

    def same(x):
        return x

    with fused.multiplying_in(precision):
        found = run(getattr(fused, name), same if whole else inner, fused.to_image)
    expected = run(getattr(plain, name), same, same)
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.shape == b.shape
        # A sum of zeros (a channel alone in its group forgets its shift) is not compared in parts.
        assert np.abs(a - b).max() <= BOUNDS[precision] * max(np.abs(b).max(), 1e-2), index


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "size"),
    [
        ((64, 32), 3, 1, (1, 1, 1, 1), 8),
        ((32, 64), 3, 1, (1, 1, 1, 1), 7),
        ((32, 96), 1, 1, (0, 0, 0, 0), 8),
        ((32, 32), 3, 2, (0, 0, 1, 1), 8),
        ((32, 32), 3, 2, (0, 0, 1, 1), 7),
        ((32, 3), 3, 1, (1, 1, 1, 1), 6),
        ((32, 1), 3, 1, (1, 1, 1, 1), 8),
        ((20, 40), 3, 1, (1, 1, 1, 1), 6),
        ((20, 12), 3, 2, (0, 0, 1, 1), 6),
        ((40, 20), 1, 1, (0, 0, 0, 0), 6),
    ],
)
def test_convolution(one_order, channels, kernel, stride, padding, size, precision):
    first, last = channels
    inputs = arrays((3, first, size, size), (last, first, kernel, kernel), (last,))
    agree("convolution", inputs, 1, precision, stride, padding)
