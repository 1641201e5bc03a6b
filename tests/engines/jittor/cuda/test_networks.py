"""Whole networks and their training by the kernels for GPUs, compiled for a CPU."""

import os
from pathlib import Path

import numpy as np
import pytest
from oracles import golden, recipe_weights

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.config import ModelConfig, OptimConfig, load_config
from jittor_ddim.errors import MachineError

pytestmark = pytest.mark.jittor

CONFIG = load_config("digits.yml", {"model.attn_resolutions": [4], "model.dropout": 0.0})
#: Relative RMS of the output; test_precision.py has the bound for bfloat16 on a CPU.
BOUNDS = {"float32": 1e-5, "tf32": 4e-3, "bfloat16": 2e-2}
#: Of the learning rate: the mean error of a parameter after three steps. Measured: a third.
OF_A_STEP = {"float32": 2e-4, "tf32": 0.12, "bfloat16": 0.3}


@pytest.fixture(autouse=True)
def gpu(emulate_gpu):
    emulate_gpu()


def engine_of(precision):
    from jittor_ddim.engines.jittor.primitives import JittorEngine

    return JittorEngine(os.environ.get("DDIM_TEST_DEVICE", "cpu"), precision)


def relative_rms(found, expected):
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


def batches(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        x0, eps = (rng.standard_normal((2, 1, 8, 8)).astype(np.float32) for _ in range(2))
        yield x0, rng.integers(0, 1000, 2), eps


@pytest.mark.parametrize("precision", BOUNDS)
def test_a_network(precision):
    tiny = golden("unet_tiny")
    weights = recipe_weights(parameter_shapes(tiny["config"]))
    unet = engine_of(precision).unet(tiny["config"], weights)
    for _ in range(2):  # with weights packed before the second time
        error = relative_rms(unet.predict(tiny["x"], tiny["t"]), tiny["eps"])
        assert BOUNDS[precision] / 1000 < error <= BOUNDS[precision]


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUNDS)
def test_training_is_the_plain_operations(monkeypatch, precision):
    """Losses and weights of three steps."""
    found = {}
    for kernels in ("all", "plain"):
        monkeypatch.setenv("JITTOR_DDIM_KERNELS", kernels)
        trainer = engine_of(precision if kernels == "all" else "float32").trainer(CONFIG)
        losses = [trainer.step(*batch) for batch in batches(3)]
        found[kernels] = losses, trainer.weights(), trainer.ema_weights()
    assert found["all"][0] == pytest.approx(found["plain"][0], rel=BOUNDS[precision])
    for mine, theirs in zip(found["all"][1:], found["plain"][1:], strict=True):
        for name, array in mine.items():
            # Adam takes a whole step even where a gradient is little but rounding; that of a key's
            # bias is nothing else.
            if not name.endswith(".k.bias"):
                error = np.abs(array - theirs[name]).mean()
                assert error <= OF_A_STEP[precision] * CONFIG.optim.lr, name


SHAPES = [(7,), (3, 5, 3, 3), (1,), (40, 30), (300, 1000)] + [(n,) for n in range(1, 41)]


def parameters():
    import jittor as jt

    rng = np.random.default_rng(1)
    return {
        f"p{i}": jt.array(rng.standard_normal(shape).astype(np.float32))
        for i, shape in enumerate(SHAPES)
    }


@pytest.mark.parametrize("changes", [{}, {"amsgrad": True, "weight_decay": 0.1, "beta1": 0.0}])
def test_adam_is_the_plain_rule(monkeypatch, changes):
    import jittor as jt

    from jittor_ddim.engines.jittor.optimizer import Optimizer

    config = OptimConfig(**changes)
    found, compiled = [], []
    for kernels in ("all", "plain"):
        monkeypatch.setenv("JITTOR_DDIM_KERNELS", kernels)
        variables, rng = parameters(), np.random.default_rng(2)
        optimizer = Optimizer(config, variables)
        for step in range(4):
            optimizer.set_rate([1e-3, 2e-3, 0.0, 5e-4][step])
            gradients = [rng.standard_normal(s).astype(np.float32) * 0.1**step for s in SHAPES]
            optimizer.step([jt.array(g) for g in gradients])
            jt.sync_all(True)
            compiled.append(len(list(Path(jt.flags.cache_path).rglob("*code*.so"))))
        states = [v for kind in optimizer.state.values() for v in kind.values()]
        found.append([v.numpy() for v in (*variables.values(), *states)])
    assert len(set(compiled[:4])) == 1  # nothing is compiled for another rate or step
    for mine, theirs in zip(*found, strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= 1e-6 * np.abs(theirs).max()


def test_the_average_is_the_plain_rule(monkeypatch):
    import jittor as jt

    from jittor_ddim.engines.jittor.optimizer import Average

    found = []
    for kernels in ("all", "plain"):
        monkeypatch.setenv("JITTOR_DDIM_KERNELS", kernels)
        variables = parameters()
        average = Average(ModelConfig(ema_rate=0.75), variables)
        for step in range(3):
            for variable in variables.values():
                variable.update(variable * 0.5 + step)
            average.update()
        found.append([v.numpy() for v in average.shadow.values()])
        jt.sync_all(True)
    for mine, theirs in zip(*found, strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= 1e-6 * np.abs(theirs).max()


def test_a_failed_launch_names_the_layer(no_real_gpu, monkeypatch):
    (x0, t, _) = next(batches(1))
    unet = engine_of("float32").unet(CONFIG)
    expected = unet.predict(x0, t)
    monkeypatch.setenv("CUDA_ON_CPU_FAILS", "1")
    with pytest.raises(MachineError, match="^conv_in: .* failed: CUDA: out of memory: no memory"):
        unet.predict(x0, t)
    monkeypatch.delenv("CUDA_ON_CPU_FAILS")
    assert np.array_equal(unet.predict(x0, t), expected)
