import base64
import io

import comparison_example as example
import numpy as np
import pytest
from PIL import Image

from jittor_ddim.compare.report.pictures import difference, write_pictures
from jittor_ddim.compare.report.words import Words
from jittor_ddim.diffusion.settings import Variant
from jittor_ddim.figures.grids import grid


def write(samples, folder):
    return write_pictures(example.complete(steps=5), samples, Words("en"), folder)


def read_gif(path):
    """(frames as RGB arrays, durations in ms) as Pillow reads them."""
    with Image.open(path) as image:
        frames, durations = [], []
        for k in range(image.n_frames):
            image.seek(k)
            image.load()
            durations.append(image.info["duration"])
            frames.append(np.asarray(image.convert("RGB")))
    return frames, durations


def embedded(picture):
    kind, _, data = picture.address.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == f"data:image/{image.format.lower()}"
    assert image.size == (picture.width, picture.height)
    return np.asarray(image.convert("RGB"))


def test_a_difference_is_scaled_by_a_whole_number_that_is_stated():
    first = np.array([[[[0], [10]], [[200], [255]]]], np.uint8)
    second = np.array([[[[0], [7]], [[201], [205]]]], np.uint8)
    apart, factor, *_ = difference(first, second)
    assert factor == 5  # 255 / 50
    assert apart[..., 0].tolist() == [[[0, 15], [5, 250]]]
    np.testing.assert_array_equal(difference(second, first)[0], apart)
    apart, factor, *_ = difference(first, first)
    assert factor == 1 and not apart.any()
    apart, factor, *_ = difference(first, first ^ 1)
    assert factor == 255 and (apart == 255).all()


def test_grids_hold_the_images_and_their_difference(tmp_path):
    samples = example.samples(count=70, size=16, frames=3)
    sets = write(samples, tmp_path)
    assert [one.title for one in sets] == [
        "η = 0, 50 steps, 64 images",
        "η = 1, 50 steps, 64 images",
    ]
    for one, made, tag in zip(sets, samples, ("eta0", "eta1"), strict=True):
        first, second = (images[:64] for images in made.images)
        apart, *_ = difference(first, second)
        for picture, images, part, background in zip(
            one.grids,
            (first, second, apart),
            ("first", "second", "difference"),
            (255, 255, 0),
            strict=True,
        ):
            expected = grid(images, background=background)
            path = tmp_path / f"{tag}_{part}.png"
            np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
            np.testing.assert_array_equal(embedded(picture), expected)
            assert picture.file == f"images/{path.name}"
    assert "× 255. The largest is 1 of 255; 0 % of the values" in sets[0].grids[2].caption
    share = 100 * 3 * 25 / (64 * 16 * 16 * 3)
    caption = sets[1].grids[2].caption
    assert f"× 85. The largest is 3 of 255; {share:.4g} % of the values" in caption


def test_the_animations_keep_step(tmp_path):
    samples = example.samples(count=4, size=16, frames=50, channels=1)
    write(samples, tmp_path)
    for tag, made in zip(("eta0", "eta1"), samples, strict=True):
        shown = {
            part: read_gif(tmp_path / f"{tag}_{part}.gif") for part in ("first", "second", "both")
        }
        durations = shown["both"][1]
        assert len(durations) == 40
        assert sum(durations) == 5000 and durations[-1] >= 2000
        assert shown["first"][1] == shown["second"][1] == durations
        width = shown["first"][0][0].shape[1]
        for k in range(40):
            both = shown["both"][0][k]
            np.testing.assert_array_equal(both[:, :width], shown["first"][0][k])
            np.testing.assert_array_equal(both[:, -width:], shown["second"][0][k])
        chosen = np.linspace(0, 49, 40).round().astype(int)
        for k in (0, 7, 39):
            expected = grid(made.frames[1][chosen[k]], scale=2)
            np.testing.assert_array_equal(shown["second"][0][k], expected.repeat(3, axis=2))


def test_without_frames_there_is_no_animation(tmp_path):
    made = example.samples(count=1, size=8, frames=2)[0]
    made = type(made)(made.variant, made.timesteps, made.images, None)
    (one,) = write([made], tmp_path)
    assert one.animation is None
    assert not list(tmp_path.glob("*.gif"))


@pytest.mark.slow
def test_the_worst_pictures_stay_within_the_page(tmp_path):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (12, 64, 64, 64, 3), dtype=np.uint8)
    made = example.Samples(Variant("ddim", 0.0), 50, (noise[0], noise[1]), (noise, noise[::-1]))
    other = example.Samples(Variant("ddim", 1.0), 50, (noise[2], noise[3]), (noise, noise[::-1]))
    sets = write([made, other], tmp_path)
    addresses = [p.address for one in sets for p in (*one.grids, one.animation)]
    assert sum(map(len, addresses)) < 5_300_000
