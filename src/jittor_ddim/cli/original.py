"""``python main.py``: the flags of the official code, translated to this project's commands."""

from typing import Annotated

import typer

from jittor_ddim.cli import options, sampling_options
from jittor_ddim.cli.evaluate import evaluate
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.cli.parsing import warn_of_unused
from jittor_ddim.cli.sample import make
from jittor_ddim.cli.spreading import SpreadingCommand
from jittor_ddim.cli.train import train
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.sample import MODES
from jittor_ddim.jobs.sample_set import find_sample_set
from jittor_ddim.jobs.train import DEFAULT_SEED

_OF_TRAINING = ("resume_training", "comment")
_OF_SAMPLING = (
    *options.names_of(sampling_options.SamplingOptions),
    *options.names_of(sampling_options.ClassOptions),
    *options.names_of(sampling_options.AnimationOptions),
    "num_samples",
    "npz",
)
_OF_TEST = options.names_of(options.DistanceOptions)

_SAMPLING = sampling_options.SamplingOptions(timesteps=[1000])

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(cls=SpreadingCommand)
@grouped
def original(
    *,
    context: typer.Context,
    network: options.NetworkOptions,
    seed: options.SeedIfGiven = None,
    comment: options.Comment = "",
    verbose: options.Verbose = "info",
    ni: options.NoInteraction = False,
    resume_training: options.ResumeTraining = False,
    sample: Annotated[bool, typer.Option("--sample", help="Sample instead of training.")] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Evaluate EXP/image_samples/IMAGE_FOLDER (images).")
    ] = False,
    pictures: sampling_options.PictureOptions,
    sampling: sampling_options.SamplingOptions = _SAMPLING,
    classes: sampling_options.ClassOptions,
    distance: options.DistanceOptions,
    engine: options.CompilingOptions,
) -> None:
    """Train, or with --sample sample, as the official DDIM code does; with --test evaluate.

    Example: python main.py --config cifar10.yml --exp exp --doc c10 --ni
    """
    if network.config is None and network.model is None:
        raise UserError("--config is missing: a file, or a shipped one such as cifar10.yml")
    if sample and test:
        raise UserError("--sample and --test: two steps; sample with --fid, then call with --test")
    if sample:
        warn_of_unused(context, "it samples", *_OF_TRAINING, *_OF_TEST)
        seed = DEFAULT_SEED if seed is None else seed
        make(pictures.modes, network, pictures, sampling, classes, seed, ni, verbose, engine)
        return
    of_network = ("pretrained", "model", "use_pretrained", "weights")
    chosen = [f"--{mode}" for mode in MODES if mode in pictures.modes]
    chosen += [f"--{name}" for name in of_network if getattr(network, name)]
    if chosen:
        raise UserError(f"{' and '.join(chosen)}: belongs to sampling; add --sample")
    shared = {"exp": network.exp, "config": network.config, "assignments": network.assignments}
    shared |= {"verbose": verbose} | vars(engine)
    if test:
        if shared.pop("compile"):
            raise UserError("--compile: belongs to training and sampling")
        unused = (*_OF_TRAINING, "npz", "webp", "gif_seconds")
        warn_of_unused(context, "it evaluates", "doc", "ni", *unused)
        images = find_sample_set(network.exp, pictures.image_folder)
        evaluate(context=context, images=images, **vars(distance), **shared)
        return
    warn_of_unused(context, "it trains", *_OF_SAMPLING, *_OF_TEST)
    train(
        doc=network.doc,
        resume_training=resume_training,
        comment=comment,
        seed=seed,
        ni=ni,
        **shared,
    )
