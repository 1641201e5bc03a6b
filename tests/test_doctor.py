"""``ddim doctor``: every check can fail, and says what to do about it."""

import importlib.util
import json
import platform
import sys

import pytest
from fake_engine import DESCRIPTOR as TOY
from starting import start_engine

from jittor_ddim import doctor
from jittor_ddim.cli.main import main
from jittor_ddim.errors import EngineError


def findings():
    return [*doctor.check_machine(), *doctor.check_compiler()]


def finding(name):
    return next(found for found in findings() if found.name == name)


def test_this_machine_is_well():
    assert [found.name for found in findings() if not found.ok] == []


# Each remedy: the fault is brought about, the remedy applied, and the finding is well.


@pytest.fixture
def compiler(tmp_path):
    """A compiler that tells its version, in a folder of its own."""
    path = tmp_path / "bin" / "g++"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho 12.2.0\n")
    path.chmod(0o755)
    return path


def test_no_compiler(monkeypatch, tmp_path, compiler):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("cc_path", raising=False)
    assert "apt-get install g++" in finding("compiler").remedy
    monkeypatch.setenv("PATH", str(compiler.parent))  # where it is then installed
    assert finding("compiler").detail == f"{compiler} 12.2.0"


@pytest.mark.parametrize("text", [None, "#!/bin/sh\nexit 1\n"])
def test_a_compiler_that_does_not_run(monkeypatch, tmp_path, compiler, text):
    monkeypatch.setenv("PATH", str(compiler.parent))
    given = tmp_path / "g++"
    if text:
        given.write_text(text)
        given.chmod(0o755)
    monkeypatch.setenv("cc_path", str(given))
    assert finding("compiler").remedy == "unset cc_path"
    monkeypatch.delenv("cc_path")
    assert finding("compiler").ok


def test_an_installed_compiler_that_does_not_run(monkeypatch, compiler):
    whole = compiler.read_text()
    monkeypatch.setenv("PATH", str(compiler.parent))
    monkeypatch.delenv("cc_path", raising=False)
    compiler.write_text("#!/bin/sh\nexit 1\n")
    assert finding("compiler").remedy == "reinstall it: apt-get install --reinstall g++"
    compiler.write_text(whole)
    assert finding("compiler").ok


def test_no_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    package = f"python3.{sys.version_info.minor}-dev"
    assert finding("Python headers").remedy == f"install them: apt-get install {package}"
    (tmp_path / "Python.h").touch()  # what the package brings
    assert finding("Python headers").ok


@pytest.mark.parametrize("given", ["4096", "4096,2", "abc", "0", "-1", "1.5"])
def test_a_number_of_threads_that_makes_no_sense(monkeypatch, given):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    remedy = finding("threads").remedy
    name, _, value = remedy.removeprefix("export ").partition("=")
    monkeypatch.setenv(name, value)
    assert finding("threads").ok


def test_little_memory(monkeypatch):
    memory = doctor.psutil.virtual_memory()
    free = [2**30, 2**33]  # before and after other programs are closed
    monkeypatch.setattr(
        doctor.psutil, "virtual_memory", lambda: memory._replace(available=free.pop(0))
    )
    assert "close other programs" in doctor._memory().remedy
    assert doctor._memory().ok


def test_an_error_of_ours_is_its_own_remedy():
    def refuse():
        raise EngineError("x=1: it must be 2; unset it")

    found = doctor.guarded("core", refuse, "reinstall it")
    assert found.remedy == "x=1: it must be 2; unset it"


def test_a_python_config_that_is_not_there(monkeypatch, tmp_path):
    from jittor_ddim.engines.jittor import doctor as jittor_doctor

    monkeypatch.setenv("python_config_path", str(tmp_path / "none"))
    assert jittor_doctor._python_config().remedy == "unset python_config_path"
    monkeypatch.delenv("python_config_path")
    monkeypatch.setattr(jittor_doctor.runtime, "find_python_config", lambda: None)
    remedy = jittor_doctor._python_config().remedy
    assert "-dev, or set python_config_path" in remedy
    (tmp_path / "python3-config").touch()
    monkeypatch.setenv("python_config_path", str(tmp_path / "python3-config"))
    assert jittor_doctor._python_config().ok
    monkeypatch.delenv("python_config_path")
    monkeypatch.setattr(jittor_doctor.runtime, "find_python_config", lambda: "/usr/bin/p-config")
    assert jittor_doctor._python_config().ok


def test_jittor_is_not_started_without_its_tools(monkeypatch, tmp_path):
    """It would blame something else."""
    from jittor_ddim.engines.jittor import doctor as jittor_doctor

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("cc_path", raising=False)
    monkeypatch.setattr(jittor_doctor.runtime, "start", lambda device: pytest.fail("started"))
    found = {finding.name: finding for finding in jittor_doctor.check_jittor("cpu")}
    assert not found["compiler"].ok and "Jittor's core" not in found


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
    monkeypatch.setattr(command, "check_machine", lambda: [good, bad])
    monkeypatch.setattr(command, "describe_engine", lambda name: TOY)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out == "ok   a: fine\nFAIL b: broken -> mend it\n"
    assert main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["checks"] == [
        {"ok": True, "name": "a", "detail": "fine", "remedy": None},
        {"ok": False, "name": "b", "detail": "broken", "remedy": "mend it"},
    ]
    assert report["versions"]["python"] == platform.python_version()
    monkeypatch.setattr(command, "check_machine", lambda: [good])
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

    def no_toolkit():
        raise jittor_doctor.NoToolkitError("cuDNN 8 or 9")

    monkeypatch.setattr(jittor_doctor, "usable_toolkit", no_toolkit)
    (only,) = jittor_doctor.check_jittor("cuda")
    assert not only.ok and "cuDNN 8" in only.detail


@pytest.mark.pytorch
def test_pytorch_is_well(capsys):
    start_engine("pytorch")
    assert main(["doctor", "--engine", "pytorch", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "ok   convolution" in out and "ok   gradient" in out
    assert "compiler" not in out  # PyTorch needs none


@pytest.mark.pytorch
def test_what_pytorch_lacks_has_a_remedy_that_helps(pytorch_engine, monkeypatch):
    from jittor_ddim.engines.pytorch.doctor import check_pytorch

    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "none")
    found = {finding.name: finding for finding in check_pytorch("cpu")}
    remedy = found["kernels"].remedy
    assert remedy == "JITTOR_DDIM_KERNELS must be all, direct, plain; it is 'none'"
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "direct")
    assert all(finding.ok for finding in check_pytorch("cpu"))


@pytest.mark.pytorch
def test_pytorch_without_a_gpu_offers_the_cpu(pytorch_engine, monkeypatch):
    from jittor_ddim.engines.pytorch import doctor as pytorch_doctor

    monkeypatch.setattr(pytorch_doctor.runtime, "missing_for_cuda", lambda: ["a driver"])
    last = list(pytorch_doctor.check_pytorch("cuda"))[-1]
    assert last.remedy == "install what is missing, or use `device` cpu"
    assert all(finding.ok for finding in pytorch_doctor.check_pytorch("cpu"))


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
