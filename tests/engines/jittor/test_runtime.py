import json
import os
import shutil
import subprocess
import sys
from types import ModuleType

import pytest
from killing import ENVIRONMENT

from jittor_ddim import load_engine
from jittor_ddim.engines.jittor import runtime
from jittor_ddim.engines.jittor.cuda.toolkit import NoToolkitError
from jittor_ddim.engines.precision import choose_device
from jittor_ddim.errors import EngineError

# What can be known without Jittor.


def test_a_device_is_chosen_or_what_it_lacks_is_named(monkeypatch):
    def choose(wanted):
        return choose_device("Jittor", wanted, runtime.missing_for_cuda)

    def no_toolkit():
        raise NoToolkitError("cuDNN 8 or 9 with its header cudnn.h")

    monkeypatch.setattr(runtime, "usable_toolkit", no_toolkit)
    assert choose("cpu") == choose("auto") == "cpu"
    with pytest.raises(EngineError, match="device cuda: Jittor .*missing: cuDNN 8 or 9 with"):
        choose("cuda")
    monkeypatch.setattr(runtime, "usable_toolkit", lambda: None)
    assert choose("cpu") == "cpu"
    assert choose("auto") == choose("cuda") == "cuda"


def test_a_device_of_another_name():
    with pytest.raises(EngineError, match="auto, cpu or cuda, got 'gpu'"):
        load_engine("jittor", device="gpu")


def test_an_engine_of_another_name():
    with pytest.raises(EngineError, match="one of jittor, pytorch, got 'tensorflow'"):
        load_engine("tensorflow")


def test_never_beside_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    with pytest.raises(EngineError, match="torch is loaded in this process"):
        load_engine("jittor", device="cpu")


def test_the_first_compile_is_announced_on_one_line(capsys, tmp_path):
    with runtime._compile_progress(tmp_path):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert first.startswith("Compiling Jittor's core") and "minutes" in first
    assert last == "Compiled Jittor's core in 0 s"


# A start, in a process of its own.


def run(script, *python_path, **environment):
    path = os.pathsep.join([*map(str, python_path), ENVIRONMENT["PYTHONPATH"]])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**ENVIRONMENT, "PYTHONPATH": path, **environment},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


START = """
import json, os, random, signal, ssl, subprocess, sys, warnings
import numpy as np, psutil
from jittor_ddim import load_engine

def state():
    return {
        "exit": sys.exit, "excepthook": sys.excepthook, "displayhook": sys.displayhook,
        "python's random state": random.getstate(), "NumPy's": str(np.random.get_state()),
        "https context": ssl._create_default_https_context, "warnings": warnings.filters[:],
        "showwarning": warnings.showwarning, "folder": os.getcwd(),
        "SIGINT": signal.getsignal(signal.SIGINT), "SIGTERM": signal.getsignal(signal.SIGTERM),
        "SIGCHLD": signal.getsignal(signal.SIGCHLD),
    }

random.seed(1)
np.random.seed(2)
before = state()
engine = load_engine("jittor", device=DEVICE)
again = load_engine("jittor", device="cpu")
after = state()
interrupted = False
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    interrupted = True
subprocess.run(["sh", "-c", "kill -9 $$"])
children = psutil.Process().children()
print(json.dumps({
    "changed": [name for name in before if before[name] != after[name]],
    "torch": "torch" in sys.modules, "device": engine.device, "name": engine.name,
    "versions": engine.versions(), "memory": engine.memory(), "interrupted": interrupted,
    "children": len(children),
}))
sys.exit(3)
"""


@pytest.mark.jittor
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_start_is_quiet_and_leaves_the_process_as_it_was(jittor_engine, tmp_path, device):
    """With a torch that must not be imported and an nvcc that finds no GPU."""
    torch = tmp_path / "modules" / "torch"
    torch.mkdir(parents=True)
    (torch / "__init__.py").write_text("raise SystemExit('torch was imported')")
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.2, V12.2.91'\n")
    nvcc.chmod(0o755)
    done = run(
        START.replace("DEVICE", repr(device)),
        torch.parent,
        PATH=f"{nvcc.parent}{os.pathsep}{os.environ['PATH']}",
        CUDA_VISIBLE_DEVICES="",
        # As where Python keeps no compiled files: it then warns of Jittor's escape sequences.
        PYTHONPYCACHEPREFIX=str(tmp_path / "empty"),
        PYTHONWARNINGS="error",
    )
    assert done.stderr == ""  # the cache is warm: jittor_engine has compiled the core
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert found["versions"].keys() == {"jittor"}
    del found["versions"]
    assert found == {
        "changed": [], "torch": False, "device": "cpu", "name": "jittor", "memory": None,
        "interrupted": True, "children": 0,
    }  # fmt: skip


