"""``ddim demo``."""

import json
import sys
from pathlib import Path

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.grouping import grouped


@grouped
def demo(
    *,
    exp: options.Exp = Path("demo"),
    seed: options.Seed = 1234,
    verbose: options.Verbose = "warning",
    engine: options.EngineOptions,
) -> None:
    """Train on handwritten digits, sample, animate, plot and judge the result: minutes on a CPU.

    Replaces an earlier demo in EXP/logs/demo.

    Example: ddim demo
    """
    from jittor_ddim.jobs.demo import run_demo

    report = run_demo(exp, seed, engine.choice(), verbose)
    verdict = report["verdict"]
    print(
        f"""
The demo took {report["seconds"]:.0f} s. It made
  samples      {report["samples"]}
  animation    {report["animation"]}
  loss curve   {report["plots"][0]}
  checkpoint   {report["checkpoint"]}
A classifier trained on the real digits recognises {verdict["read"]:.0%} of \
{verdict["images"]} samples with a confidence of at least 0.9,
{verdict["classes"]} of the ten digits among them; of held-out real digits it recognises \
{verdict["real_read"]:.0%}.
Next: ddim sample --exp {exp} --interpolation --sequence""",
        file=sys.stderr,
    )
    typer.echo(json.dumps(report))
