"""Everybody gets a folder for downloads and compiled code, or hears which variable helps."""

import json
import os
import subprocess
import sys
import tempfile

import pytest
from homeless import PRELUDE, VARIABLES, make_homeless
from killing import ENVIRONMENT

from jittor_ddim import doctor, user_cache
from jittor_ddim.cli.main import main
from jittor_ddim.data.cifar10 import _locate
from jittor_ddim.errors import MachineError, UserError


@pytest.fixture(autouse=True)
def nothing_remembered():
    user_cache._warned_temporary_folder.cache_clear()
    yield
    user_cache._warned_temporary_folder.cache_clear()


@pytest.fixture
def no_folder(tmp_path):
    """A path that is not a folder, so that even root cannot write into it."""
    file = tmp_path / "file"
    file.touch()
    return file


@pytest.mark.parametrize(
    "variable, below",
    [
        ("JITTOR_DDIM_CACHE", ""),
        ("XDG_CACHE_HOME", "jittor_ddim"),
        ("HOME", ".cache/jittor_ddim"),
    ],
)
def test_the_folder_is_where_variables_say(monkeypatch, tmp_path, variable, below):
    make_homeless(monkeypatch, tmp_path / "temporary")
    monkeypatch.setenv(variable, str(tmp_path / "given"))
    assert user_cache.user_cache() == tmp_path / "given" / below


@pytest.mark.parametrize("home", [None, "no folder"])
def test_without_a_home_it_is_a_temporary_folder_of_ones_own(
    monkeypatch, tmp_path, no_folder, home, caplog
):
    expected = make_homeless(monkeypatch, tmp_path)
    if home:
        monkeypatch.setenv("HOME", str(no_folder))
    assert user_cache.user_cache() == user_cache.user_cache() == expected
    assert expected.stat().st_mode & 0o777 == 0o700
    (warning,) = caplog.messages
    assert str(expected) in warning and "set JITTOR_DDIM_CACHE" in warning


def test_a_temporary_folder_that_others_can_write_is_not_used(monkeypatch, tmp_path):
    folder = make_homeless(monkeypatch, tmp_path)
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(MachineError, match="not a private folder of yours; delete it, or set"):
        user_cache.user_cache()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(MachineError, match="not a private folder"):
        user_cache.user_cache()
    folder.unlink()  # the remedy
    assert user_cache.user_cache() == folder


def test_without_any_folder_the_variable_is_named_and_helps(monkeypatch, tmp_path, no_folder):
    make_homeless(monkeypatch, tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(no_folder))
    (found,) = [f for f in doctor.check_machine() if f.name == "folder"]
    assert found.remedy and "set JITTOR_DDIM_CACHE to a writable" in found.remedy
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "mine"))
    (found,) = [f for f in doctor.check_machine() if f.name == "folder"]
    assert found.ok, found


def test_a_given_folder_that_cannot_be_written_is_a_finding(monkeypatch, no_folder):
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(no_folder / "below"))
    (found,) = [f for f in doctor.check_machine() if f.name == "folder"]
    assert found.remedy and "JITTOR_DDIM_CACHE" in found.remedy


def test_a_path_with_a_nul_is_the_users_mistake():
    with pytest.raises(UserError, match="cannot contain a NUL"):
        user_cache.expand_home("a\0b")


def test_a_home_that_nobody_knows_is_the_users_mistake(monkeypatch, tmp_path):
    make_homeless(monkeypatch, tmp_path)
    for path in ("~/images", "~nobody-of-this-name/images"):
        with pytest.raises(UserError, match=f"{path}: the home of ~.* is unknown.*in full"):
            _locate(path, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache.expand_home("~/images") == tmp_path / "images"


def test_cifar10_is_looked_for_without_a_home(monkeypatch, tmp_path):
    make_homeless(monkeypatch, tmp_path)
    assert _locate(None, tmp_path) is None


def test_matplotlib_keeps_its_usual_folders(monkeypatch, tmp_path):
    make_homeless(monkeypatch, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    user_cache.settle_matplotlib()
    assert "MPLCONFIGDIR" not in os.environ


def test_a_drawing_without_a_home(tmp_path):
    """Matplotlib alone would end in a RuntimeError."""
    script = PRELUDE + "from jittor_ddim.cli.main import main\nraise SystemExit(main())"
    environment = {n: v for n, v in ENVIRONMENT.items() if n not in VARIABLES}
    (tmp_path / "temporary").mkdir()
    picture = tmp_path / "unet.svg"
    arguments = ["describe", "--config", "digits.yml", "--out", str(picture)]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**environment, "TMPDIR": str(tmp_path / "temporary")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert picture.is_file() and "atplotlib" not in done.stderr


def test_the_digits_are_checked_without_a_home(monkeypatch, tmp_path, capsys, restored_process):
    make_homeless(monkeypatch, tmp_path)
    assert main(["data", "check", "--config", "digits.yml", "--exp", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["images"] > 0
