"""``ddim images``: an image set as a folder of PNG files or as one ``.npz``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim import image_files
from jittor_ddim.errors import UserError

images_app = typer.Typer(
    help="Turn a folder of PNG files into one .npz, or back.", no_args_is_help=True
)
_Force = Annotated[bool, typer.Option("--force", help="Replace the target if it exists.")]


@images_app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="Holds 0.png, 1.png, …")],
    npz: Annotated[Path, typer.Argument(metavar="FILE.npz", help="The file to write.")],
    force: _Force = False,
) -> None:
    """Write a folder of 0.png, 1.png, … into one .npz with the uint8 array `images` (N, H, W, C).

    Example: ddim images pack exp/image_samples/images images.npz
    """
    if npz.suffix != ".npz":
        raise UserError(f"{npz}: the file to write must end in .npz")
    if npz.exists() and not force:
        raise UserError(f"{npz}: already exists; choose another name, or replace it with --force")
    if npz.is_dir():
        raise UserError(f"{npz}: is a folder; choose another name")
    typer.echo(json.dumps({"file": str(npz), "images": image_files.pack(folder, npz)}))


@images_app.command()
def unpack(
    npz: Annotated[Path, typer.Argument(metavar="FILE.npz", help="The file to read.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write; its other files stay.")],
    force: _Force = False,
) -> None:
    """Write the array `images` of an .npz as 0.png, 1.png, … into a folder.

    Example: ddim images unpack images.npz exp/image_samples/images
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UserError(
            f"{folder}: is not empty; choose another folder, or replace its images with --force"
        )
    typer.echo(json.dumps({"folder": str(folder), "images": image_files.unpack(npz, folder)}))
