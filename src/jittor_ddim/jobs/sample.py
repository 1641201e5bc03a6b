"""Sample from a trained network into files."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from jittor_ddim.atomic import disk_errors
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.engines.base import UNet
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.figures.animation import animate, check_duration, spread
from jittor_ddim.figures.grids import grid
from jittor_ddim.gathering import Gathering, gathered
from jittor_ddim.guidance import Classes
from jittor_ddim.image_files import save_image, write_png
from jittor_ddim.jobs.sample_set import SampleSet, check_preview
from jittor_ddim.network import Network, NetworkChoice
from jittor_ddim.ranks import this_rank
from jittor_ddim.runs.folder import samples_folder
from jittor_ddim.sampling import SamplerSettings, interpolate, sample_images, trajectory

#: What can be made of a network, in the order in which it is made.
MODES = ("fid", "grid", "sequence", "interpolation", "gif")
_GRID = 64
_COLUMNS = 8
_SEQUENCE_ROWS, _SEQUENCE_COLUMNS = 8, 10
_GIF_FRAMES = 120
_GIF_SECONDS = 6.0
_HOLD_SHARE = 0.2  # of an animation's time the finished images stay

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SampleRequest(NetworkChoice):
    """What ``ddim sample`` was asked for."""

    modes: tuple[str, ...]
    settings: SamplerSettings
    classes: Classes = Classes()  # in turn
    as_recommended: bool = False  # by a model's card, not by whoever asks
    image_folder: str | None = None  # None: images for fid, else the mode's name
    num_samples: int | None = None  # None: the config's
    npz: bool = False  # pack the fid images into one file
    gif_seconds: float | None = None  # None: 6
    webp: bool = False  # an animated WebP instead of a GIF
    ask: Callable[[str], bool] | None = None  # None: overwrite without asking
    verbose: str = "info"
    engine: EngineChoice = field(default_factory=EngineChoice)


def run_sampling(request: SampleRequest) -> list[Path]:
    """Make what was asked for and return the files and folders made.

    Several ranks share out the images for FID; all but the first return nothing.

    :raises UserError: for anything wrong with the request, before an engine starts
    """
    rank = this_rank()
    setup_logging(None, request.verbose if rank.is_first else "warning")
    with gathered(request.exp, replace(request, ask=None)) as ranks:
        return _run(request, ranks)


def _run(request: SampleRequest, ranks: Gathering) -> list[Path]:
    _check_modes(request)
    if not ranks.rank.is_alone and request.modes != ("fid",):
        raise UserError(
            f"of {ranks.rank.size} processes: only the images of `fid` can be shared out; make "
            "the others in one process"
        )
    request.engine.check()
    network = request.find_network()
    network.check(request.settings)
    request = replace(request, classes=request.classes.numbered(network.config))
    folders = {mode: _folder(request, mode) for mode in MODES if mode in request.modes}
    sample_set = _sample_set(request, network, folders["fid"]) if "fid" in folders else None
    if sample_set and not ranks.rank.is_first:
        sample_set.help(network.load(request.engine), network.config, ranks)
        return []
    if sample_set:
        sample_set.check()
    for mode, folder in folders.items():
        if mode != "fid":
            check_preview(_first_taken(mode, folder / _target_name(request, mode)), request.ask)
    unet = network.load(request.engine)
    _log.info("Weights: %s", network.source)
    if request.as_recommended:
        how, guidance = request.settings, request.classes.guidance
        text = "As its card recommends: %s calls of %s, %s, guidance %g, classes in turn"
        _log.info(text, how.count, how.sampler, how.spacing, guidance)
    made = []
    for mode, folder in folders.items():
        with disk_errors(folder):
            if mode == "fid" and sample_set:
                made.append(sample_set.make(unet, network.config, ranks))
            else:
                made.append(_PREVIEWS[mode](request, network.config, unet, folder))
    return made


def _check_modes(request: SampleRequest) -> None:
    if not request.modes:
        modes = ", ".join(f"`{mode}`" for mode in MODES)
        raise UserError(f"nothing to make; give one or more of {modes}")
    if request.num_samples is not None and request.num_samples < 1:
        raise UserError(f"`num_samples` must be at least 1, got {request.num_samples}")
    if "gif" in request.modes:
        check_duration(_seconds(request))
    elif request.gif_seconds is not None:
        raise UserError("`gif_seconds` needs `gif`; add that, or leave it out")
    if request.num_samples is not None and not {"fid", "grid"} & set(request.modes):
        raise UserError("`num_samples` counts the images of `fid` or `grid`; leave it out")
    if request.webp and "gif" not in request.modes:
        raise UserError("`webp` is a form of `gif`; add that, or leave it out")
    if request.npz and "fid" not in request.modes:
        raise UserError("`npz` packs the images of `fid`; add that, or leave it out")
    if "grid" in request.modes:
        _rows(request, request.num_samples)
    if "interpolation" in request.modes and len(request.classes.chosen or ()) > 1:
        raise UserError("`interpolation` goes from one image to another of one class; use `class`")
    if request.image_folder and "fid" in request.modes and len(request.modes) > 1:
        raise UserError(
            f"`image_folder` {request.image_folder}: images for FID need a folder of their own; "
            "make the others in a second call"
        )


def _folder(request: SampleRequest, mode: str) -> Path:
    return samples_folder(
        request.exp, request.image_folder or ("images" if mode == "fid" else mode)
    )


def _sample_set(request: SampleRequest, network: Network, folder: Path) -> SampleSet:
    return SampleSet(
        folder=folder,
        count=request.num_samples or network.config.sampling.num_samples,
        settings=request.settings.settled(network.config.diffusion),
        classes=request.classes,
        network=network.fingerprint(),
        engine=request.engine.name,
        precision=request.engine.precision,
        npz=request.npz,
    )


def _seconds(request: SampleRequest) -> float:
    return _GIF_SECONDS if request.gif_seconds is None else request.gif_seconds


def _target_name(request: SampleRequest, mode: str) -> str:
    if mode == "gif":
        return "sampling.webp" if request.webp else "sampling.gif"
    return f"{mode}.png"


def _first_taken(mode: str, picture: Path) -> Path:
    """The mode's picture; if it is new, a numbered one beside it that the mode would replace."""
    numbered = {"sequence": "[0-9]*_[0-9]*.png", "interpolation": "[0-9]*.png"}.get(mode)
    if picture.exists() or numbered is None:
        return picture
    return min(picture.parent.glob(numbered), default=picture)


