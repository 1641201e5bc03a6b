"""The Python lines that give the images of a page again; the command is the command line's."""

from collections.abc import Callable
from dataclasses import dataclass

from jittor_ddim.config import Config
from jittor_ddim.play.ask import Ask

#: What the lines call the picture of one's own, as the page saves it: of the network's size.
PICTURE = "picture.png"

_STANDARD = {"Path(": "from pathlib import Path", "np.": "import numpy as np"}
_OWN = {
    "jd.": "import jittor_ddim as jd",
    "read_images(": "from jittor_ddim.data.folder import read_images",
    "plain_input(": "from jittor_ddim.data.transforms import plain_input",
    "slerp(": "from jittor_ddim.diffusion.interpolation import slerp",
    "normal(": "from jittor_ddim.diffusion.noise import Stream, normal",
    "NetworkChoice(": "from jittor_ddim.network import NetworkChoice",
    "settings.sequence(": "from jittor_ddim.sampling import SamplerSettings",
    " reconstruct(": "from jittor_ddim.sampling import SamplerSettings, reconstruct",
}
_NOISE = "x_T = jd.initial_noise(network.config, seed={seed}, indices=range({num_samples}))"
_ARC = """ends = [
    jd.initial_noise(network.config, seed, range(1))[0] for seed in ({seed}, {other_seed})
]
x_T = slerp(*ends, np.linspace(0, 1, {count}))"""
_READ = f"""data = network.config.data
x0 = plain_input(read_images(Path("{PICTURE}"), data, 1)[0], data)
"""
_SETTINGS = "settings = SamplerSettings({timesteps}, spacing={spacing!r}, sampler={sampler!r})"
_EDIT = f"""{_READ}{_SETTINGS}
steps = settings.sequence(network.config)[:{{steps}}]
alpha_bar = jd.Schedule.from_config(network.config.diffusion).alpha_bar_at(steps[-1])
eps = normal(
    {{seed}}, Stream.INITIAL, 0, range({{num_samples}}), network.config.sample_shape
)
x_T = (alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps).astype("float32")"""
_RECONSTRUCT = f"""{_READ}{_SETTINGS}
x_T, images = reconstruct(unet, network.config, x0, settings)"""
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
)"""
_STARTS = {"sample": _NOISE, "arc": _ARC, "edit": _EDIT}
_SHAPE = "  # float32 (B, C, H, W), as the network puts them out"


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


def python(ask: Ask, config: Config, network: NetworkWords, device: str) -> str:
    """Return the lines that give the same; a picture of one's own they read from a file."""
    choice = f"{ask.engine!r}, device={device!r}, precision={ask.precision!r}"
    lines = [
        f"network = NetworkChoice({network.arguments}).find_network()",
        f"engine = jd.load_engine({choice})",
        "unet = engine.unet(network.config, network.weights)",
        _images(ask, config) + _SHAPE,
    ]
    text = "\n".join(lines)
    standard, own = (
        [line for word, line in imports.items() if word in text] for imports in (_STANDARD, _OWN)
    )
    parts = ["\n".join(standard), "\n".join(own), text]
    return "\n\n".join(part for part in parts if part) + "\n"


def _images(ask: Ask, config: Config) -> str:
    values = {**vars(ask), "count": ask.count, "steps": len(ask.sequence(config))}
    if ask.kind == "reconstruct":
        return _RECONSTRUCT.format(**values)
    start = _STARTS[ask.kind].format(**values)
    values["labels"] = ask.named_classes(config).labels(range(ask.count))
    if ask.kind == "edit":
        values["timesteps"] = "steps"
    return f"{start}\n{_SAMPLE.format(**values)}"
