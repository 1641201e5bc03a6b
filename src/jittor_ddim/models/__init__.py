"""The trained models that ship with the package.

A model is two files in this folder: ``NAME.safetensors``, the moving average of its weights with
its config (``ddim convert --dtype float16`` makes it from a run), and ``NAME.md``, its card: what
a program may read as YAML between two lines ``---``, then prose for people. What lies here is the
list.
"""

import difflib
from functools import cache
from pathlib import Path
from typing import Any

import safetensors
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jittor_ddim import arguments
from jittor_ddim.architecture import count_parameters
from jittor_ddim.checkpoints import read_weights
from jittor_ddim.checkpoints.recognise import CONFIG_KEY
from jittor_ddim.config import Config
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.engines import ENGINES, load_engine
from jittor_ddim.engines.base import UNet
from jittor_ddim.errors import CheckpointError, UserError
from jittor_ddim.yaml_files import parse_yaml

_FOLDER = Path(__file__).parent
_WEIGHTS, _CARD = ".safetensors", ".md"
_SHOWN = "tiles"
#: Their names, sorted.
MODELS = tuple(sorted(path.stem for path in _FOLDER.glob(f"*{_WEIGHTS}")))


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Distance(_Fields):
    """A measured FD-small, of samples made as the card recommends."""

    value: float = Field(ge=0)
    samples: int = Field(ge=2)
    reference: str  # what they are compared with


class Training(_Fields):
    """How the weights came about."""

    command: str
    engine: str
    steps: int = Field(ge=1)
    images_seen: int = Field(ge=1)
    hours: float = Field(gt=0)
    machine: str


class Sampling(_Fields):
    """How the model should be sampled; see :func:`jittor_ddim.sample`."""

    timesteps: int = Field(ge=1)
    sampler: str
    spacing: str
    guidance: float = Field(default=0.0, ge=0)

    def options(self) -> str:
        """Return the same as options of ``ddim sample``."""
        given = self.model_dump(exclude_defaults=True)
        return " ".join(f"--{key} {value}" for key, value in given.items())

    def settings(self, seed: int) -> SamplerSettings:
        """Return the same for a job, with a seed."""
        return SamplerSettings(
            self.timesteps, spacing=self.spacing, sampler=self.sampler, seed=seed
        )


class Facts(_Fields):
    """What a program may read of a card."""

    draws: str  # in a few words
    data: str
    licence: str  # of the data
    credit: str
    sampling: Sampling
    fd_small: Distance
    training: Training


class Card(_Fields):
    """What is known of a shipped model.

    :ivar text: the card without its YAML, Markdown
    :ivar size: of the weights' file, in bytes
    """

    name: str
    facts: Facts
    text: str
    resolution: int
    channels: int
    classes: tuple[str, ...]
    parameters: int
    size: int


def weights_path(name: str) -> Path:
    """Return the file of a model's weights.

    :raises UserError: if no model of that name ships, naming the nearest or all
    """
    if arguments.instance("model", name, str, "a name") in MODELS:
        return _FOLDER / f"{name}{_WEIGHTS}"
    raise UserError(f"`model` {name}: {_unknown(name)}")


def path_or_model(source: Path) -> Path:
    """Return a path that exists, or the weights of the shipped model of that name.

    :raises UserError: if it is neither
    """
    if source.exists() or source.name != str(source):
        return source
    if source.name in MODELS:
        return weights_path(source.name)
    raise UserError(f"{source}: no such file or folder, and {_unknown(source.name)}")


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, MODELS, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(MODELS)}"
    return f"no model of that name ships; {hint}"


def model_config(name: str) -> Config:
    """Return the config that a model was trained with.

    :raises UserError: see :func:`weights_path`
    """
    with safetensors.safe_open(weights_path(name), framework="numpy") as file:
        return Config.model_validate_json(file.metadata()[CONFIG_KEY])


def load_model(
    name: str,
    engine: str = ENGINES[0],
    device: str = "auto",
    precision: str = "float32",
    compile: bool = False,
) -> tuple[UNet, Config]:
    """Start an engine and return a model as its network, and the model's config.

    :param name: one of :data:`MODELS`
    :param engine: and the rest: as for :func:`jittor_ddim.load_engine`
    :raises UserError: if no such model ships, or the engine, device or precision is not available
    """
    path, config = weights_path(name), model_config(name)
    started = load_engine(engine, device, precision, compile)
    return started.unet(config, read_weights(path).weights), config


def model_to_show() -> str:
    """Return the model that is shown to whoever chose none: whose pictures are the clearest."""
    return _SHOWN if _SHOWN in MODELS else MODELS[0]


@cache
def read_card(name: str) -> Card:
    """Return what is known of a model.

    :raises UserError: see :func:`weights_path`
    :raises CheckpointError: if the card lacks something or has it wrong
    """
    weights = weights_path(name)
    path, config = weights.with_suffix(_CARD), model_config(name)
    _, head, text = path.read_text(encoding="utf-8").split("---\n", 2)
    facts: Any = parse_yaml(head, path.name)
    try:
        checked = Facts.model_validate(facts)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise CheckpointError(f"{path}: {key} is missing, wrong or unknown") from None
    count = config.model.num_classes or 0
    return Card(
        name=name,
        facts=checked,
        text=text.strip(),
        resolution=config.data.image_size,
        channels=config.data.channels,
        classes=config.data.class_names or tuple(map(str, range(count))),
        parameters=count_parameters(config),
        size=weights.stat().st_size,
    )
