"""A data set of one's own: a function, registered under a name that a config then takes."""

from contextlib import nullcontext

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from jittor_ddim import config_sections, data
from jittor_ddim.config import parse_config
from jittor_ddim.data import ImageSet, Source, open_images, register
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.errors import ConfigError
from jittor_ddim.jobs.train import TrainRequest, run_training

PALE, DARK = np.full((8, 8, 1), 250, np.uint8), np.full((8, 8, 1), 5, np.uint8)


def squares(settings, split, exp):
    """Pale and dark images, alternately; a data set in memory."""
    images = np.stack([PALE, DARK] * (8 if split == "train" else 2))
    return ImageSet(images, f"squares ({split})", labels=np.arange(len(images)) % 2)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(data, "SOURCES", dict(data.SOURCES))
    monkeypatch.setattr(config_sections, "DATASETS", config_sections.DATASETS[:])
    monkeypatch.setattr(data, "DATASETS", config_sections.DATASETS)
    return register


def settings(dataset):
    return parse_config(
        {
            "data": {"dataset": dataset, "image_size": 8, "channels": 1},
            "model": {"ch": 32, "ch_mult": [1], "attn_resolutions": [], "in_channels": 1,
                      "out_ch": 1, "num_res_blocks": 1},
            "training": {"batch_size": 4, "n_iters": 3},
        },
        "test",
    )  # fmt: skip


def test_the_names_of_configs_are_those_that_can_be_opened():
    assert list(data.SOURCES) == config_sections.DATASETS


def test_a_run_is_trained_from_it(registered, tmp_path, monkeypatch, restored_logging):
    with pytest.raises(ConfigError, match="data.dataset: must be one of DIGITS, .*'SQUARES'"):
        settings("SQUARES")
    registered("SQUARES", squares)
    monkeypatch.setattr(engine_choice, "load_engine", lambda *_: FakeEngine())
    checkpoint = run_training(TrainRequest(settings("SQUARES"), tmp_path, "squares"))
    assert checkpoint.name == "ckpt_3"


def test_labels_follow_their_images_into_the_cache(registered, tmp_path):
    """Of a source that is decoded, and of whose images some are held out and one is damaged."""

    def read(key):
        if key == "1/7":
            raise ValueError("damaged")
        return Image.fromarray(np.full((8, 8), int(key[2:]), np.uint8))

    keys = [f"{i % 2}/{i}" for i in range(60)]
    source = Source("numbers", "1", lambda: nullcontext((keys, read)), both_splits=True,
                    label=lambda key: int(key[0]))  # fmt: skip
    registered("NUMBERS", lambda *_: source)
    for _ in range(2):  # decoded, and from the cache
        sets = [open_images(settings("NUMBERS"), split, tmp_path) for split in ("train", "test")]
        assert [len(one.images) for one in sets] == [57, 2]
        for one in sets:
            assert one.labels is not None and one.labels.dtype == np.int64
            np.testing.assert_array_equal(one.labels, one.images[:, 0, 0, 0] % 2)
