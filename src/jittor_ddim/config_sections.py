"""The sections of a config: their keys with defaults and ranges."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)

from jittor_ddim.config_values import Integer, Integers, Number, integer
from jittor_ddim.decoding import rgb

#: What `data.dataset` may name; the package `data` opens them.
DATASETS = ["DIGITS", "CIFAR10", "CELEBA", "LSUN", "FFHQ"]  # each with layouts of its own
DATASETS += ["FOLDER", "SHARDS", "PARQUET", "NPZ"]  # any images


def _dataset(name: Any) -> Any:
    if name not in DATASETS:
        raise ValueError(f"must be one of {', '.join(DATASETS)}")
    return name


def _colour(value: Any) -> Any:
    rgb(value)  # in YAML an unquoted #… is a comment, and 000000 a number
    return value


def _names(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError("takes a list of names (a name that looks like a number in quotes)")
    if "" in value or len(set(value)) < len(value):
        raise ValueError("takes names that all differ, none of them empty")
    return tuple(value)


class Section(BaseModel):
    """Keys that are all known, and values that never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which images, and how they become network input."""

    dataset: Annotated[str, BeforeValidator(_dataset)]  # docs/data.md says what each needs
    root: str | None = None  # a folder or archive; None looks in the usual places
    category: str | None = None  # LSUN only: bedroom, church_outdoor, cat, …
    image_size: Integer = Field(ge=4)  # pixels of a side
    channels: Annotated[Literal[1, 3], BeforeValidator(integer)] = 3  # 3 colours, or 1 grey
    logit_transform: bool = False  # the network sees log(p / (1 - p)) of pixels p
    uniform_dequantization: bool = False  # uniform noise between neighbouring grey levels
    gaussian_dequantization: bool = False  # normal noise of a hundredth
    random_flip: bool = True  # mirror half of the training images
    rescaled: bool = True  # the network sees -1 … 1, else 0 … 1
    num_workers: Integer = Field(default=2, ge=0)  # threads that prepare batches; 0 counts as 1
    #: Decode images whenever they are needed, not once, into a cache; auto: if it would be large.
    stream: bool | Literal["auto"] = "auto"
    strict: bool = False  # an undecodable image is an error
    #: Behind transparent pixels: '#rrggbb', or a name that Pillow knows.
    background: Annotated[str, BeforeValidator(_colour)] = "white"
    #: What the classes are called, from class 0 on; a new run takes it from its images.
    class_names: Annotated[tuple[str, ...], BeforeValidator(_names)] | None = None


class ModelConfig(Section):
    """The U-Net."""

    type: Literal["simple"] = "simple"  # the only one, as in the official code
    in_channels: Integer = Field(default=3, ge=1)  # those of the images
    out_ch: Integer = Field(default=3, ge=1)  # the same
    ch: Integer = Field(default=128, ge=4)  # channels of the first level
    ch_mult: Integers = Field(default=(1, 2, 2, 2), min_length=1)  # times ch: those of each level
    num_groups: Integer = Field(default=32, ge=1)  # of group normalisation, at every width
    num_res_blocks: Integer = Field(default=2, ge=1)  # a level, on the way down; one more going up
    attn_resolutions: Integers = (16,)  # sizes of a level in pixels at which there is attention
    dropout: Number = Field(default=0.1, ge=0, lt=1)  # share of numbers dropped in training
    var_type: str | None = None  # accepted, without effect, as in the official code
    ema_rate: Number = Field(default=0.9999, ge=0, lt=1)  # of the moving average, a step
    ema_half_life_images: Number | None = Field(default=None, gt=0)  # instead of ema_rate
    ema: bool = True  # keep a moving average of the weights, which samples are drawn with
    ema_warmup: bool = False  # lower rates at first, so that a young average is not noise
    resamp_with_conv: bool = True  # a convolution where the size changes, else plain resampling
    num_classes: Integer | None = Field(default=None, ge=1)  # None: a network without classes
    conv_shortcut: bool = False  # 3x3, not 1x1, where a residual block changes its channels

    @model_validator(mode="before")
    @classmethod
    def _one_rate(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("ema_half_life_images") is None:
            return values
        if values.get("ema_rate") is not None:
            raise ValueError(
                "model.ema_rate and model.ema_half_life_images exclude each other: leave one out "
                "(or set it to null)"
            )
        return {key: value for key, value in values.items() if key != "ema_rate"}

    @field_serializer("ema_rate")
    def _written_rate(self, rate: float) -> float | None:
        return rate if self.ema_half_life_images is None else None


class DiffusionConfig(Section):
    """The forward process q(x_t | x0)."""

    beta_schedule: Literal["linear", "quad", "const", "jsd", "sigmoid", "cosine"] = (
        "linear"  # betas
    )
    beta_start: Number = Field(default=0.0001, ge=1e-7, lt=1)  # 1 - less is 1 in float32
    beta_end: Number = Field(default=0.02, gt=0, lt=1)  # the last beta
    num_diffusion_timesteps: Integer = Field(default=1000, ge=2)  # T
    prediction: Literal["eps", "x0", "v"] = "eps"  # what the network predicts
    zero_terminal_snr: bool = False  # nothing of the image is left at T-1; not with eps


class TrainingConfig(Section):
    """How long to train, and how often to look and to save."""

    batch_size: Integer = Field(default=128, ge=1)  # images a step, of all processes together
    n_epochs: Integer = Field(default=10000, ge=1)  # the run ends here,
    n_iters: Integer = Field(default=5000000, ge=1)  # or after so many steps, what comes first
    snapshot_freq: Integer = Field(default=5000, ge=1)  # steps between two checkpoints
    snapshot_minutes: Number | None = Field(default=None, gt=0)  # save after so many minutes too
    validation_freq: Integer = Field(default=2000, ge=1)  # steps between two validation losses
    accumulate_steps: Integer = Field(default=1, ge=1)  # micro-batches a step
    loss_weight: Literal["simple", "min_snr_gamma"] = "simple"  # of images by their timestep
    min_snr_gamma: Number = Field(default=5.0, gt=0)  # of that loss weight
    class_dropout: Number = Field(default=0.1, ge=0, le=1)  # share of labels replaced by "none"
    keep_last: Integer = Field(default=3, ge=1)  # snapshots kept besides the newest good one


class SamplingConfig(Section):
    """Defaults of the sampling jobs."""

    batch_size: Integer = Field(default=64, ge=1)  # images in a network call
    num_samples: Integer = Field(default=50000, ge=1)  # of --fid
    ckpt_id: Integer | None = None  # sample from ckpt_{id} instead of the newest
    last_only: bool | None = None  # accepted, without effect, as in the official code


class OptimConfig(Section):
    """The optimiser, with PyTorch's rules and names."""

    optimizer: Literal["Adam", "RMSProp", "SGD"] = "Adam"  # the official three
    lr: Number = Field(default=0.0002, gt=0)  # the learning rate
    warmup_steps: Integer = Field(default=0, ge=0)  # from lr / warmup_steps to lr
    decay: Literal["constant", "cosine"] = "constant"  # after the warm-up; cosine: to 0 at the end
    weight_decay: Number = Field(default=0.0, ge=0)  # added to the gradient, as in PyTorch's Adam
    beta1: Number = Field(default=0.9, ge=0, lt=1)  # of Adam
    amsgrad: bool = False  # Adam's variant
    eps: Number = Field(default=1e-8, gt=0)  # of Adam and RMSProp
    grad_clip: Number | None = Field(default=None, gt=0)  # None: no clipping

    @property
    def lr_varies(self) -> bool:
        """Whether steps have different learning rates."""
        return self.warmup_steps > 1 or self.decay != "constant"

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
