import logging
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.data import open_images
from jittor_ddim.errors import DataError


def both(config, exp):
    return (open_images(config, "train", exp), open_images(config, "test", exp))


def as_set(images):
    return {image.tobytes() for image in np.asarray(images)}


def test_nested_images_are_all_there_in_the_order_of_their_names(
    tmp_path, make_config, write_images
):
    a = write_images(tmp_path / "root" / "b" / "deep", 25, seed=1)
    b = write_images(tmp_path / "root" / "a", 15, seed=2)
    (tmp_path / "root" / "notes.txt").write_text("no image")
    (tmp_path / "root" / ".hidden.png").write_bytes(b"no image")
    write_images(tmp_path / "root" / "__MACOSX", 1)
    write_images(tmp_path / "root" / ".cache", 1)
    train, test = both(make_config(root=str(tmp_path / "root")), tmp_path)
    everything = np.concatenate([b, a])  # folder a comes first
    assert train.ignored == 1 and train.skipped == ()
    assert len(train.images) == 38 and len(test.images) == 2
    assert as_set(train.images) | as_set(test.images) == as_set(everything)
    order = [image.tobytes() for image in everything]
    positions = [order.index(image.tobytes()) for image in np.asarray(train.images)]
    assert positions == sorted(positions)


def test_zip_and_folder_give_the_same_images(tmp_path, make_config, write_images):
    write_images(tmp_path / "root" / "x", 30)
    with zipfile.ZipFile(tmp_path / "root.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "root").rglob("*.png"), reverse=True):
            archive.write(path, path.relative_to(tmp_path / "root"))
        archive.writestr("__MACOSX/x/0000.png", b"junk")
        archive.writestr("x/.DS_Store", b"junk")
        archive.writestr("dataset.json", "null")
    folder, _ = both(make_config(root=str(tmp_path / "root")), tmp_path)
    packed, _ = both(make_config(root=str(tmp_path / "root.zip")), tmp_path)
    assert np.array_equal(folder.images, packed.images)
    assert packed.ignored == 1


@pytest.mark.parametrize("wrapper", ["", "mine/"])
def test_train_and_test_folders_are_the_splits(tmp_path, make_config, write_images, wrapper):
    root = tmp_path / "root"
    expected_train = write_images(root / wrapper / "train" / "cats", 5, seed=1)
    expected_test = write_images(root / wrapper / "test", 3, seed=2)
    train, test = both(make_config(root=str(root)), tmp_path)
    assert np.array_equal(train.images, expected_train)
    assert np.array_equal(test.images, expected_test)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "size", [(20, 31), (31, 20), (5, 6), (8, 11), (11, 8), (8, 13), (8, 8), (13, 9)]
)
def test_shorter_side_is_resized_and_the_centre_kept(tmp_path, make_config, size, channels):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
    for name in ("a.bmp", "b.bmp"):
        image.save(tmp_path / name)
    train, _ = both(make_config(root=str(tmp_path), channels=channels), tmp_path)
    height, width = size
    if width < height:
        new_width, new_height = 8, int(8 * height / width)
    else:
        new_width, new_height = int(8 * width / height), 8
    image = image.convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(image.resize((new_width, new_height), Image.Resampling.BILINEAR))
    top, left = round((new_height - 8) / 2), round((new_width - 8) / 2)
    expected = pixels[top : top + 8, left : left + 8].reshape(8, 8, channels)
    assert np.array_equal(train.images[0], expected)


def test_every_extension_and_mode_is_read(tmp_path, make_config):
    grey = Image.fromarray(np.full((8, 8), 100, np.uint8))
    files = {"a.PNG": grey, "b.jpg": grey, "c.JPEG": grey, "d.webp": grey, "e.bmp": grey}
    files |= {"f.gif": grey, "g.tif": grey, "h.Tiff": grey}
    files["i.png"] = Image.fromarray(np.full((8, 8), 100 * 256, np.uint16))
    files["j.png"] = grey.convert("RGBA")
    files["k.png"] = grey.convert("1")
    palette = grey.convert("P")
    for name, image in files.items():
        image.save(tmp_path / name)
    palette.save(tmp_path / "l.png", transparency=bytes(range(200)))
    train, test = both(make_config(root=str(tmp_path)), tmp_path)
    assert train.skipped == test.skipped == ()
    images = np.concatenate([train.images, test.images]).astype(int)
    assert len(images) == 12
    close = np.abs(images - 100).max(axis=(1, 2, 3)) <= 1
    assert close.sum() == 11  # all but the black and white one


def test_undecodable_images_are_named_and_left_out(tmp_path, make_config, write_images, caplog):
    expected = write_images(tmp_path / "train", 4)
    write_images(tmp_path / "test", 1)
    (tmp_path / "train" / "0001b.png").write_bytes(b"not an image")
    whole = (tmp_path / "train" / "0003.png").read_bytes()
    (tmp_path / "train" / "0003.png").write_bytes(whole[:-60])  # truncated
    with caplog.at_level(logging.WARNING):
        train = open_images(make_config(root=str(tmp_path)), "train", tmp_path)
    assert train.skipped == ("train/0001b.png", "train/0003.png")
    assert "2 undecodable" in caplog.text and "train/0001b.png" in caplog.text
    assert np.array_equal(train.images, expected[:3])
    with pytest.raises(DataError, match=r"0001b\.png.*data\.strict"):
        open_images(make_config(root=str(tmp_path), strict=True), "train", tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path, make_config, write_images):
    write_images(tmp_path / "elsewhere", 6)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("circle", "another circle"):
        (tmp_path / "elsewhere" / name).symlink_to(root)
    (root / "README").symlink_to(tmp_path / "nowhere")
    train, test = both(make_config(root=str(root)), tmp_path)
    assert len(train.images) + len(test.images) == 6


def test_bad_roots_are_named(tmp_path, make_config, write_images):
    def message(**data):
        with pytest.raises(DataError) as error:
            open_images(make_config(**data), "train", tmp_path)
        assert str(error.value).count("\n") == 0
        return str(error.value)

    assert "data.root" in message()
    assert "nowhere: no such" in message(root=str(tmp_path / "nowhere"))
    (tmp_path / "plain").write_text("text")
    assert "neither a folder nor a zip" in message(root=str(tmp_path / "plain"))
    (tmp_path / "empty").mkdir()
    assert "no images" in message(root=str(tmp_path / "empty"))
    write_images(tmp_path / "one", 1)
    assert "at least 2" in message(root=str(tmp_path / "one"))
    for name in ("a.png", "b.png"):
        (tmp_path / "empty" / name).write_bytes(b"junk")
    assert "none of 1 images can be decoded" in message(root=str(tmp_path / "empty"))
    (tmp_path / "one" / "gone.png").symlink_to(tmp_path / "nowhere")
    os.link(tmp_path / "one" / "0000.png", tmp_path / "one" / "z.png")
    with pytest.raises(DataError, match=r"gone\.png"):
        both(make_config(root=str(tmp_path / "one")), tmp_path)


def test_damaged_zip_member_is_skipped(tmp_path, make_config, write_images):
    write_images(tmp_path / "root", 5)
    path = tmp_path / "root.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((tmp_path / "root").iterdir()):
            archive.write(file, f"train/{file.name}")
        archive.write(file, "test/x.png")
    content = bytearray(path.read_bytes())
    content[content.index(b"train/0000.png") + 60] ^= 255  # inside the first member's bytes
    path.write_bytes(content)
    train = open_images(make_config(root=str(path)), "train", tmp_path)
    assert train.skipped == ("train/0000.png",) and len(train.images) == 4
