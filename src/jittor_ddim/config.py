"""The typed configuration: every key of the official YAML files, its default and its checks.

A config is read once, validated as a whole, and never changes afterwards. Every key has a reader;
an unknown key is an error that names the nearest allowed one.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from jittor_ddim import arguments
from jittor_ddim.config_errors import explain, nearest
from jittor_ddim.config_values import Integer, Integers, Number, integer
from jittor_ddim.decoding import rgb
from jittor_ddim.errors import ConfigError
from jittor_ddim.yaml_files import read_yaml

_PACKAGE = Path(__file__).parent
#: Where named configs are: inside an installed wheel, or at the top of a checkout.
CONFIG_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parents[1] / "configs")
#: What `data.dataset` may name; the package `data` opens them.
DATASETS = ["DIGITS", "CIFAR10", "CELEBA", "LSUN", "FFHQ", "FOLDER"]


def _dataset(name: Any) -> Any:
    if name not in DATASETS:
        raise ValueError(f"must be one of {', '.join(DATASETS)}")
    return name


def _colour(value: Any) -> Any:
    rgb(value)  # in YAML an unquoted #… is a comment, and 000000 a number
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Which images, and how they become network input."""

    dataset: Annotated[str, BeforeValidator(_dataset)]
    root: str | None = None  # a folder or archive; None looks in the usual places
    category: str | None = None  # LSUN only: bedroom, church_outdoor, …
    image_size: Integer = Field(ge=4)
    channels: Annotated[Literal[1, 3], BeforeValidator(integer)] = 3
    logit_transform: bool = False
    uniform_dequantization: bool = False
    gaussian_dequantization: bool = False
    random_flip: bool = True
    rescaled: bool = True
    num_workers: Integer = Field(default=2, ge=0)  # threads that prepare batches; 0 counts as 1
    strict: bool = False  # an undecodable image is an error
    #: Behind transparent pixels: '#rrggbb', or a name that Pillow knows.
    background: Annotated[str, BeforeValidator(_colour)] = "white"


class ModelConfig(_Section):
    """The U-Net."""

    type: Literal["simple"] = "simple"
    in_channels: Integer = Field(default=3, ge=1)
    out_ch: Integer = Field(default=3, ge=1)
    ch: Integer = Field(default=128, ge=4)  # the timestep's embedding needs two frequencies
    ch_mult: Integers = Field(default=(1, 2, 2, 2), min_length=1)
    num_groups: Integer = Field(default=32, ge=1)  # of group normalisation, at every width
    num_res_blocks: Integer = Field(default=2, ge=1)
    attn_resolutions: Integers = (16,)
    dropout: Number = Field(default=0.1, ge=0, lt=1)
    var_type: str | None = None  # accepted, without effect, as in the official code
    ema_rate: Number = Field(default=0.9999, ge=0, lt=1)
    ema: bool = True
    ema_warmup: bool = False  # lower rates at first, so that a young average is not noise
    resamp_with_conv: bool = True
    num_classes: Integer | None = Field(default=None, ge=1)  # None: a network without classes
    conv_shortcut: bool = False  # 3x3, not 1x1, where a residual block changes its channels


class DiffusionConfig(_Section):
    """The forward process q(x_t | x0)."""

    beta_schedule: Literal["linear", "quad", "const", "jsd", "sigmoid"] = "linear"
    beta_start: Number = Field(default=0.0001, ge=1e-7, lt=1)  # 1 - less is 1 in float32
    beta_end: Number = Field(default=0.02, gt=0, lt=1)
    num_diffusion_timesteps: Integer = Field(default=1000, ge=2)


class TrainingConfig(_Section):
    """How long to train, and how often to look and to save."""

    batch_size: Integer = Field(default=128, ge=1)
    n_epochs: Integer = Field(default=10000, ge=1)
    n_iters: Integer = Field(default=5000000, ge=1)
    snapshot_freq: Integer = Field(default=5000, ge=1)
    validation_freq: Integer = Field(default=2000, ge=1)
    accumulate_steps: Integer = Field(default=1, ge=1)  # micro-batches a step
    class_dropout: Number = Field(default=0.1, ge=0, le=1)  # share of labels replaced by "none"
    keep_last: Integer = Field(default=3, ge=1)  # snapshots kept besides the newest good one


class SamplingConfig(_Section):
    """Defaults of the sampling jobs."""

    batch_size: Integer = Field(default=64, ge=1)
    num_samples: Integer = Field(default=50000, ge=1)  # of the images for FID
    ckpt_id: Integer | None = None  # sample from ckpt_{id} instead of the newest
    last_only: bool | None = None  # accepted, without effect, as in the official code


class OptimConfig(_Section):
    """The optimiser, with PyTorch's rules and names."""

    optimizer: Literal["Adam", "RMSProp", "SGD"] = "Adam"
    lr: Number = Field(default=0.0002, gt=0)
    weight_decay: Number = Field(default=0.0, ge=0)
    beta1: Number = Field(default=0.9, ge=0, lt=1)
    amsgrad: bool = False
    eps: Number = Field(default=1e-8, gt=0)
    grad_clip: Number | None = Field(default=None, gt=0)  # None: no clipping

    @property
    def state_kinds(self) -> tuple[str, ...]:
        """What the optimiser keeps for each parameter, by PyTorch's names.

        All engines and the official checkpoints keep it, so a run can be resumed in any of them.
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
            raise ValueError("data.category is needed for LSUN, for instance bedroom")
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
        """What is accepted but has no effect, or one that is hardly meant; one line each."""
        remarks = []
        without_effect = ["model.var_type"] if self.model.var_type is not None else []
        without_effect += ["sampling.last_only"] if self.sampling.last_only is not None else []
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
                "channels per group, norms remove every image's mean, and samples turn out too "
                f"bright or too dark; use {max(1, self.model.ch // 4)} groups of four channels"
            )
        return remarks

    def flat(self) -> dict[str, Any]:
        """Every value by its dotted key, such as ``model.ch``."""
        return {
            f"{section}.{key}": value
            for section, values in self.model_dump().items()
            for key, value in values.items()
        }

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
    names = (path.name, f"{path.name}.yml") if path.name == str(source) else ()
    for place in (path, *(folder / name for folder in CONFIG_FOLDERS for name in names)):
        if place.is_file():
            return place
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
