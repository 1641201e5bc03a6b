"""The options that commands share, each with one name, one type and one help text.

Options that belong together are a group, which a command takes as one parameter: grouping.py.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from jittor_ddim import arguments
from jittor_ddim.cli.parsing import read_network_config
from jittor_ddim.diffusion.samplers import SAMPLERS
from jittor_ddim.diffusion.spacing import SPACINGS
from jittor_ddim.engines import ENGINES
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.guidance import Classes
from jittor_ddim.jobs.sample import MODES
from jittor_ddim.jobs.train import DEFAULT_SEED
from jittor_ddim.sampling import SamplerSettings

ConfigName = Annotated[
    str | None, typer.Option("--config", help="A config file, or the name of a shipped one.")
]
Exp = Annotated[Path, typer.Option("--exp", help="The experiment folder.")]
Doc = Annotated[str | None, typer.Option("--doc", help="The run's name: EXP/logs/DOC.")]
_seed = typer.Option(
    "--seed",
    min=0,
    max=2**63 - 1,
    help="The seed of all random numbers.",
    show_default=str(DEFAULT_SEED),
)
Seed = Annotated[int, _seed]
#: Where it matters whether it was given: a run that is resumed goes on with its own.
SeedIfGiven = Annotated[int | None, _seed]
ResumeTraining = Annotated[
    bool, typer.Option("--resume_training", help="Continue from the run's newest checkpoint.")
]
NoInteraction = Annotated[bool, typer.Option("--ni", help="Overwrite without asking.")]
Comment = Annotated[str, typer.Option("--comment", help="A remark for the run's log.")]
Verbose = Annotated[
    str, typer.Option("--verbose", help="debug, info, warning, error or critical.")
]
EngineName = Annotated[str, typer.Option("--engine", help=f"One of: {', '.join(ENGINES)}.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Of convolutions and products: float32, bfloat16, or on a GPU tf32.",
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the network first, where the engine has the choice: it takes a minute.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a config key: --set training.n_iters=100; repeatable."),
]
NumSamples = Annotated[
    int | None, typer.Option("--num_samples", help="How many images for --fid or --grid.")
]
ImageFolder = Annotated[
    str | None,
    typer.Option("--image_folder", "-i", help="Write to EXP/image_samples/IMAGE_FOLDER."),
]
Spacing = Annotated[
    str,
    typer.Option(
        "--spacing",
        "--skip_type",
        help=f"How the timesteps are spaced: {', '.join(SPACINGS)}; logsnr for few calls.",
    ),
]
Samplers = Annotated[
    list[str] | None,
    typer.Option("--samplers", help=f"Measure these too: {', '.join(SAMPLERS)}."),
]
Pretrained = Annotated[
    Path | None,
    typer.Option("--pretrained", "--checkpoint", help="Weights to use instead of a run's."),
]
WeightsKind = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="ema, the moving average, or raw, the current weights: better early in a run.",
        show_default="ema where there is one",
    ),
]


@dataclass(frozen=True)
class EngineOptions:
    """Which engine computes, where, and how precisely."""

    engine: EngineName = ENGINES[0]
    device: Device = "auto"
    precision: Precision = "float32"

    def choice(self) -> EngineChoice:
        """Return what a job takes."""
        return EngineChoice(self.engine, self.device, self.precision)


@dataclass(frozen=True)
class CompilingOptions(EngineOptions):
    """The same, of a job that an engine may compile for."""

    compile: Compile = False

    def choice(self) -> EngineChoice:
        """Return what a job takes."""
        return EngineChoice(self.engine, self.device, self.precision, self.compile)


@dataclass(frozen=True)
class NetworkOptions:
    """Whose weights."""

    exp: Exp = Path("exp")
    doc: Doc = None
    config: ConfigName = None
    assignments: Set = None
    pretrained: Pretrained = None
    use_pretrained: Annotated[
        bool,
        typer.Option(
            "--use_pretrained",
            help="The published weights of the config's data set (CIFAR-10, LSUN bedroom or "
            "church) instead of a run's; downloaded once.",
        ),
    ] = False
    weights: WeightsKind = None

    def choice(self, *, needed: bool = True) -> dict[str, Any]:
        """Return the fields of a :class:`~jittor_ddim.network.NetworkChoice`.

        :param needed: False: the job may do without a network, and then wants no run's config
        """
        of_run = needed and not (self.pretrained or self.use_pretrained)
        config = read_network_config(
            self.config, self.assignments, self.exp, self.doc, of_run=of_run
        )
        names = ("exp", "doc", "pretrained", "use_pretrained", "weights")
        return {"config": config} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample."""

    timesteps: Annotated[
        list[float],
        typer.Option(
            "--timesteps",
            help="S, the number of network calls; or several, the timesteps themselves.",
        ),
    ] = field(default_factory=lambda: [100])
    eta: Annotated[float, typer.Option("--eta", help="0: DDIM; 1: DDPM's ancestral sampling.")] = (
        0.0
    )
    spacing: Spacing = "uniform"
    sampler: Annotated[
        str,
        typer.Option(
            "--sampler",
            "--sample_type",
            help="ddim (officially: generalized), ddpm_noisy (sigma-hat), or a faster one: "
            f"{', '.join(name for name in SAMPLERS if not name.startswith('dd'))}. With 10 to 20 "
            "calls dpmpp_2m, spaced by logsnr, does what ddim does with 100.",
        ),
    ] = "ddim"
    order: Annotated[
        int | None,
        typer.Option("--order", help="Of unipc, deis and ipndm.", show_default="their usual one"),
    ] = None
    integer_timesteps: Annotated[
        bool,
        typer.Option("--integer_timesteps", help="Round the timesteps of logsnr and karras."),
    ] = False

    def settings(self, seed: int) -> SamplerSettings:
        """Return what a job takes."""
        steps = self.timesteps
        return SamplerSettings(
            timesteps=steps if len(steps) > 1 else arguments.integer("timesteps", steps[0]),
            eta=self.eta,
            spacing=self.spacing,
            sampler="ddim" if self.sampler == "generalized" else self.sampler,
            seed=seed,
            order=self.order,
            integer_timesteps=self.integer_timesteps,
        )


