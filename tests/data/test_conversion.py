"""`ddim data prepare SRC DST`: what goes in comes out, read by the libraries of each layout."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from layouts import encoded, write_lmdb, write_npz, write_parquet, write_tar
from PIL import Image

from jittor_ddim.cli.main import main
from jittor_ddim.data import conversion, open_images
from jittor_ddim.data.cache import cache_folder
from jittor_ddim.data.source import Source
from jittor_ddim.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (25, 8, 8, 3), np.uint8)
LABELS = [(7 * i) % 3 for i in range(25)]
NAMES = ["cat", "dog", "emu"]
#: By name of what to write: the arguments, and what data.dataset reads it again.
TARGETS = {
    "out": ((), "FOLDER"),
    "out.zip": ((), "FOLDER"),
    "out.parquet": ((), "PARQUET"),
    "out.tar": ((), "SHARDS"),
    "parquet": (("--to", "parquet", "--per_shard", "10"), "PARQUET"),
    "tar": (("--to", "tar", "--per_shard", "10"), "SHARDS"),
}


def prepare(*arguments):
    return main(["data", "prepare", *map(str, arguments)])


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def source(tmp_path):
    """Images whose classes have names and are in no order, in one Parquet file."""
    return write_parquet(tmp_path / "in.parquet", [*map(encoded, PIXELS)], LABELS, names=NAMES)


def assert_same(make_config, dataset, root, exp, names):
    for split in ("train", "test"):
        config = make_config(dataset=dataset, root=str(root), num_classes=3)
        found = open_images(config, split, exp)
        held_out = [int((one == PIXELS).all((1, 2, 3)).argmax()) for one in found.images]
        assert held_out == sorted(held_out)  # the order is kept
        assert np.array_equal(PIXELS[held_out], found.images)
        assert found.labels.tolist() == [LABELS[i] for i in held_out]
        assert found.class_names == names
        assert len(held_out) == (24 if split == "train" else 1)
        assert not any("not used" in line for line in found.remarks)


@pytest.mark.parametrize("name", TARGETS)
def test_images_order_and_classes_stay(tmp_path, make_config, source, name, restored_logging):
    arguments, dataset = TARGETS[name]
    assert prepare(source, tmp_path / name, *arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.parquet", name])
    names = None if dataset == "SHARDS" else tuple(NAMES)  # WebDataset has no place for them
    assert_same(make_config, dataset, tmp_path / name, tmp_path / "exp", names)
    # and back
    assert prepare(tmp_path / name, tmp_path / "back.zip") == 0
    assert_same(make_config, "FOLDER", tmp_path / "back.zip", tmp_path / "exp", names)


def test_the_same_images_give_the_same_bytes(tmp_path, source, restored_logging):
    for name in ("out.zip", "out.parquet", "out.tar"):
        other = tmp_path / "again" / name
        assert prepare(source, tmp_path / name) == 0 and prepare(source, other) == 0
        assert (tmp_path / name).read_bytes() == other.read_bytes()


def test_a_zip_is_what_edm_reads(tmp_path, source, restored_logging):
    assert prepare(source, tmp_path / "out.zip") == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        labels = json.loads(archive.read("dataset.json"))["labels"]
        assert [label for _, label in labels] == LABELS
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        assert names == [name for name, _ in labels] and names[1] == "00000/img00000001.png"
        assert np.array_equal(np.stack([decoded(archive.read(one)) for one in names]), PIXELS)
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_parquet_is_what_datasets_reads(tmp_path, source, restored_logging):
    table = pytest.importorskip("pyarrow.parquet").read_table
    assert prepare(source, tmp_path / "out", "--to", "parquet", "--per_shard", 20) == 0
    paths = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in paths] == [f"data-0000{i}-of-00002.parquet" for i in (0, 1)]
    tables = [table(path) for path in paths]
    assert [len(one) for one in tables] == [20, 5]
    rows = [row for one in tables for row in one.to_pylist()]
    assert np.array_equal(np.stack([decoded(row["image"]["bytes"]) for row in rows]), PIXELS)
    assert [row["label"] for row in rows] == LABELS
    features = json.loads(tables[0].schema.metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"},
                        "label": {"names": NAMES, "_type": "ClassLabel"}}  # fmt: skip


def test_tars_are_what_webdataset_reads(tmp_path, source, restored_logging):
    """Neighbours of one key, and no key twice in all shards."""
    assert prepare(source, tmp_path / "out", "--to", "tar", "--per_shard", 20) == 0
    members = []
    for path in sorted((tmp_path / "out").iterdir()):
        with tarfile.open(path) as archive:
            members += [(one.name, archive.extractfile(one).read()) for one in archive]
    keys = [name.partition(".")[0] for name, _ in members]
    assert keys == [f"{i // 2:08d}" for i in range(50)]
    assert np.array_equal(np.stack([decoded(png) for _, png in members[::2]]), PIXELS)
    assert [int(label) for _, label in members[1::2]] == LABELS


@pytest.mark.parametrize("kind", ["folder", "zip", "parquet", "tar"])
def test_told_splits_stay_apart(
    tmp_path, make_config, write_images, kind, restored_logging, capsys
):
    train = write_images(tmp_path / "in" / "train" / "a", 5)
    test = write_images(tmp_path / "in" / "val" / "a", 3, seed=1)
    target = tmp_path / ("out.zip" if kind == "zip" else "out")
    assert prepare(tmp_path / "in", target, "--to", kind) == 0
    assert json.loads(capsys.readouterr().out)["images"] == {"train": 5, "test": 3}
    dataset = {"parquet": "PARQUET", "tar": "SHARDS"}.get(kind, "FOLDER")
    config = make_config(dataset=dataset, root=str(target))
    for split, expected in (("train", train), ("test", test)):
        assert np.array_equal(open_images(config, split, tmp_path / "exp").images, expected)
    if kind in ("parquet", "tar"):
        assert prepare(tmp_path / "in", tmp_path / f"one.{kind}") == 2
        assert f"one file cannot hold train and test; give a folder, and --to {kind}" in (
            capsys.readouterr().err
        )


@pytest.mark.parametrize("size", [None, 4])
def test_sizes_and_kinds_of_pixels(tmp_path, size, restored_logging):
    source = tmp_path / "in"
    source.mkdir()
    grey = Image.fromarray(PIXELS[0, :, :, 0])
    grey.resize((6, 4)).save(source / "0.png")
    Image.fromarray(PIXELS[1]).save(source / "1.png")
    arguments = ["--image_size", size] if size else []
    assert prepare(source, tmp_path / "out", *arguments) == 0
    images = [decoded(path.read_bytes()) for path in sorted(tmp_path.rglob("img*.png"))]
    shapes = [(4, 4), (4, 4, 3)] if size else [(4, 6), (8, 8, 3)]
    assert [image.shape for image in images] == shapes


def test_a_config_says_what_the_source_is(tmp_path, make_config, write_images, restored_logging):
    """CelebA's crop and lists, for instance."""
    celeba = tmp_path / "celeba"
    images = write_images(celeba / "img_align_celeba", 4, size=(218, 178))
    lines = (f"{i:04d}.png {number}\n" for i, number in enumerate("0021"))
    (celeba / "list_eval_partition.txt").write_text("".join(lines))
    arguments = ("--config", "celeba.yml", "--image_size", 128)
    assert prepare(celeba, tmp_path / "out.zip", *arguments) == 0
    config = make_config(root=str(tmp_path / "out.zip"), image_size=128)
    cropped = images[:, 57:185, 25:153]
    for split, rows in (("train", [0, 1]), ("test", [2])):
        assert np.array_equal(open_images(config, split, tmp_path / "exp").images, cropped[rows])


def test_the_cache_is_a_source_too(tmp_path, make_config, source, restored_logging):
    config = make_config(dataset="PARQUET", root=str(source), num_classes=3)
    open_images(config, "train", tmp_path / "exp")
    [cache] = cache_folder(tmp_path / "exp").glob("*.npy")
    assert prepare(cache, tmp_path / "out.zip") == 0
    assert_same(make_config, "FOLDER", tmp_path / "out.zip", tmp_path / "exp", None)
    cache.with_suffix(".json").unlink()
    assert prepare(cache, tmp_path / "two.zip") == 2


def test_what_cannot_be_decoded_is_named(tmp_path, make_config, capsys, restored_logging):
    files = [*map(encoded, PIXELS[:5])]
    write_tar(tmp_path / "in.tar", [(f"{i}.png", one) for i, one in enumerate([*files, b"no"])])
    assert prepare(tmp_path / "in.tar", tmp_path / "out.zip") == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert report["images"] == {"all": 5} and report["classes"] == 0
    assert report["reasons"] == {"in.tar/5.png": "not an image that Pillow can read"}
    assert "1 not decoded and left out, as in.tar/5.png: not an image" in said.err
    assert "no classes are kept: " in said.err
    write_tar(tmp_path / "bad.tar", [("0.png", b"no")])
    assert prepare(tmp_path / "bad.tar", tmp_path / "bad.zip") == 2
    assert "none of 1 images can be decoded; bad.tar/0.png: not an" in capsys.readouterr().err
    assert not (tmp_path / "bad.zip").exists()


def test_the_arrays_of_adm(tmp_path, make_config, restored_logging):
    write_npz(tmp_path / "in.npz", PIXELS, LABELS)
    assert_same(make_config, "NPZ", tmp_path / "in.npz", tmp_path / "exp", None)
    assert prepare(tmp_path / "in.npz", tmp_path / "out.parquet") == 0
    assert_same(make_config, "PARQUET", tmp_path / "out.parquet", tmp_path / "exp", None)


