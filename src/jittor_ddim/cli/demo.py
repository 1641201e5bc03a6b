"""``ddim demo``."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.grouping import grouped


@grouped
def demo(
    *,
    exp: options.Exp = Path("demo"),
    seed: options.Seed = 1234,
    language: Annotated[
        str, typer.Option("--lang", help="Language of the page: en or zh.")
    ] = "en",
    verbose: options.Verbose = "warning",
    engine: options.EngineOptions,
) -> None:
    """Draw with a model that ships, train one on handwritten digits, and show both on a page.

    Minutes on a CPU. Interrupted, it goes on where it was; an earlier demo in EXP with another
    --seed or --engine is replaced.

    Example: ddim demo
    """
    from jittor_ddim.jobs.demo import DemoRequest, run_demo

    report = run_demo(DemoRequest(exp, seed, engine.choice(), language, verbose, _tell))
    verdict, real = report["verdict"]["reading"], report["real"]
    _tell(
        f"""A classifier that knows the real digits reads {verdict["read"]:.1%} of \
{verdict["images"]} samples as the digit asked for,
{verdict["surely"]:.1%} with a probability of at least 0.9; of held-out real digits \
{real["read"]:.1%} and {real["surely"]:.1%}.
After {report["seconds"]:.0f} s all is on one page: open {report["page"]}"""
    )
    typer.echo(json.dumps(report))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
