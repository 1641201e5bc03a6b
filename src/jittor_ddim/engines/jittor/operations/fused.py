"""The operations on a CPU, by kernels of ours around oneDNN; :mod:`.plain` describes each.

Between the network's edges a Var is (B, C / block, H, W, block): channels in blocks, the layout
for which oneDNN's convolutions are fastest. Images at the edges are (B, C, H, W), and
:func:`convolution` takes and returns either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
from jittor import Function, Var

from jittor_ddim.config import NORM_GROUPS
from jittor_ddim.engines.jittor.onednn import onednn_folder
from jittor_ddim.engines.jittor.operations.padding import NORM_EPSILON, Padding
from jittor_ddim.hardware import cpu_features

#: The fewest numbers of which oneDNN makes every channel count a multiple when it packs weights.
_PACKED_MULTIPLE = 64


def convolution(
    x: Var,
    weight: Var,
    bias: Var,
    stride: int,
    padding: Padding,
    packed: dict[tuple[int, ...], Var] | None = None,
) -> Var:
    """Return the convolution of x by weight (C_out, C, K, K), plus bias (C_out,).

    :param packed: of weights that do not change, filled here: they are laid out as oneDNN wants
        them once for each shape of x, not at every call
    """
    problem = _problem(x, weight, stride, padding)
    if packed is None or not jt.flags.no_grad:
        y = _Convolution.apply(x, weight, bias, problem)
    else:
        if tuple(x.shape) not in packed:
            packed[tuple(x.shape)] = _pack(weight, problem)
        y = _convolve(x, packed[tuple(x.shape)], bias, {**problem, "packed": 1})
    return y.reshape(_out_shape(problem))


def group_norm(x: Var, weight: Var, bias: Var, activate: bool, shift: Var | None = None) -> Var:
    """Return group normalisation in 32 groups of x + shift, followed by swish if ``activate``."""
    return _GroupNorm.apply(x, weight, bias, shift, activate)


def attention(q: Var, k: Var, v: Var) -> Var:
    """Return softmax(q k^T / sqrt(C)) v over all pixels."""
    return _Attention.apply(q, k, v)


def concatenate(first: Var, second: Var) -> Var:
    """Return the channels of both."""
    dim = 1 if first.shape[4] == second.shape[4] == _NARROW else 4
    return jt.concat([first, second], dim=dim)


def double(x: Var) -> Var:
    """Return x at twice the resolution, every pixel four times."""
    batch, blocks, height, width, block = x.shape
    x = x.reshape(batch * blocks, height, 1, width, 1, block).broadcast(
        [batch * blocks, height, 2, width, 2, block]
    )
    return x.reshape(batch, blocks, 2 * height, 2 * width, block)


def halve(x: Var) -> Var:
    """Return x at half the resolution, the mean of 2x2 pixels."""
    batch, blocks, height, width, block = x.shape
    pairs = x.reshape(batch * blocks, height // 2, 2, width // 2, 2, block)
    return pairs.mean(dims=(2, 4)).reshape(batch, blocks, height // 2, width // 2, block)


def to_image(x: Var) -> Var:
    """Return x as (B, C, H, W)."""
    if x.ndim == 4:
        return x
    batch, blocks, height, width, block = x.shape
    return x.transpose(0, 1, 4, 2, 3).reshape(batch, blocks * block, height, width)


_NARROW = 8

_multiplies_bfloat16: ContextVar[bool] = ContextVar("multiplies_bfloat16", default=False)


@contextmanager
def multiplying_in(precision: str) -> Iterator[None]:
    """Let convolutions, and later their gradients, round what they multiply to a precision.

    Sums, results and all other operations stay float32.
    """
    token = _multiplies_bfloat16.set(precision == "bfloat16")
    try:
        yield
    finally:
        _multiplies_bfloat16.reset(token)


def channels_beside(channels: int) -> int:
    """Return how many channels lie beside each other between layers.

    All of them where the CPU has AVX-512: oneDNN's best kernels for it want channels last. Else
    eight, the numbers of a register: 1.2 to 1.7 times the speed of channels last with AVX2.
    """
    return channels if _has_avx512() else _NARROW


@cache
def _has_avx512() -> bool:
    return "avx512f" in cpu_features()


def _problem(x: Var, weight: Var, stride: int, padding: Padding) -> dict[str, int]:
    """The numbers that convolution.h reads."""
    out_channels, in_channels, kernel, _ = weight.shape
    height, width = x.shape[2:4]
    return {
        "batch": x.shape[0], "in": in_channels, "out": out_channels, "kernel": kernel,
        "height": height, "width": width, "stride": stride,
        **dict(zip(("top", "left", "bottom", "right"), padding, strict=True)),
        "in_block": x.shape[4] if x.ndim == 5 else 0,
        "out_block": 0 if out_channels % NORM_GROUPS else channels_beside(out_channels),
        "bfloat16": int(_multiplies_bfloat16.get()), "packed": 0,
    }  # fmt: skip


def _out_shape(problem: dict[str, int]) -> list[int]:
    size = [
        (problem[length] + problem[before] + problem[after] - problem["kernel"])
        // problem["stride"]
        + 1
        for length, before, after in (("height", "top", "bottom"), ("width", "left", "right"))
    ]
    batch, channels, block = problem["batch"], problem["out"], problem["out_block"]
    return [batch, channels // block, *size, block] if block else [batch, channels, *size]


def _convolve(x: Var, weight: Var, bias: Var, problem: dict[str, int]) -> Var:
    shape = [int(np.prod(_out_shape(problem)))]
    source = """
        ddim::kept<ddim::Forward>(ddim::Problem(data))
            .run(in0_p, in1_p, data["packed"] != 0, in2_p, out0_p);
    """
    return _code([shape], [_flat(x), _flat(weight), bias], "convolution", source, problem)[0]


def _pack(weight: Var, problem: dict[str, int]) -> Var:
    rounded = [-(-n // _PACKED_MULTIPLE) * _PACKED_MULTIPLE for n in weight.shape[:2]]
    shape = [int(np.prod(rounded)) * problem["kernel"] ** 2]
    source = """
        ddim::kept<ddim::Forward>(ddim::Problem(data)).pack(in0_p, out0_p, out0_shape0);
    """
    packed = _code([shape], [_flat(weight)], "convolution", source, problem)[0]
    packed.sync()  # once, and not in the graph of each later call
    return packed


class _Convolution(Function):
    """Every gradient is an operation of its own: what nobody asks for is not computed."""

    def execute(self, x: Var, weight: Var, bias: Var, problem: dict[str, int]) -> Var:
        self.saved = (x, weight, problem)
        return _convolve(x, weight, bias, problem)

    def grad(self, dy: Var) -> tuple[Var, Var, Var, None]:
        x, weight, problem = self.saved
        source = "ddim::kept<ddim::BackwardInput>(ddim::Problem(data)).run(in0_p, in1_p, out0_p);"
        size = [int(np.prod(x.shape))]
        (dx,) = _code([size], [dy, _flat(weight)], "convolution", source, problem)
        source = """
            ddim::kept<ddim::BackwardWeights>(ddim::Problem(data))
                .run(in0_p, in1_p, out0_p, out1_p);
        """
        sizes = [[int(np.prod(weight.shape))], [weight.shape[0]]]
        dweight, dbias = _code(sizes, [_flat(x), dy], "convolution", source, problem)
        return dx.reshape(x.shape), dweight.reshape(weight.shape), dbias, None


class _GroupNorm(Function):
    """Statistics and result in one visit of each unit of channels; the gradient likewise."""

    def execute(self, x: Var, weight: Var, bias: Var, shift: Var | None, activate: bool) -> Var:
        batch, blocks, height, width, block = x.shape
        channels = blocks * block
        numbers = {
            "images": batch, "channels": channels, "pixels": height * width, "block": block,
            "activate": int(activate), "shifted": int(shift is not None),
        }  # fmt: skip
        source = f"""
            {_GROUPS}
            const float* shift = data["shifted"] != 0 ? in3_p : nullptr;
            ddim::normalise(g, in0_p, in1_p, in2_p, shift, data["activate"] != 0,
                            out0_p, out1_p);
        """
        inputs = [_flat(x), weight, bias, bias if shift is None else _flat(shift)]
        sizes = [[int(np.prod(x.shape))], [batch * channels * 2]]
        y, moments = _code(sizes, inputs, "group_norm", source, numbers)
        self.saved = (x, weight, bias, moments, shift, numbers)
        return y.reshape(x.shape)

    def grad(self, dy: Var) -> tuple[Var, Var, Var, Var | None, None]:
        x, weight, bias, moments, shift, numbers = self.saved
        batch, channels = numbers["images"], numbers["channels"]
        source = f"""
            {_GROUPS}
            ddim::differentiate(g, in0_p, in1_p, in2_p, in3_p, in4_p, data["activate"] != 0,
                                out0_p, out1_p, out2_p, out3_p);
        """
        sizes = [[int(np.prod(x.shape))]] + [[batch * channels]] * 3
        inputs = [_flat(x), weight, bias, moments, _flat(dy)]
        dx, *each = _code(sizes, inputs, "group_norm", source, numbers)
        dweight, dbias, dshift = (v.reshape([batch, channels]) for v in each)
        return (
            dx.reshape(x.shape),
            dweight.sum(dim=0),
            dbias.sum(dim=0),
            None if shift is None else dshift,
            None,
        )


_GROUPS = f"""
    const ddim::Groups g{{
        (int64_t)data["images"], (int64_t)data["channels"], (int64_t)data["pixels"],
        (int64_t)data["block"], (int64_t)data["channels"] / {NORM_GROUPS}, {NORM_EPSILON}f}};
