"""Which kernels of ours compute: what the environment says."""

import importlib

import pytest

from jittor_ddim.engines import describe_engine, kernels
from jittor_ddim.errors import EngineError


@pytest.mark.parametrize(("said", "wanted"), [(None, "all"), ("", "all"), ("plain", "plain")])
def test_the_environment_says_which(monkeypatch, said, wanted):
    monkeypatch.delenv("JITTOR_DDIM_KERNELS", raising=False)
    if said is not None:
        monkeypatch.setenv("JITTOR_DDIM_KERNELS", said)
    assert kernels.wanted_kernels() == wanted


def test_a_word_that_means_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "fast")
    with pytest.raises(EngineError, match="JITTOR_DDIM_KERNELS must be all, direct, plain"):
        kernels.wanted_kernels()


@pytest.mark.parametrize(
    ("channels", "features", "said", "serves"),
    [
        ((64, 128), {"avx2", "fma"}, "all", True),
        ((64, 3), {"avx2", "fma"}, "all", False),
        ((24, 128), {"avx2", "fma"}, "all", False),
        ((64, 128), {"sse2"}, "all", False),
        ((64, 128), {"avx2", "fma"}, "direct", False),
        ((64, 128), {"avx2", "fma"}, "plain", False),
    ],
)
def test_where_winograd_serves(monkeypatch, channels, features, said, serves):
    monkeypatch.setattr(kernels, "cpu_features", lambda: features)
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", said)
    assert kernels.use_winograd(*channels) == serves


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("all", {"jittor": "3x3 with winograd.h", "pytorch": "3x3 on a CPU with winograd.h"}),
        ("direct", {"jittor": "3x3 with oneDNN too", "pytorch": "PyTorch's own too"}),
        ("plain", {"jittor": "Jittor's own", "pytorch": "PyTorch's own too"}),
    ],
)
def test_the_doctor_names_the_path_in_use(engine, monkeypatch, said, told):
    if not kernels.use_winograd(128, 128):
        pytest.skip("this CPU has no AVX2")
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", said)
    doctor = importlib.import_module(f"jittor_ddim.engines.{engine.name}.doctor")
    found = doctor._kernels()
    assert found.ok and told[engine.name] in found.detail


def test_the_doctor_refuses_a_word_that_means_nothing(engine, monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "fast")
    findings = describe_engine(engine.name).check("cpu")
    found = next(finding for finding in findings if finding.name == "kernels")
    assert found.remedy == "JITTOR_DDIM_KERNELS must be all, direct, plain; it is 'fast'"
