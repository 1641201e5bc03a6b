import logging
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.data import open_images
from jittor_ddim.data.files import image_extensions
from jittor_ddim.data.source import hold_out
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


@pytest.mark.parametrize(
    ("folders", "train", "test", "said"),
    [
        (
            "train val",
            "train",
            "val",
            "the 6 images of train, holding out the 3 of val (there is no",
        ),
        ("Train Test", "Train", "Test", "holding out the 3 of test"),
        ("training testing", "training", "testing", "holding out the 3 of test"),
        ("TRAIN Valid", "TRAIN", "Valid", "holding out the 3 of val"),
        ("train validation", "train", "validation", "holding out the 3 of val"),
        ("train dev", "train", "dev", "holding out the 3 of val"),
        ("train test val", "train", "test", "not used: 3 images of val, because there is a test"),
        (
            "train test other",
            "train",
            "test",
            "not used: 3 images outside the folders of its splits",
        ),
    ],
)
def test_the_usual_names_of_splits(
    tmp_path, make_config, write_images, caplog, folders, train, test, said
):
    root, written = tmp_path / "root", {}
    for seed, name in enumerate(folders.split()):
        written[name] = write_images(root / name, 6 if seed == 0 else 3, seed)
    with caplog.at_level(logging.INFO):
        found = both(make_config(root=str(root)), tmp_path)
    for image_set, name in zip(found, (train, test), strict=True):
        np.testing.assert_array_equal(image_set.images, written[name])
        assert any(said in remark for remark in image_set.remarks)
    assert caplog.text.count(said) == 1  # though both splits were opened


def test_other_folders_are_no_splits_and_that_is_said(tmp_path, make_config, write_images, caplog):
    for name in ("cats", "test"):
        write_images(tmp_path / "root" / name, 10)
    with caplog.at_level(logging.INFO):
        train, test = both(make_config(root=str(tmp_path / "root")), tmp_path)
    assert (len(train.images), len(test.images)) == (19, 1)
    assert "so 5 % of the images are held out" in caplog.text


@pytest.mark.parametrize("damaged", range(10))
def test_held_out_is_what_can_be_decoded(tmp_path, make_config, write_images, damaged):
    images = write_images(tmp_path / "root", 10)
    (tmp_path / "root" / f"{damaged:04d}.png").write_bytes(b"junk")
    train, test = both(make_config(root=str(tmp_path / "root")), tmp_path)
    assert (len(train.images), len(test.images)) == (8, 1)
    whole = np.delete(images, damaged, axis=0)
    assert as_set(train.images) | as_set(test.images) == as_set(whole)
    assert train.skipped == test.skipped == (f"{damaged:04d}.png",)


def test_what_is_held_out_has_not_changed(tmp_path, make_config, write_images):
    images = write_images(tmp_path / "root", 60)
    train, test = both(make_config(root=str(tmp_path / "root")), tmp_path)
    np.testing.assert_array_equal(train.images, images[hold_out(60, "train", "")])
    np.testing.assert_array_equal(test.images, images[hold_out(60, "test", "")])


def test_the_reason_is_pillows(tmp_path, make_config, write_images, monkeypatch, caplog):
    write_images(tmp_path / "train", 3)
    write_images(tmp_path / "test", 1)
    Image.new("L", (30, 30)).save(tmp_path / "train" / "large.png")
    Image.new("L", (13, 13)).save(tmp_path / "train" / "larger.png")
    floats = np.full((8, 8), 220, np.float32)
    Image.fromarray(floats).save(tmp_path / "train" / "floats.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    reasons = open_images(make_config(root=str(tmp_path)), "train", tmp_path).reasons
    assert "exceeds limit of 200 pixels" in reasons["train/large.png"]
    assert "exceeds limit of 100 pixels" in reasons["train/larger.png"]
    assert "floats from 220 to 220" in reasons["train/floats.tif"]
    assert all(reason in caplog.text for reason in reasons.values())


def test_whatever_pillow_reads_is_read_and_the_rest_is_told(
    tmp_path, make_config, write_images, caplog
):
    known = "jfif jpe mpo avif jp2 j2k tga ppm qoi ico dds pcx sgi dib apng"
    extensions = [e for e in known.split() if f".{e}" in image_extensions()]  # AVIF is an option
    assert len(extensions) >= 14
    for extension in extensions:
        name = {"mpo": "JPEG", "apng": "PNG"}.get(extension)
        Image.new("RGB", (16, 16)).save(tmp_path / f"x.{extension.upper()}", name)
    for name in ("a.heic", "b.HEIC", "notes.txt", "LICENSE", "drawing.pdf", "more.zip"):
        (tmp_path / name).write_bytes(b"no image")
    train, test = both(make_config(root=str(tmp_path)), tmp_path)
    assert len(train.images) + len(test.images) == len(extensions) and train.skipped == ()
    assert train.ignored == 6
    for said in (
        "2 .heic such as a.heic (this Pillow cannot read it; convert it to PNG)",
        "1 .txt such as notes.txt (not an image extension)",
        "1 such as LICENSE (no file extension)",
        "1 .pdf such as drawing.pdf (vector graphics",
        "1 .zip such as more.zip (an archive; unpack it)",
    ):
        assert caplog.text.count(said) == 1 and any(said in line for line in train.remarks)


def test_changes_are_counted_once_a_set_and_kept_with_the_cache(tmp_path, make_config, caplog):
    (tmp_path / "root").mkdir()
    for index in range(40):
        mode = "RGBA" if index < 7 else "RGB"
        Image.new(mode, (8, 8), (255, 0, 0)[: len(mode)] + (0,) * (mode == "RGBA")).save(
            tmp_path / "root" / f"{index:02d}.png"
        )
    config = make_config(root=str(tmp_path / "root"), background="#0000ff")
    said = "7 images: transparent pixels composited onto #0000ff"
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            train, test = both(config, tmp_path)
            assert any(said in line for line in train.remarks)
    assert caplog.text.count(said) == 1
    pixels = np.concatenate([train.images, test.images])
    assert sorted(map(tuple, pixels[:, 0, 0].tolist())) == [(0, 0, 255)] * 7 + [(255, 0, 0)] * 33
    white = open_images(make_config(root=str(tmp_path / "root")), "train", tmp_path)
    assert (white.images[0] == 255).all()  # and not the cache of another background


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
    assert close.sum() == 10  # all but the black and white, and the transparent one


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
    assert "none of 2 images can be decoded" in message(root=str(tmp_path / "empty"))
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
