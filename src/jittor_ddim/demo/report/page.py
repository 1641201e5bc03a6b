"""The page itself."""

import html
import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jittor_ddim.demo.report.words import Words
from jittor_ddim.demo.results import Demo
from jittor_ddim.figures.formatting import fixed, number
from jittor_ddim.pages.drawings import image_address, inline, style_sheet


def make_page(demo: Demo, words: Words, plots: dict[str, str]) -> str:
    """Return the page's HTML.

    :param plots: SVG files by name
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        demo=demo,
        words=words,
        style=style_sheet(),
        percent=lambda share: f"{number(100 * share, 1)} %",
        picture=lambda path: image_address(path.read_bytes(), path.suffix[1:]),
        plots={name: inline(svg, f"plot-{name}", html.escape(words(f"plot.{name}")))
               for name, svg in plots.items()},
        distances=fixed([one.fd_small for one in demo.judged], 3, ""),
        recipe=_recipe(demo, words),
        next_steps=_next_steps(demo, words),
    )  # fmt: skip


def _recipe(demo: Demo, words: Words) -> list[tuple[str, str]]:
    """Return how the network was trained and sampled, line by line."""
    training = demo.training
    steps = int(training.steps[-1])
    facts = {
        "engine": training.engine,
        "parameters": f"{training.parameters:,}",
        "steps": words("recipe.steps_of", steps=f"{steps:,}", batch=training.batch_size),
        "minutes": f"{training.seconds / 60:.1f}",
        "sampling": demo.sampling,
        "command": training.command,
    }
    return [(words(f"recipe.{key}"), value) for key, value in facts.items()]


def _next_steps(demo: Demo, words: Words) -> list[tuple[str, str]]:
    """Return what one may want now, and the command for it."""
    exp, shipped = shlex.quote(str(demo.folder)), demo.shipped
    engine = demo.training.engine_option
    classes = " ".join(map(shlex.quote, shipped.pictures.classes))
    commands = {
        "sample": f"ddim sample --exp {exp} --classes 3 7 --grid {demo.sampling}{engine}",
        "play": f"ddim play --exp {exp}{engine}",
        "shipped": f"ddim sample --model {shipped.name} --grid --gif {shipped.sampling}{engine}"
        + (f" --classes {classes}" if classes else ""),
        "diagnose": f"ddim diagnose {exp}/logs/demo",
        "own": f"ddim train --config folder.yml --set data.root=photos --doc mine{engine}",
        "compare": "ddim compare --config digits.yml --steps 60",
    }
    return [(words(f"next.{key}"), command) for key, command in commands.items()]
