"""docs/extending.md: its diffs apply to a copy of the source, and its programs print what it says.

All blocks of a section share a copy; a program is a process of its own.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {text.splitlines()[0]: text for text in PAGE.split("\n## ")[1:]}
BLOCK = re.compile(r"```(diff|python|sh)\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)


@pytest.fixture
def source(tmp_path):
    for name in ("src", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(source, *command, stdin=None):
    environment = os.environ | {"PYTHONPATH": str(source / "src")}
    return subprocess.run(
        command, cwd=source, env=environment, input=stdin, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("title", SECTIONS)
def test_the_example_works(title, source):
    blocks = BLOCK.findall(SECTIONS[title])
    assert {kind for kind, *_ in blocks} >= {"diff", "python"}
    for kind, text, output in blocks:
        if kind == "diff":
            done = run(source, "git", "apply", stdin=text)
            assert done.returncode == 0, f"the diff no longer fits the source: {done.stderr}"
            files = re.findall(r"^\+\+\+ b/(.+\.py)$", text, re.MULTILINE)
            if files:
                done = run(source, sys.executable, "-m", "ruff", "check", *files)
                assert done.returncode == 0, done.stdout
        elif kind == "sh":
            done = run(source, sys.executable, "-m", "jittor_ddim", *shlex.split(text)[1:])
            assert done.returncode == 0, done.stderr
        else:
            done = run(source, sys.executable, "-c", text)
            assert (done.returncode, done.stdout) == (0, output), done.stderr[-2000:]
