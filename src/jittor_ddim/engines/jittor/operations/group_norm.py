"""Group normalisation between a shift and swish: group_norm.h, with its gradient."""

from math import prod
from pathlib import Path

from jittor import Function, Var

from jittor_ddim.architecture import NORM_EPSILON
from jittor_ddim.engines.jittor.operations.code import flat, headers, run


class GroupNorm(Function):
    """Statistics and result in one visit of each unit of channels; the gradient likewise."""

    def execute(
        self,
        x: Var,
        weight: Var,
        bias: Var,
        shift: Var | None,
        groups: int,
        activate: bool,
        layer: str,
    ) -> Var:
        """Compute the result and keep what the gradient needs."""
        batch, blocks, height, width, block = x.shape
        channels = blocks * block
        numbers = {
            "images": batch, "channels": channels, "pixels": height * width, "block": block,
            "size": channels // groups, "activate": int(activate),
            "shifted": int(shift is not None),
        }  # fmt: skip
        source = f"""
            {_GROUPS}
            const float* shift = data["shifted"] != 0 ? in3_p : nullptr;
            ddim::normalise(g, in0_p, in1_p, in2_p, shift, data["activate"] != 0,
                            out0_p, out1_p);
        """
        inputs = [flat(x), weight, bias, bias if shift is None else flat(shift)]
        sizes = [prod(x.shape), batch * channels * 2]
        y, moments = run(layer, sizes, inputs, _files(), source, numbers)
        self.saved = (layer, x, weight, bias, moments, shift, numbers)
        return y.reshape(x.shape)

    def grad(self, dy: Var) -> tuple[Var | None, ...]:
        """Return the gradient of every input."""
        layer, x, weight, bias, moments, shift, numbers = self.saved
        batch, channels = numbers["images"], numbers["channels"]
        source = f"""
            {_GROUPS}
            ddim::differentiate(g, in0_p, in1_p, in2_p, in3_p, in4_p, data["activate"] != 0,
                                out0_p, out1_p, out2_p, out3_p);
        """
        sizes = [prod(x.shape), *[batch * channels] * 3]
        inputs = [flat(x), weight, bias, moments, flat(dy)]
        dx, *each = run(layer, sizes, inputs, _files(), source, numbers)
        dweight, dbias, dshift = (v.reshape([batch, channels]) for v in each)
        of_shift = None if shift is None else dshift
        no_numbers = (None,) * 3
        return dx.reshape(x.shape), dweight.sum(dim=0), dbias.sum(dim=0), of_shift, *no_numbers


def _files() -> tuple[Path, ...]:
    return headers(cpu="group_norm", gpu="channels group_norm")


_GROUPS = f"""
    const ddim::Groups g{{
        (int64_t)data["images"], (int64_t)data["channels"], (int64_t)data["pixels"],
        (int64_t)data["block"], (int64_t)data["size"], {NORM_EPSILON}f}};
"""