@dataclass(frozen=True)
class ClassOptions:
    """Which classes to draw, and how strongly."""

    class_: Annotated[
        int | None, typer.Option("--class", help="Draw this class, from 0.", show_default="none")
    ] = None
    classes: Annotated[
        list[int] | None,
        typer.Option(
            "--classes",
            help="Draw these classes: a row of a grid or GIF for each; else they take turns.",
        ),
    ] = None
    guidance: Annotated[
        float,
        typer.Option(
            "--guidance", help="W of (1 + W) output(class) - W output(no class); 0: plain."
        ),
    ] = 0.0

    def choice(self) -> Classes:
        """Return what a job takes.

        :raises UserError: if one and several are given
        """
        if self.class_ is not None and self.classes:
            raise UserError("--class and --classes: give one of them")
        chosen = self.classes if self.class_ is None else [self.class_]
        return Classes(tuple(chosen) if chosen else None, self.guidance)


@dataclass(frozen=True)
class AnimationOptions:
    """What an animation is like and where it goes."""

    image_folder: ImageFolder = None
    gif_seconds: Annotated[
        float | None,
        typer.Option("--gif_seconds", help="How long the animation takes.", show_default="6"),
    ] = None
    webp: Annotated[bool, typer.Option("--webp", help="An animated WebP instead of a GIF.")] = (
        False
    )


@dataclass(frozen=True)
class PictureOptions(AnimationOptions):
    """What to make of a network."""

    fid: Annotated[bool, typer.Option("--fid", help="Numbered images for FID.")] = False
    grid: Annotated[bool, typer.Option("--grid", help="One picture of 64 samples.")] = False
    sequence: Annotated[
        bool, typer.Option("--sequence", help="The predicted image at every step.")
    ] = False
    interpolation: Annotated[
        bool, typer.Option("--interpolation", help="Samples between two starting points.")
    ] = False
    gif: Annotated[bool, typer.Option("--gif", help="64 samples emerging from noise.")] = False
    num_samples: NumSamples = None
    npz: Annotated[bool, typer.Option("--npz", help="Pack the --fid images into one .npz.")] = (
        False
    )

    @property
    def modes(self) -> tuple[str, ...]:
        """The names of the modes that are on."""
        return tuple(mode for mode in MODES if getattr(self, mode))


@dataclass(frozen=True)
class DistanceOptions:
    """What images are compared with, by which features."""

    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            help="Real images: train, test or both of the config's data set, a folder, zip or "
            "npz, a file of statistics, or a known name such as cifar10_clean_train.",
        ),
    ] = "both"
    features: Annotated[
        str,
        typer.Option(
            "--features", help="inception, or small: this project's own, for 8x8 and 32x32 images."
        ),
    ] = "inception"
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="How images become 299x299: clean, legacy_pytorch, pytorch_fid or tf1; never "
            "compare across modes.",
        ),
    ] = "clean"
    inception: Annotated[
        Path | None,
        typer.Option("--inception", help="The Inception weights.", show_default="downloaded once"),
    ] = None

    def extractor(self) -> ExtractorChoice:
        """Return what a job takes."""
        return ExtractorChoice(self.features, self.mode, self.inception)


def names_of(*groups: type) -> tuple[str, ...]:
    """Return the names of all options of some groups."""
    return tuple(field.name for group in groups for field in fields(group))


def asker(ni: bool) -> Callable[[str], bool] | None:
    """Return how to ask the user a yes/no question; None where nobody is to be asked."""
    if ni:
        return None

    def ask(question: str) -> bool:
        sys.stderr.write(f"{question} ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask
