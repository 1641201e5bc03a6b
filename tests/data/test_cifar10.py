import hashlib
import io
import logging
import os
import pickle
import tarfile

import numpy as np
import pytest
from file_server import serving

from jittor_ddim.checkpoints import pretrained
from jittor_ddim.console import progress
from jittor_ddim.data import cifar10, open_images
from jittor_ddim.downloads import download
from jittor_ddim.errors import DataError, DownloadError

ROWS = 6  # images in a batch file instead of 10,000
NAMES = [f"data_batch_{i}" for i in (4, 1, 2, 3, 5)] + ["test_batch"]  # no order, as the real one


def batch_bytes(rows, keys):
    """Protocol 2, as Python 2 wrote the real ones: all strings were bytes."""
    names = [key.encode() if keys == "bytes" else key for key in ("batch_label", "data", "labels")]
    return pickle.dumps(dict(zip(names, [b"batch", rows, [9] * len(rows)], strict=True)), 2)


@pytest.fixture
def rows():
    return np.random.default_rng(0).integers(0, 256, (6, ROWS, 3072), np.uint8)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.delenv("JITTOR_DDIM_MIRROR", raising=False)
    monkeypatch.setattr(pretrained, "download", lambda *_: pytest.fail("downloaded"))
    return tmp_path / "home"


@pytest.fixture
def contents(rows):
    batches = zip(sorted(NAMES), rows, strict=True)
    return {name: batch_bytes(r, "bytes") for name, r in batches}


@pytest.fixture
def tarball(contents, monkeypatch):
    """The bytes of an archive that counts as the official one."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in NAMES:
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(contents[name])
            archive.addfile(member, io.BytesIO(contents[name]))
        member = tarfile.TarInfo("cifar-10-batches-py/readme.html")
        archive.addfile(member)
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", hashlib.md5(packed.getvalue()).hexdigest())
    return packed.getvalue()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def expected_images(rows):
    """Row by row, by the data set's own description: 1024 red, 1024 green, 1024 blue values."""
    images = np.empty((len(rows), 32, 32, 3), np.uint8)
    for i, row in enumerate(rows):
        for channel in range(3):
            plane = row[1024 * channel : 1024 * (channel + 1)]
            images[i, :, :, channel] = plane.reshape(32, 32)
    return images


def config_at(make_config, root=None, **data):
    return make_config(dataset="CIFAR10", root=root and str(root), **{"image_size": 32, **data})


def check(config, exp, rows):
    train, test = open_images(config, "train", exp), open_images(config, "test", exp)
    assert np.array_equal(train.images, expected_images(rows[:5].reshape(-1, 3072)))
    assert np.array_equal(test.images, expected_images(rows[5]))
    assert train.labels is not None and train.labels.tolist() == [9] * 5 * ROWS


@pytest.mark.parametrize(
    "place",
    [
        "exp/datasets",
        "exp/datasets/cifar10",
        "exp/datasets/cifar10_test",
        "home/.cache/jittor/dataset/cifar_data",
        "home/.jittor/dataset/cifar",
    ],
)
def test_archive_is_found_in_the_usual_places(tmp_path, tarball, rows, make_config, place):
    put(tmp_path / place / cifar10.ARCHIVE, tarball)
    check(config_at(make_config), tmp_path / "exp", rows)


def test_jittor_home_is_honoured(tmp_path, tarball, rows, make_config, monkeypatch):
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "j"))
    put(tmp_path / "j/.cache/jittor/dataset/cifar_data" / cifar10.ARCHIVE, tarball)
    check(config_at(make_config), tmp_path / "exp", rows)


def test_root_may_be_archive_folder_or_what_holds_them(
    tmp_path, tarball, contents, rows, make_config
):
    archive = put(tmp_path / "a" / cifar10.ARCHIVE, tarball)
    for name, content in contents.items():
        put(tmp_path / "b" / "cifar-10-batches-py" / name, content)
    for i, root in enumerate((archive, "a", "b", "b/cifar-10-batches-py")):
        check(config_at(make_config, tmp_path / root), tmp_path / f"exp{i}", rows)


def test_text_keys_are_read_too(tmp_path, rows, make_config):
    for name, batch in zip(sorted(NAMES), rows, strict=True):
        put(tmp_path / "cifar-10-batches-py" / name, batch_bytes(batch, "text"))
    check(config_at(make_config, tmp_path), tmp_path / "exp", rows)


