"""What holds for the options of all commands."""

import os
import subprocess
import sys

import pytest
import typer
from test_main import ddim, errors, place, stage  # noqa: F401

from jittor_ddim.cli import original
from jittor_ddim.cli.main import app


def leaves(command, path):
    inner = getattr(command, "commands", {})
    for name, child in inner.items():
        yield from leaves(child, f"{path} {name}")
    if not inner:
        yield path, {option for parameter in command.params for option in parameter.opts}


COMMANDS = dict(leaves(typer.main.get_command(app), "ddim"))
COMMANDS |= dict(leaves(typer.main.get_command(original.app), "main.py"))
WITH_CONFIG = [name for name, options in COMMANDS.items() if "--config" in options]


def test_commands_with_a_config_are_seen():
    assert {"ddim data check", "ddim data prepare", "ddim describe", "main.py"} <= {*WITH_CONFIG}


@pytest.mark.parametrize("name", WITH_CONFIG)
def test_every_key_of_a_config_can_be_set(name):
    assert "--set" in COMMANDS[name]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("describe --config digits.yml --set model.chh=1", "did you mean model.ch?"),
        ("data check --config digits.yml --set data.dataset=X", "data.dataset"),
        ("data prepare --config digits.yml --set data.dataset=X", "data.dataset"),
        ("describe --config digits.yml --set model.ch=64 --set model.ch=32", "is set twice"),
        ("sample --grid --gif_seconds 3", "--gif_seconds needs --gif"),
    ],
)
def test_wrong_assignments(line, message, capsys):
    assert ddim(line) == 2
    assert message in errors(capsys)[-1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "evaluate nowhere --seed 3 --num_samples 9",
            "--num_samples, --seed are ignored",
        ),
        ("evaluate nowhere --features small --device cpu", "--device is ignored"),
        ("compare a b --steps 5 --seed 5", "--steps, --seed are ignored"),
        ("sample --grid --pretrained x.pth --doc c10", "--doc c10 is ignored"),
        (
            "sample --grid --eta 0.5 --sample_type ddpm_noisy -i ../x",
            "eta 0.5 is ignored: the sampler ddpm_noisy has none",
        ),
    ],
)
def test_options_that_are_ignored_are_warned_of(line, message, capsys):
    assert ddim(line) == 2
    warning, _ = errors(capsys)
    assert warning.startswith("WARNING - ") and message in warning


#: A terminal without any letter but ASCII's.
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("describe --config digits.yml --out d.png", 0, "channelsxheightxwidth"),
        ("data check --config digits.yml", 0, '"images"'),
        ("sample --help", 0, "Example: ddim sample"),
        ("images pack \u00e9\u00d7 x.npz", 2, "no such folder"),
        ("train --config digits.yml --doc x --set data.image_size=9", 2, "error: "),
    ],
)
def test_any_terminal_takes_the_output(line, code, text, tmp_path):
    program = "import sys; from jittor_ddim.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *(word.encode() for word in line.split())],
        capture_output=True, cwd=tmp_path, env=os.environ | PLAIN,
    )  # fmt: skip
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == code and text in output and "Traceback" not in output
