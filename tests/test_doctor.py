"""``ddim doctor``: every check can fail, and says what to do about it."""

import importlib.util

import pytest
from starting import start_engine

from jittor_ddim import doctor
from jittor_ddim.cli.main import main


def findings():
    return [*doctor.check_machine(), *doctor.check_compiler()]


def finding(name):
    return next(found for found in findings() if found.name == name)


def test_this_machine_is_well():
    assert [found.name for found in findings() if not found.ok] == []


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("cc_path", raising=False)
    assert "apt-get install g++" in finding("compiler").remedy


def test_a_compiler_that_does_not_run(monkeypatch, tmp_path):
    monkeypatch.setenv("cc_path", str(tmp_path / "g++"))
    assert not finding("compiler").ok


def test_no_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert "python3-dev" in finding("Python headers").remedy


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert "export OMP_NUM_THREADS=" in finding("threads").remedy


def test_a_check_that_fails_is_a_finding():
    def broken():
        raise RuntimeError("no\nsuch thing")

    found = doctor.guarded("core", broken, "reinstall it")
    assert (found.detail, found.remedy) == ("no such thing", "reinstall it")


def test_an_unknown_device_is_the_users_mistake(capsys):
    assert main(["doctor", "--device", "tpu"]) == 2
    assert "auto, cpu, cuda" in capsys.readouterr().err


def test_one_finding_decides_the_exit_code(monkeypatch, capsys):
    from jittor_ddim.cli import doctor as command

    good, bad = doctor.Finding("a", "fine"), doctor.Finding("b", "broken", "mend it")
    monkeypatch.setattr(command, "_findings", lambda engine, device: [good, bad])
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out == "ok   a: fine\nFAIL b: broken -> mend it\n"
    monkeypatch.setattr(command, "_findings", lambda engine, device: [good])
    assert main(["doctor"]) == 0


@pytest.mark.jittor
def test_jittor_is_well(jittor_engine):
    from jittor_ddim.engines.jittor.doctor import check_jittor

    found = {finding.name: finding for finding in check_jittor("cpu")}
    assert all(finding.ok for finding in found.values()), found
    assert "mkl_conv" in found["convolution"].detail
    assert found["oneDNN"].detail.startswith("2.")


@pytest.mark.jittor
def test_without_a_gpu_cuda_is_refused_with_what_is_missing(jittor_engine, monkeypatch):
    from jittor_ddim.engines.jittor import doctor as jittor_doctor

    monkeypatch.setattr(jittor_doctor.runtime, "missing_for_cuda", lambda: ["cuDNN 8"])
    (only,) = jittor_doctor.check_jittor("cuda")
    assert not only.ok and "cuDNN 8" in only.detail


@pytest.mark.pytorch
def test_pytorch_is_well(capsys):
    start_engine("pytorch")
    assert main(["doctor", "--engine", "pytorch", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "ok   convolution" in out and "ok   gradient" in out
    assert "compiler" not in out  # PyTorch needs none


@pytest.mark.parametrize("engine, module", [("jittor", "jittor"), ("pytorch", "torch")])
def test_an_engine_that_is_not_installed_says_how(monkeypatch, capsys, engine, module):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find_spec(name)
    )
    arguments = ["train", "--config", "digits.yml", "--doc", "d", "--engine", engine]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not installed: pip install" in line
