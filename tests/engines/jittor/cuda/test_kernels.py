"""The kernels for GPUs, compiled for a CPU, against the plain operations and float64.

Their arithmetic is tested, their barriers (on_cpu/ runs a block's threads in two orders) and
what they ask of cuDNN and cuBLAS, whose functions are written there by their documents; not how
fast they are, nor whether a GPU agrees: that is asked with DDIM_TEST_DEVICE=cuda.
"""

import numpy as np
import pytest

pytestmark = pytest.mark.jittor

#: Of the maximum. Inputs are rounded already; in bfloat16 a convolution rounds its results too.
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


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_convolution_takes_the_networks_images(one_order, channels, precision):
    inputs = arrays((2, channels, 8, 8), (64, channels, 3, 3), (64,))
    agree("convolution", inputs, 1, precision, 1, (1, 1, 1, 1), whole=True)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(3, 64, 3), (64, 96, 3), (64, 3, 3), (20, 40, 1)])
def test_weights_are_packed_once(one_order, shape, precision):
    import jittor as jt

    from jittor_ddim.engines.jittor.operations import fused, plain

    first, last, kernel = shape
    padding = (kernel // 2,) * 4
    w, b = (jt.array(a) for a in arrays((last, first, kernel, kernel), (last,)))
    packed = {}
    with jt.no_grad(), fused.multiplying_in(precision):
        for size in (8, 4, 8):
            x = jt.array(arrays((2, first, size, size))[0])
            expected = plain.convolution(x, w, b, 1, padding).numpy()
            with fused.packing_into(packed):
                y = fused.convolution(x if first == 3 else inner(x), w, b, 1, padding)
            found = fused.to_image(y).numpy()
            assert np.abs(found - expected).max() <= BOUNDS[precision] * np.abs(expected).max()
    (one,) = packed.values()
    eights = -(-first // 8) * 8 * -(-last // 8) * 8 * kernel**2
    assert one.shape == [
        {"float32": w.numel(), "tf32": eights, "bfloat16": eights // 2}[precision]
    ]


def test_float32_is_not_rounded_and_the_others_are(no_real_gpu, one_order):
    """The emulated units round to TF32 or bfloat16 what they are allowed to."""
    import jittor as jt

    from jittor_ddim.engines.jittor.operations import fused, plain

    rng = np.random.default_rng(0)
    x, q = (rng.standard_normal((2, 32, 4, 4)).astype(np.float32) for _ in range(2))
    w, b = rng.standard_normal((32, 32, 1, 1)).astype(np.float32), np.zeros(32, np.float32)
    for name, inputs, rest in (
        ("convolution", (x, w, b), (1, (0, 0, 0, 0))),
        ("attention", (x, q, x), ()),
    ):
        wanted = getattr(plain, name)(*map(jt.array, inputs), *rest).numpy()
        errors = {}
        for precision in PRECISIONS:
            with fused.multiplying_in(precision):
                wrapped = [jt.array(inner(a) if a.shape == x.shape else a) for a in inputs]
                found = fused.to_image(getattr(fused, name)(*wrapped, *rest)).numpy()
            errors[precision] = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert errors["float32"] < 2e-6 < 5e-5 < errors["tf32"] < 2e-3 < errors["bfloat16"] < 2e-2


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize(
    ("channels", "groups", "size", "shifted"),
    [
        (32, 32, 6, False),
        (64, 32, 6, True),
        (96, 8, 5, True),
        (20, 5, 3, True),
        (48, 1, 6, True),  # more pairs of a channel and a pixel than threads
        (600, 1, 2, True),  # more channels than threads
        (128, 32, 32, True),
    ],
)
@pytest.mark.parametrize("activate", [False, True])
def test_group_norm(gpu, channels, groups, size, shifted, activate, precision):
    inputs = [arrays((2, channels, size, size), offset=20)[0]]
    inputs += arrays((channels,), (channels,), *([(2, channels)] if shifted else []))
    agree("group_norm", inputs, 1, precision, groups, activate)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize(("channels", "groups", "size"), [(128, 32, 128), (32, 8, 160)])
def test_group_norm_is_right(one_order, channels, groups, size, precision):
    """Of large images with a large mean and a shift, and its gradient, against float64."""
    import jittor as jt

    from jittor_ddim.engines.jittor.operations import fused

    x, dy = arrays((1, channels, size, size), (1, channels, size, size), offset=50)
    w, b, shift = arrays((channels,), (channels,), (1, channels))
    with fused.multiplying_in(precision):
        xs, ws, bs, ss = (jt.array(a) for a in (x, w, b, shift))
        y = fused.to_image(fused.group_norm(inner(xs), ws, bs, groups, True, ss))
        slopes = jt.grad((y * jt.array(dy)).sum(), [xs, ws, bs])
        found = [y.numpy(), *(slope.numpy() for slope in slopes)]
    expected = group_norm_in_float64(x, w, b, shift, groups, dy)
    for mine, right in zip(found, expected, strict=True):
        assert np.abs(mine.reshape(right.shape) - right).max() <= 1e-5 * np.abs(right).max()


def group_norm_in_float64(x, w, b, shift, groups, dy):
    channels, dy = x.shape[1], dy.astype(np.float64)[0].reshape(x.shape[1], -1)
    v = x.astype(np.float64)[0].reshape(channels, -1) + shift[0, :, None]
    grouped = v.reshape(groups, -1)
    centred = grouped - grouped.mean(1, keepdims=True)
    scale = 1 / np.sqrt(np.square(centred).mean(1, keepdims=True) + 1e-6)
    h = (centred * scale).reshape(v.shape)
    z = h * w[:, None] + b[:, None]
    q = 1 / (1 + np.exp(-z))
    dz = dy * q * (1 + z * (1 - q))
    dh = (dz * w[:, None]).reshape(groups, -1)
    slant = (dh * h.reshape(groups, -1)).mean(1, keepdims=True)
    dx = scale * (dh - dh.mean(1, keepdims=True) - h.reshape(groups, -1) * slant)
    return z * q, dx, (dz * h).sum(1), dz.sum(1)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("channels", "size"), [(64, 4), (20, 3), (8, 12), (16, 1)])
def test_attention(gpu, channels, size, precision):
    """The softmax and its gradient are rounded where a precision rounds what is multiplied."""
    bounds = {**BOUNDS, "tf32": 2e-3, "bfloat16": 2e-2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOUNDS, precision, bounds[precision])
        agree("attention", arrays(*[(3, channels, size, size)] * 3), 3, precision)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("channels", [(64, 32), (8, 8), (20, 12)])
def test_concatenation(one_order, channels, precision):
    inputs = arrays(*[(2, count, 4, 4) for count in channels])
    agree("concatenate", inputs, 2, precision)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("name", ["double", "halve"])
def test_resampling(one_order, name, precision):
    agree(name, arrays((2, 16, 6, 6)), 1, precision)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("channels", "        __syncthreads();\n        if (active", "        if (active"),
        ("channels", "    __syncthreads();\n    const T result", "    const T result"),
        ("channels", "    __syncthreads();  // before", "    // before"),
        ("channels", "parts[s]", "1.001 * parts[s]"),
        ("group_norm", "- level)", ")"),
    ],
)
def test_a_broken_kernel_is_noticed(no_real_gpu, emulate_gpu, monkeypatch, file, old, new):
    from jittor_ddim.engines.jittor.operations import code

    real = code._text

    def broken(files):
        text = real(files)
        source = next(path for path in files if path.name == f"{file}.h").read_text()
        assert source.count(old) == 1
        return text.replace(source, source.replace(old, new))

    monkeypatch.setattr(code, "_text", broken)
    inputs = arrays((2, 48, 4, 4), (48,), (48,), (2, 48))
    noticed = []
    for forwards in (True, False):
        emulate_gpu(forwards)
        try:
            agree("group_norm", inputs, 1, "float32", 6, True)
        except AssertionError:
            noticed.append(forwards)
    assert noticed
