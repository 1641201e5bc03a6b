"""Which kernels of ours compute: what the environment says."""

import pytest

from jittor_ddim.engines import kernels
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
