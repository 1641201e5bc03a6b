import faulty_runs as runs
import numpy as np
import pytest

from jittor_ddim import data
from jittor_ddim.data.source import ImageSet
from jittor_ddim.diagnosis import images
from jittor_ddim.diagnosis.images import Sample, read_sample
from jittor_ddim.errors import DataError


def sample(pixels):
    return Sample(runs.config(), pixels, len(pixels), len(pixels))


def noise(number, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, 8, 8, 1), dtype=np.uint8)


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_repetitions_are_counted_in_a_whole_set(copies):
    assert sample(np.repeat(noise(100), copies, axis=0)).repeats == pytest.approx(copies)


@pytest.mark.parametrize("copies", [1, 2, 10])
def test_repetitions_are_estimated_from_a_part(copies, monkeypatch):
    """20,000 images, of which 2,048 are read."""
    everything = np.repeat(noise(20_000 // copies), copies, axis=0)
    monkeypatch.setitem(data.SOURCES, "DIGITS", lambda *_: ImageSet(everything, "x"))
    part = read_sample(runs.config(), None)
    assert len(part.pixels) == 2048 and part.count == 20_000
    assert part.repeats == pytest.approx(copies, rel=0.2)


def test_the_leading_variance_is_the_largest_eigenvalue():
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((64, 64)) * np.geomspace(40, 1, 64)
    pixels = (127 + rng.standard_normal((500, 64)) @ mix.T / 8).clip(0, 255).astype(np.uint8)
    found = sample(pixels.reshape(-1, 8, 8, 1))
    flat = found.x0.reshape(500, -1)
    exact = np.linalg.eigvalsh(np.cov(flat.T, bias=True))[-1]
    assert found.leading_variance == pytest.approx(exact, rel=0.02)


def test_patches_are_whole_where_the_size_allows_no_eight():
    ten = np.random.default_rng(0).integers(0, 256, (400, 10, 10, 1), dtype=np.uint8)
    config = runs.config(**{"data.image_size": 10})
    variances = Sample(config, ten, 400, 400).patch_variances
    assert len(variances) == 4  # of 2 x 2 pixels
    assert variances.mean() == pytest.approx(4 * np.var(ten / 255), rel=0.03)


def test_images_are_read_where_they_are_without_a_cache(tmp_path):
    root = runs.images(tmp_path / "data", number=100)
    (root / "00007.png").write_bytes(b"no image")
    found = read_sample(runs.own_images(root), tmp_path)
    assert len(found.pixels) == 99 and (found.total, found.count) == (100, 95)  # 5 % are held out
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_set_of_which_nothing_can_be_read(tmp_path):
    root = runs.images(tmp_path / "data", number=3)
    for file in root.iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match="none of 3 images"):
        read_sample(runs.own_images(root), tmp_path)


def test_large_images_are_fewer(monkeypatch):
    monkeypatch.setattr(images, "_MOST_NUMBERS", 640)
    assert len(read_sample(runs.config(), None).pixels) == 10
