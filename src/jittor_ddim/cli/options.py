"""The options that commands share, each with one name, one type and one help text."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.jobs.train import DEFAULT_SEED

ConfigName = Annotated[
    str | None, typer.Option("--config", help="A config file, or the name of a shipped one.")
]
Exp = Annotated[Path, typer.Option("--exp", help="The experiment folder.")]
Doc = Annotated[str | None, typer.Option("--doc", help="The run's name: EXP/logs/DOC.")]
_seed = typer.Option(
    "--seed", min=0, max=2**63 - 1, help="Of all random numbers.", show_default=str(DEFAULT_SEED)
)
Seed = Annotated[int, _seed]
#: Where it matters whether it was given: a run that is resumed goes on with its own.
SeedIfGiven = Annotated[int | None, _seed]
ResumeTraining = Annotated[
    bool, typer.Option("--resume_training", help="Go on from the run's newest checkpoint.")
]
NoInteraction = Annotated[bool, typer.Option("--ni", help="Ask nothing; overwrite.")]
Comment = Annotated[str, typer.Option("--comment", help="A line for the run's log.")]
Verbose = Annotated[
    str, typer.Option("--verbose", help="debug, info, warning, error or critical.")
]
EngineName = Annotated[str, typer.Option("--engine", help="The framework: jittor or pytorch.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Of convolutions and products: float32, tf32 (PyTorch on a GPU) or bfloat16.",
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="PyTorch: compile the network first; a minute that many images repay."
    ),
]
Pretrained = Annotated[
    Path | None, typer.Option("--pretrained", help="Weights to use instead of a run's.")
]
UsePretrained = Annotated[
    bool,
    typer.Option(
        "--use_pretrained",
        help="The published weights of the config's data set (CIFAR-10, LSUN bedroom or church) "
        "instead of a run's; downloaded once.",
    ),
]
WeightsKind = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="ema, the moving average, or raw, the weights themselves: better in a young run.",
        show_default="ema where there is one",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a config key: --set training.n_iters=100; repeatable."),
]
Timesteps = Annotated[int, typer.Option("--timesteps", help="S, the number of network calls.")]
Eta = Annotated[float, typer.Option("--eta", help="0: DDIM; 1: DDPM's ancestral sampling.")]
SkipType = Annotated[str, typer.Option("--skip_type", help="uniform or quad.")]
SampleType = Annotated[
    str, typer.Option("--sample_type", help="generalized (DDIM) or ddpm_noisy (sigma-hat).")
]
ImageFolder = Annotated[
    str | None,
    typer.Option("--image_folder", "-i", help="Where: EXP/image_samples/IMAGE_FOLDER."),
]
NumSamples = Annotated[
    int | None, typer.Option("--num_samples", help="How many, of --fid and --grid.")
]
Npz = Annotated[bool, typer.Option("--npz", help="Pack the --fid images into one .npz.")]
GifSeconds = Annotated[
    float | None,
    typer.Option("--gif_seconds", help="How long the animation takes.", show_default="6"),
]
Webp = Annotated[bool, typer.Option("--webp", help="An animated WebP instead of a GIF.")]
Fid = Annotated[bool, typer.Option("--fid", help="The images of a FID evaluation.")]
Grid = Annotated[bool, typer.Option("--grid", help="One picture of 64 samples.")]
Sequence = Annotated[bool, typer.Option("--sequence", help="Predicted images step by step.")]
Interpolation = Annotated[
    bool, typer.Option("--interpolation", help="Samples between two starting points.")
]
Gif = Annotated[bool, typer.Option("--gif", help="64 samples on their way from noise.")]

Reference = Annotated[
    str,
    typer.Option(
        "--reference",
        help="Real images: train, test or both of the config's data set, a folder, zip or npz, a "
        "file of statistics, or a known name such as cifar10_clean_train.",
    ),
]
Features = Annotated[
    str,
    typer.Option(
        "--features", help="inception, or small: this project's own, for 8x8 and 32x32 images."
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        help="How images become 299x299: clean, legacy_pytorch, pytorch_fid or tf1; never "
        "compare across modes.",
    ),
]
Inception = Annotated[
    Path | None,
    typer.Option("--inception", help="The Inception weights.", show_default="downloaded once"),
]


def asker(ni: bool) -> Callable[[str], bool] | None:
    """Return how to ask the user a yes/no question; None where nobody is to be asked."""
    if ni:
        return None

    def ask(question: str) -> bool:
        sys.stderr.write(f"{question} ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask
