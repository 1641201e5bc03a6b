import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from jittor_ddim.cli.images import images_app
from jittor_ddim.errors import UserError
from jittor_ddim.image_files import existing_indices, write_png


def run(*arguments):
    return CliRunner().invoke(images_app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    for index in range(3):
        write_png(tmp_path / "a", index, np.full((4, 4, 3), index, np.uint8))
    return tmp_path / "a"


def test_pack_and_unpack_report_as_json(tmp_path, folder):
    npz = tmp_path / "set.npz"
    result = run("pack", folder, npz)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"file": str(npz), "images": 3})
    (tmp_path / "b").mkdir()  # an empty folder is no obstacle
    result = run("unpack", npz, tmp_path / "b")
    assert json.loads(result.stdout) == {"folder": str(tmp_path / "b"), "images": 3}
    assert existing_indices(tmp_path / "b") == {0, 1, 2}


def test_nothing_is_overwritten_without_force(tmp_path, folder):
    npz = tmp_path / "set.npz"
    npz.write_bytes(b"precious")
    result = run("pack", folder, npz)
    assert isinstance(result.exception, UserError) and "--force" in str(result.exception)
    assert npz.read_bytes() == b"precious"
    assert run("pack", folder, npz, "--force").exit_code == 0
    write_png(folder, 7, np.zeros((4, 4, 3), np.uint8))
    result = run("unpack", npz, folder)
    assert isinstance(result.exception, UserError) and "--force" in str(result.exception)
    assert existing_indices(folder) == {0, 1, 2, 7}
    assert run("unpack", npz, folder, "--force").exit_code == 0
    assert existing_indices(folder) == {0, 1, 2}


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_targets_of_the_wrong_kind(tmp_path, folder, force):
    (tmp_path / "c.npz").mkdir()
    for arguments, message in (
        (("pack", folder, tmp_path / "set.zip"), "must end in .npz"),
        (("pack", folder, tmp_path / "c.npz"), "is a folder|already exists"),
        (("unpack", tmp_path / "set.npz", folder / "0.png"), "is a file"),
    ):
        result = run(*arguments, *force)
        assert isinstance(result.exception, UserError)
        assert re.search(message, str(result.exception))
    assert existing_indices(folder) == {0, 1, 2}


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_help_shows_an_example(command):
    assert f"ddim images {command} " in run(command, "--help").stdout
