"""Attention over all pixels: attention.h, with its gradient."""

from math import prod
from pathlib import Path

from jittor import Function, Var

from jittor_ddim.engines.jittor.operations.code import flat, headers, run
from jittor_ddim.engines.jittor.operations.precision import precision_numbers


class Attention(Function):
    """Two products around a softmax; the gradient is four."""

    def execute(self, q: Var, k: Var, v: Var, layer: str) -> Var:
        """Compute the result and keep what the gradient needs."""
        batch, blocks, height, width, block = q.shape
        numbers = {
            "batch": batch, "height": height, "width": width, "channels": blocks * block,
            "block": block, **precision_numbers(),
        }  # fmt: skip
        source = "ddim::attention(data).forward(in0_p, in1_p, in2_p, out0_p, out1_p);"
        sizes = [batch * (height * width) ** 2, prod(q.shape)]
        inputs = [flat(part) for part in (q, k, v)]
        probabilities, y = run(layer, sizes, inputs, _files(), source, numbers)
        self.saved = (layer, inputs, probabilities, numbers, q.shape)
        return y.reshape(q.shape)

    def grad(self, dy: Var) -> tuple[Var | None, ...]:
        """Return the gradient of every input."""
        layer, inputs, probabilities, numbers, shape = self.saved
        source = """
            ddim::attention(data).backward(in0_p, in1_p, in2_p, in3_p, in4_p,
                                           out0_p, out1_p, out2_p);
        """
        inputs = [*inputs, probabilities, flat(dy)]
        gradients = run(layer, [prod(shape)] * 3, inputs, _files(), source, numbers)
        return *(gradient.reshape(shape) for gradient in gradients), None


def _files() -> tuple[Path, ...]:
    return headers(cpu="onednn attention", gpu="channels attention")