def _rows(request: SampleRequest, count: int | None = None) -> tuple[int, int | None, Classes]:
    """Return the number of images of a grid, how many are in a row, and their classes.

    Of several classes each has a row.

    :raises UserError: if the rows are not of one length
    """
    chosen = request.classes.chosen or ()
    if len(chosen) < 2:
        return count or _GRID, None, request.classes
    count = count or _COLUMNS * len(chosen)
    columns, rest = divmod(count, len(chosen))
    if rest and request.as_recommended:
        return count, None, request.classes
    if rest:
        raise UserError(
            f"`num_samples` {count}: a row for each of {len(chosen)} classes needs a multiple of "
            f"{len(chosen)}"
        )
    return count, columns, replace(request.classes, run=columns)


def _make_grid(request: SampleRequest, config: Config, unet: UNet, folder: Path) -> Path:
    count, columns, classes = _rows(request, request.num_samples)
    images = sample_images(unet, config, request.settings, range(count), _GRID, classes)
    path = folder / _target_name(request, "grid")
    save_image(path, grid(np.stack(list(images)), columns))
    return path


def _make_sequence(request: SampleRequest, config: Config, unet: UNet, folder: Path) -> Path:
    """Every predicted x0 as ``{sample}_{step}.png``, the official names, and a strip of a few."""
    every = range(1, len(request.settings.sequence(config)) + 1)
    rows = trajectory(unet, config, request.settings, _SEQUENCE_ROWS, every, True, request.classes)
    frames = []
    for step, pixels in enumerate(rows):
        for sample, image in enumerate(pixels):
            save_image(folder / f"{sample}_{step}.png", image)
        frames.append(pixels)
    for path in folder.glob("*_*.png"):  # of an earlier sequence with more steps
        if (name := re.fullmatch(r"\d+_(\d+)", path.stem)) and int(name[1]) >= len(frames):
            path.unlink()
    shown = np.stack([frames[i] for i in spread(len(frames), _SEQUENCE_COLUMNS)], axis=1)
    path = folder / _target_name(request, "sequence")
    save_image(path, grid(shown.reshape(-1, *shown.shape[2:]), columns=shown.shape[1]))
    return path


def _make_interpolation(request: SampleRequest, config: Config, unet: UNet, folder: Path) -> Path:
    images = interpolate(unet, config, request.settings, classes=request.classes)
    for index, image in enumerate(images):
        write_png(folder, index, image)
    path = folder / _target_name(request, "interpolation")
    save_image(path, grid(images, columns=len(images)))
    return path


def _make_animation(request: SampleRequest, config: Config, unet: UNet, folder: Path) -> Path:
    """64 samples in an 8 x 8 grid, or 8 of each class, on their way from noise to images."""
    states = len(request.settings.sequence(config)) + 1
    kept = set(spread(states, _GIF_FRAMES))
    count, columns, classes = _rows(request)
    frames = trajectory(unet, config, request.settings, count, kept, classes=classes)
    path = folder / _target_name(request, "gif")
    seconds = _seconds(request)
    animate([grid(pixels, columns) for pixels in frames], path, seconds, _HOLD_SHARE * seconds)
    return path


_PREVIEWS = {
    "grid": _make_grid,
    "sequence": _make_sequence,
    "interpolation": _make_interpolation,
    "gif": _make_animation,
}
