"""The command and the Python lines that give the images of a page again."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from jittor_ddim.config import Config
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.play.ask import Ask

_IMPORTS = {
    "Path": "from pathlib import Path",
    "np.": "import numpy as np",
    "slerp": "from jittor_ddim.diffusion.interpolation import slerp",
}
_SAMPLE = """images = jd.sample(
    unet,
    network.config,
    x_T,
    timesteps={timesteps},
    eta={eta!r},
    spacing={spacing!r},
    sampler={sampler!r},
    seed={seed},
    labels={labels},
    guidance={guidance!r},
)  # float32 (B, C, H, W), as the network puts them out"""


@dataclass(frozen=True)
class NetworkWords:
    """How the network that the page has was asked for.

    :ivar flags: on the command line
    :ivar arguments: of :class:`~jittor_ddim.network.NetworkChoice`, in Python
    """

    flags: Sequence[str] = ()
    arguments: str = ""


def command(ask: Ask, config: Config, network: NetworkWords, engine: EngineChoice) -> str | None:
    """Return the line that samples the same; None where no command does what the page does."""
    if ask.kind != "sample":
        return None
    chosen = ask.classes(config).chosen
    # Several classes are rows of a grid; only numbered images take them in turn, as the page does.
    mode = "--fid" if chosen and len(chosen) > 1 else "--grid"
    line = ["ddim", "sample", *network.flags, mode, "--num_samples", str(ask.num_samples)]
    line += ["--timesteps", str(ask.timesteps), "--sampler", ask.sampler]
    line += ["--spacing", ask.spacing, "--eta", str(ask.eta), "--seed", str(ask.seed)]
    if chosen:
        line += ["--class" if len(chosen) == 1 else "--classes", *map(str, chosen)]
        line += ["--guidance", str(ask.guidance)]
    line += ["--engine", ask.engine, "--device", engine.device]
    return shlex.join([*line, "--precision", engine.precision])


def python(ask: Ask, config: Config, network: NetworkWords, engine: EngineChoice) -> str | None:
    """Return the lines that sample the same; None for what begins with a picture."""
    if ask.kind not in ("sample", "arc"):
        return None
    starts = {
        "sample": [
            f"x_T = jd.initial_noise(network.config, seed={ask.seed}, "
            f"indices=range({ask.num_samples}))"
        ],
        "arc": [
            f"ends = [jd.initial_noise(network.config, seed, range(1))[0] "
            f"for seed in ({ask.seed}, {ask.other_seed})]",
            f"x_T = slerp(*ends, np.linspace(0, 1, {ask.count}))",
        ],
    }
    classes = ask.classes(config)
    choice = f"{ask.engine!r}, device={engine.device!r}, precision={engine.precision!r}"
    lines = [
        f"network = NetworkChoice({network.arguments}).find_network()",
        f"engine = jd.load_engine({choice})",
        "unet = engine.unet(network.config, network.weights)",
        *starts[ask.kind],
        _SAMPLE.format(**vars(ask), labels=classes.labels(range(ask.count))),
    ]
    text = "\n".join(lines)
    heads = [line for word, line in _IMPORTS.items() if word in text]
    own = ["import jittor_ddim as jd", "from jittor_ddim.network import NetworkChoice"]
    standard = [line for line in heads if "jittor" not in line]
    own += [line for line in heads if line not in standard]
    return "\n".join([*standard, *own, "", text, ""])
