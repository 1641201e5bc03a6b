"""A GPU where there is none: this package's CUDA code as a CPU's (on_cpu/)."""

import hashlib
from pathlib import Path

import pytest

from jittor_ddim.engines.jittor.cuda import toolkit
from jittor_ddim.engines.jittor.cuda.gpus import Gpus

FOLDER = Path(__file__).with_name("on_cpu")


@pytest.fixture
def emulate_gpu(jittor_engine, monkeypatch):
    """A function that lets operations use the headers for GPUs from now on, compiled by g++.

    Its argument tells in which order the threads of a block run. On a GPU it does nothing.
    """
    import jittor as jt

    from jittor_ddim.engines.jittor import operations
    from jittor_ddim.engines.jittor.operations import code, convolution, fused

    real = jt.code

    def emulate(forwards=True):
        if jt.flags.use_cuda:
            return
        # Jittor keeps compiled code by its own text alone, without what it includes.
        headers = b"".join(path.read_bytes() for path in sorted(FOLDER.iterdir()))
        order = f"// {hashlib.sha256(headers).hexdigest()}\n#define FORWARDS {int(forwards)}\n"

        def compiled_for_a_cpu(shapes, types, inputs, cuda_header, cuda_src, data):
            outputs = real(
                shapes, types, inputs, cpu_header=order + cuda_header, cpu_src=cuda_src, data=data
            )
            for output in outputs:
                output.compile_options = {f'FLAGS: -I"{FOLDER}" ': 1}
            return outputs

        monkeypatch.setattr(jt, "code", compiled_for_a_cpu)
        for module in (operations, code, convolution, fused):
            monkeypatch.setattr(module, "on_gpu", lambda: True)
        for library in ("cudnn", "cublas"):
            monkeypatch.setattr(jt.compile_extern, library, True, raising=False)

    return emulate


@pytest.fixture
def no_real_gpu(jittor_engine):
    """Skip what only an emulation can do."""
    import jittor as jt

    if jt.flags.use_cuda:
        pytest.skip("this is a GPU")


@pytest.fixture(scope="session")
def real_toolkit():
    """What compiles for a GPU on this machine, whether it has one or not; all of it is needed."""
    missing = f"nvcc: {toolkit.WHEELS}"
    for nvcc in toolkit._compilers():
        try:
            return toolkit.complete(nvcc, Gpus("580", (13, 0), (90,)))
        except toolkit.NoToolkitError as reason:
            missing = str(reason)
    pytest.skip(f"missing: {missing}")
