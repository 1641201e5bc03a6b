"""Convolutions, and their gradients, by one of two ways.

winograd.h where it applies, 3x3 filters that slide one pixel at a time between layers, which is
nine tenths of the network; else, and in bfloat16, oneDNN's direct ones: convolution.h.
"""

import os
from math import prod

from jittor import Function, Var

from jittor_ddim.engines.jittor.operations.code import Numbers, flat, run

#: Of which oneDNN makes every channel count a multiple, at most, when it packs weights.
_PACKED_MULTIPLE = 64
#: panels.h: channels of a panel, and places in a transformed filter of winograd.h.
_PANEL, _PLACES = 16, 16


def convolve(x: Var, weight: Var, bias: Var, problem: Numbers) -> Var:
    """Return a convolution, flat.

    :param problem: what the headers read; ``packed`` tells whether the weights are
    """
    call = 'forward(in0_p, in1_p, data["packed"] != 0, in2_p, out0_p)'
    return _run([prod(out_shape(problem))], [flat(x), flat(weight), bias], call, problem)[0]


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
    """Return weights laid out as a problem's convolution wants them."""
    call = "pack(in0_p, out0_p, out0_shape0)"
    (packed,) = _run([_packed_size(problem)], [flat(weight)], call, problem)
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
        call = "backward_input(in0_p, in1_p, out0_p)"
        (dx,) = _run([prod(x.shape)], [dy, flat(weight)], call, problem)
        call = "backward_weights(in0_p, in1_p, out0_p, out1_p)"
        sizes = [prod(weight.shape), weight.shape[0]]
        dweight, dbias = _run(sizes, [flat(x), dy], call, problem)
        return dx.reshape(x.shape), dweight.reshape(weight.shape), dbias, None


def _run(sizes: list[int], inputs: list[Var], call: str, problem: Numbers) -> list[Var]:
    """Run a function of the class that computes this problem."""
    if _is_winograd(problem):
        headers, way = ("panels", "winograd"), f"Winograd<{_lanes(problem)}>"
    else:
        headers, way = ("onednn", "convolution"), "Direct"
    return run(sizes, inputs, headers, f"ddim::{way}(data).{call};", problem)


def _is_winograd(problem: Numbers) -> bool:
    """Tell whether winograd.h computes this, which ``JITTOR_DDIM_KERNELS=direct`` turns off."""
    slides = [problem[key] for key in ("kernel", "stride", "top", "left", "bottom", "right")]
    in_panels = all(
        problem[key] % _PANEL == 0 and problem[f"{key}_block"] % _lanes(problem) == 0
        for key in ("in", "out")
    )
    between_layers = problem["in_block"] and problem["out_block"] and in_panels
    fits = slides == [3, 1, 1, 1, 1, 1] and between_layers and not problem["bfloat16"]
    return bool(fits) and os.environ.get("JITTOR_DDIM_KERNELS") != "direct"


def _lanes(problem: Numbers) -> int:
    """Channels in a register: of AVX2, whose blocks are its registers, or of AVX-512."""
    return 8 if problem["in_block"] == 8 else 16


def _packed_size(problem: Numbers) -> int:
    channels = [problem["in"], problem["out"]]
    if _is_winograd(problem):
        return _PLACES * (prod(channels) + _PANEL)
    rounded = [-(-count // _PACKED_MULTIPLE) * _PACKED_MULTIPLE for count in channels]
    return prod(rounded) * problem["kernel"] ** 2
