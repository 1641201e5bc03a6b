"""The typed configuration: every key of the official YAML files, its default and its checks.

A config is read once, validated as a whole, and never changes afterwards. Every key has a reader;
an unknown key is an error that names the nearest allowed one.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from jittor_ddim import arguments
from jittor_ddim.config_errors import explain, nearest
from jittor_ddim.config_sections import (
    DataConfig,
    DiffusionConfig,
    ModelConfig,
    OptimConfig,
    SamplingConfig,
    Section,
    TrainingConfig,
)
from jittor_ddim.errors import ConfigError
from jittor_ddim.yaml_files import read_yaml

_PACKAGE = Path(__file__).parent
#: Where named configs are: inside an installed wheel, or at the top of a checkout.
CONFIG_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parents[1] / "configs")


class Config(Section):
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
        if diffusion.zero_terminal_snr and diffusion.prediction == "eps":
            raise ValueError(
                "diffusion.zero_terminal_snr needs diffusion.prediction x0 or v: where nothing is "
                "left of the image, eps says nothing about it"
            )
        if data.class_names is not None and len(data.class_names) != model.num_classes:
            raise ValueError(
                f"data.class_names has {len(data.class_names)} names, but model.num_classes is "
                f"{'not set' if model.num_classes is None else model.num_classes}: give each "
                "class one, or leave the names out"
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
        if self.training.loss_weight == "simple" and self.training.min_snr_gamma != 5.0:
            without_effect.append("training.min_snr_gamma (training.loss_weight is simple)")
        if self.model.num_classes is None and self.training.class_dropout != 0.1:
            without_effect.append("training.class_dropout (no model.num_classes)")
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


def with_overrides(config: Config, overrides: Mapping[str, Any], source: str) -> Config:
    """Return a config with other values by dotted key; see :func:`load_config`.

    :param source: what to call the config in an error
    """
    tree = config.model_dump(mode="json", exclude_none=True)
    for key, value in overrides.items():
        _override(tree, key, value)
    return parse_config(tree, source)


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