REFUSED = {
    "exists": ("in.parquet out.zip", r"out\.zip: already exists; choose another name"),
    "in the source": ("folder folder/out.zip", r"out\.zip: lies in .*folder, which is read"),
    "no source": ("nowhere out", r"nowhere: no such file or folder"),
    "no target": ("in.parquet", r"in\.parquet: name what to write"),
    "other kind": ("in.parquet a.tar --to zip", r"a\.tar: --to zip writes something else"),
    "no suffix": ("in.parquet a --to zip", r"a: --to zip writes something else; call it a\.zip"),
    "settings": ("in.parquet a --set data.channels=1", "--set needs --config"),
    "the folder itself": ("in.parquet .", r"\.: already exists; choose another name"),
    "arrays": ("in.parquet a.npz", r"a\.npz: \.npz is not written; end its name in \.zip, \.parq"),
    "compressed": ("in.parquet a.tar.gz", r"a\.tar\.gz: \.gz is not written"),
    "an LMDB": ("lmdb out", r"only 1 \.mdb such as .*LSUN or FFHQ reads it"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_one_line(
    tmp_path, source, what, capsys, restored_logging, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    write_lmdb(tmp_path / "lmdb", {"a": b""})
    (tmp_path / "lmdb" / "lock.mdb").unlink()
    if what == "exists":
        (tmp_path / "out.zip").write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    arguments, message = REFUSED[what]
    assert prepare(*arguments.split()) == 2
    said = capsys.readouterr()
    assert re.search(message, said.err) and said.out == ""
    assert len([line for line in said.err.splitlines() if line.startswith("error")]) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_killed_process_left_goes(tmp_path, source, restored_logging):
    (tmp_path / ".out.123.tmp").mkdir()
    (tmp_path / ".out.123.tmp" / "half.png").write_bytes(b"")
    (tmp_path / ".out.zip.123.tmp").write_bytes(b"")
    (tmp_path / ".outer.123.tmp").write_bytes(b"another's")
    assert prepare(source, tmp_path / "out") == 0 and prepare(source, tmp_path / "out.zip") == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"in.parquet", "out", "out.zip", ".outer.123.tmp"}


def test_a_failure_leaves_nothing(tmp_path, source, monkeypatch, restored_logging, capsys):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert prepare(source, tmp_path / "out.zip") == 1
    assert "no space left on device; free some space" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_two_processes_do_not_write_one_target(tmp_path, source, capsys, restored_logging):
    hold = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", hold, str(tmp_path / ".out.zip.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        assert prepare(source, tmp_path / "out.zip") == 2
        assert "out.zip: is being written by another process" in capsys.readouterr().err
        other.communicate()
    assert prepare(source, tmp_path / "out.zip") == 0


def test_progress_counts_both_splits(tmp_path, write_images, restored_logging):
    write_images(tmp_path / "in" / "train" / "a", 5)
    write_images(tmp_path / "in" / "test" / "a", 3, seed=1)
    for kind in ("folder", "tar"):
        seen = []
        conversion.convert(
            conversion.recognised(tmp_path / "in", tmp_path),
            tmp_path / kind,
            kind,
            conversion.Form(),
            per_shard=1,
            progress=lambda *n: seen.append(n),  # noqa: B023
        )
        assert seen == [(done, 8) for done in range(1, 9)]


def test_no_thread_reads_what_is_closed(tmp_path, restored_logging):
    """Of an LMDB or zip that would be a crash."""
    reading, closed, late = [], [], []

    @contextmanager
    def open():
        def read(key):
            reading.append(key)
            time.sleep(0.01)
            late.extend(closed)
            return Image.fromarray(PIXELS[0])

        yield [str(i) for i in range(200)], read
        closed.append(True)

    def fail(done, total):
        raise DataError("damaged")

    with pytest.raises(DataError, match="damaged"):
        conversion.convert(
            {"": Source("a", "", open)},
            tmp_path / "out",
            "folder",
            conversion.Form(),
            per_shard=1,
            progress=fail,
        )
    assert late == [] and 0 < len(reading) < 200


def test_a_name_of_any_letters(tmp_path, write_images, restored_logging):
    write_images(tmp_path / "照片 📷", 2)
    arguments = ("--config", "folder.yml", "--image_size", 8)
    assert prepare(tmp_path / "照片 📷", tmp_path / "📷.zip", *arguments) == 0


def test_a_size_of_shards_without_shards_is_told(tmp_path, source, capsys, restored_logging):
    for name, arguments in (("a.zip", ()), ("a.tar", ()), ("a", ()), ("b", ("--to", "tar"))):
        assert prepare(source, tmp_path / name, "--per_shard", 9, *arguments) == 0
        ignored = "--per_shard is ignored: DST is no folder of shards" in capsys.readouterr().err
        assert ignored == (name != "b")
