"""``ddim sample`` and ``ddim gif``."""

import json
from pathlib import Path

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.parsing import chosen_modes, read_network_config, sampler_settings
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.jobs.sample import SampleRequest, run_sampling


def sample(
    exp: options.Exp = Path("exp"),
    doc: options.Doc = None,
    config: options.ConfigName = None,
    assignments: options.Set = None,
    pretrained: options.Pretrained = None,
    use_pretrained: options.UsePretrained = False,
    weights: options.WeightsKind = None,
    fid: options.Fid = False,
    grid: options.Grid = False,
    sequence: options.Sequence = False,
    interpolation: options.Interpolation = False,
    gif: options.Gif = False,
    image_folder: options.ImageFolder = None,
    timesteps: options.Timesteps = 100,
    eta: options.Eta = 0.0,
    skip_type: options.SkipType = "uniform",
    sample_type: options.SampleType = "generalized",
    num_samples: options.NumSamples = None,
    npz: options.Npz = False,
    gif_seconds: options.GifSeconds = None,
    webp: options.Webp = False,
    seed: options.Seed = 1234,
    ni: options.NoInteraction = False,
    verbose: options.Verbose = "info",
    engine: options.EngineName = "jittor",
    device: options.Device = "auto",
    precision: options.Precision = "float32",
    compile: options.Compile = False,
) -> None:
    """Sample from a run's network: one or more of --fid --grid --sequence --interpolation --gif.

    Without --doc the experiment's only run is used, else its newest.

    Example: ddim sample --doc c10 --grid --gif --timesteps 50
    """
    made = run_sampling(
        SampleRequest(
            exp=exp,
            doc=doc,
            config=read_network_config(
                config, assignments, exp, doc, of_run=not (pretrained or use_pretrained)
            ),
            pretrained=pretrained,
            use_pretrained=use_pretrained,
            weights=weights,
            modes=chosen_modes(
                fid=fid, grid=grid, sequence=sequence, interpolation=interpolation, gif=gif
            ),
            settings=sampler_settings(timesteps, eta, skip_type, sample_type, seed),
            image_folder=image_folder,
            num_samples=num_samples,
            npz=npz,
            gif_seconds=gif_seconds,
            webp=webp,
            ask=options.asker(ni),
            verbose=verbose,
            engine=EngineChoice(engine, device, precision, compile),
        )
    )
    typer.echo(json.dumps({"made": [str(path) for path in made]}))


def gif(
    exp: options.Exp = Path("exp"),
    doc: options.Doc = None,
    config: options.ConfigName = None,
    assignments: options.Set = None,
    pretrained: options.Pretrained = None,
    use_pretrained: options.UsePretrained = False,
    weights: options.WeightsKind = None,
    image_folder: options.ImageFolder = None,
    timesteps: options.Timesteps = 100,
    eta: options.Eta = 0.0,
    skip_type: options.SkipType = "uniform",
    sample_type: options.SampleType = "generalized",
    gif_seconds: options.GifSeconds = None,
    webp: options.Webp = False,
    seed: options.Seed = 1234,
    ni: options.NoInteraction = False,
    verbose: options.Verbose = "info",
    engine: options.EngineName = "jittor",
    device: options.Device = "auto",
    precision: options.Precision = "float32",
    compile: options.Compile = False,
) -> None:
    """Animate 64 samples on their way from noise to images; `ddim sample --gif` does the same.

    Example: ddim gif --doc c10 --timesteps 100 --gif_seconds 6
    """
    sample(
        exp=exp,
        doc=doc,
        config=config,
        assignments=assignments,
        pretrained=pretrained,
        use_pretrained=use_pretrained,
        weights=weights,
        gif=True,
        image_folder=image_folder,
        timesteps=timesteps,
        eta=eta,
        skip_type=skip_type,
        sample_type=sample_type,
        gif_seconds=gif_seconds,
        webp=webp,
        seed=seed,
        ni=ni,
        verbose=verbose,
        engine=engine,
        device=device,
        precision=precision,
        compile=compile,
    )
