"""Streams give what the cache gives, to the bit, and hold only what was asked for."""

import gc
import json
import logging
import os
import subprocess
import sys
import warnings
import zipfile
from contextlib import closing, nullcontext
from dataclasses import astuple
from itertools import islice

import numpy as np
import psutil
import pytest
from fake_engine import FakeEngine
from layouts import encoded, write_lmdb, write_parquet, write_tar
from PIL import Image

from jittor_ddim.config import load_config, parse_config
from jittor_ddim.data import Source, open_images, stream, survey
from jittor_ddim.data.loader import batches, validation_batches
from jittor_ddim.data.unscaled import from_arrays
from jittor_ddim.decoding import open_image
from jittor_ddim.engines import choice
from jittor_ddim.errors import ConfigError, DataError
from jittor_ddim.jobs.train import TrainRequest, run_training

COUNT = 40
RNG = np.random.default_rng(0)
#: Of several sizes, so that they are scaled and cropped.
PIXELS = [RNG.integers(0, 256, (8 + i % 5, 9 + i % 3, 3), np.uint8) for i in range(COUNT)]
FILES = [encoded(one, *("png", "jpeg")[i % 2 :][:1]) for i, one in enumerate(PIXELS)]
FILES[7], FILES[20] = b"damaged", encoded(PIXELS[20], "jpeg")[:-120]
LABELS = [i % 3 for i in range(COUNT)]


def folder(root):
    for i, (content, label) in enumerate(zip(FILES, LABELS, strict=True)):
        path = root / f"class {label}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return {"dataset": "FOLDER", "root": str(root)}


def split_folder(root):
    folder(root / "train")
    folder(root / "test")
    return {"dataset": "FOLDER", "root": str(root)}


def zipped(root):
    root.mkdir()
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        for i, (content, label) in enumerate(zip(FILES, LABELS, strict=True)):
            archive.writestr(f"{label}/{i:03d}.jpg", content)
    return {"dataset": "FOLDER", "root": str(root / "a.zip")}


def lmdb(root):
    keys = {f"8-{i:05d}": content for i, content in enumerate(FILES)}
    write_lmdb(root / "ffhq", keys | {"length": str(COUNT).encode()})
    return {"dataset": "FFHQ", "root": str(root / "ffhq")}


def tars(root):
    contents = [
        pair
        for i, (content, label) in enumerate(zip(FILES, LABELS, strict=True))
        for pair in ((f"{i:03d}.jpg", content), (f"{i:03d}.cls", str(label).encode()))
    ]
    write_tar(root / "train-000.tar", contents[:30])
    write_tar(root / "train-001.tar", contents[30:])
    return {"dataset": "SHARDS", "root": str(root)}


def parquet(root):
    write_parquet(root / "train-00000-of-00002.parquet", FILES[:25], LABELS[:25])
    write_parquet(root / "train-00001-of-00002.parquet", FILES[25:], LABELS[25:])
    return {"dataset": "PARQUET", "root": str(root)}


def celeba(root):
    faces = [RNG.integers(0, 256, (218, 178, 3), np.uint8) for _ in range(6)]
    (root / "img_align_celeba").mkdir(parents=True)
    for i, face in enumerate(faces):
        Image.fromarray(face).save(root / "img_align_celeba" / f"{i}.jpg")
    lines = "".join(f"{i}.jpg {2 * (i > 3)}\n" for i in range(6))
    (root / "list_eval_partition.txt").write_text(lines)
    return {"dataset": "CELEBA", "root": str(root)}


def digits(root):
    return {"dataset": "DIGITS"}


