"""Messages name settings in backticks; only the command line makes flags of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import jittor_ddim
from jittor_ddim.cli import original
from jittor_ddim.cli.main import app
from jittor_ddim.console.flags import with_flags

PACKAGE = Path(jittor_ddim.__file__).parent
#: The command line parses flags, and may name them.
WITHOUT = ("cli",)
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in WITHOUT
]
SETTING = re.compile(r"`([a-z][a-z0-9_]*)`")
FLAG = re.compile(r"(?<![\w-])--[a-z]")
#: What begins like a flag of ours and is none, or is part of a command to type, by module.
OTHERS = {
    "demo/report/page.py": "of the page's commands",
    "engines/jittor/cuda/folder.py": "nvcc's",
    "engines/jittor/cuda/toolkit.py": "nvcc's",
    "engines/jittor/runtime.py": "mpicc's",
    "engines/pytorch/__init__.py": "torchrun's",
    "engines/pytorch/compiled.py": "a linker's",
    "engines/pytorch/doctor.py": "pip's",
    "doctor.py": "apt-get's",
    "jobs/demo.py": "of the page's commands",
    "pages/drawings.py": "variables of a style sheet",
}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`num_samples` must be at least 1", "--num_samples must be at least 1"),
        ("leave out `doc` or `use_pretrained`", "leave out --doc or --use_pretrained"),
        ("`doc`", "--doc"),
        ("(`inception`); set model.ema to false", "(--inception); set model.ema to false"),
    ],
)
def test_a_name_becomes_a_flag(message, shown):
    assert with_flags(message) == shown


@pytest.mark.parametrize(
    "message",
    [
        "`ddim images pack`", "`x=1`", "`a.npz`", "`model.ema`", "`a b`", "``doc``", "`Doc`",
        "`1`", "``", "no `end", "`exp/doc`", "`--doc`", "plain doc",
    ],
)  # fmt: skip
def test_other_code_stays(message):
    assert with_flags(message) == message


def names(application: typer.Typer) -> Iterator[str]:
    """The long names of all options of all commands."""
    waiting = [typer.main.get_command(application)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for parameter in command.params:
            yield from (name[2:] for name in parameter.opts if name.startswith("--"))


OPTIONS = {*names(app), *names(original.app)}


def literals(path: Path) -> Iterator[str]:
    """The strings of a module that stand in an expression: neither docstrings nor comments."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(part) for part in node.values}
            # A placeholder is no identifier, so `{name}` passes.
            yield "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
    for node in ast.walk(tree):
        constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if constant and id(node) not in docs | parts:
            yield node.value


def test_the_options_are_seen():
    assert {"doc", "use_pretrained", "checkpoint", "time_only", "lang", "test"} <= OPTIONS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_message_names_settings_that_exist_and_no_flags(path):
    for text in literals(path):
        if str(path.relative_to(PACKAGE)) not in OTHERS:
            assert not FLAG.search(text), text
        assert set(SETTING.findall(text)) <= OPTIONS, text


def test_every_exception_is_needed():
    assert all(any(map(FLAG.search, literals(PACKAGE / module))) for module in OTHERS)
