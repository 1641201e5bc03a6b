"""Every command that a document shows is one that there is; those of the how-to pages run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from fake_engine import FakeEngine
from PIL import Image

from jittor_ddim.cli.main import app, main
from jittor_ddim.engines import choice as engine_choice

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page):
    """The command lines of a page's shell blocks, each a list of words."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def of_ddim(words):
    """What follows `ddim`, whatever starts it; None for other programs."""
    for start in (["ddim"], ["-m", "jittor_ddim"]):
        for i in range(len(words)):
            if words[i : i + len(start)] == start:
                rest = words[i + len(start) :]
                return rest[: rest.index("&")] if "&" in rest else rest
    return None


def without_work(command):
    for inner in getattr(command, "commands", {}).values():
        without_work(inner)
    if not hasattr(command, "commands"):
        command.callback = lambda **_: 0
    return command


def test_a_made_up_option_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        without_work(typer.main.get_command(app))(
            ["train", "--rainbow", "1"], standalone_mode=False
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_is_known(page):
    parser = without_work(typer.main.get_command(app))
    for words in commands(page):
        if arguments := of_ddim(words):
            try:
                parser(arguments, standalone_mode=False)
            except Exception as error:
                pytest.fail(f"{' '.join(words)}: {error}")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The reader's folder, and an engine that needs no compiler."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(40):
            pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    monkeypatch.setattr(engine_choice, "load_engine", lambda *_: FakeEngine())
    return tmp_path


# Some start processes, which know no toy; its optimiser is in no official file; FID needs weights.
ELSEWHERE = ("compare --model", "sweep", "--workers", "small.pth", "--mode")


@pytest.mark.slow
def test_the_how_tos_run(photos, restored_process, capsys):
    steps = 0
    for words in commands(ROOT / "docs" / "how-to.md"):
        line = " ".join(words[1:])
        if words[0] != "ddim" or any(name in line for name in ELSEWHERE):
            continue
        line = re.sub(r"--num_samples \d+", "--num_samples 64", line)
        if words[1] == "train":  # a little longer each time, as one who resumes wants
            steps += 2
            line = re.sub(r"--set training.n_iters=\d+", "", line)
            line += f" --set training.n_iters={steps}"
        if words[1] == "sample":
            line += " --ni"  # a grid replaces the one before it
        assert main(shlex.split(line)) == 0, f"{line}: {capsys.readouterr().err[-500:]}"
