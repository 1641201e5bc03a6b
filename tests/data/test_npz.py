"""The arrays of ADM's scripts, and those of `ddim images pack`."""

import numpy as np
import pytest
from layouts import write_npz

from jittor_ddim.data import open_images
from jittor_ddim.errors import DataError
from jittor_ddim.image_files import pack, write_png

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("stream", [False, True])
def test_splits_classes_and_order(tmp_path, make_config, save, stream):
    root = tmp_path / "root"
    root.mkdir()
    save(root / "imagenet_train.npz", PIXELS[:8], np.arange(8) % 3)
    save(root / "imagenet_val.npz", PIXELS[8:], np.arange(4, dtype=np.uint16) % 3)
    config = make_config(dataset="NPZ", root=str(root), num_classes=3, stream=stream)
    for split, rows in (("train", slice(8)), ("test", slice(8, 12))):
        found = open_images(config, split, tmp_path)
        assert np.array_equal(found.images[:], PIXELS[rows])
        assert found.labels.tolist() == [i % 3 for i in range(len(found.images))]
        assert "3 classes, by arr_1 or labels" in found.remarks[-1]


def test_what_ddim_images_pack_writes_is_read(tmp_path, make_config):
    grey = PIXELS[:4, :, :, :1]
    for i, image in enumerate(grey):
        write_png(tmp_path, i, image)
    pack(tmp_path, tmp_path / "a.npz")
    config = make_config(dataset="NPZ", root=str(tmp_path / "a.npz"), channels=1)
    images = [open_images(config, split, tmp_path).images for split in ("train", "test")]
    assert sorted(map(bytes, np.concatenate(images))) == sorted(map(bytes, grey))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            None,
            r"a\.npz: no array arr_1 \(or labels\) with the classes; save it, or leave model\.",
        ),
        ([1, 2], r"a\.npz: its classes are int64 \(2,\), not 12 whole numbers; save one for each"),
        ([0] * 11 + [-1], r"a\.npz: one has the class -1, not a number from 0 to 2147483647; cor"),
        (
            np.array([0] * 11 + [2**64 - 1], np.uint64),
            r"a\.npz: one has the class 18446744073709551615",
        ),
        ([0.5] * 12, r"a\.npz: its classes are float64 \(12,\), not 12 whole numbers"),
        ([{}] * 12, r"a\.npz: its classes cannot be read \(Object arrays cannot be loaded"),
    ],
)
def test_classes_that_are_none(tmp_path, make_config, labels, message):
    """An array of objects is a pickle, which is never read."""
    write_npz(tmp_path / "a.npz", PIXELS, labels)
    config = make_config(dataset="NPZ", root=str(tmp_path / "a.npz"), num_classes=3)
    with pytest.raises(DataError, match=message):
        open_images(config, "train", tmp_path)
    without = make_config(dataset="NPZ", root=str(tmp_path / "a.npz"))
    assert len(open_images(without, "train", tmp_path).images) == 11


def test_damaged_classes(tmp_path, make_config):
    np.savez_compressed(tmp_path / "a.npz", PIXELS, np.arange(12) % 3)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(b"arr_1.npy") + len("arr_1.npy") + 20] = 255  # no block of Deflate
    (tmp_path / "a.npz").write_bytes(content)
    config = make_config(dataset="NPZ", root=str(tmp_path / "a.npz"), num_classes=3)
    with pytest.raises(DataError, match=r"a\.npz: its classes cannot be read \(Error -3 while"):
        open_images(config, "train", tmp_path)
