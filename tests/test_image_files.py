import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.errors import DataError
from jittor_ddim.image_files import existing_indices, pack, unpack, write_png


def fill(folder, count=12, channels=3, size=(4, 6)):
    shape = (count, *size, channels)
    images = np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)
    for index, image in enumerate(images):
        write_png(folder, index, image)
    return images


@pytest.mark.parametrize("channels", [1, 3])
def test_there_and_back_without_loss_in_index_order(tmp_path, channels):
    images = fill(tmp_path / "a", channels=channels)  # 10.png sorts before 2.png by name
    assert pack(tmp_path / "a", tmp_path / "set.npz") == 12
    with np.load(tmp_path / "set.npz", allow_pickle=False) as file:
        assert file.files == ["images"]
        assert file["images"].dtype == np.uint8
        np.testing.assert_array_equal(file["images"], images)
    assert unpack(tmp_path / "set.npz", tmp_path / "b") == 12
    assert existing_indices(tmp_path / "b") == set(range(12))
    for index, image in enumerate(images):
        read = np.asarray(Image.open(tmp_path / "b" / f"{index}.png"))
        np.testing.assert_array_equal(read.reshape(image.shape), image)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "set.npz"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpy_s_own_files_are_read(tmp_path, save):
    images = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    save(tmp_path / "set.npz", images=images)
    unpack(tmp_path / "set.npz", tmp_path / "out")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "1.png")), images[1])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_fortran_order_is_read_as_it_is_meant(tmp_path, save):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 3), np.uint8)
    save(tmp_path / "set.npz", images=np.asfortranarray(images))
    assert unpack(tmp_path / "set.npz", tmp_path / "out") == 5
    for index, image in enumerate(images):
        read = np.asarray(Image.open(tmp_path / "out" / f"{index}.png"))
        np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize(
    ("method", "message"), [(9, "Deflate64.*compress it again"), (0, "encrypted")]
)
def test_an_npz_that_python_cannot_unpack_says_why(tmp_path, method, message):
    content = bytearray(npz(images=GOOD))
    entry = content.index(b"PK\1\2")
    content[entry + 10] = method
    content[entry + 8] |= method == 0
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        unpack(tmp_path / "set.npz", tmp_path / "out")


def test_only_complete_images_with_a_number_count(tmp_path):
    fill(tmp_path, 4)
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[:-1])
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "5.png").write_bytes(b"x" * 8 + whole[8:])
    for name in ("grid.png", "07.png", "-1.png", "8.jpg", ".9.png.1.tmp", "\u0663.png"):
        (tmp_path / name).write_bytes(whole)
    assert existing_indices(tmp_path) == {0, 3}
    assert existing_indices(tmp_path / "nowhere") == set()


def test_unpacking_replaces_images_and_keeps_other_files(tmp_path):
    fill(tmp_path / "old", 9)
    (tmp_path / "old" / "notes.txt").write_text("mine")
    fill(tmp_path / "new", 2)
    pack(tmp_path / "new", tmp_path / "set.npz")
    unpack(tmp_path / "set.npz", tmp_path / "old")
    assert existing_indices(tmp_path / "old") == {0, 1}
    assert (tmp_path / "old" / "notes.txt").read_text() == "mine"


def drop_image(folder):
    (folder / "3.png").unlink()


def other_size(folder):
    write_png(folder, 3, np.zeros((5, 5, 3), np.uint8))


def damage(folder):
    data = bytearray((folder / "3.png").read_bytes())
    data[40:-12] = bytes(len(data) - 52)
    (folder / "3.png").write_bytes(data)


def transparent(folder):
    Image.new("RGBA", (6, 4)).save(folder / "3.png")


def turned(folder):
    exif = Image.Exif()
    exif[274] = 3
    Image.new("RGB", (6, 4)).save(folder / "3.png", exif=exif)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_image, "1 images .* missing .* 3.png"),
        (other_size, "3.png is 5x5x3, but 0.png is 4x6x3"),
        (damage, "3.png: cannot be decoded"),
        (transparent, "3.png: mode RGBA"),
        (turned, "3.png: not plain 8-bit pixels .turned upright"),
    ],
)
def test_a_spoilt_folder_is_refused_and_the_old_file_stays(tmp_path, spoil, message):
    fill(tmp_path / "a")
    spoil(tmp_path / "a")
    (tmp_path / "set.npz").write_bytes(b"old")
    with pytest.raises(DataError, match=message):
        pack(tmp_path / "a", tmp_path / "set.npz")
    assert (tmp_path / "set.npz").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "set.npz"]


def test_nothing_to_pack(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        pack(tmp_path / "nowhere", tmp_path / "set.npz")
    with pytest.raises(DataError, match="holds no images"):
        pack(tmp_path, tmp_path / "set.npz")


class Malice:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def member(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images.npy", data)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


GOOD = np.zeros((3, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npz(images=np.array([Malice()], object)), "must be uint8"),
        (npz(images=np.array(Malice(), object).reshape(1, 1, 1, 1)), "must be uint8"),
        (npz(images=GOOD.astype(np.float32)), "must be uint8"),
        (npz(images=GOOD[0]), "must be uint8"),
        (npz(images=GOOD[:, :, :, :2]), "must be uint8"),
        (npz(images=GOOD[:0]), "must be uint8"),
        (npz(features=GOOD), "no array 'images'"),
        (member(b"not an array"), "not a NumPy array"),
        (member(npy(GOOD)[:-1]), "truncated"),
        (npz(images=GOOD)[:-40], "not a readable .npz"),
        (b"", "not a readable .npz"),
    ],
)
def test_a_bad_npz_is_refused_and_the_folder_stays(tmp_path, data, message):
    fill(tmp_path / "out", 2)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    (tmp_path / "set.npz").write_bytes(data)
    with pytest.raises(DataError, match=message):
        unpack(tmp_path / "set.npz", tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "set.npz"]


def test_a_missing_npz_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        unpack(tmp_path / "nowhere.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
