import logging

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.errors import UserError
from jittor_ddim.figures.animation import animate, spread


def noise_to_gradient(count, size=96, channels=3):
    """Frames that go from noise to a smooth picture, as a denoising trajectory does."""
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 255, size)
    picture = np.stack([ramp[:, None] + 0 * ramp, ramp + 0 * ramp[:, None]][:1] * channels, -1)
    noise = random.uniform(0, 255, (count, size, size, channels))
    share = np.linspace(0, 1, count)[:, None, None, None]
    return (share * picture + (1 - share) * noise).astype(np.uint8)


def read(path):
    """(frames as RGB arrays, durations in ms, loop) as Pillow reads them."""
    with Image.open(path) as image:
        frames, durations = [], []
        for k in range(image.n_frames):
            image.seek(k)
            image.load()
            durations.append(round(image.info["duration"]))
            frames.append(np.asarray(image.convert("RGB")))
        return frames, durations, image.info["loop"]


def local_palettes(data):
    """How many frames of a GIF have a palette of their own, block by block (GIF89a, 1990)."""

    def table(flags):
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    at, count = 13 + table(data[10]), 0
    while data[at] != 0x3B:
        if data[at] == 0x21:  # extension
            at += 2
        else:  # image
            flags = data[at + 9]
            count += bool(flags & 0x80)
            at += 10 + table(flags) + 1
        while data[at]:
            at += data[at] + 1
        at += 1
    return count


def test_spread():
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(5, 9) == [0, 1, 2, 3, 4]
    assert spread(1000, 1) == [999]
    assert spread(1, 7) == [0]
    steps = np.diff(spread(1001, 64))
    assert len(steps) == 63 and set(steps) == {15, 16} and sum(steps) == 1000
    with pytest.raises(ValueError, match="positive"):
        spread(0, 3)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_time_frames_and_loop(tmp_path, suffix):
    path = tmp_path / "new" / f"a{suffix}"
    frames = noise_to_gradient(21)
    animate(frames, path, seconds=4, hold_seconds=1)
    shown, durations, loop = read(path)
    assert len(shown) == 21 and shown[0].shape == (96, 96, 3)
    assert loop == 0
    assert sum(durations) == 4000
    assert set(durations[:-1]) == {140, 150} and durations[-1] in (1140, 1150)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    error = np.abs(shown[-1].astype(float) - frames[-1])
    assert error.mean() < 4


def test_a_gif_has_one_palette_and_a_still_pixel_stays_still(tmp_path):
    frames = noise_to_gradient(12)
    frames[:, :20] = (200, 30, 90)
    animate(frames, tmp_path / "a.gif", 2, 0.5)
    assert local_palettes((tmp_path / "a.gif").read_bytes()) == 0
    shown, _, _ = read(tmp_path / "a.gif")
    assert all((frame[:20] == shown[0][0, 0]).all() for frame in shown)


def test_grey_is_lossless(tmp_path):
    frames = noise_to_gradient(5, channels=1)
    animate(frames, tmp_path / "a.gif", 2, 0)
    assert local_palettes((tmp_path / "a.gif").read_bytes()) == 0
    shown, _, _ = read(tmp_path / "a.gif")
    for frame, original in zip(shown, frames, strict=True):
        np.testing.assert_array_equal(frame, original.repeat(3, axis=2))


def test_no_frame_is_shorter_than_two_ticks(tmp_path):
    frames = noise_to_gradient(300, size=16)
    animate(frames, tmp_path / "a.gif", 1, 0.25)
    shown, durations, _ = read(tmp_path / "a.gif")
    assert len(shown) == 37 and min(durations) >= 20 and sum(durations) == 1000
    for picture, index in ((shown[0], 0), (shown[-1], 299)):
        distance = np.abs(picture.astype(float) - frames).mean(axis=(1, 2, 3))
        assert distance.argmin() == index


def test_the_hold_takes_at_most_half_and_a_list_will_do(tmp_path):
    animate(list(noise_to_gradient(3, size=16)), tmp_path / "a.gif", 2, 60)
    assert read(tmp_path / "a.gif")[1] == [330, 340, 1330]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_never_above_the_bound_frames_go_first(tmp_path, caplog, suffix):
    frames = noise_to_gradient(60, size=128)
    path = tmp_path / f"a{suffix}"
    animate(frames, path, 3, 1)
    free = path.stat().st_size
    with caplog.at_level(logging.INFO):
        animate(frames, path, 3, 1, max_bytes=free // 2)
    shown, durations, _ = read(path)
    assert path.stat().st_size <= free // 2
    assert 10 <= len(shown) < 60 and shown[0].shape == (128, 128, 3) and sum(durations) == 3000
    assert f"{len(shown)} of 60 frames" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        animate(frames, path, 3, 1, max_bytes=free // 12)
    shown, durations, _ = read(path)
    assert path.stat().st_size <= free // 12
    assert len(shown) == 10 and 64 <= shown[0].shape[0] < 128 and sum(durations) == 3000
    assert "instead of 128x128 pixels" in caplog.text


def test_colours_go_last_and_then_it_is_refused(tmp_path, caplog):
    frames = noise_to_gradient(12, size=64)
    with caplog.at_level(logging.INFO):
        animate(frames, tmp_path / "a.gif", 1, 0, max_bytes=13_000)
    assert (tmp_path / "a.gif").stat().st_size <= 13_000
    assert "colours" in caplog.text
    with pytest.raises(UserError, match="300 bytes"):
        animate(frames, tmp_path / "b.gif", 1, 0, max_bytes=300)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.parametrize(
    ("name", "seconds", "message"),
    [("a.mp4", 3, ".gif or .webp"), ("a.gif", 0, "0.1 to 600"), ("a.gif", float("nan"), "0.1")],
)
def test_bad_input(tmp_path, name, seconds, message):
    with pytest.raises(UserError, match=message):
        animate(noise_to_gradient(3, 16), tmp_path / name, seconds, 0)
    assert not list(tmp_path.iterdir())
