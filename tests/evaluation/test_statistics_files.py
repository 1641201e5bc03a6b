import json
import pickle

import numpy as np
import pytest

from jittor_ddim.errors import DataError, UserError
from jittor_ddim.evaluation.identity import Identity
from jittor_ddim.evaluation.statistics_files import (
    KNOWN,
    find_known,
    is_statistics,
    read_statistics,
    write_statistics,
)
from jittor_ddim.metrics.moments import moments

MOMENTS = moments(np.random.default_rng(0).normal(size=(9, 4)))
IDENTITY = Identity("inception", "clean", "ab", True)


def test_ours_come_back_and_others_can_read_them(tmp_path):
    path = tmp_path / "s.npz"
    write_statistics(path, MOMENTS, IDENTITY, "photos", ["grey"])
    found = read_statistics(path)
    np.testing.assert_array_equal(found.moments.mean, MOMENTS.mean)
    np.testing.assert_array_equal(found.moments.covariance, MOMENTS.covariance)
    assert found.moments.count == 9
    assert (found.identity, found.source, found.remarks) == (IDENTITY, "photos", ("grey",))
    with np.load(path) as file:  # as clean-fid and pytorch-fid do
        assert file["mu"].shape == (4,) and file["sigma"].shape == (4, 4)
    assert is_statistics(path)


def test_files_of_other_programs(tmp_path):
    path = tmp_path / "edm.npz"
    np.savez(path, mu=MOMENTS.mean, sigma=MOMENTS.covariance)
    found = read_statistics(path)
    assert found.moments.count is None and found.identity is None
    assert len(found.sha256) == 64


def test_images_are_no_statistics(tmp_path):
    np.savez(tmp_path / "images.npz", images=np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "text.npz").write_text("no zip")
    assert not is_statistics(tmp_path / "images.npz")
    assert not is_statistics(tmp_path / "text.npz") and not is_statistics(tmp_path / "missing")
    with pytest.raises(DataError, match="mu and sigma missing"):
        read_statistics(tmp_path / "images.npz")
    with pytest.raises(DataError, match="not readable statistics"):
        read_statistics(tmp_path / "text.npz")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sigma": np.eye(3)}, r"mu \(4,\) and sigma \(3, 3\)"),
        ({"mu": np.full(4, np.nan)}, "mu must contain only finite"),
        ({"mu": np.zeros(4, int)}, "mu must contain only finite"),
        ({"sigma": np.triu(np.ones((4, 4)))}, "not symmetric"),
        ({"origin": "no JSON"}, "count or origin is damaged"),
        ({"origin": json.dumps([1])}, "count or origin is damaged"),
        ({"origin": json.dumps({"mode": 3})}, "count or origin is damaged"),
        ({"count": -4}, "count or origin is damaged"),
        ({"count": np.inf}, "count or origin is damaged"),
    ],
)
def test_damaged_files(tmp_path, changed, message):
    path = tmp_path / "s.npz"
    np.savez(path, **{"mu": MOMENTS.mean, "sigma": MOMENTS.covariance, **changed})
    with pytest.raises(DataError, match=message):
        read_statistics(path)


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("trapped").touch, ())

    objects = np.empty(4, object)
    objects[:] = [Trap()] * 4
    path = tmp_path / "s.npz"
    np.savez(path, mu=objects, sigma=MOMENTS.covariance)
    assert pickle  # NumPy wrote one
    with pytest.raises(DataError, match="not readable statistics"):
        read_statistics(path)
    assert not (tmp_path / "trapped").exists()


def test_known_statistics(tmp_path, monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JITTOR_DDIM_STATISTICS", raising=False)
    name = "cifar10_legacy_tensorflow_train"
    assert KNOWN[name].mode == "tf1" and KNOWN["edm_cifar10"].mode == "tf1"
    with pytest.raises(
        UserError, match=rf"download {KNOWN[name].address} and put it into .*cache/stat"
    ):
        find_known(name)
    for folder in (tmp_path / "cache" / "statistics", tmp_path / "mine"):
        folder.mkdir(parents=True)
        (folder / "cifar10_legacy_tensorflow_train_32.npz").touch()
        monkeypatch.setenv("JITTOR_DDIM_STATISTICS", str(tmp_path / "mine"))
        assert find_known(name).parent == folder
