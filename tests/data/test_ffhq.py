"""FFHQ in folders and zips; as an LMDB in test_lmdb.py."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.data import open_images
from jittor_ddim.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)


def official_split(count):
    np.random.seed(2019)  # the official lines
    indices = list(range(count))
    np.random.shuffle(indices)
    return sorted(indices[: int(count * 0.9)]), sorted(indices[int(count * 0.9) :])


def write(folder, name="{i:05d}.png", size=8):
    """In folders of ten, as NVIDIA's are of a thousand."""
    for i, pixels in enumerate(PIXELS):
        path = folder / f"{i // 10 * 10:05d}" / name.format(i=i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST).save(path)


def check(make_config, root, tmp_path, rows=range(30)):
    config = make_config(dataset="FFHQ", root=root and str(root))
    for split, numbers in zip(("train", "test"), official_split(70_000), strict=True):
        found = open_images(config, split, tmp_path / "exp").images
        assert np.array_equal(found, PIXELS[[number for number in numbers if number in rows]])


def test_folders_of_a_thousand(tmp_path, make_config):
    root = tmp_path / "exp" / "datasets" / "FFHQ"
    write(root)
    check(make_config, None, tmp_path)
    check(make_config, root, tmp_path)
    for missing in (13, 29):  # the others stay in their splits
        (root / f"{missing // 10 * 10:05d}" / f"{missing:05d}.png").unlink()
    check(make_config, root, tmp_path, set(range(30)) - {13, 29})


def test_nvidias_folders_for_sizes(tmp_path, make_config):
    """The smallest that is large enough, and never the uncropped pictures."""
    write(tmp_path / "FFHQ" / "images16x16", size=16)
    write(tmp_path / "FFHQ" / "thumbnails8x8")
    write(tmp_path / "FFHQ" / "thumbnails4x4", size=4)
    write(tmp_path / "FFHQ" / "in-the-wild-images", size=20)
    check(make_config, tmp_path / "FFHQ", tmp_path)
    config = make_config(dataset="FFHQ", root=str(tmp_path / "FFHQ"), image_size=40)
    assert open_images(config, "test", tmp_path).files.smallest == (16, 16)


def test_the_zip_of_stylegan(tmp_path, make_config):
    write(tmp_path / "images", "img{i:08d}.png")
    with zipfile.ZipFile(tmp_path / "ffhq.zip", "w") as archive:
        archive.writestr("dataset.json", '{"labels": null}')
        for path in (tmp_path / "images").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path / "images"))
    check(make_config, tmp_path / "ffhq.zip", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("holiday.png", r"holiday\.png is not named by a number below 70000, which tells its spl"),
        ("20260101.png", r"20260101\.png is not named by a number below 70000"),
        ("other/00003.png", r"00000/00003\.png and other/00003\.png have one number; keep one"),
    ],
)
def test_names_without_a_number_of_their_own(tmp_path, make_config, name, message):
    write(tmp_path / "FFHQ")
    (tmp_path / "FFHQ" / "other").mkdir()
    Image.fromarray(PIXELS[0]).save(tmp_path / "FFHQ" / name)
    with pytest.raises(DataError, match=message):
        open_images(make_config(dataset="FFHQ", root=str(tmp_path / "FFHQ")), "train", tmp_path)


def test_nothing_is_named(tmp_path, make_config):
    write(tmp_path / "FFHQ" / "in-the-wild-images")
    with pytest.raises(DataError, match=r"none of its 0 images .* \(in-the-wild-images are not u"):
        open_images(make_config(dataset="FFHQ", root=str(tmp_path / "FFHQ")), "train", tmp_path)
    with pytest.raises(DataError, match=r"FFHQ needs there an LMDB .* or the folders or zip of"):
        open_images(make_config(dataset="FFHQ"), "train", tmp_path)
