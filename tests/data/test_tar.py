"""WebDataset's layout, packed by `tarfile` here and read in any order."""

import tarfile

import numpy as np
import pytest
from layouts import encoded, write_tar

from jittor_ddim.data import open_images
from jittor_ddim.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


def sample(i, *others):
    return [(f"./a/{i:03d}.png", encoded(PIXELS[i])), *others]


def test_shards_and_their_splits(tmp_path, make_config):
    shards = tmp_path / "root"
    captions = [("./a/000.txt", b"a cat"), ("./a/000.json", b"{}"), ("./a/000.seg.png", b"")]
    write_tar(shards / "set-train-000000.tar", sum(map(sample, range(3)), captions))
    write_tar(shards / "set-train-000001.tar", sum(map(sample, range(3, 7)), []))
    write_tar(shards / "set-val-000000.tar", sum(map(sample, range(7, 12)), []))
    config = make_config(dataset="SHARDS", root=str(shards))
    train, test = (open_images(config, split, tmp_path) for split in ("train", "test"))
    assert np.array_equal(train.images, PIXELS[:7]) and np.array_equal(test.images, PIXELS[7:])
    assert "training on the 2 files of train, holding out the 1 of val" in train.remarks[0]
    write_tar(shards / "set-test-000000.tar", sample(0))
    test = open_images(config, "test", tmp_path)
    assert np.array_equal(test.images, PIXELS[:1])
    assert any("1 files of neither split are not used" in line for line in test.remarks)
    one = make_config(dataset="SHARDS", root=str(shards / "set-train-000001.tar"))
    train, test = (open_images(one, split, tmp_path) for split in ("train", "test"))
    assert (len(train.images), len(test.images)) == (3, 1)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_any_length_and_what_is_no_file(tmp_path, make_config, format):
    path = tmp_path / "0.tar"
    name = "ü" * 40 + "/" + "long" * 20
    (tmp_path / "image").write_bytes(encoded(PIXELS[0]))
    with tarfile.open(path, "w", format=format) as archive:
        folder = tarfile.TarInfo("folder.png")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for i in range(2):
            archive.add(tmp_path / "image", f"{name}{i}.PNG" if i else "short.png")
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    config = make_config(dataset="SHARDS", root=str(path))
    images = open_images(config, "train", tmp_path).images
    assert np.array_equal(images, PIXELS[:1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_named_as_images_are_said_to_be_left_out(tmp_path, make_config, kind, stream):
    """GNU tar stores the second name of one file as a link to the first."""
    path = write_tar(tmp_path / "0.tar", sum(map(sample, range(12)), []))
    with tarfile.open(path, "a") as archive:
        # The last one is what `tar cf 0.tar a a/000.png` makes: a link of the file to itself.
        for name in ("again.png", "a/000.jpg", "again.txt", "a/000.png"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "a/000.png"
            archive.addfile(link)
    config = make_config(dataset="SHARDS", root=str(path), stream=stream)
    train = open_images(config, "train", tmp_path)
    assert len(train.images) == 11 and np.isin(train.images[:], PIXELS).all()
    assert list(train.reasons) == ["0.tar/again.png", "0.tar/a/000.jpg"]
    assert "a link to a/000.png; pack again with the files" in train.reasons["0.tar/again.png"]
    assert any("2 undecodable image(s)" in line for line in train.remarks)
    config = make_config(dataset="SHARDS", root=str(path), stream=stream, strict=True)
    with pytest.raises(DataError, match=r"again\.png \(a link to a/000\.png"):
        open_images(config, "train", tmp_path)


def test_classes_are_read_from_cls_files(tmp_path, make_config):
    contents = sum((sample(i, (f"./a/{i:03d}.cls", b"%d\n" % (i % 4))) for i in range(12)), [])
    config = make_config(dataset="SHARDS", root=str(tmp_path), num_classes=4)
    write_tar(tmp_path / "0.tar", contents)
    sets = [open_images(config, split, tmp_path) for split in ("train", "test")]
    for one in sets:
        numbers = [int((image == PIXELS).all((1, 2, 3)).argmax()) % 4 for image in one.images]
        assert one.labels.tolist() == numbers
    assert "4 classes, by .cls files" in sets[0].remarks[-1]
    write_tar(tmp_path / "0.tar", contents[:-1])
    with pytest.raises(DataError, match=r"0\.tar: a/011\.png has no \.cls file with the number"):
        open_images(config, "train", tmp_path)
    for text in (b"9" * 30, b"9" * 5000, b"2147483648"):
        write_tar(tmp_path / "0.tar", [*contents[:-1], ("./a/011.cls", text)])
        with pytest.raises(
            DataError, match=r"0\.tar: a/011\.png has the class \d+, not .* 2147483647; cor"
        ):
            open_images(config, "train", tmp_path)


def test_what_is_not_there_is_named(tmp_path, make_config):
    with pytest.raises(DataError, match="SHARDS needs it; set it to a .tar file or a folder"):
        open_images(make_config(dataset="SHARDS"), "train", tmp_path)
    config = make_config(dataset="SHARDS", root=str(tmp_path / "root"))
    with pytest.raises(DataError, match="root: no such file or folder"):
        open_images(config, "train", tmp_path)
    write_tar(tmp_path / "root" / "0.tar.gz", sample(0), "w:gz")
    with pytest.raises(DataError, match=r"root: no \.tar file in it; .*gunzip"):
        open_images(config, "train", tmp_path)
    write_tar(tmp_path / "root" / "0.tar", [("notes.txt", b"")])
    with pytest.raises(DataError, match=r"no images in its \.tar files"):
        open_images(config, "train", tmp_path)
