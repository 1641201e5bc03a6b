"""``precision`` and ``compile``: what they change, and that they keep their bounds."""

import logging

import numpy as np
import pytest
from oracles import golden, recipe_weights

from jittor_ddim import load_engine
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.engines.precision import cpu_has_bfloat16
from jittor_ddim.errors import EngineError

BFLOAT16_BOUND = 2e-2  # relative RMS; measured 1.2e-2


@pytest.fixture(scope="module")
def tiny():
    data = golden("unet_tiny")
    return {**data, "weights": recipe_weights(parameter_shapes(data["config"]))}


def relative_rms(found, expected):
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


def test_bfloat16_sampling(engine, tiny):
    low = load_engine(engine.name, device="cpu", precision="bfloat16")
    unet = low.unet(tiny["config"], tiny["weights"])
    error = relative_rms(unet.predict(tiny["x"], tiny["t"]), tiny["eps"])
    if low.precision == "bfloat16":
        assert 1e-4 < error <= BFLOAT16_BOUND
    else:
        assert error <= 1e-5
    for name, array in unet.weights().items():  # what is saved or compared is never rounded
        assert np.array_equal(array, tiny["weights"][name]), name


def test_bfloat16_training(engine, tiny):
    """Weights stay float32, and the losses of the first steps are float32's within the bound."""
    x0, t = tiny["x"], np.asarray(tiny["t"]).astype(np.int64)
    eps = np.random.default_rng(0).standard_normal(x0.shape).astype(np.float32)
    config = tiny["config"]
    config = config.model_copy(update={"model": config.model.model_copy(update={"dropout": 0.0})})
    losses = []
    for precision in ("float32", "bfloat16"):
        chosen = load_engine(engine.name, device="cpu", precision=precision)
        trainer = chosen.trainer(config, tiny["weights"])
        losses.append([trainer.step(x0, t, eps) for _ in range(3)])
        assert all(array.dtype == np.float32 for array in trainer.weights().values())
    assert losses[1] == pytest.approx(losses[0], rel=BFLOAT16_BOUND)


def test_layers_of_bfloat16_are_handed_out_in_float32(engine, tiny):
    """NumPy has no bfloat16."""
    trainer = load_engine(engine.name, device="cpu", precision="bfloat16").trainer(tiny["config"])
    x0, t = tiny["x"], np.asarray(tiny["t"]).astype(np.int64)
    outputs, gradients = trainer.inspect(x0, t, x0)
    assert {array.dtype for array in (*outputs.values(), *gradients.values())} == {np.dtype("f4")}


def test_a_cpu_without_bfloat16_is_told_of(engine, caplog, monkeypatch):
    asked = {
        "jittor": "jittor.primitives.multiplies_bfloat16",
        "pytorch": "pytorch.runtime.cpu_multiplies_bfloat16",
    }
    monkeypatch.setattr(f"jittor_ddim.engines.{asked[engine.name]}", lambda: False)
    with caplog.at_level(logging.WARNING, "jittor_ddim"):
        low = load_engine(engine.name, device="cpu", precision="bfloat16")
    assert [record.message[:9] for record in caplog.records] == ["bfloat16:"]
    assert low.precision == ("float32" if engine.name == "jittor" else "bfloat16")


@pytest.mark.jittor
@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_jittor_multiplies_bfloat16():
    assert load_engine("jittor", device="cpu", precision="bfloat16").precision == "bfloat16"


@pytest.mark.jittor
def test_jittors_own_operations_know_no_bfloat16(monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_KERNELS", "plain")
    assert load_engine("jittor", device="cpu", precision="bfloat16").precision == "float32"


@pytest.mark.jittor
def test_jittor_is_not_compiled_twice():
    with pytest.raises(EngineError, match="compiles by itself"):
        load_engine("jittor", device="cpu", compile=True)


def test_an_unknown_precision(engine):
    with pytest.raises(EngineError, match="one of float32, tf32, bfloat16, got 'int8'"):
        load_engine(engine.name, device="cpu", precision="int8")


def test_tf32_needs_a_gpu(engine):
    with pytest.raises(EngineError, match="precision tf32: "):
        load_engine(engine.name, device="cpu", precision="tf32")


@pytest.mark.pytorch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of its own functions
def test_a_compiled_network_is_the_same_and_takes_new_weights(tiny):
    compiled = load_engine("pytorch", device="cpu", compile=True)
    unet = compiled.unet(tiny["config"], tiny["weights"])
    bound = 2e-5 * np.abs(tiny["eps"]).max()
    assert np.abs(unet.predict(tiny["x"], tiny["t"]) - tiny["eps"]).max() <= bound
    others = recipe_weights(parameter_shapes(tiny["config"]), 1)
    eager = load_engine("pytorch", device="cpu").unet(tiny["config"], others)
    unet.load(others)
    found, expected = (network.predict(tiny["x"], tiny["t"]) for network in (unet, eager))
    assert np.abs(found - expected).max() <= bound
