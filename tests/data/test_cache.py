import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.data import cache, open_images, survey
from jittor_ddim.errors import MachineError, UserError


@pytest.fixture
def root(tmp_path, write_images):
    write_images(tmp_path / "root" / "train", 6)
    write_images(tmp_path / "root" / "test", 2, seed=9)
    return tmp_path / "root"


@pytest.fixture
def decoded(monkeypatch):
    """How many images were decoded so far."""
    counts = []
    real = survey.decode
    monkeypatch.setattr(survey, "decode", lambda *args: (counts.append(1), real(*args))[1])
    return counts


def names(exp):
    return sorted(path.name for path in (exp / "datasets" / ".cache").glob("*.npy"))


def test_decodes_once_and_maps_the_file(tmp_path, root, make_config, decoded):
    config = make_config(root=str(root))
    calls = []
    first = open_images(config, "train", tmp_path, lambda *done: calls.append(done))
    again = open_images(config, "train", tmp_path, lambda *_: pytest.fail("decoded again"))
    assert len(decoded) == 6 and calls == [(6, 6)]
    assert isinstance(again.images, np.memmap) and not again.images.flags.writeable
    assert again.cache and again.cache.parent == tmp_path / "datasets" / ".cache"
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(np.load(again.cache), again.images)  # a plain .npy for anyone
    assert not list(again.cache.parent.glob("*.tmp"))


def test_is_rebuilt_when_the_source_changes_and_the_stale_one_goes(
    tmp_path, root, make_config, decoded
):
    config = make_config(root=str(root))
    open_images(config, "train", tmp_path)
    open_images(config, "test", tmp_path)
    before = names(tmp_path)
    changed = np.full((8, 8, 3), 7, np.uint8)
    Image.fromarray(changed).save(root / "train" / "0002.png")
    images = open_images(config, "train", tmp_path).images
    assert np.array_equal(images[2], changed)
    Image.fromarray(changed).save(root / "train" / "0009.png")
    assert len(open_images(config, "train", tmp_path).images) == 7
    (root / "train" / "0009.png").unlink()
    open_images(config, "train", tmp_path)
    path = root / "train" / "0000.png"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    open_images(config, "train", tmp_path)
    assert len(decoded) == 8 + 6 + 7 + 6 + 6
    assert len(names(tmp_path)) == 2 and len(set(before) & set(names(tmp_path))) == 1


def test_sizes_and_channels_have_caches_of_their_own(tmp_path, root, make_config):
    for size, channels in ((8, 3), (8, 1), (16, 3)):
        config = make_config(root=str(root), image_size=size, channels=channels)
        images = open_images(config, "train", tmp_path).images
        assert images.shape == (6, size, size, channels)
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("damage", ["truncate", "json"])
def test_a_damaged_cache_is_rebuilt(tmp_path, root, make_config, damage):
    config = make_config(root=str(root))
    first = open_images(config, "train", tmp_path)
    expected = np.array(first.images)
    assert first.cache
    if damage == "truncate":
        first.cache.write_bytes(first.cache.read_bytes()[:-10])
    else:
        first.cache.with_suffix(".json").write_text("{")
    assert np.array_equal(open_images(config, "train", tmp_path).images, expected)


def test_environment_variable_moves_it(tmp_path, root, make_config, monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "fast"))
    opened = open_images(make_config(root=str(root)), "train", tmp_path / "exp")
    assert opened.cache and opened.cache.parent == tmp_path / "fast"
    assert not (tmp_path / "exp").exists()


def test_a_file_where_the_folder_must_be_is_an_error_that_names_it(tmp_path, root, make_config):
    (tmp_path / "exp").write_text("")
    with pytest.raises(UserError, match="exp"):
        open_images(make_config(root=str(root)), "train", tmp_path / "exp")


def test_a_full_disk_is_the_machines_fault_and_leaves_nothing(
    tmp_path, root, make_config, monkeypatch
):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(MachineError, match="JITTOR_DDIM_CACHE"):
        open_images(make_config(root=str(root)), "train", tmp_path)
    assert not list((tmp_path / "datasets" / ".cache").glob("*.[njt]*"))


def test_processes_that_start_at_once_share_one_cache(tmp_path, root, make_config):
    (tmp_path / "c.yml").write_text(make_config(root=str(root)).to_yaml())
    code = (
        "import sys; from pathlib import Path; from jittor_ddim.config import load_config\n"
        "from jittor_ddim.data import open_images\n"
        "calls = []\n"
        "args = load_config(sys.argv[1]), 'train', Path(sys.argv[2])\n"
        "images = open_images(*args, lambda *_: calls.append(1)).images\n"
        "print(len(calls), int(images.sum()))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "c.yml"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=60)[0].split() for process in running]
    assert sorted(int(calls) for calls, _ in answers) == [0, 1]
    assert answers[0][1] == answers[1][1]
