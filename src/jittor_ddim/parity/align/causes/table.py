"""The table of causes; the texts of each, and the line that mends it, are the report's."""

from __future__ import annotations

from collections.abc import Callable

from jittor_ddim.parity.align.causes import modules, norms, training
from jittor_ddim.parity.align.causes.scene import Scene
from jittor_ddim.parity.align.results import Cause

Test = Callable[[Scene], "Cause | None"]

#: By the check that departs, the tests of what may cause it; the first that holds is named.
CAUSES: dict[str, tuple[Test, ...]] = {
    "initialisation": (training.initialisation,),
    "batch": (training.data_order, training.normalisation),
    "determinism": (modules.side_effects, training.dropout_eval),
    "eval": (
        training.normalisation,
        modules.gelu_form,
        modules.softmax_axis,
        norms.norm_cancellation,
        norms.norm_epsilon,
        modules.align_corners,
        modules.count_include_pad,
        modules.even_padding,
        modules.reordered,  # what is only moved has the same numbers too
        modules.dtype_narrowing,
        modules.side_effects,
    ),
    "train": (
        training.dropout_scale,
        norms.norm_cancellation,
        norms.norm_epsilon,
        modules.side_effects,
    ),
    "buffers": (norms.batchnorm_momentum, norms.batchnorm_variance),
    "loss": (training.loss_reduction,),
    "step": (training.gradient_clipping, training.adam_epsilon),
    "average": (training.ema_order,),
    "rate": (training.rate_off_by_one,),
    "losses": (training.gradient_clipping,),
}
NAMES = tuple(dict.fromkeys(test.__name__ for tests in CAUSES.values() for test in tests))


def name_cause(scene: Scene) -> Cause | None:
    """Return the likely cause of a departure, confirmed by numbers; None if it is another."""
    for test in CAUSES.get(scene.finding.check, ()):
        found = test(scene)
        if found:
            return found
    return None
