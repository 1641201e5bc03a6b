"""A full GPU is told with the batch that would fit; on a toy engine."""

import numpy as np
import pytest
from fake_engine import FakeEngine

from jittor_ddim import load_config
from jittor_ddim.engines import full_memory
from jittor_ddim.engines.full_memory import largest_batch, naming_what_fits
from jittor_ddim.errors import MachineError

GIB = 2**30


class Full(Exception):
    pass


class SmallGpu(FakeEngine):
    """It has no room for any network."""

    def is_memory_full(self, error):
        return isinstance(error, Full)

    def differentiate(self, loss, parameters):
        raise Full("bytes and bytes")

    def freeze(self, model, compile):
        def predict(*inputs):
            raise Full("bytes and bytes")

        return predict


@pytest.fixture
def batch():
    config = load_config("digits.yml")
    return config, np.zeros((64, *config.sample_shape), np.float32), np.zeros(64, np.int64)


def test_training_names_a_batch_and_another_way(monkeypatch, batch):
    config, images, t = batch
    monkeypatch.setattr(full_memory, "gpu_memory", lambda: 2 * GIB + 40_000_000)
    with pytest.raises(MachineError, match=r"\(2 GiB\) is full at a batch of 64; about \d+ would"):
        SmallGpu().trainer(config).step(images, t, images)
    split = config.training.model_copy(update={"accumulate_steps": 2})
    config = config.model_copy(update={"training": split})
    with pytest.raises(MachineError, match="batch of 32; .*training.accumulate_steps=4 for the"):
        monkeypatch.setattr(full_memory, "gpu_memory", lambda: 80 * GIB)
        SmallGpu().trainer(config).step(images, t, images)


def test_sampling_names_a_batch(monkeypatch, batch):
    config, images, t = batch
    monkeypatch.setattr(full_memory, "gpu_memory", lambda: None)
    unet = SmallGpu().unet(config)
    for call in (lambda: unet.predict(images, t), lambda: unet.predict_on_device(images, 3)):
        with pytest.raises(
            MachineError, match="^the GPU's memory is full at a batch of 64; about 32"
        ):
            call()


def test_a_gpu_too_small_for_one_image(monkeypatch, batch):
    config, images, t = batch
    monkeypatch.setattr(full_memory, "gpu_memory", lambda: GIB)
    with pytest.raises(MachineError, match="needs a larger GPU"):
        SmallGpu().trainer(config).step(images, t, images)


def test_other_errors_stay_what_they_are(batch):
    with (
        pytest.raises(ZeroDivisionError),
        naming_what_fits(SmallGpu(), batch[0], 1, training=False),
    ):
        raise ZeroDivisionError


def test_the_estimate_is_near_what_was_measured():
    """An H200 took 38 GiB for 512 images in float32: docs/performance.md."""
    found = largest_batch(load_config("cifar10.yml"), 40 * GIB, training=True)
    assert found == pytest.approx(512, rel=0.15)
    assert found % 8 == 0
