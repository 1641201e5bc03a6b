"""`ddim data`: are the images there, and are they decoded?"""

import json
import logging
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.parsing import read_config, warn_of_unused
from jittor_ddim.config import Config
from jittor_ddim.console.progress import decoding, progress
from jittor_ddim.data import ImageSet, Split, open_images
from jittor_ddim.data.cache import check_cache
from jittor_ddim.data.conversion import (
    Form,
    check_target,
    convert,
    find_sources,
    is_one_file,
    kind_of,
    recognised,
)
from jittor_ddim.data.inspection import Inspection, inspect, spread
from jittor_ddim.data.writers import Kind
from jittor_ddim.errors import UserError
from jittor_ddim.figures.grids import grid
from jittor_ddim.image_files import save_image

data_app = typer.Typer(no_args_is_help=True, help="Check, convert or decode a data set.")

_log = logging.getLogger(__name__)

_ON_SHEET = 64  # images
_NAMED = 5  # pairs of equal images
_SPLITS: tuple[Split, ...] = ("train", "test")
_ConfigOption = Annotated[
    str, typer.Option("--config", help="A config file, or the name of a shipped one.")
]
_ExpOption = Annotated[
    Path, typer.Option("--exp", help="The experiment root; data sets lie in EXP/datasets.")
]
_OptionalConfig = Annotated[
    str | None,
    typer.Option(
        "--config", help="A config file, or a shipped one: what SRC is, or what to decode."
    ),
]
_SrcArgument = Annotated[
    Path | None, typer.Argument(metavar="SRC", help="A folder, zip, .parquet, .tar or .npz.")
]
_DstArgument = Annotated[
    Path | None, typer.Argument(metavar="DST", help="What to write; it must not exist.")
]
_ToOption = Annotated[
    Kind | None,
    typer.Option("--to", help="What DST becomes, where its suffix does not say it: folder."),
]
_SizeOption = Annotated[
    int | None,
    typer.Option("--image_size", min=4, help="Scale and crop to this many pixels a side."),
]
_ShardOption = Annotated[
    int, typer.Option("--per_shard", min=1, help="Images in each file of a folder of shards.")
]
_SheetOption = Annotated[
    Path | None, typer.Option("--sheet", help="Write 64 of the training images to this PNG file.")
]


@data_app.command()
def check(
    config: _ConfigOption,
    assignments: options.Set = None,
    exp: _ExpOption = Path("exp"),
    sheet: _SheetOption = None,
) -> None:
    """Look at every image of both splits and print what they hold as JSON.

    Images that are not decoded yet are decoded into the cache, or once if they are streamed; what
    is in the cache is compared with its hash.

    Example: ddim data check --config cifar10.yml --exp exp --sheet sheet.png
    """
    settings = read_config(config, assignments)
    if sheet and sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet {sheet}: a PNG file is written; call it {sheet.stem}.png")
    sets: dict[Split, ImageSet] = {split: _open(settings, split, exp)[0] for split in _SPLITS}
    for path in {image_set.cache for image_set in sets.values() if image_set.cache}:
        check_cache(path)
    found: dict[Split, Inspection] = {}
    for split, image_set in sets.items():
        with progress(len(image_set.images), f"Looking at {split}") as bar:
            found[split] = inspect(image_set.images, bar.advance)
    report = {split: _describe(image_set, found[split]) for split, image_set in sets.items()}
    report["test"]["also_in_train"] = _pairs(found["test"].also_in(found["train"]))
    if sheet:
        save_image(sheet, grid(spread(sets["train"].images, _ON_SHEET)))
    typer.echo(json.dumps(report, indent=2))