LAYOUTS = [folder, split_folder, zipped, lmdb, tars, parquet, celeba, digits]
WITHOUT_CLASSES = (lmdb, celeba)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_is_equal_to_the_cache_to_the_bit(tmp_path, make_config, layout, split):
    data = layout(tmp_path / "root")
    classes = None if layout in WITHOUT_CLASSES else 10
    made = [make_config(num_classes=classes, stream=on, **data) for on in (False, True)]
    # roots of their own: a record that the one leaves would answer for the other
    cached, streamed = (
        open_images(config, split, tmp_path / str(config.data.stream)) for config in made
    )
    assert streamed.streamed == (layout is not digits) and not cached.streamed
    assert not list((tmp_path / "True").rglob("*.npy"))
    assert streamed.images.shape == cached.images.shape
    rows = np.random.default_rng(1).permutation(len(cached.images))
    assert np.array_equal(streamed.images[rows], cached.images[rows])
    assert np.array_equal(streamed.images[1:9], cached.images[1:9])
    assert (streamed.labels is None) == (classes is None)
    assert classes is None or np.array_equal(streamed.labels, cached.labels)
    assert streamed.reasons == cached.reasons and streamed.name == cached.name
    assert streamed.remarks == cached.remarks and streamed.ignored == cached.ignored
    if layout in (folder, zipped, tars, parquet):
        assert len(cached.reasons) == 2
    validation = [
        list(validation_batches(one.images, made[0], 4, 20, one.labels))
        for one in (cached, streamed)
    ]
    for a, b in zip(*validation, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    sets = [from_arrays([one.images], "set") for one in (cached, streamed)]
    assert sets[0].fingerprint() == sets[1].fingerprint()


def taken(config, image_set, count, **options):
    source = batches(image_set.images, config, 3, labels=image_set.labels, **options)
    with closing(source):
        return [astuple(batch)[:-1] for batch in islice(source, count)]


def assert_same(a, b):
    for one, other in zip(a, b, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.parametrize("layout", [zipped, tars, parquet])
def test_batches_are_those_of_the_cache_whatever_the_workers_and_where_it_starts(
    tmp_path, make_config, layout
):
    data = layout(tmp_path / "root")
    config = make_config(num_classes=3, **data)
    expected = taken(config, open_images(config, "train", tmp_path / "a"), 25)  # in three epochs
    for workers in (1, 4):
        config = make_config(num_classes=3, stream=True, num_workers=workers, **data)
        opened = open_images(config, "train", tmp_path / "b")
        assert_same(taken(config, opened, 25), expected)
        assert_same(taken(config, opened, 12, first_step=14), expected[13:])


def test_rows_read_no_image_of_other_rows(tmp_path, make_config, monkeypatch):
    config = make_config(batch_size=6, stream=True, **zipped(tmp_path / "root"))
    opened = open_images(config, "train", tmp_path)
    read = []
    real = stream.decode
    monkeypatch.setattr(stream, "decode", lambda *args: (read.append(1), real(*args))[1])
    parts = [taken(config, opened, 1, rows=rows)[0][0] for rows in (slice(4), slice(4, 6))]
    ahead = 1 + 2 * config.data.num_workers  # batches that are made for one that is taken
    assert len(read) <= ahead * (4 + 2)
    assert np.array_equal(np.concatenate(parts), taken(config, opened, 1)[0][0])


def test_auto_streams_what_is_large_when_decoded(tmp_path, make_config, monkeypatch, caplog):
    config = make_config(**folder(tmp_path / "root"))
    assert config.data.stream == "auto" and stream.STREAMED_ABOVE == 32 * 10**9
    size = COUNT * 8 * 8 * 3
    monkeypatch.setattr(stream, "STREAMED_ABOVE", size - 1)
    with caplog.at_level(logging.INFO):
        assert open_images(config, "train", tmp_path / "a").streamed
    assert "decoded whenever they are needed (data.stream)" in caplog.text
    monkeypatch.setattr(stream, "STREAMED_ABOVE", size)
    assert not open_images(config, "train", tmp_path / "b").streamed
    monkeypatch.setattr(stream, "STREAMED_ABOVE", 0)  # what is decoded already is used
    assert not open_images(config, "train", tmp_path / "b").streamed
    with pytest.raises(ConfigError, match="data.stream"):
        make_config(stream="sometimes")


def test_is_surveyed_once_and_again_when_it_changes(tmp_path, make_config, monkeypatch):
    data = folder(tmp_path / "root")
    config = make_config(stream=True, **data)
    calls = []
    first = open_images(config, "train", tmp_path, lambda *done: calls.append(done))
    assert calls == [(COUNT, COUNT)]
    again = open_images(config, "test", tmp_path, lambda *_: pytest.fail("surveyed again"))
    assert len(first.images) + len(again.images) == COUNT - 2
    cached = open_images(make_config(stream=False, **data), "train", tmp_path)
    assert np.array_equal(cached.images, first.images[:])
    # the record of a cache serves a stream
    open_images(config, "train", tmp_path, lambda *_: pytest.fail("surveyed again"))
    (tmp_path / "root" / "class 0" / "000.png").write_bytes(b"damaged now")
    changed = open_images(config, "train", tmp_path)
    assert len(changed.reasons) == 3
    assert not list((tmp_path / "datasets" / ".cache").glob("*.npy"))  # decoded from old files
    with pytest.raises(DataError, match=r"000\.png can no longer be decoded .*start again"):
        first.images[:]


def test_strict_refuses_damaged_images_before_training(tmp_path, make_config):
    config = make_config(stream=True, strict=True, **zipped(tmp_path / "root"))
    with pytest.raises(DataError, match=r"2 undecodable image\(s\): .*data\.strict to false"):
        open_images(config, "train", tmp_path)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_survey_finds_the_damage_that_decoding_finds(make_config, progressive):
    """It decodes JPEG at an eighth of the size."""
    smooth = np.linspace(0, 255, 96 * 80 * 3).reshape(96, 80, 3).astype(np.uint8)
    whole = encoded(smooth, "jpeg", progressive=progressive)
    contents = {str(n): whole[:n] for n in range(0, len(whole) + 1, 7)}
    for n in range(150, len(whole), 11):
        contents[f"changed at {n}"] = whole[:n] + b"\xff\xd8\x00" + whole[n + 3 :]
    contents["whole"] = whole
    opened = list(contents), lambda key: open_image(contents[key])
    source, data = Source("all", "1", lambda: nullcontext(opened)), make_config().data
    found = [survey.survey(source, opened, data, None, keep) for keep in (None, lambda _: None)]
    assert found[0] == found[1] and 50 < len(found[0].skipped) < len(contents)


@pytest.mark.parametrize("layout", [zipped, lmdb, tars, parquet])
def test_what_is_no_longer_used_is_closed(tmp_path, make_config, layout):
    config = make_config(stream=True, **layout(tmp_path / "root"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = [open_images(config, split, tmp_path) for split in ("train", "test")]
        both.pop()
        gc.collect()
        assert len(both[0].images[:3]) == 3  # its neighbour's end is not its own
        both.clear()
        gc.collect()
    opened = {file.path for file in psutil.Process().open_files()}
    assert not [path for path in opened if path.startswith(str(tmp_path / "root"))]


def test_a_run_may_go_on_with_a_stream(tmp_path, make_config, monkeypatch, restored_logging):
    """In the middle of an epoch too."""
    monkeypatch.setattr(choice, "load_engine", lambda *_: FakeEngine())
    data = tars(tmp_path / "root")
    losses = {}
    for name, ways in (
        ("kept", (False, False)),
        ("mixed", (False, True)),
        ("streamed", (True,) * 2),
    ):
        for resume, (on, last) in enumerate(zip(ways, (5, 14), strict=True)):
            tree = make_config(stream=on, **data).model_dump()
            tree["training"] |= {"n_iters": last, "batch_size": 4}
            tree["model"] |= {"ch": 32, "num_res_blocks": 1}
            request = TrainRequest(
                parse_config(tree, "test"), tmp_path / name, "run", resume=bool(resume)
            )
            run_training(request)
        lines = (tmp_path / name / "logs" / "run" / "metrics.jsonl").read_text().splitlines()
        losses[name] = [json.loads(line)["loss"] for line in lines]
    assert len(losses["kept"]) == 14 and len(set(losses["kept"])) == 14
    assert losses["kept"] == losses["mixed"] == losses["streamed"]


_MEASURE = """
import pathlib, resource, sys
from contextlib import closing
from itertools import islice
from jittor_ddim.config import load_config, parse_config
from jittor_ddim.data import open_images
from jittor_ddim.data.loader import batches

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

config = load_config(sys.argv[1])
small = load_config(sys.argv[2])
for one in (small, config):
    before = peak()
    images = open_images(one, "train", pathlib.Path(sys.argv[3])).images
    with closing(batches(images, one, 0)) as stream:
        for batch in islice(stream, len(images) // 4):
            pass
print(len(images), peak() - before)
"""


@pytest.mark.parametrize("layout", ["SHARDS", "PARQUET"])
def test_memory_is_bounded(tmp_path, make_config, layout):
    """A data set of 59 MB, when decoded, and of 0.4 MB take the same, but for their names."""
    one = encoded(RNG.integers(0, 256, (16, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1), "jpeg")
    arguments = []
    for name, count in (("large", 1200), ("small", 8)):
        root = tmp_path / name
        if layout == "SHARDS":
            write_tar(root / "0.tar", [(f"{i}.jpg", one) for i in range(count)])
        else:
            write_parquet(root / "0.parquet", [one] * count, group=100)
        config = make_config(dataset=layout, root=str(root), image_size=128, stream=True)
        (tmp_path / f"{name}.yml").write_text(config.to_yaml())
        arguments.append(str(tmp_path / f"{name}.yml"))
    answer = subprocess.run(
        [sys.executable, "-c", _MEASURE, *arguments, str(tmp_path / "exp")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    count, grown = map(int, answer.stdout.split())
    assert count * 128 * 128 * 3 > 55e6
    assert grown < 20e6


def test_a_config_file_takes_it(tmp_path, make_config):
    for value in (True, False, "auto"):
        path = tmp_path / "c.yml"
        path.write_text(make_config(stream=value).to_yaml())
        assert load_config(path).data.stream == value
