"""A kernel of ours that throws: the layer is named, and the process goes on."""

import numpy as np
import pytest

from jittor_ddim.config import load_config
from jittor_ddim.errors import MachineError

pytestmark = pytest.mark.jittor

CONFIG = load_config("digits.yml", {"model.attn_resolutions": [4]})


@pytest.fixture
def breaking(jittor_engine, monkeypatch):
    """Let a layer's kernel throw where its source calls a function."""
    from jittor_ddim.engines.jittor.operations import attention, convolution, group_norm
    from jittor_ddim.engines.jittor.operations.code import run

    def break_layer(name, function):
        def broken(layer, sizes, inputs, files, source, *rest):
            if layer == name and function in source:
                source = 'throw std::length_error("there is no room");'
            return run(layer, sizes, inputs, files, source, *rest)

        for module in (attention, convolution, group_norm):
            monkeypatch.setattr(module, "run", broken)

    yield break_layer
    monkeypatch.undo()


def batch():
    rng = np.random.default_rng(0)
    x0, eps = (rng.standard_normal((4, 1, 8, 8)).astype(np.float32) for _ in range(2))
    return x0, rng.integers(0, 1000, 4), eps


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        ("down.1.block.0.conv1", "packed_size("),
        ("down.1.block.0.conv1", "pack("),
        ("up.0.block.1.nin_shortcut", "forward("),
        ("down.1.block.0.norm2", "normalise("),
        ("down.1.attn.0", "forward("),
    ],
)
def test_sampling_names_the_layer_and_goes_on(
    jittor_engine, breaking, monkeypatch, layer, function
):
    x_t, t, _ = batch()
    expected = jittor_engine.unet(CONFIG).predict(x_t, t)
    unet = jittor_engine.unet(CONFIG)
    breaking(layer, function)
    for _ in range(2):
        with pytest.raises(MachineError, match=f"^{layer}: .* failed: there is no room; JITTOR_"):
            unet.predict(x_t, t)
        with pytest.raises(MachineError, match=f"^{layer}: "):
            unet.predict_on_device(unet.to_device(x_t), 5)
    monkeypatch.undo()
    assert np.array_equal(unet.predict(x_t, t), expected)
    assert np.array_equal(jittor_engine.unet(CONFIG).predict(x_t, t), expected)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        ("mid.block_1.conv2", "forward("),
        ("mid.block_1.conv2", "backward_input("),
        ("conv_in", "backward_weights("),
        ("norm_out", "differentiate("),
        ("mid.attn_1", "backward("),
    ],
)
@pytest.mark.parametrize("parts", [1, 2])
def test_training_names_the_layer_and_has_learned_nothing(
    jittor_engine, breaking, monkeypatch, layer, function, parts
):
    training = CONFIG.training.model_copy(update={"accumulate_steps": parts})
    config = CONFIG.model_copy(update={"training": training})
    expected = jittor_engine.trainer(config).step(*batch())
    trainer = jittor_engine.trainer(config)
    before = trainer.weights()
    breaking(layer, function)
    for step in (trainer.step, trainer.phases, trainer.inspect):
        with pytest.raises(MachineError, match=f"^{layer}: .* failed: there is no room"):
            step(*batch())
    monkeypatch.undo()
    assert all(np.array_equal(array, before[name]) for name, array in trainer.weights().items())
    assert trainer.steps_done == 0
    assert trainer.step(*batch()) == expected
