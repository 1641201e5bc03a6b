"""Every convolution of every shipped config, on every path that this CPU can be made to take.

Forward with packed weights and without, and both gradients, for batches of 1, 3 and 16, against
NumPy, which computes three images in float64: the sixteen are these again. (Jittor's own gradients
end in a segmentation fault at 256x256; where they do not, test_operations.py compares with them.)
"""

import os
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jittor_ddim.architecture import layers
from jittor_ddim.config import config_names, load_config
from jittor_ddim.engines.kernels import use_winograd

pytestmark = [pytest.mark.jittor, pytest.mark.slow, pytest.mark.timeout(900)]

#: Of the maximum. The weights' gradients are sums over as many as a million pixels, whose signs
#: differ: 2.0e-5 measured, else 1.1e-6.
BOUND, BOUND_OF_WEIGHTS = 1e-5, 5e-5
BATCHES = (1, 3, 16)
#: Whose shapes are computed with narrower vectors too: those up to 32x32.
SMALLER = ("cifar10.yml", "cifar10_medium.yml", "cifar10_small.yml", "digits.yml")
KINDS = {
    "conv3x3": (3, 1, (1,) * 4),
    "conv1x1": (1, 1, (0,) * 4),
    "downsample": (3, 2, (0, 0, 1, 1)),
}
#: Of sixteen images, copies of three in turn: each has a part of its image's slope, together all
#: of it, so that their gradients are those of the three. Powers of two round nothing.
SHARES = np.array([2] * 6 + [1, 2, 2] + [1] * 7, np.float32) / 8


def shapes_of(name):
    """The convolutions (kind, C, H of the input, C_out) of a config that no smaller one has."""
    found = {}
    for config in sorted(config_names(), key=lambda c: load_config(c).data.image_size):
        for layer in layers(load_config(config)):
            if layer.kind in KINDS and layer.parameters:
                shape = (layer.kind, *layer.in_shape[:2], layer.out_shape[0])
                found.setdefault(shape, config)
    return [shape for shape, config in found.items() if config == name]


@cache
def pool():
    return np.random.default_rng(0).standard_normal(4_000_037).astype(np.float32)


