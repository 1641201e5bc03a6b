"""Images at their own size: their order, what is refused, and what is counted."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.data.folder import read_images
from jittor_ddim.data.unscaled import from_arrays, open_unscaled
from jittor_ddim.errors import DataError

RNG = np.random.default_rng(0)


def save(folder: Path, name: str, pixels: np.ndarray, **options) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name, **options)


def rgb(height: int = 6, width: int = 4) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def load_all(path: Path) -> np.ndarray:
    with open_unscaled(path) as images:
        return np.concatenate([load() for load in images.batches(2)])


@pytest.fixture
def folder(tmp_path):
    """Eleven numbered images and two other files."""
    path = tmp_path / "images"
    for index in range(11):
        save(path, f"{index}.png", rgb())
    (path / "sampling.json").write_text("{}")
    (path / "notes.txt").write_text("")
    return path


def expected(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(folder / f"{i}.png")) for i in range(11)])


def test_numbers_come_in_their_order(folder):
    np.testing.assert_array_equal(load_all(folder), expected(folder))
    with open_unscaled(folder) as images:
        assert (images.count, images.size, images.ignored, images.jpeg) == (11, (6, 4), 2, 0)


def test_a_zip_and_an_npz_hold_the_same_images(folder, tmp_path):
    pixels = expected(folder)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"deep/{path.name}")
    np.savez(tmp_path / "stored.npz", images=pixels)
    np.savez_compressed(tmp_path / "compressed.npz", images=pixels)
    np.savez(tmp_path / "unnamed.npz", pixels)
    np.savez(tmp_path / "fortran.npz", images=np.asfortranarray(pixels))
    np.savez_compressed(tmp_path / "both.npz", images=np.asfortranarray(pixels))
    names = "a.zip stored.npz compressed.npz unnamed.npz fortran.npz both.npz"
    for name in names.split():
        np.testing.assert_array_equal(load_all(tmp_path / name), pixels, err_msg=name)


def test_the_fingerprint_is_the_content_alone(folder, tmp_path):
    def fingerprint(path: Path) -> str:
        with open_unscaled(path) as images:
            return images.fingerprint()

    other = tmp_path / "other"
    other.mkdir()
    for path in folder.glob("*.png"):
        (other / f"sample-{path.name}").write_bytes(path.read_bytes())
    assert fingerprint(folder) == fingerprint(other)
    save(other, "sample-3.png", rgb())
    assert fingerprint(folder) != fingerprint(other)
    array = expected(folder)
    before = from_arrays([array], "array").fingerprint()
    array[-1, -1, -1, -1] ^= 1
    assert from_arrays([array], "array").fingerprint() != before


def test_several_arrays_are_one_set(folder):
    pixels = expected(folder)
    parts = from_arrays([pixels[:3], pixels[3:4], pixels[4:]], "parts")
    np.testing.assert_array_equal(np.concatenate([load() for load in parts.batches(5)]), pixels)
    assert parts.count == 11
    assert parts.fingerprint() == from_arrays([pixels], "whole").fingerprint()


def test_grey_images_become_rgb_and_are_counted(folder, tmp_path):
    save(folder, "4.png", rgb()[:, :, 0])
    with open_unscaled(folder) as images:
        pixels = np.concatenate([load() for load in images.batches(3)])
        assert images.grey == {4}
    assert (pixels[4] == pixels[4, :, :, :1]).all() and pixels.shape == (11, 6, 4, 3)
    np.savez(tmp_path / "grey.npz", images=pixels[:, :, :, :1])
    with open_unscaled(tmp_path / "grey.npz") as images:
        assert images.load(range(2)).shape == (2, 6, 4, 3) and images.grey == {0, 1}


def test_jpeg_files_are_counted(folder):
    save(folder, "11.jpg", rgb())
    Image.fromarray(rgb()).save(folder / "12.jfif")
    with open_unscaled(folder) as images:
        assert images.jpeg == 2


def test_a_palette_is_rgb(folder):
    palette = Image.fromarray(rgb()).convert("P")
    palette.save(folder / "7.png")
    pixels = load_all(folder)
    np.testing.assert_array_equal(pixels[7], np.asarray(palette.convert("RGB")))


def test_a_set_has_one_size(folder):
    save(folder, "5.png", rgb(6, 5))
    with pytest.raises(DataError, match="5.png is 6x5, but 0.png is 6x4; all images"):
        load_all(folder)


def test_images_become_8_bits_as_in_training_and_are_counted(folder, make_config):
    transparent = np.zeros((6, 4, 4), np.uint8)
    save(folder, "3.png", transparent)
    save(folder, "5.png", np.full((6, 4), 0x1234, np.uint16))
    exif = Image.Exif()
    exif[274] = 6
    lying = rgb(4, 6)
    save(folder, "8.png", lying, exif=exif)
    save(folder, "11.tif", np.full((6, 4), 0.2, np.float32))
    with open_unscaled(folder, "#102030") as images:
        pixels = np.concatenate([load() for load in images.batches(5)])
        changed = images.changed()
    assert (pixels[3] == (0x10, 0x20, 0x30)).all()
    assert (pixels[5] == 0x12).all() and (pixels[11] == 51).all()
    np.testing.assert_array_equal(pixels[8], np.rot90(lying, -1))
    assert changed == {
        "transparent pixels composited onto #102030": 1,
        "the high 8 of 16 bits used": 1,
        "turned upright (EXIF)": 1,
        "floats in 0 … 1 scaled to 0 … 255": 1,
    }
    assert images.grey == {5, 11}
    data = make_config(channels=3, image_size=4, background="#102030").data
    trained, _ = read_images(folder / "3.png", data, 1)
    assert (trained == pixels[3, 0, 0]).all()


def test_the_background_is_part_of_the_fingerprint(folder):
    def fingerprint(background):
        with open_unscaled(folder, background) as images:
            return images.fingerprint()

    assert fingerprint("white") != fingerprint("black")


def test_unclear_ranges_are_refused_by_name(folder):
    Image.fromarray(np.full((6, 4), 70000, np.int32)).save(folder / "11.tif")
    with pytest.raises(DataError, match="11.tif .integers from 70000 to 70000"):
        load_all(folder)


def test_a_damaged_entry_of_a_zip_is_named(folder, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for image in folder.glob("*.png"):
            archive.write(image, image.name)
        offset = archive.getinfo("8.png").header_offset
    content = bytearray(path.read_bytes())
    content[offset + 60] ^= 1
    path.write_bytes(content)
    with open_unscaled(path) as images, pytest.raises(DataError, match="8.png"):
        images.fingerprint()
    with pytest.raises(DataError, match="8.png"):
        load_all(path)


def test_a_damaged_image_is_named(folder):
    content = (folder / "8.png").read_bytes()
    (folder / "8.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cannot decode 8.png .*remove it"):
        load_all(folder)


def test_an_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match="no images in it, only 1 .txt such as notes.txt"):
        load_all(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        load_all(tmp_path / "missing")


def test_npz_files_that_are_no_images(tmp_path):
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(DataError, match="no array 'images'"):
        load_all(tmp_path / "statistics.npz")
    np.savez(tmp_path / "floats.npz", images=np.zeros((2, 6, 4, 3)))
    with pytest.raises(DataError, match="must be uint8"):
        load_all(tmp_path / "floats.npz")
    with pytest.raises(DataError, match="no such file"):
        load_all(tmp_path / "missing.npz")
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 8, 8, 3)}
    with (
        zipfile.ZipFile(tmp_path / "claims.npz", "w") as archive,
        archive.open("images.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(DataError, match="truncated"):
        load_all(tmp_path / "claims.npz")
