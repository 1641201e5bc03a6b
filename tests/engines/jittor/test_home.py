"""Jittor keeps what it compiles in one folder, and writes nowhere else."""

import json
import os
import subprocess
import sys

import pytest
from homeless import PRELUDE, VARIABLES, make_homeless
from killing import ENVIRONMENT

from jittor_ddim.engines.jittor.home import at_home, jittor_home, python_at_home
from jittor_ddim.errors import EngineError


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A user's home, and no other variable that says where things are."""
    make_homeless(monkeypatch, tmp_path)
    folder = tmp_path / "home"
    (folder / ".cache" / "jittor").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def remember(home, text):
    (home / ".cache" / "jittor" / "config.json").write_text(text)


def test_the_users_home(home):
    assert jittor_home() == home


def test_the_variable_comes_first(home, tmp_path, monkeypatch):
    remember(home, json.dumps({"JITTOR_HOME": str(tmp_path / "remembered")}))
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "given"))
    assert jittor_home() == tmp_path / "given"
    monkeypatch.setenv("JITTOR_HOME", "")
    assert jittor_home() == tmp_path / "remembered"


def test_a_remembered_folder_that_is_lost_is_not_missed(home, tmp_path):
    (tmp_path / "file").touch()
    remember(home, json.dumps({"JITTOR_HOME": str(tmp_path / "file")}))
    assert jittor_home() == home


@pytest.mark.parametrize("text", ["{", "[]", '{"JITTOR_HOME": 3}'])
def test_a_damaged_memory_is_named_and_may_be_deleted(home, text):
    remember(home, text)
    with pytest.raises(EngineError, match=r"config\.json is damaged.*: delete it"):
        jittor_home()
    (home / ".cache" / "jittor" / "config.json").unlink()
    assert jittor_home() == home


def test_without_a_home_it_is_a_folder_of_ours(monkeypatch, tmp_path):
    assert make_homeless(monkeypatch, tmp_path) / "jittor_home" == jittor_home()


def test_a_folder_that_cannot_be_written_is_named_with_what_helps(monkeypatch, tmp_path):
    make_homeless(monkeypatch, tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="set JITTOR_HOME to one that can"):
        jittor_home()
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="JITTOR_HOME=.*file.*cannot be written"):
        jittor_home()
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "mine"))
    assert jittor_home() == tmp_path / "mine"


def test_what_jittor_sees_ends_with_its_import(home, tmp_path):
    with at_home(tmp_path / "other"):
        assert os.environ["HOME"] == os.environ["JITTOR_HOME"] == str(tmp_path / "other")
    assert os.environ["HOME"] == str(home) and "JITTOR_HOME" not in os.environ


@pytest.mark.parametrize("name", ["other", "an other"])
def test_a_python_that_jittor_starts_sees_no_other_home(home, tmp_path, name):
    python = python_at_home(tmp_path / name, sys.executable)
    script = "import os; print(os.environ['HOME'], os.environ['JITTOR_HOME'], sep='|')"
    done = subprocess.check_output([f'{python} -c "{script}"'], shell=True, text=True)
    assert done == f"{tmp_path / name}|{tmp_path / name}\n"
    assert " " not in python.replace(f"'{tmp_path / name}'", "")  # one word to Jittor
    assert python_at_home(home, sys.executable) == sys.executable


@pytest.mark.jittor
def test_nobody_writes_into_a_home_beside_the_given_one(jittor_engine, tmp_path):
    """With the compiled core of these tests, the compile of one kernel included."""
    script = """
import jittor_ddim as jd
jd.load_engine("jittor", device="cpu")
import jittor as jt
print(((jt.ones([1]) * 0.5).asinh().acos() - 1).numpy()[0])
"""
    environment = {**ENVIRONMENT, "HOME": str(tmp_path), "JITTOR_HOME": str(jittor_home())}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(0.068760, abs=1e-5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.jittor
def test_a_start_without_a_home(jittor_engine, tmp_path):
    script = f"{PRELUDE}import jittor_ddim as jd\njd.load_engine('jittor', device='cpu')"
    environment = {n: v for n, v in ENVIRONMENT.items() if n not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "JITTOR_HOME": str(jittor_home())},
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []  # no folder named ~ either
