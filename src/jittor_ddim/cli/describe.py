"""`ddim describe`: the network of a config, layer by layer and as a picture."""

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from jittor_ddim.architecture import Layer, layers
from jittor_ddim.cli import options
from jittor_ddim.cli.parsing import read_config, read_model_config
from jittor_ddim.errors import UserError


def describe(
    config: options.ConfigName = None,
    model: options.Model = None,
    assignments: options.Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The picture to draw: .png, .svg or .pdf. Default: CONFIG-unet.png in the current"
            " folder, and none with --json.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Print the layers of the U-Net with their cost, and draw it for a paper.

    Example: ddim describe --config cifar10.yml --out unet.pdf
    """
    # Not at the top: matplotlib would slow down the start of every other command.
    from jittor_ddim.figures.unet_diagram import check_picture_path, draw_unet

    if config is None and model is None:
        raise UserError("--config is missing: a file, or a shipped one such as cifar10.yml")
    settings = (
        read_model_config(model, config, assignments)
        if model
        else read_config(config or "", assignments)
    )
    name = model or Path(config or "").stem
    picture = out if out or as_json else Path(f"{name}-unet.png")
    if picture:
        check_picture_path(picture)
    table = layers(settings)
    if as_json:
        typer.echo(json.dumps(_as_tree(name, table), indent=2))
    else:
        _print_table(name, table)
    if picture:
        draw_unet(settings, picture, replace=out is not None)
        typer.echo(f"The U-Net is drawn in {picture}", err=True)


def _totals(table: list[Layer]) -> tuple[int, int]:
    """The parameters and the operations of some layers."""
    return sum(layer.parameter_count for layer in table), sum(layer.flops for layer in table)


def _stages(table: list[Layer]) -> list[tuple[str, list[Layer]]]:
    return [(stage, list(group)) for stage, group in groupby(table, lambda layer: layer.stage)]


def _as_tree(name: str, table: list[Layer]) -> dict[str, object]:
    parameters, operations = _totals(table)
    return {
        "config": name,
        "parameters": parameters,
        "flops": operations,
        "stages": [
            {"name": stage, **dict(zip(("parameters", "flops"), _totals(group), strict=True))}
            for stage, group in _stages(table)
        ],
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "in_shape": layer.in_shape,
                "out_shape": layer.out_shape,
                "parameters": layer.parameters,
                "flops": layer.flops,
            }
            for layer in table
        ],
    }


def _print_table(name: str, table: list[Layer]) -> None:
    parameters, operations = _totals(table)
    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("layer", "kind", "output", "parameters", "MFLOP"):
        # A narrow terminal folds, it cuts nothing off.
        justify = "left" if title in ("layer", "kind") else "right"
        grid.add_column(title, justify=justify, overflow="fold")
    for stage, group in _stages(table):
        for layer in group:
            shape = "×".join(str(extent) for extent in layer.out_shape)
            grid.add_row(layer.name, layer.kind, shape, *_numbers([layer]))
        if len(group) > 1:
            grid.add_row(f"all of {stage}", "", "", *_numbers(group), style="bold")
        grid.add_section()
    console = Console(highlight=False)
    console.print(grid)
    flops = f"{operations / 1e9:.3g} GFLOP per image and network call"
    console.print(f"\n{name}: {parameters:,} parameters, {flops}", style="bold")
    console.print(
        "Outputs are channels×height×width. A multiply-add of convolutions, linear layers and "
        "attention counts as two operations; norms, activations, sums and resampling as none."
    )


def _numbers(group: list[Layer]) -> tuple[str, str]:
    parameters, operations = _totals(group)
    return (
        f"{parameters:,}" if parameters else "",
        f"{operations / 1e6:,.2f}" if operations else "",
    )
