"""Convolutions, and their gradients, by one of three ways.

On a GPU cuDNN's, cuda/convolution.h. On a CPU winograd.h where it applies: 3x3 filters that slide
one pixel at a time between layers, in float32; else oneDNN's direct ones, cpu/direct.h.
"""

from math import prod

from jittor import Function, Var

from jittor_ddim.engines.jittor.operations.code import Numbers, flat, headers, on_gpu, run
from jittor_ddim.engines.jittor.operations.failures import check_kernels
from jittor_ddim.engines.kernels import WINOGRAD, use_winograd


def convolve(x: Var, weight: Var, bias: Var, problem: Numbers, layer: str) -> Var:
    """Return a convolution, flat.

    :param problem: what the headers read; ``packed`` tells whether the weights are
    """
    call = 'forward(in0_p, in1_p, data["packed"] != 0, in2_p, out0_p)'
    size = prod(out_shape(problem))
    return _run(layer, [size], [flat(x), flat(weight), bias], call, problem)[0]


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


def packing(problem: Numbers) -> tuple[int | str, ...]:
    """Return what the layout of packed weights depends on."""
    if _by_winograd(problem):
        return ("winograd",)
    precision = (problem["bfloat16"], problem["tf32"])
    if on_gpu():
        return precision
    return (*precision, *(problem[name] for name in ("batch", "height", "width")))


def pack(weight: Var, problem: Numbers, layer: str) -> Var:
    """Return weights laid out as a problem's convolution wants them."""
    # Only the kernel that lays them out knows how much room that takes.
    (size,) = _run(layer, [1], [], "packed_size(out0_p)", problem, "int32")
    floats = size.item()
    check_kernels()
    (packed,) = _run(layer, [floats], [flat(weight)], "pack(in0_p, out0_p)", problem)
    packed.sync()  # once, and not in the graph of each later call
    check_kernels()
    return packed


class Convolution(Function):
    """Every gradient is an operation of its own: only those asked for are computed."""

    def execute(self, x: Var, weight: Var, bias: Var, problem: Numbers, layer: str) -> Var:
        """Compute the result and keep what the gradient needs."""
        self.saved = (x, weight, problem, layer)
        return convolve(x, weight, bias, problem, layer)

    def grad(self, dy: Var) -> tuple[Var | None, ...]:
        """Return the gradient of every input."""
        x, weight, problem, layer = self.saved
        call = "backward_input(in0_p, in1_p, out0_p)"
        (dx,) = _run(layer, [prod(x.shape)], [dy, flat(weight)], call, problem)
        call = "backward_weights(in0_p, in1_p, out0_p, out1_p)"
        sizes = [prod(weight.shape), weight.shape[0]]
        dweight, dbias = _run(layer, sizes, [flat(x), dy], call, problem)
        return dx.reshape(x.shape), dweight.reshape(weight.shape), dbias, None, None


def _run(
    layer: str,
    sizes: list[int],
    inputs: list[Var],
    call: str,
    problem: Numbers,
    dtype: str = "float32",
) -> list[Var]:
    """Run a function of the class that computes this problem."""
    if _by_winograd(problem):
        # A block of 8 channels is a register of AVX2; channels are last for AVX-512's of 16.
        lanes = 8 if 8 in (problem["in_block"], problem["out_block"]) else 16
        source = f"ddim::Winograd<{lanes}>({{{_SIZES}, false}}).{call};"
        return run(layer, sizes, inputs, WINOGRAD, source, problem, dtype)
    way = "Cudnn" if on_gpu() else "Direct"
    files = headers(cpu="onednn direct", gpu="channels images algorithms convolution")
    return run(layer, sizes, inputs, files, f"ddim::{way}(data).{call};", problem, dtype)


_SIZES = ", ".join(
    f'(int64_t)data["{name}"]'
    for name in ("batch", "height", "width", "in", "in_block", "out", "out_block")
)


def _by_winograd(problem: Numbers) -> bool:
    """Tell whether winograd.h computes this."""
    slides = [problem[key] for key in ("kernel", "stride", "top", "left", "bottom", "right")]
    between_layers = problem["in_block"] > 0 and problem["out_block"] > 0
    fits = slides == [3, 1, 1, 1, 1, 1] and between_layers and not problem["bfloat16"]
    return fits and not on_gpu() and use_winograd(problem["in"], problem["out"])
