"""Folders and zips as people have them: names, entries and compressions."""

import io
import logging
import zipfile

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.data import open_images
from jittor_ddim.data.files import list_files
from jittor_ddim.data.folder import read_images
from jittor_ddim.data.unscaled import open_unscaled
from jittor_ddim.errors import DataError

DEFLATE64, AES, UNKNOWN = 9, 99, 42


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "png")
    return buffer.getvalue()


def write_zip(path, contents):
    """A zip with these names, byte by byte."""
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents:
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def patched(path, method=None, encrypted=False):
    """Let all entries claim a method or encryption that Python cannot write."""
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= encrypted
            if method is not None:
                content[at + flags + 2] = method
            at = content.find(signature, at + 1)
    path.write_bytes(content)
    return path


def reds(images):
    return np.asarray(images)[:, 0, 0, 0].tolist()


BACKSLASHES = [
    *((f"set\\train\\{i}.png", png(i)) for i in range(4)),
    *((f"set\\test\\{i}.png", png(100 + i)) for i in range(3)),
    ("set\\test\\", b""),
    ("__MACOSX\\set\\train\\._0.png", b"junk"),
    ("set\\.hidden\\0.png", b"junk"),
    ("set\\Thumbs.db", b"junk"),
]


def test_backslashes_in_a_zip_separate_folders(tmp_path, make_config):
    path = write_zip(tmp_path / "a.zip", BACKSLASHES)
    config = make_config(root=str(path))
    train, test = (open_images(config, split, tmp_path) for split in ("train", "test"))
    assert (reds(train.images), reds(test.images)) == ([0, 1, 2, 3], [100, 101, 102])
    assert train.ignored == 0 and train.skipped == ()
    with open_unscaled(path) as images:
        assert (images.count, images.ignored) == (7, 0)
        assert sorted(reds(images.load(range(7)))) == [0, 1, 2, 3, 100, 101, 102]
    pixels, _ = read_images(path, config.data, 9)
    assert reds(pixels) == [100, 101, 102, 0, 1, 2, 3]  # by name


def test_backslashes_that_unpacking_left_in_names_do_too(tmp_path, make_config):
    root = tmp_path / "root"
    root.mkdir()
    for name, content in BACKSLASHES:
        if content:
            (root / name).write_bytes(content)
    config = make_config(root=str(root))
    assert reds(open_images(config, "train", tmp_path).images) == [0, 1, 2, 3]
    assert reds(open_images(config, "test", tmp_path).images) == [100, 101, 102]


def test_names_are_relative_however_they_are_written(tmp_path):
    contents = [("./a/1.png", b""), ("b\\2.png", b""), ("c/12:30.png", b""), ("d//4.png", b"")]
    path = write_zip(tmp_path / "a.zip", contents)
    assert list(list_files(path).entries) == ["a/1.png", "b/2.png", "c/12:30.png", "d/4.png"]


@pytest.mark.parametrize(
    "name", ["../1.png", "a/../../1.png", "..\\1.png", "/1.png", "\\1.png", "C:\\1.png"]
)
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "in" / "a.zip", [("0.png", png(1)), (name, png(2))])
    with pytest.raises(DataError, match=r"a\.zip: the name .*1\.png' leads out of it; pack"):
        list_files(path)
    assert [file.name for file in tmp_path.rglob("*.*")] == ["a.zip"]


def test_of_equal_names_the_last_is_taken_and_named(tmp_path, caplog):
    path = write_zip(tmp_path / "a.zip", [("x\\0.png", png(1)), ("x/0.png", png(2))])
    with caplog.at_level(logging.WARNING), open_unscaled(path) as images:
        assert images.count == 1 and reds(images.load(range(1))) == [2]
    assert "1 name(s) occur more than once, such as x/0.png" in caplog.text


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"method": DEFLATE64}, r"0.png is compressed with Deflate64.*unpack.*\(4 of 4 images\)"),
        ({"method": UNKNOWN}, "0.png is compressed with method 42.*unpack"),
        ({"encrypted": True}, "0.png is encrypted.*unpack.*password"),
        ({"method": AES, "encrypted": True}, "0.png is encrypted.*unpack.*password"),
    ],
)
def test_what_python_cannot_unpack_is_named_with_the_remedy(tmp_path, make_config, patch, message):
    path = write_zip(tmp_path / "a.zip", [(f"{i}.png", png(i)) for i in range(4)])
    patched(path, **patch)
    config = make_config(root=str(path))
    with pytest.raises(DataError, match=message):
        open_images(config, "train", tmp_path)
    with pytest.raises(DataError, match=message), open_unscaled(path):
        pass
    with pytest.raises(DataError, match=message):
        read_images(path, config.data, 1)


def test_zips_within_are_to_be_unpacked(tmp_path, make_config):
    path = write_zip(tmp_path / "a.zip", [("a.zip", b"PK"), ("b.ZIP", b"PK")])
    message = r"no images in it, only 2 .zip such as a.zip \(.*unpack it\)"
    with pytest.raises(DataError, match=message):
        open_images(make_config(root=str(path)), "train", tmp_path)
    with pytest.raises(DataError, match=message), open_unscaled(path):
        pass


def test_other_archives_are_to_be_unpacked(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match="neither a folder nor a zip file.*unpack"):
        list_files(tmp_path / "a.rar")
