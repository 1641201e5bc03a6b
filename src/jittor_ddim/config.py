"""The typed configuration: every key of the official YAML files, its default and its checks.

A config is read once, validated as a whole, and never changes afterwards. Every key has a reader;
an unknown key is an error that names the nearest allowed one.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from jittor_ddim import arguments
from jittor_ddim.colours import Colour
from jittor_ddim.config_errors import explain, nearest
from jittor_ddim.errors import ConfigError
from jittor_ddim.yaml_files import read_yaml

_PACKAGE = Path(__file__).parent
#: Where named configs live: inside an installed wheel, or at the top of a checkout.
CONFIG_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parents[1] / "configs")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_in_any_spelling(cls, values: Any) -> Any:
        """YAML's `yes` must not become the number 1, and `1e6`, text in YAML 1.1, is one."""
        if not isinstance(values, Mapping):
            return values
        return {key: _numbers(cls.model_fields.get(str(key)), key, values[key]) for key in values}


def _numbers(field: FieldInfo | None, key: str, value: Any) -> Any:
    """The value with whole numbers as int where its field takes integers."""
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    takes_integers = any(kind is int or type(kind) is int for kind in kinds)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    parts = value if isinstance(value, (list, tuple)) else [value]
    takes_numbers = takes_integers or float in kinds
    if takes_numbers and any(isinstance(part, (bool, np.bool_)) for part in parts):
        raise ValueError(f"{key} takes numbers, got {value}")
    if not takes_integers:
        return value
    return [_integer(part) for part in parts] if parts is value else _integer(value)


def _integer(value: Any) -> Any:
    """The integer that a value is, or the value."""
    if isinstance(value, str):
        try:
            number = float(value) if set(value) & set(".eE") else int(value)
        except ValueError:
            return value
    else:
        number = value
    whole = arguments.whole(number)
    return value if whole is None else whole


class DataConfig(_Section):
    """Which images, and how they become network input."""

    dataset: Literal["DIGITS", "CIFAR10", "CELEBA", "LSUN", "FFHQ", "FOLDER"]
    root: str | None = None  # a folder or archive; None looks in the usual places
    category: str | None = None  # LSUN only: bedroom, church_outdoor, …
    image_size: int = Field(ge=4)
    channels: Literal[1, 3] = 3
    logit_transform: bool = False
    uniform_dequantization: bool = False
    gaussian_dequantization: bool = False
    random_flip: bool = True
    rescaled: bool = True
    num_workers: int = Field(default=2, ge=0)  # threads that prepare batches; 0 counts as 1
    strict: bool = False  # an undecodable image is an error
    background: Colour = "white"  # behind transparent pixels: '#rrggbb', or a name Pillow knows


class ModelConfig(_Section):
    """The U-Net."""

    type: Literal["simple"] = "simple"
    in_channels: int = Field(default=3, ge=1)
    out_ch: int = Field(default=3, ge=1)
    ch: int = Field(default=128, ge=4)  # the timestep's embedding needs two frequencies
    ch_mult: tuple[int, ...] = Field(default=(1, 2, 2, 2), min_length=1)
    num_groups: int = Field(default=32, ge=1)  # of group normalisation, at every width
    num_res_blocks: int = Field(default=2, ge=1)
    attn_resolutions: tuple[int, ...] = (16,)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    var_type: str | None = None  # accepted, without effect, as in the official code
    ema_rate: float = Field(default=0.9999, ge=0, lt=1)
    ema: bool = True
    ema_warmup: bool = False  # lower rates at first, so that a young average is no noise
    resamp_with_conv: bool = True
    conv_shortcut: bool = False  # 3x3, not 1x1, where a residual block changes its channels


class DiffusionConfig(_Section):
    """The forward process q(x_t | x0)."""

    beta_schedule: Literal["linear", "quad", "const", "jsd", "sigmoid"] = "linear"
    beta_start: float = Field(default=0.0001, ge=1e-7, lt=1)  # 1 - less is 1 in float32
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    num_diffusion_timesteps: int = Field(default=1000, ge=2)


class TrainingConfig(_Section):
    """How long to train, and how often to look and to save."""

    batch_size: int = Field(default=128, ge=1)
    n_epochs: int = Field(default=10000, ge=1)
    n_iters: int = Field(default=5000000, ge=1)
    snapshot_freq: int = Field(default=5000, ge=1)
    validation_freq: int = Field(default=2000, ge=1)
    accumulate_steps: int = Field(default=1, ge=1)  # micro-batches a step
    keep_last: int = Field(default=3, ge=1)  # snapshots kept besides the newest good one


class SamplingConfig(_Section):
    """Defaults of the sampling jobs."""

    batch_size: int = Field(default=64, ge=1)
    num_samples: int = Field(default=50000, ge=1)  # of --fid
    ckpt_id: int | None = None  # sample from ckpt_{id} instead of the newest
    last_only: bool | None = None  # accepted, without effect, as in the official code


