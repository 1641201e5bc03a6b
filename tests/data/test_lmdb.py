import os
import sys

import numpy as np
import pytest
from layouts import encoded, write_lmdb

from jittor_ddim.data import open_images
from jittor_ddim.data.source import hold_out
from jittor_ddim.errors import DataError

lmdb = pytest.importorskip("lmdb")


def encode(pixels):
    return encoded(pixels, "webp", lossless=True)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)


def test_lsun_train_and_val_are_the_splits(tmp_path, images, make_config):
    lsun = tmp_path / "exp" / "datasets" / "lsun"
    items = {f"{i:040x}": encode(image) for i, image in enumerate(images)}
    write_lmdb(lsun / "bedroom_train_lmdb", items)
    write_lmdb(lsun / "bedroom_val_lmdb", dict(list(items.items())[:3]))
    roots = (None, lsun, lsun / "bedroom_train_lmdb")
    for root in roots:
        root = root and str(root)
        config = make_config(dataset="LSUN", category="bedroom", root=root)
        train = open_images(config, "train", tmp_path / "exp").images
        assert np.array_equal(train, images)
        test = open_images(config, "test", tmp_path / "exp").images
        assert np.array_equal(test, images[:3])


def test_ffhq_splits_as_the_official_code(tmp_path, images, make_config):
    items = {f"8-{i:05d}": encode(image) for i, image in enumerate(images)}
    ffhq = tmp_path / "exp" / "datasets" / "FFHQ"
    write_lmdb(ffhq, items | {"length": b"30", "16-00000": b"another size"})
    np.random.seed(2019)  # the official lines
    indices = list(range(30))
    np.random.shuffle(indices)
    train_indices, test_indices = indices[: int(30 * 0.9)], indices[int(30 * 0.9) :]
    config = make_config(dataset="FFHQ")
    train = open_images(config, "train", tmp_path / "exp").images
    assert np.array_equal(train, images[sorted(train_indices)])
    test = open_images(config, "test", tmp_path / "exp").images
    assert np.array_equal(test, images[sorted(test_indices)])
    with pytest.raises(DataError, match="32-0000. is missing"):
        open_images(make_config(dataset="FFHQ", image_size=32), "train", tmp_path / "exp")


def test_records_are_decoded_as_files_are(tmp_path, images, make_config):
    folder = tmp_path / "exp" / "datasets" / "lsun" / "bedroom_val_lmdb"
    items = {f"{i:040x}": encode(image) for i, image in enumerate(images)}
    items["0" * 40] = encode(np.zeros((8, 8, 4), np.uint8))
    items["1" * 40] = b"damaged"
    write_lmdb(folder, items)
    config = make_config(dataset="LSUN", category="bedroom", background="#010203")
    test = open_images(config, "test", tmp_path / "exp")
    assert (test.images[0] == (1, 2, 3)).all() and len(test.images) == 30
    assert test.reasons == {"1" * 40: "not an image that Pillow can read"}
    write_lmdb(tmp_path / "exp" / "datasets" / "FFHQ", {"length": b"many"})
    with pytest.raises(DataError, match="'length' is not a number"):
        open_images(make_config(dataset="FFHQ"), "train", tmp_path / "exp")


def test_absent_files_and_package_are_named(tmp_path, images, make_config, monkeypatch):
    config = make_config(dataset="LSUN", category="church_outdoor")
    with pytest.raises(DataError, match="church_outdoor_val_lmdb"):
        open_images(config, "test", tmp_path / "exp")
    with pytest.raises(DataError, match="FFHQ"):
        open_images(make_config(dataset="FFHQ"), "test", tmp_path / "exp")
    folder = tmp_path / "exp" / "datasets" / "lsun" / "church_outdoor_val_lmdb"
    write_lmdb(folder, {"a": encode(images[0])})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lmdb", None)
        with pytest.raises(DataError, match=r"pip install jittor-ddim\[lsun\]"):
            open_images(config, "test", tmp_path / "exp")
    (folder / "data.mdb").write_bytes(b"junk")
    with pytest.raises(DataError, match="not a readable LMDB"):
        open_images(config, "test", tmp_path / "exp")


@pytest.mark.parametrize("stream", [False, True])
def test_a_truncated_file_is_named_and_not_read(tmp_path, images, make_config, stream):
    """LMDB maps the file: reading behind its end would be a bus error."""
    items = {f"8-{i:05d}": encode(image) for i, image in enumerate(images)}
    ffhq = tmp_path / "exp" / "datasets" / "FFHQ"
    write_lmdb(ffhq, items | {"length": b"30", "filling": bytes(200_000)})
    os.truncate(ffhq / "data.mdb", 100_000)
    with pytest.raises(
        DataError, match=r"data\.mdb: cut short, 100000 of at least 2\d+ bytes; get"
    ):
        open_images(make_config(dataset="FFHQ", stream=stream), "train", tmp_path / "exp")


def contents(folder):
    return {path.name: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}


@pytest.mark.parametrize("name", ["cat", "cat_lmdb"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_object_of_lsun_is_one_lmdb(tmp_path, images, make_config, name, stream):
    lsun = tmp_path / "exp" / "datasets" / "lsun"
    write_lmdb(lsun / name, {f"{i:040x}": encode(image) for i, image in enumerate(images)})
    (lsun / name / "lock.mdb").unlink()
    for path in (lsun / name / "data.mdb", lsun / name):
        path.chmod(path.stat().st_mode & ~0o222)  # as read-only media
    before = contents(lsun / name)
    held_out = hold_out(len(images), "test", "cats")
    for root in (None, lsun, lsun / name):
        config = make_config(
            dataset="LSUN", category="cat", root=root and str(root), stream=stream
        )
        train, test = (open_images(config, split, tmp_path / "exp") for split in ("train", "test"))
        assert np.array_equal(test.images[:], images[held_out])
        assert np.array_equal(train.images[:], np.delete(images, held_out, 0))
        assert "one LMDB for both splits, so 5 % of the images are held out" in test.remarks[0]
    assert contents(lsun / name) == before


def test_half_of_a_scene_is_not_an_object(tmp_path, images, make_config):
    lsun = tmp_path / "lsun"
    write_lmdb(lsun / "bedroom_train_lmdb", {f"{i:040x}": encode(images[i]) for i in range(4)})
    write_lmdb(lsun / "bedroom", {f"{i:040x}": encode(images[i]) for i in range(4)})
    for category, root in (("bedroom", lsun), ("cat", lsun / "bedroom_train_lmdb")):
        config = make_config(dataset="LSUN", category=category, root=str(root))
        with pytest.raises(DataError, match=f"LSUN needs the folder {category}_val_lmdb there"):
            open_images(config, "test", tmp_path)
