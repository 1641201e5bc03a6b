"""The options that commands share, each with one name, one type and one help text.

Options that belong together are a group, which a command takes as one parameter: grouping.py.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from jittor_ddim.cli.parsing import read_model_config, read_network_config
from jittor_ddim.engines import ENGINES
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.jobs.train import DEFAULT_SEED

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
Workers = Annotated[
    int,
    typer.Option(
        "--workers", help="Share the images out among so many processes, and the cores with them."
    ),
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
ImageFolder = Annotated[
    str | None,
    typer.Option("--image_folder", "-i", help="Write to EXP/image_samples/IMAGE_FOLDER."),
]
Pretrained = Annotated[
    Path | None,
    typer.Option("--pretrained", "--checkpoint", help="Weights to use instead of a run's."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="A model that ships with the program: see `ddim models`."),
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
    model: Model = None
    use_pretrained: Annotated[
        bool,
        typer.Option(
            "--use_pretrained",
            help="The published weights of the config's data set (CIFAR-10, LSUN bedroom, "
            "church or cat) instead of a run's; downloaded once.",
        ),
    ] = False
    weights: WeightsKind = None

    def choice(self, *, needed: bool = True) -> dict[str, Any]:
        """Return the fields of a :class:`~jittor_ddim.network.NetworkChoice`.

        :param needed: False: the job may do without a network, and then wants no run's config
        """
        of_run = needed and not (self.pretrained or self.use_pretrained)
        if self.model:
            config = read_model_config(self.model, self.config, self.assignments)
        else:
            config = read_network_config(
                self.config, self.assignments, self.exp, self.doc, of_run=of_run
            )
        names = ("exp", "doc", "pretrained", "model", "use_pretrained", "weights")
        return {"config": config} | {name: getattr(self, name) for name in names}


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
