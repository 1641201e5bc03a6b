import threading
import time
from contextlib import closing
from itertools import islice

import numpy as np
import pytest

from jittor_ddim.config import DiffusionConfig
from jittor_ddim.data import loader
from jittor_ddim.data.loader import batches, make_batch, steps_per_epoch, validation_batches
from jittor_ddim.diffusion.parametrization import predict_x0
from jittor_ddim.diffusion.schedule import Schedule

SEED = 11
SCHEDULE = Schedule.from_config(DiffusionConfig())
QUIET = {"random_flip": False, "rescaled": False}  # then an image can be recognised in x0


def numbered(n):
    """Image i has the value i everywhere."""
    return np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)


def x0_of(batch):
    """The images, which the batch holds diffused."""
    alpha_bar = SCHEDULE.alpha_bar[batch.t].reshape(-1, 1, 1, 1)
    return predict_x0(batch.x_t, batch.target, alpha_bar)


def seen(batch):
    return np.round(x0_of(batch)[:, 0, 0, 0] * 255).astype(int).tolist()


def stream(count, images, config, **options):
    with closing(batches(images, config, SEED, **options)) as source:
        return list(islice(source, count))


def assert_equal(a, b):
    assert (a.step, a.epoch) == (b.step, b.epoch)
    for name in ("x_t", "t", "target"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("n, batch_size", [(12, 4), (13, 4), (5, 4), (3, 8), (1, 2), (4, 4)])
def test_every_epoch_shows_every_image_in_batches_of_one_size(make_config, n, batch_size):
    config = make_config(batch_size=batch_size, **QUIET)
    per_epoch = steps_per_epoch(n, batch_size)
    assert per_epoch == int(np.ceil(n / batch_size))
    orders = []
    found = stream(3 * per_epoch, numbered(n), config)
    for epoch in range(3):
        part = found[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert all(batch.epoch == epoch and len(batch.t) == batch_size for batch in part)
        order = sum((seen(batch) for batch in part), [])
        assert sorted(order[:n]) == list(range(n))  # once each, then again from the start
        assert order[n:] == (order * batch_size)[: len(order) - n]
        orders.append(order)
    assert [batch.step for batch in found] == list(range(1, 3 * per_epoch + 1))
    if n > 4:
        assert orders[0] != orders[1] != orders[2]


def test_worker_count_changes_nothing_and_resume_continues(make_config):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    switches = {"uniform_dequantization": True, "gaussian_dequantization": True}
    unbroken = stream(20, images, make_config(num_workers=1, **switches))
    for workers in (2, 5):
        config = make_config(num_workers=workers, **switches)
        for a, b in zip(unbroken, stream(20, images, config), strict=True):
            assert_equal(a, b)
    resumed = stream(9, images, make_config(**switches), first_step=12)
    for a, b in zip(unbroken[11:], resumed, strict=True):
        assert_equal(a, b)
    other = make_batch(images, config, SEED + 1, 1)
    assert not np.array_equal(other.target, unbroken[0].target)
    assert not np.array_equal(unbroken[1].target, unbroken[0].target)
    assert not np.array_equal(unbroken[1].t, unbroken[0].t)


def test_shares_of_processes_make_up_the_global_batch(make_config):
    images = numbered(30)
    config = make_config(batch_size=6, uniform_dequantization=True)
    whole = stream(8, images, config)
    rows = (slice(2), range(2, 5), slice(-1, None))  # they need not be equal
    shares = [stream(8, images, config, rows=some) for some in rows]
    for batch, *parts in zip(whole, *shares, strict=True):
        for name in ("x_t", "t", "target"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            assert np.array_equal(joined, getattr(batch, name))
    for wrong in (slice(3, 3), range(0), range(4, 7), range(0, 6, 2)):
        with pytest.raises(ValueError, match="consecutive rows of a batch of 6"):
            batches(images, config, SEED, rows=wrong)


def test_timesteps_are_antithetic_and_noise_is_normal(make_config):
    batch = make_batch(numbered(200), make_config(batch_size=128), SEED, 1)
    assert batch.t.dtype == np.int64 and batch.t.shape == (128,)
    assert batch.t.min() >= 0 and batch.t.max() < 1000
    assert np.array_equal(batch.t[65:], 999 - batch.t[:63])
    eps = batch.target
    assert eps.dtype == np.float32 and eps.shape == batch.x_t.shape == (128, 3, 8, 8)
    assert abs(eps.mean()) < 0.03 and abs(eps.std() - 1) < 0.03


def test_images_are_diffused_to_their_timesteps(make_config):
    batch = make_batch(numbered(8), make_config(batch_size=8, **QUIET), SEED, 1)
    alpha_bar = SCHEDULE.alpha_bar[batch.t].astype(np.float64)
    images = batch.x_t - np.sqrt(1 - alpha_bar)[:, None, None, None] * batch.target
    expected = np.sqrt(alpha_bar) * np.array(seen(batch)) / 255
    assert batch.x_t.dtype == np.float32
    assert np.abs(images - expected[:, None, None, None]).max() <= 1e-6
    assert sorted(seen(batch)) == list(range(8))


def test_an_error_in_a_worker_reaches_the_consumer_once(make_config, monkeypatch):
    real = loader.make_batch

    def fails_at_3(*args, **options):
        if args[3] == 3:
            raise RuntimeError("broken image")
        return real(*args, **options)

    monkeypatch.setattr(loader, "make_batch", fails_at_3)
    with closing(batches(numbered(20), make_config(), SEED)) as source:
        assert next(source).step == 1 and next(source).step == 2
        with pytest.raises(RuntimeError, match="broken image"):
            next(source)
        with pytest.raises(StopIteration):  # never step 4 instead
            next(source)


def test_work_ahead_is_bounded_and_close_leaves_no_thread(make_config, monkeypatch):
    made = []
    real = loader.make_batch
    monkeypatch.setattr(
        loader, "make_batch", lambda *a, **k: (made.append(a[3]), real(*a, **k))[1]
    )
    before = set(threading.enumerate())
    source = batches(numbered(20), make_config(num_workers=3), SEED)
    first = next(source)
    assert first.data_time_s > 0
    assert any(thread.name.startswith("batches") for thread in threading.enumerate())
    time.sleep(0.2)  # all the time they want
    source.close()
    assert set(threading.enumerate()) == before
    assert sorted(made) == list(range(1, 1 + 1 + 2 * 3))
    with pytest.raises(StopIteration):
        next(source)
    source.close()


def test_validation_noise_is_fixed_whatever_the_batch_size(make_config):
    images = numbered(100)
    config = make_config(random_flip=True, rescaled=False, uniform_dequantization=False)
    whole = list(validation_batches(images, config, 40, 40))
    parts = list(validation_batches(images, config, 10, 40))
    assert [len(x0) for x0, _, _ in parts] == [10] * 4 and len(whole) == 1
    for i in range(3):
        assert np.array_equal(whole[0][i], np.concatenate([part[i] for part in parts]))
    x0, t, eps = whole[0]
    assert np.round(x0[:, 0, 0, 0] * 255).tolist() == [i * 100 // 40 for i in range(40)]
    assert t.dtype == np.int64 and t.min() >= 0 and t.max() < 1000
    assert abs(eps.std() - 1) < 0.05
    assert [len(x0) for x0, _, _ in validation_batches(images, config, 16, 70)] == [16] * 4
    assert [len(x0) for x0, _, _ in validation_batches(images[:5], config, 16, 70)] == [5]


def test_validation_does_not_flip(make_config):
    images = np.zeros((50, 8, 8, 3), np.uint8)
    images[:, :, 0] = 255
    [(x0, _, _)] = validation_batches(images, make_config(random_flip=True), 50, 50)
    assert (x0[:, :, :, 0] == 1).all() and (x0[:, :, :, 1:] == -1).all()


def test_labels_follow_their_images(make_config):
    config = make_config(batch_size=4, **QUIET)
    labels = np.arange(11, dtype=np.int64) + 100
    for batch in stream(5, numbered(11), config, labels=labels):
        assert (batch.labels - 100).tolist() == seen(batch)
    assert make_batch(numbered(11), config, SEED, 1).labels is None