def test_other_sizes_are_resized(tmp_path, tarball, rows, make_config):
    put(tmp_path / cifar10.ARCHIVE, tarball)
    config = config_at(make_config, tmp_path, image_size=16, channels=1)
    assert open_images(config, "test", tmp_path).images.shape == (ROWS, 16, 16, 1)


def test_another_md5_is_an_error_that_names_the_file(tmp_path, tarball, make_config):
    path = put(tmp_path / cifar10.ARCHIVE, tarball[:-100])
    with pytest.raises(DataError, match=f"{path}.*{cifar10.ARCHIVE_MD5}"):
        open_images(config_at(make_config, tmp_path), "train", tmp_path)


def test_offline_says_what_to_put_where(tmp_path, make_config, monkeypatch):
    def no_network(url, *_):
        raise DownloadError(f"{url}: no connection")

    monkeypatch.setattr(pretrained, "download", no_network)
    with pytest.raises(DataError) as error:
        open_images(config_at(make_config), "train", tmp_path / "exp")
    md5 = "c58f30108f718f92721af3b95e74349a"
    for part in ("no connection", "cifar-10-python.tar.gz", md5, "exp/datasets/"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mirror", [False, True])
def test_an_interrupted_download_goes_on(
    tmp_path, tarball, rows, make_config, monkeypatch, mirror, caplog
):
    """Under exp, with its hash, from its address or a mirror, and one sees how far it is."""
    monkeypatch.setattr(pretrained, "download", download)
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0)
    caplog.set_level("INFO")
    kept = 65536
    with serving() as server:
        name = "mirror/cifar-10-python.tar.gz" if mirror else "kriz.tar.gz"
        server.files, server.etag = {name: tarball}, '"1"'
        server.cuts = [kept, 0]
        monkeypatch.setattr(cifar10, "_URL", f"{server.url}/kriz.tar.gz")
        if mirror:
            monkeypatch.setenv("JITTOR_DDIM_MIRROR", f"{server.url}/mirror")
        with pytest.raises(DataError, match=r"are kept, and the same command resumes there"):
            open_images(config_at(make_config), "train", tmp_path / "exp")
        check(config_at(make_config), tmp_path / "exp", rows)
    assert {path for path, *_ in server.requests} == {name}
    assert server.requests[-1][1:] == (f"bytes={kept}-", len(tarball) - kept)
    assert "Downloading CIFAR-10 (MB): 0/1" in caplog.text
    assert (tmp_path / "exp/datasets/cifar10" / cifar10.ARCHIVE).is_file()


def test_root_without_it_and_a_missing_batch_are_named(tmp_path, contents, make_config):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty.*data.root"):
        open_images(config_at(make_config, tmp_path / "empty"), "train", tmp_path)
    put(tmp_path / "cifar-10-batches-py" / "test_batch", contents["test_batch"])
    with pytest.raises(DataError, match="data_batch_1: missing"):
        open_images(config_at(make_config, tmp_path), "train", tmp_path)


class Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec, os.mkdir, print, logging.shutdown])
def test_hostile_pickle_is_refused_and_not_run(tmp_path, make_config, monkeypatch, function):
    monkeypatch.chdir(tmp_path)
    argument = {os.system: "mkdir pwned", os.mkdir: "pwned"}.get(
        function, "__import__('os').mkdir('pwned')"
    )
    arguments = () if function is logging.shutdown else (argument,)
    content = pickle.dumps({b"data": Hostile(function, *arguments)}, 2)
    put(tmp_path / "cifar-10-batches-py" / "test_batch", content)
    with pytest.raises(
        DataError, match=rf"test_batch.*refused: it would run .*{function.__name__}"
    ):
        open_images(config_at(make_config, tmp_path), "test", tmp_path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02garbage",
        pickle.dumps({b"labels": []}, 2),
        pickle.dumps([1, 2], 2),
        pickle.dumps({b"data": [1, 2]}, 2),
        pickle.dumps({b"data": np.zeros((2, 3072))}, 2),
        pickle.dumps({b"data": np.zeros((2, 3071), np.uint8)}, 2),
        batch_bytes(np.zeros((9, 3072), np.uint8), "bytes")[:-500],
    ],
)
def test_damaged_batches_are_named(tmp_path, make_config, content):
    put(tmp_path / "cifar-10-batches-py" / "test_batch", content)
    with pytest.raises(DataError, match="test_batch: not a CIFAR-10 batch"):
        open_images(config_at(make_config, tmp_path), "test", tmp_path)
