"""Attention over all pixels: attention.h, with its gradient."""

from math import prod

from jittor import Function, Var

from jittor_ddim.engines.jittor.operations.code import flat, headers, run


class Attention(Function):
    """Two products around a softmax; the gradient is four."""

    def execute(self, q: Var, k: Var, v: Var, layer: str) -> Var:
        """Compute the result and keep what the gradient needs."""
        batch, blocks, height, width, block = q.shape
        numbers = {
            "batch": batch, "height": height, "width": width, "channels": blocks * block,
            "block": block,
        }  # fmt: skip
        source = f"{_ATTENTION}.forward(in0_p, in1_p, in2_p, out0_p, out1_p);"
        sizes = [batch * (height * width) ** 2, prod(q.shape)]
        inputs = [flat(part) for part in (q, k, v)]
        probabilities, y = run(layer, sizes, inputs, _HEADERS, source, numbers)
        self.saved = (layer, inputs, probabilities, numbers, q.shape)
        return y.reshape(q.shape)

    def grad(self, dy: Var) -> tuple[Var | None, ...]:
        """Return the gradient of every input."""
        layer, inputs, probabilities, numbers, shape = self.saved
        source = f"""
            {_ATTENTION}.backward(in0_p, in1_p, in2_p, in3_p, in4_p, out0_p, out1_p, out2_p);
        """
        inputs = [*inputs, probabilities, flat(dy)]
        gradients = run(layer, [prod(shape)] * 3, inputs, _HEADERS, source, numbers)
        return *(gradient.reshape(shape) for gradient in gradients), None


_HEADERS = headers("onednn", "attention")
_ATTENTION = """
    ddim::attention((int64_t)data["batch"], (int64_t)data["height"], (int64_t)data["width"],
                    (int64_t)data["channels"], (int64_t)data["block"])
"""