@pytest.mark.jittor
def test_an_uncaught_error_ends_as_it_does_without_jittor(jittor_engine):
    done = run("import jittor_ddim as jd\njd.load_engine('jittor', device='cpu')\n1 / 0")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    "script, message",
    [
        ("import sys\nsys.modules['jittor_utils'] = None", "Jittor is not installed: pip install"),
        ("import os\nos.environ['cc_path'] = 'no-such-compiler'", "cc_path=no-such-compiler: "),
    ],
)
def test_what_is_missing_is_named(script, message):
    end = (
        "\nimport jittor_ddim as jd\ntry:\n    jd.load_engine('jittor', device='cpu')\n"
        "except jd.UserError as error:\n    print(error)"
    )
    done = run(script + end)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(message)
    assert done.stdout.count("\n") == 1


FAKE_UTILS = """
import os, pathlib
pool_size = 0
def home():
    return os.environ["JITTOR_HOME"]
cache_path = os.path.join(home(), ".cache", "jittor", "jt1.3.11")
os.makedirs(cache_path, exist_ok=True)
open(os.path.join(cache_path, "jittor_core.so"), "a").close()
"""
FAKE_JITTOR = """
import os, sys, types, jittor_utils
flags, has_cuda = types.SimpleNamespace(python_path=sys.executable), 0
if os.path.exists(os.path.join(jittor_utils.cache_path, "fault")):
    FAULT
"""


@pytest.mark.parametrize(
    "fault, message",
    [
        ("raise ImportError('file too short')", "does not start: file too short; if ddim doctor"),
        ("raise OSError('libdnnl.so: file too short')", "does not start: libdnnl.so: file too"),
        ("sys.exit(0)", "run the command again"),  # as it does, without an error
        ("raise OSError(28, 'No space left on device')", "No space left on device; set JITTOR_H"),
    ],
)
def test_a_core_that_does_not_start_says_what_helps_and_that_helps(tmp_path, fault, message):
    modules, home = tmp_path / "modules", tmp_path / "home"
    for name, text in (("jittor_utils", FAKE_UTILS), ("jittor", FAKE_JITTOR)):
        (modules / name).mkdir(parents=True)
        (modules / name / "__init__.py").write_text(text.replace("FAULT", fault))
    compiled = home / ".cache" / "jittor" / "jt1.3.11"
    compiled.mkdir(parents=True)
    (compiled / "fault").touch()
    script = """
from jittor_ddim.engines.jittor import runtime
from jittor_ddim.errors import MachineError
try:
    runtime.start("cpu")
    print("started")
except MachineError as error:
    print(error)
"""
    done = run(script, modules, JITTOR_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert message in done.stdout and str(home) in done.stdout
    if "again" in message:
        (compiled / "fault").unlink()  # it was for once
    elif "delete" in done.stdout:
        for folder in [*(home / ".cache" / "jittor").glob("jt*"), compiled.with_name("mkl")]:
            shutil.rmtree(folder)
    else:
        home = tmp_path / "other"
    done = run(script, modules, JITTOR_HOME=str(home))
    assert (done.stdout, done.stderr, done.returncode) == ("started\n", "", 0)


def test_the_script_of_a_python_outside_usr_is_found(tmp_path, monkeypatch):
    """Jittor itself would not look where pyenv, conda or uv put a Python."""
    name = f"python3.{sys.version_info.minor}-config"
    (tmp_path / "base" / "bin").mkdir(parents=True)
    (tmp_path / "base" / "bin" / name).touch()
    monkeypatch.setattr(runtime.sys, "base_prefix", str(tmp_path / "base"))
    monkeypatch.setattr(runtime.sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setattr(
        runtime.Path, "is_file", lambda self: self.exists() and "usr" not in self.parts
    )
    assert runtime.find_python_config() == str(tmp_path / "base" / "bin" / name)