@data_app.command()
def prepare(
    context: typer.Context,
    src: _SrcArgument = None,
    dst: _DstArgument = None,
    config: _OptionalConfig = None,
    assignments: options.Set = None,
    exp: _ExpOption = Path("exp"),
    to: _ToOption = None,
    image_size: _SizeOption = None,
    per_shard: _ShardOption = 10_000,
) -> None:
    """Convert SRC into DST, or decode the images of a config into the cache.

    With SRC and DST images are written as PNG files in a folder or a zip (as for EDM), as Parquet
    or as tar shards, with their order, their classes and the splits that SRC tells apart. The
    config, if there is one, says how SRC is read and what training sees of it.

    With --config alone both splits are decoded, so that training starts at once. Of images that
    are streamed only what can be decoded is noted.

    Example: ddim data prepare photos photos.zip --image_size 64

    Example: ddim data prepare --config cifar10.yml --exp exp
    """
    if src is None:
        if config is None:
            raise UserError("give SRC and DST to convert, or --config to fill the cache")
        warn_of_unused(context, "there is no SRC to convert", "to", "image_size", "per_shard")
        _fill_cache(read_config(config, assignments), exp)
        return
    if dst is None:
        raise UserError(f"{src}: name what to write, as in: ddim data prepare {src} images.zip")
    kind = kind_of(dst, to)
    check_target(src, dst)
    if kind in ("folder", "zip") or is_one_file(dst, kind):
        warn_of_unused(context, "DST is no folder of shards", "per_shard")
    if config:
        root = f"data.root={json.dumps(str(src), ensure_ascii=False)}"
        data = read_config(config, [*(assignments or ()), root]).data
        form = Form(image_size or data.image_size, data.channels, data.background)
        sources = find_sources(data, exp)
    elif assignments:
        raise UserError("--set needs --config, the config to override")
    else:
        sources, form = recognised(src, exp), Form(image_size)
    with decoding("and writing") as show:
        done = convert(sources, dst, kind, form, per_shard=per_shard, progress=show)
    for name, reason in islice(done.reasons.items(), 1):
        _log.warning("%d not decoded and left out, as %s: %s", len(done.reasons), name, reason)
    report = {
        "target": str(dst),
        "kind": kind,
        "images": done.images,
        "classes": len(done.classes),
    }
    typer.echo(json.dumps(report | {"reasons": done.reasons}, indent=2))


def _pairs(rows: dict[int, int]) -> dict[str, Any]:
    return {"images": len(rows), "examples": [list(pair) for pair in islice(rows.items(), _NAMED)]}


def _describe(image_set: ImageSet, found: Inspection) -> dict[str, Any]:
    files = image_set.files
    return {
        "name": image_set.name,
        "images": len(image_set.images),
        "shape": list(image_set.images.shape[1:]),  # height, width, channels
        "classes": None if image_set.labels is None else len(np.unique(image_set.labels)),
        "mean": found.mean,
        "deviation": found.deviation,
        "repeated": _pairs(found.repeated()),
        "files": files and files._asdict(),
        "skipped": list(image_set.skipped),
        "reasons": dict(image_set.reasons),
        "ignored": image_set.ignored,
        "remarks": list(image_set.remarks),
        "streamed": image_set.streamed,
        "cache": image_set.cache and str(image_set.cache),
    }


def _fill_cache(settings: Config, exp: Path) -> None:
    report: dict[str, Any] = {}
    for split in _SPLITS:
        image_set, seconds = _open(settings, split, exp)
        cache = image_set.cache
        count = len(image_set.images)
        if image_set.streamed:
            did = "streamed, nothing but their record is kept"
        elif cache is None:
            did = "read from memory, nothing to prepare"
        elif seconds is None:
            did = f"already decoded in {cache}"
        else:
            did = f"decoded into {cache} in {seconds:.1f} s"
        typer.echo(f"{image_set.name}: {count} images, {did}", err=True)
        report[split] = {
            "images": count,
            "cache": cache and str(cache),
            "decoded_now": seconds is not None,
        }
    typer.echo(json.dumps(report, indent=2))


def _open(config: Config, split: Split, exp: Path) -> tuple[ImageSet, float | None]:
    """The images, and the seconds their decoding took if it was done now."""
    was_decoded = False
    start = time.perf_counter()
    with decoding(split) as show:

        def decoded(done: int, total: int) -> None:
            nonlocal was_decoded
            was_decoded = True
            show(done, total)

        image_set = open_images(config, split, exp, decoded)
    return image_set, time.perf_counter() - start if was_decoded else None
