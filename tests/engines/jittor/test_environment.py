"""Jittor's environment variables from a user's shell: taken, left out with a word, or refused."""

import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from killing import ENVIRONMENT
from starting import needs

from jittor_ddim.engines.environment import leave_out
from jittor_ddim.engines.jittor.environment import LEFT_OUT, settle_environment
from jittor_ddim.errors import EngineError

NAMES = sorted({name for names in LEFT_OUT.values() for name in names.split()})

#: These reach Jittor: where things are, how much is said, who compiles.
TAKEN = set(
    """JITTOR_HOME cache_name cc_path nvcc_path python_config_path mpicc_path cuda_arch cuda_archs
    JTCUDA_VERSION use_cutt use_cutlass use_nccl use_mpi CUTT_PATH cutt_include_path cutt_lib_path
    CUTLASS_PATH cutlass_include_path nccl_include_path nccl_lib_path log_silent log_sync log_v
    log_vprefix use_parallel_op_compiler DISABLE_MULTIPROCESSING""".split()  # noqa: SIM905
)
#: The runtime sets these, whatever they were.
SET = {"FIX_TORCH_ERROR", "hipcc_path", "tikcc_path"}
#: Not Jittor's own, or read by nothing that this program imports.
OTHERS = {
    "CUDA_VISIBLE_DEVICES", "PATH", "LD_LIBRARY_PATH", "CONDA_PREFIX", "TERM", "JPY_PARENT_PID",
    "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "SWAIT", "HOME", "class_home",
    "dumpbin_path", "EXPORT_ALL",
}  # fmt: skip
PATTERNS = (
    r"""(?<!#define )DEFINE_FLAG(?:_WITH_SETTER)?\([^,()]+,\s*(\w+),""",
    r"""(?:environ\.get|environ\[|getenv)\(?\s*["'](\w+)["']""",
    r"""["'](\w+)["'] (?:not )?in os\.environ""",
    r"""env_or_(?:try_)?find\(["'](\w+)["']""",
    r"""_getenv\(\\"(\w+)\\\"""",
    r"""#if(?:def)? (JT_\w+)""",
)


def names_in_jittors_sources():
    found = set()
    for package in ("jittor", "jittor_utils"):
        spec = importlib.util.find_spec(package)  # does not import it
        assert spec and spec.origin
        root = Path(spec.origin).parent
        for path in root.rglob("*"):
            if path.suffix in (".py", ".cc", ".h") and not {"test", "demo"} & set(path.parts):
                text = path.read_text(encoding="utf-8", errors="replace")
                for pattern in PATTERNS:
                    found |= set(re.findall(pattern, text))
    return found


def test_every_variable_that_jittor_reads_is_known():
    needs("jittor")
    found = names_in_jittors_sources()
    assert {"use_cuda", "lazy_execution", "compile_options", "use_mkl", "gdb_path"} <= found
    assert found - set(NAMES) - TAKEN - SET - OTHERS == set()
    assert not set(NAMES) & (TAKEN | SET | OTHERS)


def test_what_is_left_out_is_named_with_its_reason(monkeypatch, caplog):
    monkeypatch.setenv("a_flag", "1")
    monkeypatch.setenv("an_empty_flag", "")
    leave_out({"it would be wrong": "a_flag an_empty_flag", "never seen": "nobody_s_flag"})
    assert "a_flag" not in os.environ and "an_empty_flag" not in os.environ
    assert caplog.messages == ["Ignored from the environment: a_flag (it would be wrong)"]


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment without Jittor's variables; to be restored after the test."""
    for name in (*NAMES, *TAKEN):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize("name", ["log_v", "log_silent", "use_parallel_op_compiler"])
@pytest.mark.parametrize("value", ["", "abc", "1.5", "-1"])
def test_a_number_must_be_one(bare, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=f"{name}={value}: .*whole number; unset it"):
        settle_environment()
    monkeypatch.delenv(name)
    settle_environment()


def test_a_script_that_is_not_there(bare, monkeypatch):
    monkeypatch.setenv("python_config_path", str(bare / "python3-config"))
    with pytest.raises(EngineError, match="python_config_path=.*no such file; unset it"):
        settle_environment()
    monkeypatch.delenv("python_config_path")
    settle_environment()


@pytest.mark.parametrize("name", ["no-such-g++", "c++"])
def test_a_compiler_that_jittor_cannot_use(bare, monkeypatch, name):
    (bare / "c++").write_text("#!/bin/sh\n")
    (bare / "c++").chmod(0o755)
    monkeypatch.setenv("cc_path", str(bare / name))
    with pytest.raises(EngineError, match=r"cc_path=.*unset it, or name one"):
        settle_environment()
    monkeypatch.setenv("cc_path", "")  # unset
    settle_environment()
    assert "cc_path" not in os.environ


def test_no_compiler(bare, monkeypatch):
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(bare))
    with pytest.raises(EngineError, match=r"g\+\+ is missing: apt-get install g\+\+"):
        settle_environment()
    monkeypatch.setenv("PATH", path)
    settle_environment()


CHECK = """
import sys
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.engines.jittor.doctor import check_jittor
setup_logging(None, "info")
for finding in check_jittor("cpu"):
    print("ok" if finding.ok else finding)
"""


@pytest.mark.jittor
def test_with_every_variable_that_is_left_out_jittor_computes_right(jittor_engine):
    """Alone, use_cuda=1 would abort without a GPU, and lazy_execution=0 miss a header."""
    wrong = {"lazy_execution", "use_mkl", "use_sfrl_allocator", "rewrite_op", "enable_tuner"}
    environment = {name: "0" if name in wrong else "1" for name in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**ENVIRONMENT, **environment, "auto_mixed_precision_level": "6", "COLUMNS": "9999"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split("\n")) == {"ok", ""}  # and nothing between the results
    named = set(re.findall(r"\w+", done.stderr))
    assert set(NAMES) <= named


@pytest.mark.jittor
def test_what_jittor_says_is_not_between_the_results(jittor_engine):
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**ENVIRONMENT, "log_silent": "0", "log_v": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Jittor" in done.stderr
    assert set(done.stdout.split("\n")) == {"ok", ""}


@pytest.mark.pytorch
def test_pytorch_has_its_libraries_variables_left_out(monkeypatch, caplog):
    from jittor_ddim.engines.pytorch import runtime

    monkeypatch.setenv("ONEDNN_VERBOSE", "1")
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    with caplog.at_level(logging.WARNING):
        runtime.start()
    assert "ONEDNN_VERBOSE" not in os.environ
    assert "ONEDNN_DEFAULT_FPMATH_MODE" not in os.environ
    assert len(caplog.messages) == 2
