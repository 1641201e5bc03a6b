"""Everything that Jittor compiles for a GPU compiles, links and is launched, against stubs.

It computes nothing: no number in it is a result. ``make cuda-check`` runs it; it needs nvcc, and
takes minutes. CUDA_STUB_ARCHITECTURES="80 90 120" compiles for these instead of sm_90 alone.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from killing import ENVIRONMENT

from engines.jittor.cuda.stub import make_stub
from jittor_ddim.config import config_names, load_config
from jittor_ddim.engines.jittor.cuda import toolkit
from jittor_ddim.user_cache import user_cache

pytestmark = [pytest.mark.jittor, pytest.mark.slow, pytest.mark.timeout(3000)]

ARCHITECTURES = os.environ.get("CUDA_STUB_ARCHITECTURES", "90")

WORK = """
import sys
import numpy as np
import jittor_ddim as jd

def batch(config, count):
    return np.zeros((count, *config.sample_shape), np.float32)

precision, *names = sys.argv[1:]
engine = jd.load_engine("jittor", device="cuda", precision=precision)
assert (engine.device, engine.precision) == ("cuda", precision)
for name in names:
    config = jd.load_config(name)
    jd.sample(engine.unet(config), config, batch(config, 2), 2)
    trainer = engine.trainer(config)
    for step in range(2):
        x0 = batch(config, 2)
        trainer.step(x0, np.zeros(2, np.int64), x0)
    trainer.predict(x0, np.zeros(2, np.int64))
    trainer.ema_weights()
    print(name, "sampled and trained", engine.memory())
if precision == "float32":
    shapes = engine.inception_shapes().items()
    inception = engine.build_inception({n: np.zeros(s, np.float32) for n, s in shapes}, "clean")
    inception(np.zeros((2, 32, 32, 3), np.uint8))
    print("Inception's features made")
"""


@pytest.fixture(scope="module")
def stub(real_toolkit):
    """The environment of a machine with a GPU that is none; compiled code is kept in the cache."""
    home = user_cache() / "cuda_check"
    shutil.rmtree(home / "stub", ignore_errors=True)
    shown = make_stub(real_toolkit, home / "stub")
    own = {"JITTOR_HOME": str(home), "JITTOR_DDIM_CACHE": str(home)}
    return {**ENVIRONMENT, **shown, **own, "CUDA_STUB_ARCHITECTURES": ARCHITECTURES}


def run(stub, *command, code=0):
    done = subprocess.run(
        [sys.executable, *command], env=stub, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "tf32"])
def test_sampling_training_and_inception_compile(stub, precision):
    """All shipped configs; of those that share a network, one."""
    networks = {}
    for name in config_names():
        config = load_config(name)
        networks.setdefault((config.sample_shape, config.model.model_dump_json()), name)
    said = run(stub, "-c", WORK, precision, *networks.values())
    assert said.count("sampled and trained DeviceMemory(") == len(networks) >= 7


def test_the_doctor_sees_it_and_that_it_computes_nothing(stub):
    doctor = ("-m", "jittor_ddim", "doctor", "--engine", "jittor", "--device", "cuda")
    said = run(stub, *doctor, code=1)
    assert "a stub of a GPU" in said and "ok   Jittor on CUDA: CUDA 1" in said
    assert "ok   kernels: this package's, with cuDNN and cuBLAS" in said
    assert "convolution: wrong by" in said and "oneDNN" not in said


def test_the_code_is_for_the_gpus_that_are_there(stub):
    wheels = toolkit._wheels("cu*/bin/cuobjdump")
    cuobjdump = next(iter(wheels), None) or shutil.which("cuobjdump")
    if cuobjdump is None:
        pytest.skip("no cuobjdump: pip install nvidia-cuda-cuobjdump")
    wanted, seen = set(ARCHITECTURES.split()), 0
    # Jittor keeps the kernels of other GPUs in other folders.
    gpus = "_".join(sorted(wanted))
    compiled = Path(stub["JITTOR_HOME"], ".cache", "jittor")
    kernels = list(compiled.glob(f"**/*-cuda/cu*_sm_{gpus}/**/*op.so"))
    assert len(kernels) > 20
    for kernel in kernels[:: max(1, len(kernels) // 10)]:
        listed = subprocess.check_output([cuobjdump, "-lelf", "-lptx", kernel], text=True)
        binary = set(re.findall(r"sm_(\d+)a?\.cubin", listed))
        if binary:  # what runs on the host alone has none
            seen += 1
            assert binary >= wanted, kernel
            assert re.search(rf"sm_{max(wanted, key=int)}\.ptx", listed), kernel
    assert seen > 3