class OptimConfig(_Section):
    """The optimiser, with PyTorch's rules and names."""

    optimizer: Literal["Adam", "RMSProp", "SGD"] = "Adam"
    lr: float = Field(default=0.0002, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    amsgrad: bool = False
    eps: float = Field(default=1e-8, gt=0)
    grad_clip: float | None = Field(default=None, gt=0)  # None: no clipping

    @property
    def state_kinds(self) -> tuple[str, ...]:
        """What the optimiser keeps for each parameter, by PyTorch's names.

        Both engines and the official checkpoints keep it, so that a run goes on in any of them.
        """
        return {
            "Adam": ("exp_avg", "exp_avg_sq") + ("max_exp_avg_sq",) * self.amsgrad,
            "RMSProp": ("square_avg",),
            "SGD": ("momentum_buffer",),
        }[self.optimizer]


class Config(_Section):
    """Everything a run needs to know, in the sections of the official YAML files."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()
    optim: OptimConfig = OptimConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        data, model, diffusion = self.data, self.model, self.diffusion
        if data.rescaled and data.logit_transform:
            raise ValueError(
                "data.rescaled and data.logit_transform exclude each other (the inverse of one "
                "does not undo the other): set one of them to false"
            )
        if data.dataset == "LSUN" and not data.category:
            raise ValueError("data.category is needed for LSUN, for instance `category: bedroom`")
        if not model.in_channels == model.out_ch == data.channels:
            raise ValueError(
                f"model.in_channels ({model.in_channels}) and model.out_ch ({model.out_ch}) must "
                f"equal data.channels ({data.channels})"
            )
        for mult in model.ch_mult:
            if mult < 1 or model.ch * mult % model.num_groups or model.ch % model.num_groups:
                raise ValueError(
                    f"model.ch x model.ch_mult must be multiples of {model.num_groups} "
                    f"(model.num_groups), got ch {model.ch} with multiplier {mult}"
                )
        factor = 2 ** (len(model.ch_mult) - 1)
        if data.image_size % factor:
            raise ValueError(
                f"data.image_size ({data.image_size}) must be divisible by {factor}: "
                f"model.ch_mult has {len(model.ch_mult)} levels and each but the last halves it"
            )
        if diffusion.beta_start > diffusion.beta_end:
            raise ValueError(
                f"diffusion.beta_start ({diffusion.beta_start}) must not exceed "
                f"diffusion.beta_end ({diffusion.beta_end})"
            )
        if self.training.accumulate_steps > self.training.batch_size:
            raise ValueError(
                f"training.accumulate_steps ({self.training.accumulate_steps}) must not exceed "
                f"training.batch_size ({self.training.batch_size})"
            )
        return self

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return (self.data.channels, self.data.image_size, self.data.image_size)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The feature-map sizes of the U-Net's levels, largest first."""
        return tuple(self.data.image_size >> level for level in range(len(self.model.ch_mult)))

    def remarks(self) -> list[str]:
        """What is accepted but will not do what one hopes for; one line each."""
        remarks = []
        given = {
            "model.var_type": self.model.var_type,
            "sampling.last_only": self.sampling.last_only,
        }
        without_effect = [key for key, value in given.items() if value is not None]
        if without_effect:
            remarks.append(f"{' and '.join(without_effect)}: accepted, without effect")
        unreached = [r for r in self.model.attn_resolutions if r not in self.resolutions]
        if unreached and "attn_resolutions" in self.model.model_fields_set:
            remarks.append(
                f"model.attn_resolutions: the network never reaches {unreached}, only "
                f"{list(self.resolutions)}"
            )
        if self.model.ch < 2 * self.model.num_groups:
            remarks.append(
                f"model.num_groups ({self.model.num_groups}): with one of the {self.model.ch} "
                "channels a group, norms take every image's mean away, and samples turn out too "
                f"bright or too dark; {max(1, self.model.ch // 4)} groups of four channels do not"
            )
        return remarks

    def to_yaml(self) -> str:
        """Plain YAML that :func:`load_config` reads back to an equal config."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)


def config_names() -> list[str]:
    """The names of the configs that ship with the project, sorted."""
    return sorted({path.name for folder in CONFIG_FOLDERS for path in folder.glob("*.yml")})


def load_config(source: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read and validate a config.

    :param source: a path, or the name of a shipped config such as ``cifar10.yml``
    :param overrides: values by dotted key, for instance ``{"model.ch": 64}``
    :raises ConfigError: naming the key (and the nearest allowed one) or the file
    """
    arguments.path("the config", source)
    given = {} if overrides is None else overrides
    arguments.instance("overrides", given, Mapping, 'values by dotted key, {"model.ch": 64}')
    tree = read_yaml(_find(source), str(source))
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected the sections data, model, …, found no mapping")
    for key, value in given.items():
        _override(tree, arguments.instance("a key of overrides", key, str, "text"), value)
    return parse_config(tree, str(source))


def parse_config(tree: Mapping[str, Any], source: str) -> Config:
    """Validate a config given as nested mappings.

    :param source: what to call it in an error
    :raises ConfigError: see :func:`load_config`
    """
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, Config)}") from None
    for remark in config.remarks():
        warnings.warn(f"{source}: {remark}", stacklevel=3)
    return config


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.name == str(source):
        for folder in CONFIG_FOLDERS:
            for candidate in (folder / path.name, folder / f"{path.name}.yml"):
                if candidate.is_file():
                    return candidate
    if path.is_dir():
        raise ConfigError(f"{source}: is a folder, not a config file")
    raise ConfigError(
        f"{source}: no such file, and no shipped config of that name"
        f" (shipped: {', '.join(config_names())})"
    )


def _override(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        inner = {} if tree.get(section) is None else tree[section]
        if not isinstance(inner, dict):
            raise ConfigError(f"{key}: unknown key{nearest('.'.join(sections), Config)}")
        tree[section] = dict(inner)  # an alias shares it with another section
        tree = tree[section]
    tree[name] = value
