"""Hugging Face's layout, and tables of others."""

import os
import sys

import numpy as np
import pytest
from layouts import encoded, write_parquet

from jittor_ddim.data import open_images, parquet
from jittor_ddim.errors import DataError

pa = pytest.importorskip("pyarrow")
from pyarrow.parquet import write_table  # noqa: E402

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
FILES = [encoded(one) for one in PIXELS]
NAMES = ["airplane", "automobile", "bird"]
LABELS = [i % 3 for i in range(12)]


@pytest.mark.parametrize("column", ["img", "image"])
def test_the_layout_of_cifar10(tmp_path, make_config, column):
    data = tmp_path / "root" / "plain_text"
    write_parquet(data / "train-00000-of-00002.parquet", FILES[:5], LABELS[:5], column, NAMES)
    write_parquet(data / "train-00001-of-00002.parquet", FILES[5:8], LABELS[5:8], column, NAMES)
    write_parquet(data / "test-00000-of-00001.parquet", FILES[8:], LABELS[8:], column, NAMES)
    config = make_config(dataset="PARQUET", root=str(tmp_path / "root"), num_classes=3)
    train, test = (open_images(config, split, tmp_path) for split in ("train", "test"))
    assert np.array_equal(train.images, PIXELS[:8]) and np.array_equal(test.images, PIXELS[8:])
    assert train.labels.tolist() == LABELS[:8] and test.labels.tolist() == LABELS[8:]
    assert "3 classes, by the column label: 0 airplane, 1 automobile, 2 bird" in train.remarks[-1]
    (data / "train-00000-of-00002.parquet").unlink()
    fewer = open_images(config, "train", tmp_path)
    assert np.array_equal(fewer.images, PIXELS[5:8])
    missing = "plain_text/train-00000-of-00002.parquet is missing; its images are not used"
    assert any(missing in line for line in fewer.remarks)


@pytest.mark.parametrize("kind", ["binary", "large_binary"])
def test_a_plain_column_of_bytes_and_a_row_without(tmp_path, make_config, kind):
    contents = pa.array([*FILES[:4], None], getattr(pa, kind)())
    table = pa.table({"name": list("abcde"), "picture": contents, "label": pa.array([0] * 5)})
    write_table(table, tmp_path / "a.parquet", row_group_size=2, compression="none")
    for stream in (False, True):
        config = make_config(dataset="PARQUET", root=str(tmp_path), stream=stream)
        train = open_images(config, "train", tmp_path / str(stream))
        assert len(train.images) == 3
        assert train.reasons == {"a.parquet/4": "the row has no bytes of an image"}


def test_of_several_columns_the_one_called_image_is_taken(tmp_path, make_config):
    binary = {"mask": pa.array([b""] * 12), "image": pa.array(FILES)}
    config = make_config(dataset="PARQUET", root=str(tmp_path), num_classes=3)
    write_table(pa.table(binary | {"label": LABELS}), tmp_path / "a.parquet")
    assert np.isin(open_images(config, "train", tmp_path).images, PIXELS).all()
    for columns, message in (
        ({"mask": binary["mask"], "photo": binary["image"]}, "several columns of encoded images "),
        ({"text": ["a"], "image_url": ["b"]}, "no column of encoded images among text, image_url"),
    ):
        write_table(pa.table(columns), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=rf"a\.parquet: {message}.*call the one .* 'image'"):
            open_images(make_config(dataset="PARQUET", root=str(tmp_path)), "train", tmp_path)
    for labels, message in (
        ({}, "no column 'label' among image; add it"),
        ({"label": [0] * 11 + [-1]}, "row 11 has the class '-1' in label, not a number from 0"),
        ({"label": ["cat"] * 12}, "row 0 has the class 'cat' in label, not a number"),
        ({"label": [1] * 11 + [None]}, "row 11 has the class 'None' in label"),
        (
            {"label": pa.array([0] * 11 + [2**64 - 1], pa.uint64())},
            r"a\.parquet: row 11 has the class '18446744073709551615' in label, not a number from",
        ),
    ):
        write_table(pa.table({"image": FILES} | labels), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=message):
            open_images(config, "train", tmp_path)


def test_what_stays_of_the_row_groups_is_bounded(tmp_path, make_config, monkeypatch):
    write_parquet(tmp_path / "a.parquet", FILES, group=2)
    config = make_config(dataset="PARQUET", root=str(tmp_path), stream=True)
    images = open_images(config, "train", tmp_path).images
    expected = images[:]
    monkeypatch.setattr(parquet, "_HELD", 2.5 * 2 * len(FILES[0]))
    recent = parquet._Recent
    held = []
    put = recent.put
    monkeypatch.setattr(
        recent, "put", lambda self, *args: (put(self, *args), held.append(len(self._groups)))
    )
    images = open_images(config, "train", tmp_path).images
    rows = np.random.default_rng(0).permutation(len(images))
    assert np.array_equal(images[rows], expected[rows])
    assert max(held) == 2 and len(held) > 6  # read again where they were dropped


def test_the_package_is_named_where_it_is_missing(tmp_path, make_config, monkeypatch):
    write_parquet(tmp_path / "a.parquet", FILES)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install jittor-ddim\[parquet\]"):
        open_images(make_config(dataset="PARQUET", root=str(tmp_path)), "train", tmp_path)


@pytest.mark.parametrize("stream", [False, True])
def test_more_shards_than_files_that_may_be_open(tmp_path, make_config, stream):
    for i, content in enumerate(FILES):
        write_parquet(tmp_path / "root" / f"{i:02d}.parquet", [content])
    config = make_config(dataset="PARQUET", root=str(tmp_path / "root"), stream=stream)
    before = len(os.listdir("/proc/self/fd"))
    images = open_images(config, "train", tmp_path).images
    assert len(images[:]) == 11 and np.isin(images[:], PIXELS).all()
    assert len(os.listdir("/proc/self/fd")) - before < 4


def test_a_shard_that_changes_in_use_is_named(tmp_path, make_config, monkeypatch):
    monkeypatch.setattr(parquet, "_HELD", 0)
    path = write_parquet(tmp_path / "a.parquet", FILES, group=2)
    config = make_config(dataset="PARQUET", root=str(tmp_path), stream=True)
    images = open_images(config, "train", tmp_path).images
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"a\.parquet: .*get a new copy"):
        images[np.array([0])]
