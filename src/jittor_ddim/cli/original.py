"""``python main.py``: the flags of the official code, translated to this project's commands."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.evaluate import SAMPLING
from jittor_ddim.cli.evaluate import evaluate as run_evaluate
from jittor_ddim.cli.parsing import warn_of_unused
from jittor_ddim.cli.sample import sample as run_sample
from jittor_ddim.cli.train import train as run_train
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.sample_set import find_sample_set
from jittor_ddim.jobs.train import DEFAULT_SEED

_OF_TRAINING = ("resume_training", "comment")
_OF_SAMPLING = ("image_folder", "npz", "gif_seconds", "webp", *SAMPLING[:-1])  # not the seed
_OF_TEST = ("reference", "features", "mode", "inception")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def original(
    context: typer.Context,
    config: Annotated[
        str, typer.Option("--config", help="A config file, or the name of a shipped one.")
    ],
    exp: options.Exp = Path("exp"),
    doc: options.Doc = None,
    seed: options.SeedIfGiven = None,
    comment: options.Comment = "",
    verbose: options.Verbose = "info",
    ni: options.NoInteraction = False,
    resume_training: options.ResumeTraining = False,
    sample: Annotated[bool, typer.Option("--sample", help="Sample instead of training.")] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Evaluate EXP/image_samples/IMAGE_FOLDER (images).")
    ] = False,
    fid: options.Fid = False,
    grid: options.Grid = False,
    sequence: options.Sequence = False,
    interpolation: options.Interpolation = False,
    gif: options.Gif = False,
    image_folder: options.ImageFolder = None,
    pretrained: options.Pretrained = None,
    use_pretrained: options.UsePretrained = False,
    weights: options.WeightsKind = None,
    timesteps: options.Timesteps = 1000,
    eta: options.Eta = 0.0,
    skip_type: options.SkipType = "uniform",
    sample_type: options.SampleType = "generalized",
    num_samples: options.NumSamples = None,
    npz: options.Npz = False,
    gif_seconds: options.GifSeconds = None,
    webp: options.Webp = False,
    reference: options.Reference = "both",
    features: options.Features = "inception",
    mode: options.Mode = "clean",
    inception: options.Inception = None,
    assignments: options.Set = None,
    engine: options.EngineName = "jittor",
    device: options.Device = "auto",
    precision: options.Precision = "float32",
    compile: options.Compile = False,
) -> None:
    """Train, or with --sample sample, as the official DDIM code does; with --test evaluate.

    Example: python main.py --config cifar10.yml --exp exp --doc c10 --ni
    """
    flags = ("fid", "grid", "sequence", "interpolation", "gif")
    modes = dict(zip(flags, (fid, grid, sequence, interpolation, gif), strict=True))
    network = {"pretrained": pretrained, "use_pretrained": use_pretrained, "weights": weights}
    shared: dict[str, Any] = {
        "exp": exp,
        "config": config,
        "assignments": assignments,
        "verbose": verbose,
        "engine": engine,
        "device": device,
        "precision": precision,
    }
    if sample and test:
        raise UserError("--sample and --test: two steps; sample with --fid, then call with --test")
    if sample:
        warn_of_unused(context, "it samples", *_OF_TRAINING, *_OF_TEST)
        run_sample(
            doc=doc,
            seed=DEFAULT_SEED if seed is None else seed,
            ni=ni,
            compile=compile,
            image_folder=image_folder,
            timesteps=timesteps,
            eta=eta,
            skip_type=skip_type,
            sample_type=sample_type,
            num_samples=num_samples,
            npz=npz,
            gif_seconds=gif_seconds,
            webp=webp,
            **modes,
            **network,
            **shared,
        )
        return
    if chosen := [f"--{flag}" for flag, value in (modes | network).items() if value]:
        raise UserError(f"{' and '.join(chosen)}: belongs to sampling; add --sample")
    if test:
        if compile:
            raise UserError("--compile: belongs to training and sampling")
        warn_of_unused(context, "it evaluates", "doc", "ni", *_OF_TRAINING, "npz", "webp")
        run_evaluate(
            context,
            images=find_sample_set(exp, image_folder),
            reference=reference,
            features=features,
            mode=mode,
            inception=inception,
            **shared,
        )
        return
    warn_of_unused(context, "it trains", *_OF_SAMPLING, *_OF_TEST)
    run_train(
        doc=doc,
        resume_training=resume_training,
        comment=comment,
        seed=seed,
        ni=ni,
        compile=compile,
        **shared,
    )
