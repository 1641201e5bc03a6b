"""Hugging Face's layout, and tables of others."""

import os
import subprocess
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
    """Of both splits together, and less while others are being read."""
    files = [content + bytes(i for i in range(100)) * 100 for content in FILES]
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", files, group=2)
    monkeypatch.setattr(parquet, "_HELD", 3.5 * 2 * len(files[0]))
    recent, read = parquet._Recent, parquet._Table._read
    held, during = [], []
    put = recent.put
    monkeypatch.setattr(
        recent,
        "put",
        lambda self, *args: (put(self, *args), held.append((id(self), len(self._groups)))),
    )
    monkeypatch.setattr(
        parquet._Table,
        "_read",
        lambda self, *args: (during.append(len(self._recent._groups)), read(self, *args))[1],
    )
    config = make_config(dataset="PARQUET", root=str(tmp_path), stream=True)
    sets = [open_images(config, split, tmp_path).images for split in ("train", "test")]
    for rows in np.split(np.random.default_rng(0).permutation(len(PIXELS)), 4):
        assert all(np.array_equal(images[rows], PIXELS[rows]) for images in sets)
    assert len({which for which, _ in held}) == 1
    assert max(count for _, count in held) == 3 and max(during) == 2
    assert len(held) > 12  # read again where they were dropped


def test_a_row_group_of_changed_content_is_not_taken_for_the_old_one(tmp_path, make_config):
    config = make_config(dataset="PARQUET", root=str(tmp_path), stream=True)
    path = write_parquet(tmp_path / "a.parquet", FILES)
    before = open_images(config, "train", tmp_path).images
    assert len(before[:]) == 11
    write_parquet(path, FILES[::-1])
    os.utime(path, ns=(0, 0))
    after = open_images(config, "train", tmp_path).images
    assert np.array_equal(after[:], open_images(config, "train", tmp_path / "other").images[:])
    assert not np.array_equal(after[:], before[:])


_PEAK = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
import pyarrow
from jittor_ddim.config import load_config
from jittor_ddim.data import open_images, parquet

parquet._HELD = int(sys.argv[2])
config = load_config(sys.argv[1])
for _ in range(2):  # once to see which can be decoded, then as a later start opens them
    sets = []
    for split in ("train", "test"):
        sets.append(open_images(config, split, Path(sys.argv[3])).images)
rows = np.random.default_rng(0)
with ThreadPoolExecutor(2) as pool:
    for images in sets * 3:
        list(pool.map(lambda row: images[row : row + 1], rows.permutation(len(images)).tolist()))
print(pyarrow.total_allocated_bytes(), pyarrow.default_memory_pool().max_memory())
"""


def test_what_both_splits_take_is_bounded_with_large_row_groups(tmp_path, make_config):
    group, count, held = 2**20, 20, 4 * 2**20
    content = FILES[0] + np.random.default_rng(0).bytes(group // 4)
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [content] * count, group=4)
    config = make_config(dataset="PARQUET", root=str(tmp_path), stream=True)
    (tmp_path / "c.yml").write_text(config.to_yaml())
    answer = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path / "c.yml"), str(held), str(tmp_path / "exp")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    stays, peak = map(int, answer.stdout.split())
    assert stays < held + 2**16
    assert peak < held + 2 * group + 2**16  # what two threads read is there twice for a moment


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
        images[:]  # one row group is still in memory
