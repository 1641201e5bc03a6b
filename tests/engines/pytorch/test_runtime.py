"""What starting PyTorch does to the process."""

import os
import resource

import pytest

pytestmark = pytest.mark.pytorch


def test_large_results_take_memory_that_is_there(pytorch_engine):
    import torch

    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        pytest.skip("the environment sets the allocator")

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)  # 64 MB, 16,384 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() < 1000
