"""The planted bugs: which network of sides/, where `ddim align` must find each, and its name.

`python -m parity.align.planted` in tests/ prints the table of docs/align.md.
"""

import os
import tempfile
from pathlib import Path

from jittor_ddim.parity.align.align import Plan, align
from jittor_ddim.parity.align.results import Alignment
from jittor_ddim.parity.align.sides import SideFile

SIDES = Path(__file__).with_name("sides")
STEPS = 6

#: By the bug: the network, the check and the module that must be named, the cause.
PLANTED = {
    "adam_epsilon": ("transformer", "step", None, "adam_epsilon"),
    "batchnorm_momentum": ("resnet", "buffers", "blocks.0.norm1", "batchnorm_momentum"),
    "batchnorm_variance": ("resnet", "buffers", "blocks.0.norm1", "batchnorm_variance"),
    "groupnorm_epsilon": ("unet", "eval", "middle.norm", "norm_epsilon"),
    "norm_cancellation": ("unet", "eval", "outlet.norm", "norm_cancellation"),
    "align_corners": ("unet", "eval", "", "align_corners"),
    "even_padding": ("resnet", "eval", "", "even_padding"),
    "count_include_pad": ("resnet", "eval", "pool", "count_include_pad"),
    "gelu_form": ("transformer", "eval", "layers.0.gelu", "gelu_form"),
    "layernorm_epsilon": ("transformer", "eval", "layers.0.norm1", "norm_epsilon"),
    "softmax_axis": ("transformer", "eval", "layers.0.attention.softmax", "softmax_axis"),
    "reordered": ("transformer", "eval", "layers.0.attention", "reordered"),
    "dtype_narrowing": ("transformer", "eval", "times", "dtype_narrowing"),
    "side_effects": ("resnet", "eval", "blocks.0", "side_effects"),
    "side_effects_count": ("unet", "determinism", "", "side_effects"),
    "initialisation": ("resnet", "initialisation", "stem", "initialisation"),
    "dropout_scale": ("transformer", "train", "layers.0.drop", "dropout_scale"),
    "dropout_eval": ("transformer", "determinism", "layers.0.drop", "dropout_eval"),
    "loss_reduction": ("resnet", "loss", None, "loss_reduction"),
    "gradient_clipping": ("resnet", "step", None, "gradient_clipping"),
    "ema_order": ("unet", "average", None, "ema_order"),
    "rate_off_by_one": ("resnet", "rate", None, "rate_off_by_one"),
    "data_order": ("resnet", "batch", None, "data_order"),
    "normalisation": ("resnet", "batch", None, "normalisation"),
}
#: Pairs without a bug: each network in both orders, and each with itself.
ALIGNED = [
    (f"{first}_{network}.py", f"{second}_{network}.py")
    for network in ("resnet", "transformer", "unet")
    for first, second in (
        ("jittor", "torch"),
        ("torch", "jittor"),
        ("torch", "torch"),
        ("jittor", "jittor"),
    )
] + [("jittor_ours.py", "torch_ours.py")]


def run(folder: Path, first: str, second: str, **plan) -> Alignment:
    """Align two files of sides/."""
    files = (SideFile(SIDES / first), SideFile(SIDES / second))
    return align(Plan(files, **{"steps": STEPS, **plan}), folder)


def print_table() -> None:
    """Plant every bug and print what was found as a table in Markdown."""
    print("| planted | in the small | found at | named | measured |\n|---|---|---|---|---|")
    for bug, (network, *_) in PLANTED.items():
        os.environ["ALIGN_BUG"] = bug
        with tempfile.TemporaryDirectory() as folder:
            result = run(Path(folder), f"jittor_{network}.py", f"torch_{network}.py")
        first = result.findings[0]
        place = f"`{first.module}`" if first.module else first.where
        if first.module and first.where and first.check == "eval":
            place += f", {first.where}"
        cause, evidence = (
            ("-", "-") if not first.cause else (first.cause.name, first.cause.evidence)
        )
        print(
            f"| {bug} | {network} | {first.check}: {place or 'the model'} | {cause} | {evidence} |"
        )


if __name__ == "__main__":
    print_table()