"""


class _Attention(Function):
    """Two products around a softmax; the gradient is four."""

    def execute(self, q: Var, k: Var, v: Var) -> Var:
        batch, blocks, height, width, block = q.shape
        numbers = {
            "batch": batch, "height": height, "width": width, "channels": blocks * block,
            "block": block,
        }  # fmt: skip
        source = f"{_ATTENTION}.forward(in0_p, in1_p, in2_p, out0_p, out1_p);"
        sizes = [[batch * (height * width) ** 2], [int(np.prod(q.shape))]]
        inputs = [_flat(part) for part in (q, k, v)]
        probabilities, y = _code(sizes, inputs, "attention", source, numbers)
        self.saved = (inputs, probabilities, numbers, q.shape)
        return y.reshape(q.shape)

    def grad(self, dy: Var) -> tuple[Var, ...]:
        inputs, probabilities, numbers, shape = self.saved
        source = f"""
            {_ATTENTION}.backward(in0_p, in1_p, in2_p, in3_p, in4_p, out0_p, out1_p, out2_p);
        """
        inputs = [*inputs, probabilities, _flat(dy)]
        sizes = [[int(np.prod(shape))]] * 3
        gradients = _code(sizes, inputs, "attention", source, numbers)
        return tuple(gradient.reshape(shape) for gradient in gradients)


_ATTENTION = """
    ddim::attention((int64_t)data["batch"], (int64_t)data["height"], (int64_t)data["width"],
                    (int64_t)data["channels"], (int64_t)data["block"])
"""


def _code(
    sizes: list[list[int]], inputs: list[Var], header: str, source: str, numbers: dict[str, int]
) -> list[Var]:
    """Run a kernel on flat Vars: Jittor then compiles it once, whatever the dimensions."""
    outputs: Any = jt.code(
        sizes,
        ["float32"] * len(sizes),
        inputs,
        cpu_header=_header(header),
        cpu_src=source,
        data=numbers,
    )
    for output in outputs:
        output.compile_options = _onednn_flags()
    return list(outputs)


def _flat(x: Var) -> Var:
    return x.reshape(-1)


@cache
def _header(name: str) -> str:
    """The C++ that a kernel calls."""
    names = [name] if name == "group_norm" else ["onednn", name]
    folder = Path(__file__).parent
    return "\n".join((folder / f"{name}.h").read_text() for name in names)


@cache
def _onednn_flags() -> dict[str, int]:
    folder = onednn_folder()
    return {f'FLAGS: -I"{folder}/include" -L"{folder}/lib" -lmkldnn ': 1}