def numbers(*shape, start=0):
    """Numbers that no array of another start shares in the same places."""
    count = int(np.prod(shape))
    rows = -(-(count + start) // len(pool()))
    return np.tile(pool(), rows)[start : start + count].reshape(shape)


def rounded(array):
    """The nearest bfloat16 numbers: multiplied as such or as float32, they give the same."""
    bits = array.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


class Problem:
    """A convolution of three images, and its gradients, as sums of products in float64."""

    def __init__(self, shape, precision):
        kind, channels, size, out = shape
        self.kernel, self.stride, self.padding = KINDS[kind]
        prepare = rounded if precision == "bfloat16" else np.ascontiguousarray
        self.x = prepare(numbers(3, channels, size, size))
        self.w = prepare(numbers(out, channels, self.kernel, self.kernel, start=1_000_003))
        self.b = prepare(numbers(out, start=17))
        end = size // self.stride
        self.dy = prepare(numbers(3, out, end, end, start=2_000_003))

        top, left, bottom, right = self.padding
        x = np.pad(self.x.astype(np.float64), [(0, 0), (0, 0), (top, bottom), (left, right)])
        w, dy = self.w.astype(np.float64), self.dy.astype(np.float64).reshape(3, out, -1)
        y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.empty((3, *w.shape))
        for tap in np.ndindex(w.shape[2:]):
            # The pixels that a tap of the filter meets.
            rows, columns = (slice(t, t + end * self.stride, self.stride) for t in tap)
            met = x[:, :, rows, columns].reshape(3, channels, -1)
            filter = np.ascontiguousarray(w[:, :, tap[0], tap[1]])
            y += filter @ met
            dx[:, :, rows, columns] += (filter.T @ dy).reshape(3, channels, end, end)
            dw[:, :, :, tap[0], tap[1]] = dy @ met.transpose(0, 2, 1)
        y += self.b[:, None]
        self.y = y.reshape(self.dy.shape).astype(np.float32)
        self.dx = dx[:, :, top : top + size, left : left + size].astype(np.float32)
        db = dy.sum(axis=2)
        self.of_weights = {1: (dw[0], db[0]), 3: (dw.sum(0), db.sum(0))}
        self.of_weights[16] = self.of_weights[3]

    def errors(self, fused, batch):
        """The largest error of each result, as a share of the largest value there is."""
        import jittor as jt

        rows = jt.array(np.arange(batch) % 3)
        share = jt.array(SHARES if batch == 16 else np.ones(batch, np.float32))

        def copies(three):
            """A batch of three images in turn; Jittor never makes it where it only compares."""
            return jt.array(inner(fused, three))[rows]

        def shared(images):
            return images * share.reshape(-1, *[1] * (images.ndim - 1))

        w, b, x, y = jt.array(self.w), jt.array(self.b), copies(self.x), copies(self.y)
        found = {}
        with jt.no_grad():
            for name, packing in (
                ("packed", fused.packing_into({})),
                ("not packed", nullcontext()),
            ):
                with packing:
                    result = fused.convolution(x, w, b, self.stride, self.padding)
                found[name] = error(result, y)
        result = fused.convolution(x, w, b, self.stride, self.padding)
        slope = shared(copies(self.dy))
        of_x, of_w, of_b = jt.grad((result * slope).sum(), [x, w, b])
        found["dx"] = error(of_x, shared(copies(self.dx)))
        for name, mine, right in zip("wb", (of_w, of_b), self.of_weights[batch], strict=True):
            found[f"d{name}"] = np.abs(mine.numpy() - right).max() / np.abs(right).max()
        return found


def inner(fused, images):
    """Images (B, C, H, W) in the layout between layers; the network's own stay as they are."""
    batch, channels, height, width = images.shape
    if channels in (1, 3):
        return images
    block = fused.channels_beside(channels)
    blocks = images.reshape(batch, channels // block, block, height, width)
    return np.ascontiguousarray(blocks.transpose(0, 1, 3, 4, 2))


def error(found, expected):
    import jittor as jt

    assert found.shape == expected.shape
    return jt.abs(found - expected).max().item() / jt.abs(expected).max().item()


def paths(monkeypatch, shape):
    """Set up each way to compute a shape, in both layouts; yield its name, precision and batches.

    Of 128x128 and more only by the ways that are the CPU's own more than one image, and of 256x256
    three at the most: sixteen take gigabytes and minutes.
    """
    from jittor_ddim.engines.jittor.operations import fused
    from jittor_ddim.engines.jittor.operations.vectors import has_avx512, has_bfloat16

    kind, channels, size, out = shape
    own_layout = "wide" if has_avx512() else "narrow"
    has_winograd = kind == "conv3x3" and use_winograd(channels, out)
    for layout in ("narrow", "wide"):
        monkeypatch.setattr(fused, "has_avx512", lambda layout=layout: layout == "wide")
        for kernels in ("winograd", "direct", "bfloat16"):
            if kernels == "winograd" and not has_winograd:
                continue
            if kernels == "bfloat16" and not has_bfloat16():
                continue
            monkeypatch.setenv("JITTOR_DDIM_KERNELS", "direct" if kernels == "direct" else "all")
            own = layout == own_layout and not (kernels == "direct" and has_winograd)
            batches = BATCHES if size < 128 else BATCHES[: 1 + own + (own and size < 256)]
            yield (
                f"{layout} {kernels}",
                "bfloat16" if kernels == "bfloat16" else "float32",
                batches,
            )


@pytest.mark.parametrize("config", config_names())
def test_convolutions(jittor_engine, monkeypatch, config):
    import jittor as jt

    from jittor_ddim.engines.jittor.operations import fused

    monkeypatch.delenv("JITTOR_DDIM_KERNELS", raising=False)
    wrong = {}
    for shape in shapes_of(config):
        problems = {}
        for path, precision, batches in paths(monkeypatch, shape):
            if precision not in problems:
                problems[precision] = Problem(shape, precision)
            for batch in batches:
                with fused.multiplying_in(precision):
                    errors = problems[precision].errors(fused, batch)
                for name, found in errors.items():
                    if not found <= (BOUND_OF_WEIGHTS if name in ("dw", "db") else BOUND):
                        wrong[shape, batch, path, name] = found
                jt.gc()  # a batch of large images takes a gigabyte an array
    assert not wrong


@pytest.mark.parametrize("vectors", ["AVX512_CORE", "AVX2"])
def test_with_narrower_vectors_than_the_cpu_has(jittor_engine, vectors):
    """In a process of its own: oneDNN reads this variable once."""
    from jittor_ddim.engines.jittor.operations import vectors as here

    wider = here.has_bfloat16() if vectors == "AVX512_CORE" else here.has_avx512()
    if not wider:
        pytest.skip(f"this CPU has nothing wider than {vectors}")
    tests = [f"{Path(__file__)}::test_convolutions[{config}]" for config in SMALLER]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "jittor", *tests],
        env={**os.environ, "DNNL_MAX_CPU_ISA": vectors}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"{len(SMALLER)} passed" in done.stdout
