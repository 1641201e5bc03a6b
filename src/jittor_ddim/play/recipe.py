"""The Python lines that give the images of a page again; the command is the command line's."""

from collections.abc import Callable
from dataclasses import dataclass

from jittor_ddim.config import Config
from jittor_ddim.play.ask import Ask

_STANDARD = {"Path(": "from pathlib import Path", "np.": "import numpy as np"}
_OWN = {
    "jd.": "import jittor_ddim as jd",
    "slerp(": "from jittor_ddim.diffusion.interpolation import slerp",
    "NetworkChoice(": "from jittor_ddim.network import NetworkChoice",
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


def _no_command(ask: Ask, config: Config) -> str | None:
    return None


@dataclass(frozen=True)
class NetworkWords:
    """How the network that the page has is asked for.

    :ivar command: the line that samples the same; None where no command does what the page does
    :ivar arguments: of :class:`~jittor_ddim.network.NetworkChoice`, in Python
    """

    command: Callable[[Ask, Config], str | None] = _no_command
    arguments: str = ""


def python(ask: Ask, config: Config, network: NetworkWords, device: str) -> str | None:
    """Return the lines that sample the same; None for what begins with a picture."""
    if ask.kind == "sample":
        indices = f"indices=range({ask.num_samples})"
        start = f"x_T = jd.initial_noise(network.config, seed={ask.seed}, {indices})"
    elif ask.kind == "arc":
        noise = "jd.initial_noise(network.config, seed, range(1))[0]"
        start = (
            f"ends = [{noise} for seed in ({ask.seed}, {ask.other_seed})]\n"
            f"x_T = slerp(*ends, np.linspace(0, 1, {ask.count}))"
        )
    else:
        return None
    labels = ask.named_classes(config).labels(range(ask.count))
    choice = f"{ask.engine!r}, device={device!r}, precision={ask.precision!r}"
    lines = [
        f"network = NetworkChoice({network.arguments}).find_network()",
        f"engine = jd.load_engine({choice})",
        "unet = engine.unet(network.config, network.weights)",
        start,
        _SAMPLE.format(**vars(ask), labels=labels),
    ]
    text = "\n".join(lines)
    standard, own = (
        [line for word, line in imports.items() if word in text] for imports in (_STANDARD, _OWN)
    )
    parts = ["\n".join(standard), "\n".join(own), text]
    return "\n\n".join(part for part in parts if part) + "\n"
