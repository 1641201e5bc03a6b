import zipfile

import numpy as np
import pytest
from fake_engine import affine
from PIL import Image

import jittor_ddim as jd
from jittor_ddim.data import open_images
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.reconstruct import ReconstructRequest, run_reconstruction
from jittor_ddim.sampling import SamplerSettings


@pytest.fixture
def exact(engine, config, exp):
    """The engine predicts the noise exactly, for pixels that are N(-0.4, 0.7^2) each."""
    alpha_bar = Schedule.from_config(config.diffusion).alpha_bar

    def denoiser(_, x_t, t):
        a = alpha_bar[np.asarray(t, int)].reshape(-1, 1, 1, 1)
        return (1 - a) ** 0.5 * (x_t + a**0.5 * 0.4) / (a * 0.49 + 1 - a)

    engine.denoiser = denoiser


@pytest.fixture
def reconstruct(exp):
    def reconstruct(timesteps=(5,), count=6, **options):
        return run_reconstruction(
            ReconstructRequest(
                exp=exp, settings=tuple(map(SamplerSettings, timesteps)), count=count, **options
            )
        )

    return reconstruct


def mse(report):
    return [error["mse"] for error in report["errors"]]


def test_the_error_falls_with_the_number_of_steps(exact, reconstruct):
    report = reconstruct((5, 10, 25, 100))
    assert [error["timesteps"] for error in report["errors"]] == [5, 10, 25, 100]
    assert all(a > 2 * b for a, b in zip(mse(report), mse(report)[1:], strict=False))
    assert all(0 < error["mse"] <= error["worst"] for error in report["errors"])


def test_the_error_is_that_of_the_pixels_in_the_unit_range(engine, exp, reconstruct, config):
    """A network that always predicts 0 only scales, so that any image comes back as it was."""
    engine.denoiser = lambda _, x_t, t: np.zeros_like(x_t)
    assert mse(reconstruct())[0] < 1e-9
    # One that then finds nothing but noise on the way down leaves every pixel black.
    calls = []

    def one_way(_, x_t, t):
        calls.append(t)
        return np.full_like(x_t, 1000.0 if (len(calls) - 1) % 10 >= 5 else 0.0)

    engine.denoiser = one_way
    report = reconstruct()
    images = open_images(config, "test", exp).images[:6] / 255
    squares = (images**2).mean(axis=(1, 2, 3))
    assert mse(report)[0] == pytest.approx(squares.mean(), rel=1e-5)
    assert report["errors"][0]["worst"] == pytest.approx(squares.max(), rel=1e-5)


def test_the_picture_has_the_originals_above_a_row_for_each_s(exact, reconstruct, exp, config):
    report = reconstruct((5, 100), count=10)
    assert report["images"] == 10
    assert report["picture"] == str(exp / "image_samples" / "reconstruction/reconstruction.png")
    with Image.open(report["picture"]) as picture:
        found = np.asarray(picture)
    assert found.shape == (3 * 66 + 2, 8 * 66 + 2)
    originals = open_images(config, "test", exp).images[:8, :, :, 0]
    for i, image in enumerate(originals):
        tile = found[2:66, 2 + 66 * i : 66 + 66 * i]
        assert np.array_equal(tile[::8, ::8], image)
        last = found[134:198:8, 2 + 66 * i : 66 + 66 * i : 8]
        assert np.abs(last.astype(int) - image).mean() < 10


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_images_of_ones_own(exact, reconstruct, tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (12, 9, 3), np.uint8)
        (folder / "deep" / str(i)).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "deep" / str(i) / "x.png")
    source = folder
    if kind == "zip":
        source = folder / "all.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in folder.rglob("*.png"):
                archive.write(path, path.relative_to(folder))
    assert reconstruct(images=source)["images"] == 3
    assert reconstruct(images=source, count=2)["images"] == 2


def test_images_are_taken_without_the_randomness_of_training(exact, reconstruct, config):
    data = {"random_flip": True, "uniform_dequantization": True, "gaussian_dequantization": True}
    random = config.model_copy(update={"data": config.data.model_copy(update=data)})
    assert mse(reconstruct(config=random)) == mse(reconstruct())


def test_the_weights_themselves(engine, reconstruct, exp):
    seen = []
    engine.denoiser = lambda weights, x, t: seen.append(weights) or affine(weights, x, t)
    for kind, ema in ((None, True), ("raw", False)):
        seen.clear()
        reconstruct(weights=kind)
        expected = jd.load_weights(exp / "logs" / "d", ema=ema)
        assert all(np.array_equal(seen[0][name], array) for name, array in expected.items())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"timesteps": (5, 0)}, "got 0"),
        ({"timesteps": (101,)}, r"1 … 100, got 101"),
        ({"doc": "other"}, "other"),
    ],
)
def test_wrong_requests(engine, reconstruct, options, message):
    with pytest.raises(UserError, match=message):
        reconstruct(**options)
    assert engine.starts == 0


def test_missing_images(engine, reconstruct, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        reconstruct(images=tmp_path / "nowhere")
    assert engine.starts == 0


def test_a_picture_that_the_user_keeps(exact, reconstruct, engine):
    reconstruct()
    engine.starts = 0
    with pytest.raises(UserError, match="kept"):
        reconstruct(ask=lambda question: False)
    assert engine.starts == 0


def test_deep_and_turned_images_are_decoded_as_in_training(
    exact, reconstruct, tmp_path, config, capsys
):
    folder = tmp_path / "own"
    folder.mkdir()
    size = config.data.image_size
    floats = np.random.default_rng(0).random((size, size), np.float32)
    Image.fromarray(floats).save(folder / "0.tif")
    lying = np.arange(size * size, dtype=np.uint8).reshape(size, size)
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(lying).save(folder / "1.png", exif=exif)
    report = reconstruct((5,), images=folder)
    with Image.open(report["picture"]) as picture:
        found = np.asarray(picture)
    side = size * 8
    for i, image in enumerate((np.rint(floats * 255), lying[::-1, ::-1])):
        left = 2 + (side + 2) * i
        assert np.array_equal(found[2 : 2 + side : 8, left : left + side : 8], image)
    said = capsys.readouterr().err
    assert "1 images: floats in 0 … 1 scaled" in said and "1 images: turned upright" in said
    Image.fromarray(floats * 220).save(folder / "2.tif")
    with pytest.raises(UserError, match=r"cannot decode 2.tif \(floats from .* remove it"):
        reconstruct((5,), images=folder)
