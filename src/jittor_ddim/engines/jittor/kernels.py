"""Fused CPU kernels of our own, each beside the plain operations that it must agree with.

``JITTOR_DDIM_KERNELS=plain`` in the environment turns them off.
"""

import os

import jittor as jt
from jittor import Function, Var

from jittor_ddim.config import NORM_GROUPS

NORM_EPSILON = 1e-6


def use_kernels() -> bool:
    """Tell whether the kernels are in use: on a CPU, unless the environment says ``plain``."""
    return not jt.flags.use_cuda and os.environ.get("JITTOR_DDIM_KERNELS") != "plain"


def group_norm(x: Var, weight: Var, bias: Var, activate: bool) -> Var:
    """Return group normalisation (Wu & He 2018) in 32 groups, followed by swish if ``activate``.

    y = (x - mean) / sqrt(variance + 1e-6) weight + bias, and swish(y) = y sigmoid(y). The mean is
    subtracted before squaring: Jittor's own E[x^2] - E[x]^2 cancels in float32.

    :param x: (B, C, H, W)
    :param weight: (C,)
    :param bias: (C,)
    """
    if use_kernels():
        return _FusedGroupNorm.apply(x, weight, bias, activate)
    return plain_group_norm(x, weight, bias, activate)


def plain_group_norm(x: Var, weight: Var, bias: Var, activate: bool) -> Var:
    """The same by Jittor's operations: the oracle of the kernel, and the path on a GPU."""
    groups = x.reshape(x.shape[0], NORM_GROUPS, -1)
    centred = groups - groups.mean(dim=2, keepdims=True)
    variance = (centred * centred).mean(dim=2, keepdims=True)
    normalised = (centred / jt.sqrt(variance + NORM_EPSILON)).reshape(x.shape)
    y = normalised * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)
    return y * jt.sigmoid(y) if activate else y


class _FusedGroupNorm(Function):
    """One pass over memory for each of mean, variance and result; its gradient in two."""

    def execute(self, x: Var, weight: Var, bias: Var, activate: bool) -> Var:
        statistics = [x.shape[0], NORM_GROUPS, 2]
        source = _FORWARD.replace("ACTIVATE", str(int(activate)))
        y, statistics = jt.code(
            [x.shape, statistics],
            ["float32", "float32"],
            [x, weight, bias],
            cpu_header=_HEADER,
            cpu_src=source,
        )
        self.saved = (x, weight, bias, statistics, activate)
        return y

    def grad(self, dy: Var) -> tuple[Var, Var, Var, None]:
        x, weight, bias, statistics, activate = self.saved
        dx, dweight, dbias = jt.code(
            [x.shape, weight.shape, bias.shape],
            ["float32"] * 3,
            [x, weight, bias, statistics, dy],
            cpu_header=_HEADER,
            cpu_src=_BACKWARD.replace("ACTIVATE", str(int(activate))),
        )
        return dx, dweight, dbias, None


_HEADER = "#include <cmath>"

#: in: x, weight, bias; out: y, and the mean and 1/deviation of every group
_FORWARD = f"""
const int B = in0_shape0, C = in0_shape1, P = in0_shape2 * in0_shape3;
const int G = {NORM_GROUPS}, D = C / G;
#pragma omp parallel for
for (int i = 0; i < B * G; i++) {{
    const float* x = in0_p + (int64)i * D * P;
    float* y = out0_p + (int64)i * D * P;
    float sum = 0, squares = 0;
    for (int j = 0; j < D * P; j++) sum += x[j];
    const float mean = sum / (D * P);
    for (int j = 0; j < D * P; j++) squares += (x[j] - mean) * (x[j] - mean);
    const float scale = 1 / std::sqrt(squares / (D * P) + {NORM_EPSILON}f);
    out1_p[2 * i] = mean;
    out1_p[2 * i + 1] = scale;
    for (int d = 0; d < D; d++) {{
        const int c = i % G * D + d;
        const float w = scale * in1_p[c], b = in2_p[c];
        for (int j = d * P; j < (d + 1) * P; j++) {{
            const float v = (x[j] - mean) * w + b;
            y[j] = ACTIVATE ? v / (1 + std::exp(-v)) : v;
        }}
    }}
}}
"""

#: in: x, weight, bias, statistics, dy; out: dx, dweight, dbias.
#: A thread owns whole groups of all images, so that no two add to the same dweight.
_BACKWARD = f"""
const int B = in0_shape0, C = in0_shape1, P = in0_shape2 * in0_shape3;
const int G = {NORM_GROUPS}, D = C / G;
#pragma omp parallel for
for (int g = 0; g < G; g++) {{
    for (int d = 0; d < D; d++) out1_p[g * D + d] = out2_p[g * D + d] = 0;
    for (int n = 0; n < B; n++) {{
        const int i = n * G + g;
        const float* x = in0_p + (int64)i * D * P;
        const float* dy = in4_p + (int64)i * D * P;
        float* dx = out0_p + (int64)i * D * P;
        const float mean = in3_p[2 * i], scale = in3_p[2 * i + 1];
        float total = 0, along = 0;
        for (int d = 0; d < D; d++) {{
            const int c = g * D + d;
            const float w = in1_p[c], b = in2_p[c];
            float dw = 0, db = 0;
            for (int j = d * P; j < (d + 1) * P; j++) {{
                const float h = (x[j] - mean) * scale;
                float dv = dy[j];
                if (ACTIVATE) {{
                    const float v = h * w + b, s = 1 / (1 + std::exp(-v));
                    dv *= s * (1 + v * (1 - s));
                }}
                dw += dv * h;
                db += dv;
                dx[j] = dv * w;
            }}
            out1_p[c] += dw;
            out2_p[c] += db;
            total += db * w;
            along += dw * w;
        }}
        total /= D * P;
        along /= D * P;
        for (int j = 0; j < D * P; j++)
            dx[j] = scale * (dx[j] - total - (x[j] - mean) * scale * along);
    }}
}}
"""
