"""The files of a comparison's folder, by name; each appears as a whole when its work is done.

Those that every job of several engines has are in :mod:`jittor_ddim.parity.layout`.
"""

from jittor_ddim.diffusion.settings import Variant
from jittor_ddim.parity import layout

#: In the folder itself: the weights to start from, those that all sample with, the differences of
#: the layers.
START, TRAINED = "start.safetensors", "trained.safetensors"
LAYERS = "layers.json"
#: Where the sides depart, if they do; the files that ddim align found it with, and its report.
LOCATED, SIDES, ALIGN = "located.json", "sides", "align"
#: In a side's folder, which is named after the engine; TRAINED is there too, of its own training.
WEIGHTS, INSPECTION = "weights.json", "inspection.npz"
#: The steps; the memory of each block of them; the mark that all are done; the parts of a step.
METRICS, TURNS, TRAINING, PHASES = "metrics.jsonl", "turns.json", "training.json", "phases.json"
#: The first steps again, from weights one rounding away; only where the curves depart.
ROUNDING = "rounding.json"

#: What is there before anything is measured.
BEGINNING = layout.BEGINNING | {START, TRAINED}


def samples_file(variant: Variant) -> str:
    """Return the name of a side's file of sampled images."""
    return f"samples_{variant.tag}.npz"


def cost_file(kind: str, batch_size: int) -> str:
    """Return the name of a side's file of timed calls."""
    return f"cost_{kind}_{batch_size}.json"
