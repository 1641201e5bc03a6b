"""The options of sampling: how, what of, and which pictures."""

from dataclasses import dataclass
from typing import Annotated

import typer

from jittor_ddim import arguments
from jittor_ddim.cli.options import ImageFolder
from jittor_ddim.diffusion.samplers import SAMPLERS
from jittor_ddim.diffusion.spacing import SPACINGS
from jittor_ddim.errors import UserError
from jittor_ddim.guidance import Classes
from jittor_ddim.jobs.sample import MODES
from jittor_ddim.sampling import SamplerSettings

Spacing = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        "--skip_type",
        help=f"How the timesteps are spaced: {', '.join(SPACINGS)}; logsnr for few calls. "
        "found:FILE takes what `ddim spacing` found.",
        show_default="uniform; trailing after diffusion.zero_terminal_snr",
    ),
]
Samplers = Annotated[
    list[str] | None,
    typer.Option(
        "--samplers",
        help=f"Measure these too: {', '.join(SAMPLERS)}; of another order: ipndm:4.",
    ),
]
NumSamples = Annotated[
    int | None, typer.Option("--num_samples", help="How many images for --fid or --grid.")
]


_FASTER = [name for name in SAMPLERS if name not in ("ddim", "ddpm_noisy")]


class _Choices:
    """Options whose fields are None, False or empty where nothing was chosen."""

    @property
    def are_open(self) -> bool:
        """Whether nothing was chosen; 0 is a choice."""
        return all(value is None or value is False or value == [] for value in vars(self).values())


@dataclass(frozen=True)
class SamplingOptions(_Choices):
    """How to sample."""

    timesteps: Annotated[
        list[float] | None,
        typer.Option(
            "--timesteps",
            help="S, the number of network calls; or several, the timesteps themselves.",
            show_default="100",
        ),
    ] = None
    eta: Annotated[
        float | None,
        typer.Option("--eta", help="0: DDIM; 1: DDPM's ancestral sampling.", show_default="0"),
    ] = None
    spacing: Spacing = None
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            "--sample_type",
            help="ddim (officially: generalized), ddpm_noisy (sigma-hat), or a faster one: "
            f"{', '.join(_FASTER)}. With 10 to 20 calls dpmpp_2m, spaced by logsnr, does what "
            "ddim does with 100.",
            show_default="ddim",
        ),
    ] = None
    order: Annotated[
        int | None,
        typer.Option("--order", help="Of unipc, deis and ipndm.", show_default="their usual one"),
    ] = None
    integer_timesteps: Annotated[
        bool,
        typer.Option("--integer_timesteps", help="Round the timesteps of logsnr and karras."),
    ] = False

    def settings(self, seed: int) -> SamplerSettings:
        """Return what a job takes.

        :raises UserError: naming the option that is wrong
        """
        steps = self.timesteps or [100]
        if len(steps) > 1 and self.spacing not in (None, "uniform"):
            shown = " ".join(f"{t:g}" for t in steps)
            raise UserError(f"--timesteps {shown}: they need no --spacing {self.spacing}")
        return SamplerSettings(
            timesteps=steps if len(steps) > 1 else arguments.integer("timesteps", steps[0]),
            eta=self.eta or 0.0,
            spacing=self.spacing,
            sampler="ddim" if self.sampler in (None, "generalized") else self.sampler,
            seed=seed,
            order=self.order,
            integer_timesteps=self.integer_timesteps,
        )


@dataclass(frozen=True)
class ClassOptions(_Choices):
    """Which classes to draw, and how strongly."""

    class_: Annotated[
        str | None,
        typer.Option(
            "--class", help="Draw this class: its name, or its number from 0.", show_default="none"
        ),
    ] = None
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--classes",
            help="Draw these classes: a row of a grid or GIF for each; else they take turns.",
        ),
    ] = None
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            help="W of (1 + W) output(class) - W output(no class); 0: plain.",
            show_default="0",
        ),
    ] = None

    def choice(self) -> Classes:
        """Return what a job takes.

        :raises UserError: if one and several are given
        """
        if self.class_ is not None and self.classes:
            raise UserError("--class and --classes: give one of them")
        chosen = self.classes if self.class_ is None else [self.class_]
        return Classes(tuple(chosen) if chosen else None, self.guidance or 0.0)


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
