"""The typed configuration: every key of the official YAML files, its default and its checks.

A config is read once, validated as a whole, and never changes afterwards. Every key has a reader;
an unknown key is an error that names the nearest allowed one.
"""

import difflib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jittor_ddim.errors import ConfigError

_PACKAGE = Path(__file__).parent
#: Where named configs live: inside an installed wheel, or at the top of a checkout.
CONFIG_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parents[1] / "configs")
#: Group normalisation has 32 groups everywhere, so channel counts are multiples of 32.
NORM_GROUPS = 32


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _booleans_are_no_numbers(cls, values: Any) -> Any:
        """YAML's `yes` must not become the number 1."""
        if isinstance(values, Mapping):
            for key, value in values.items():
                field = cls.model_fields.get(str(key))
                parts = value if isinstance(value, (list, tuple)) else [value]
                if field and _is_number(field.annotation) and any(type(p) is bool for p in parts):
                    raise ValueError(f"{key} takes numbers, got {value}")
        return values


def _is_number(annotation: Any) -> bool:
    """Whether a type is int or float, may be one, holds them, or lists the integers allowed."""
    parts = (annotation, *get_args(annotation))
    return any(part in (int, float) or type(part) is int for part in parts)


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


class ModelConfig(_Section):
    """The U-Net."""

    type: Literal["simple"] = "simple"
    in_channels: int = Field(default=3, ge=1)
    out_ch: int = Field(default=3, ge=1)
    ch: int = Field(default=128, ge=1)
    ch_mult: tuple[int, ...] = Field(default=(1, 2, 2, 2), min_length=1)
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
            if mult < 1 or model.ch * mult % NORM_GROUPS or model.ch % NORM_GROUPS:
                raise ValueError(
                    f"model.ch x model.ch_mult must be multiples of {NORM_GROUPS} (the groups of "
                    f"GroupNorm), got ch {model.ch} with multiplier {mult}"
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
        """What is accepted but does not do what its name promises; one line each."""
        remarks = []
        without_effect = [
            key
            for key, value in (
                ("model.var_type", self.model.var_type),
                ("sampling.last_only", self.sampling.last_only),
            )
            if value is not None
        ]
        if without_effect:
            remarks.append(f"{' and '.join(without_effect)}: accepted, without effect")
        unreached = [r for r in self.model.attn_resolutions if r not in self.resolutions]
        if unreached and "attn_resolutions" in self.model.model_fields_set:
            remarks.append(
                f"model.attn_resolutions: the network never reaches {unreached}, only "
                f"{list(self.resolutions)}"
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
    path = _find(source)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{source}: not plain YAML ({line[:160]})") from None
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected the sections data, model, …, found no mapping")
    for key, value in (overrides or {}).items():
        _override(tree, key, value)
    return parse_config(tree, str(source))


def parse_config(tree: Mapping[str, Any], source: str) -> Config:
    """Validate a config given as nested mappings.

    :param source: what to call it in an error
    :raises ConfigError: see :func:`load_config`
    """
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error)}") from None
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
        if tree.get(section) is None:
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise ConfigError(f"{key}: unknown key{_nearest('.'.join(sections))}")
    tree[name] = value


def _all_keys() -> list[str]:
    keys: list[str] = []
    for section, field in Config.model_fields.items():
        model = field.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)
        keys += [section, *(f"{section}.{key}" for key in model.model_fields)]
    return keys


def _nearest(key: str) -> str:
    """The allowed key that looks most like this one, else all beside it, as a sentence's end."""
    keys = _all_keys()
    section, _, leaf = key.rpartition(".")
    beside = [name for name in keys if name.rpartition(".")[0] == section]
    for candidates, cutoff in ((keys, 1.0), (beside, 0.6), (keys, 0.7)):
        leaves = {name.rpartition(".")[2]: name for name in candidates}
        if match := difflib.get_close_matches(leaf, leaves, 1, cutoff):
            return f"; did you mean {leaves[match[0]]}?"
    return f"; allowed: {', '.join(beside or Config.model_fields)}"


def _explain(error: ValidationError) -> str:
    """One line for the first thing that is wrong, and how many more there are."""
    details = error.errors()
    first = details[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"{key}: unknown key{_nearest(key)}"
    elif first["type"] == "missing":
        text = f"{key}: missing"
    elif first["type"] == "model_type":
        text = f"{key}: expected keys and values, got {first['input']!r}"
    else:
        got, message = first["input"], first["msg"].removeprefix("Value error, ")
        text = f"{key}: {message}" if key else message
        if not isinstance(got, (Mapping, BaseModel)) and key:
            text += f", got {got!r}"
    more = len(details) - 1
    return " ".join(text.split()) + (f" (and {more} more)" if more else "")
