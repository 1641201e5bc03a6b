"""``ddim models``."""

import json
from textwrap import indent
from typing import Annotated

import typer

from jittor_ddim.models import MODELS, Card, read_card


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show this model's card.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not text.")] = False,
) -> None:
    """List the trained models that ship with the program, or show the card of one.

    Example: ddim models digits-class
    """
    cards = [read_card(one) for one in ([name] if name else MODELS)]
    if as_json:
        trees = [card.model_dump(mode="json") for card in cards]
        typer.echo(json.dumps(trees[0] if name else trees, indent=2, ensure_ascii=False))
    elif name:
        lines = _in_short(cards[0]) | _at_length(cards[0])
        typer.echo(f"{name}\n\n{_aligned(lines)}\n\n{cards[0].text}")
    else:
        for card in cards:
            typer.echo(f"{card.name}\n{indent(_aligned(_in_short(card)), '  ')}\n")
        typer.echo("Use one with --model NAME; its card: ddim models NAME")


def _in_short(card: Card) -> dict[str, str]:
    facts, distance = card.facts, card.facts.fd_small
    pixels = f"{card.resolution}×{card.resolution}×{card.channels}"
    return {
        "draws": facts.draws,
        "classes": ", ".join(card.classes) or "none",
        "size": f"{pixels} pixels, {card.parameters:,} parameters, {card.size / 1e6:.2f} MB",
        "FD-small": f"{distance.value:g} ({distance.samples:,} samples, {distance.reference})",
        "data": f"{facts.data}; {facts.licence}",
    }


def _at_length(card: Card) -> dict[str, str]:
    training = card.facts.training
    return {
        "credit": card.facts.credit,
        "trained": f"{training.steps:,} steps, {training.images_seen:,} images, "
        f"{training.hours:g} hours, {training.engine}, {training.machine}",
        "by": training.command,
        "sample": f"ddim sample --model {card.name} --grid {card.facts.sampling.options()}",
    }


def _aligned(lines: dict[str, str]) -> str:
    return "\n".join(f"{title:<9} {line}" for title, line in lines.items())
