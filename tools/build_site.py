"""Build the site of the documents: ``make docs``.

The pages are those that one reads in the repository; three are made here, of the options' own
texts, of the config's model and of the docstrings. Formulas become MathML and nothing is fetched,
neither by the build nor by a page that is opened.
"""

import html
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from latex2mathml.converter import convert
from pydantic import BaseModel

import jittor_ddim
from jittor_ddim.config import Config

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "site"
PAGES = ("README.md", "README.zh.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
CHINESE = "[\u2014-\u201d\u3001-\uffef]"  # with the punctuation of full width
# Without a font that has a table of mathematics, subscripts stand on the line. One per system:
# Windows, macOS, TeX, and what Debian's fonts-dejavu-extra brings.
MATH = """math {
  font-family: "Cambria Math", "STIX Two Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math;
}
"""
LINK = re.compile(r'(?:\]\(|src=")([^)"#\s]+)')


def stage() -> None:
    """Lay out what the site is made of, as it lies in the repository."""
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", STAGE / "docs")
    for name in PAGES:
        shutil.copy(ROOT / name, STAGE / name)
    (STAGE / "index.md").write_text((ROOT / "README.md").read_text(encoding="utf-8"))
    for page in sorted(STAGE.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for link in LINK.findall(text):
            if "://" not in link:
                _bring((page.parent / link).resolve())
        page.write_text(with_mathml(joined(text)), encoding="utf-8")
    (STAGE / "math.css").write_text(MATH)
    reference = STAGE / "reference"
    reference.mkdir()
    (reference / "commands.md").write_text(commands(), encoding="utf-8")
    (reference / "config.md").write_text(config_keys(), encoding="utf-8")
    (reference / "python.md").write_text(python_api(), encoding="utf-8")


def _bring(target: Path) -> None:
    """Copy a file that a page names and the site lacks."""
    source = ROOT / target.relative_to(STAGE)
    if not target.exists() and source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def joined(text: str) -> str:
    """Return a page with its Chinese lines joined: a browser shows a line's end as a space."""
    parts = CODE.split(text)
    parts[::2] = [re.sub(rf"(?<={CHINESE})\n *(?={CHINESE})", "", part) for part in parts[::2]]
    return "".join(parts)


def with_mathml(text: str) -> str:
    """Return a page with its formulas, ``$…$`` and ``$$…$$``, as MathML, which browsers draw."""
    parts = CODE.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(
            r"\$\$(.+?)\$\$|\$([^$\n]+)\$",
            # Inside a span, Markdown keeps a formula in its line.
            lambda found: (
                convert(found[1], display="block")
                if found[1]
                else f"<span>{convert(found[2])}</span>"
            ),
            parts[i],
            flags=re.DOTALL,
        )
    return "".join(parts)


def commands() -> str:
    """Return every command with its options, as their help has them."""
    command = [sys.executable, "-m", "typer", "jittor_ddim.cli.main", "utils", "docs"]
    text = subprocess.check_output([*command, "--name", "ddim"], text=True)
    return text.replace("# `ddim`", "# Commands", 1)


def config_keys() -> str:
    """Return the config's keys with default and meaning, section by section."""
    lines = ["# Config keys", "", "Keys without a default must be given.", ""]
    for section, field in Config.model_fields.items():
        model = field.annotation
        if inspect.isclass(model) and issubclass(model, BaseModel):
            lines += [f"## `{section}`", "", inspect.getdoc(model) or "", ""]
            lines += ["| key | default | meaning |", "|---|---|---|", *_rows(model), ""]
    return "\n".join(lines)


def _rows(model: type[BaseModel]) -> Iterator[str]:
    source = inspect.getsource(model)
    for name, field in model.model_fields.items():
        found = re.search(rf"(?:#: (.+)\n)?    {name}: .*?(?:  # (.+))?\n", source)
        meaning = (found[1] or found[2] or "") if found else ""
        default = "" if field.is_required() else f"`{field.get_default()}`"
        yield f"| `{name}` | {default} | {html.escape(meaning)} |"


def python_api() -> str:
    """Return the page of the functions and classes that the package exports."""
    names = [name for name in jittor_ddim.__all__ if not name.startswith("_")]
    modules = {name for name in names if inspect.ismodule(getattr(jittor_ddim, name))}
    lines = ["# Python", ""]
    for name in [n for n in names if n not in modules and n.islower()] + sorted(modules):
        lines += [f"::: {_home(name)}", ""]
    return "\n".join(lines)


def _home(name: str) -> str:
    thing = getattr(jittor_ddim, name)
    if inspect.ismodule(thing):
        return thing.__name__
    return f"{inspect.unwrap(thing).__module__}.{name}"


def main() -> int:
    """Stage and build, and fail where a link leads nowhere."""
    stage()
    return subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"], cwd=ROOT
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
