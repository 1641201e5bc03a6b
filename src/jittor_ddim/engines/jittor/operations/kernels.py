"""The kernels of ours, as Jittor's operations with gradients; their C++ is in the headers here.

Every Var here is flat. Sizes go to a kernel as numbers, so that Jittor compiles it once, whatever
the shapes.
"""

from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import jittor as jt
from jittor import Function, Var

from jittor_ddim.architecture import NORM_EPSILON
from jittor_ddim.config import NORM_GROUPS
from jittor_ddim.engines.jittor.onednn import onednn_folder

#: Of which oneDNN makes every channel count a multiple, at most, when it packs weights.
_PACKED_MULTIPLE = 64

Numbers = dict[str, int]


def convolve(x: Var, weight: Var, bias: Var, problem: Numbers) -> Var:
    """Return a convolution, flat.

    :param problem: what convolution.h reads; ``packed`` tells whether the weights are
    """
    source = """
        ddim::kept<ddim::Forward>(ddim::Problem(data))
            .run(in0_p, in1_p, data["packed"] != 0, in2_p, out0_p);
    """
    inputs = [_flat(x), _flat(weight), bias]
    return _code([prod(out_shape(problem))], inputs, "convolution", source, problem)[0]


def out_shape(problem: Numbers) -> list[int]:
    """Return the shape of a convolution's result, in blocks or as an image."""
    size = [
        (problem[length] + problem[before] + problem[after] - problem["kernel"])
        // problem["stride"]
        + 1
        for length, before, after in (("height", "top", "bottom"), ("width", "left", "right"))
    ]
    batch, channels, block = problem["batch"], problem["out"], problem["out_block"]
    return [batch, channels // block, *size, block] if block else [batch, channels, *size]


def pack(weight: Var, problem: Numbers) -> Var:
    """Return weights laid out as oneDNN wants them for a problem."""
    rounded = [-(-n // _PACKED_MULTIPLE) * _PACKED_MULTIPLE for n in weight.shape[:2]]
    source = """
        ddim::kept<ddim::Forward>(ddim::Problem(data)).pack(in0_p, out0_p, out0_shape0);
    """
    sizes = [prod(rounded) * problem["kernel"] ** 2]
    (packed,) = _code(sizes, [_flat(weight)], "convolution", source, problem)
    packed.sync()  # once, and not in the graph of each later call
    return packed


class Convolution(Function):
    """Every gradient is an operation of its own: what nobody asks for is not computed."""

    def execute(self, x: Var, weight: Var, bias: Var, problem: Numbers) -> Var:
        """Compute the result and keep what the gradient needs."""
        self.saved = (x, weight, problem)
        return convolve(x, weight, bias, problem)

    def grad(self, dy: Var) -> tuple[Var, Var, Var, None]:
        """Return the gradient of every input."""
        x, weight, problem = self.saved
        source = "ddim::kept<ddim::BackwardInput>(ddim::Problem(data)).run(in0_p, in1_p, out0_p);"
        inputs = [dy, _flat(weight)]
        (dx,) = _code([prod(x.shape)], inputs, "convolution", source, problem)
        source = """
            ddim::kept<ddim::BackwardWeights>(ddim::Problem(data))
                .run(in0_p, in1_p, out0_p, out1_p);
        """
        sizes = [prod(weight.shape), weight.shape[0]]
        dweight, dbias = _code(sizes, [_flat(x), dy], "convolution", source, problem)
        return dx.reshape(x.shape), dweight.reshape(weight.shape), dbias, None


class GroupNorm(Function):
    """Statistics and result in one visit of each unit of channels; the gradient likewise."""

    def execute(self, x: Var, weight: Var, bias: Var, shift: Var | None, activate: bool) -> Var:
        """Compute the result and keep what the gradient needs."""
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
        sizes = [prod(x.shape), batch * channels * 2]
        y, moments = _code(sizes, inputs, "group_norm", source, numbers)
        self.saved = (x, weight, bias, moments, shift, numbers)
        return y.reshape(x.shape)

    def grad(self, dy: Var) -> tuple[Var, Var, Var, Var | None, None]:
        """Return the gradient of every input."""
        x, weight, bias, moments, shift, numbers = self.saved
        batch, channels = numbers["images"], numbers["channels"]
        source = f"""
            {_GROUPS}
            ddim::differentiate(g, in0_p, in1_p, in2_p, in3_p, in4_p, data["activate"] != 0,
                                out0_p, out1_p, out2_p, out3_p);
        """
        sizes = [prod(x.shape), *[batch * channels] * 3]
        inputs = [_flat(x), weight, bias, moments, _flat(dy)]
        dx, *each = _code(sizes, inputs, "group_norm", source, numbers)
        dweight, dbias, dshift = (v.reshape([batch, channels]) for v in each)
        of_shift = None if shift is None else dshift
        return dx.reshape(x.shape), dweight.sum(dim=0), dbias.sum(dim=0), of_shift, None


_GROUPS = f"""
    const ddim::Groups g{{
        (int64_t)data["images"], (int64_t)data["channels"], (int64_t)data["pixels"],
        (int64_t)data["block"], (int64_t)data["channels"] / {NORM_GROUPS}, {NORM_EPSILON}f}};
"""


class Attention(Function):
    """Two products around a softmax; the gradient is four."""

    def execute(self, q: Var, k: Var, v: Var) -> Var:
        """Compute the result and keep what the gradient needs."""
        batch, blocks, height, width, block = q.shape
        numbers = {
            "batch": batch, "height": height, "width": width, "channels": blocks * block,
            "block": block,
        }  # fmt: skip
        source = f"{_ATTENTION}.forward(in0_p, in1_p, in2_p, out0_p, out1_p);"
        sizes = [batch * (height * width) ** 2, prod(q.shape)]
        inputs = [_flat(part) for part in (q, k, v)]
        probabilities, y = _code(sizes, inputs, "attention", source, numbers)
        self.saved = (inputs, probabilities, numbers, q.shape)
        return y.reshape(q.shape)

    def grad(self, dy: Var) -> tuple[Var, ...]:
        """Return the gradient of every input."""
        inputs, probabilities, numbers, shape = self.saved
        source = f"""
            {_ATTENTION}.backward(in0_p, in1_p, in2_p, in3_p, in4_p, out0_p, out1_p, out2_p);
        """
        inputs = [*inputs, probabilities, _flat(dy)]
        gradients = _code([prod(shape)] * 3, inputs, "attention", source, numbers)
        return tuple(gradient.reshape(shape) for gradient in gradients)


_ATTENTION = """
    ddim::attention((int64_t)data["batch"], (int64_t)data["height"], (int64_t)data["width"],
                    (int64_t)data["channels"], (int64_t)data["block"])
"""


def _code(
    sizes: list[int], inputs: list[Var], header: str, source: str, numbers: Numbers
) -> list[Var]:
    """Run a kernel.

    :param sizes: of the results
    :param header: the name of the file with the functions that ``source`` calls
    """
    outputs: Any = jt.code(
        [[size] for size in sizes],
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
