import hashlib
import json
import math
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_engine import BIAS, GAIN, FakeEngine, FakeTrainer, signals_at
from killing import ENVIRONMENT

from jittor_ddim import signals, validation
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints.native import list_checkpoints, load_checkpoint
from jittor_ddim.config import load_config, parse_config
from jittor_ddim.data.loader import make_batch, validation_batches
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.diffusion.parametrization import make_example
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.errors import DivergedError, Interrupted, MachineError, UserError
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.learning_rate import lr_at
from jittor_ddim.runs import snapshots
from jittor_ddim.runs.metrics_log import read_metrics
from jittor_ddim.sampling import initial_noise, sample
from jittor_ddim.training import Images, total_steps, train
from jittor_ddim.validation import validate
from jittor_ddim.version import versions

SEED = 11
ELEMENTS = 64  # of an image


def make_config(**sections):
    tree = {
        "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1, "random_flip": True},
        "model": {
            "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1], "num_groups": 8,
            "num_res_blocks": 1,
            "attn_resolutions": [], "dropout": 0.1, "ema_rate": 0.9,
        },
        "training": {
            "batch_size": 4, "n_iters": 10, "snapshot_freq": 4, "validation_freq": 3,
        },
        "optim": {"lr": 1e-4},
    }  # fmt: skip
    for name, keys in sections.items():
        tree.setdefault(name, {}).update(keys)
    return parse_config(tree, "test")


class Observer:
    def __init__(self):
        self.records, self.previews = [], {}

    def step(self, record):
        self.records.append(record)

    def preview(self, step, pixels):
        self.previews[step] = pixels

    def column(self, key):
        return [record[key] for record in self.records if key in record]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return Images(
        rng.integers(0, 256, (10, 8, 8, 1), np.uint8), rng.integers(0, 256, (6, 8, 8, 1), np.uint8)
    )


@pytest.fixture
def start(images, tmp_path):
    """Train in tmp_path / folder; return the observer."""

    def start(config, folder="run", engine=None, seed=SEED, resume=False):
        log_folder, observer = tmp_path / folder, Observer()
        log_folder.mkdir(exist_ok=True)
        checkpoint = load_checkpoint(log_folder) if resume else None
        observer.saved = train(
            config, engine or FakeEngine(), images, log_folder, observer,
            seed=seed, resume=checkpoint,
        )  # fmt: skip
        return observer

    return start


def steps(folder):
    return [int(path.name.removeprefix("ckpt_")) for path in list_checkpoints(folder)]


def assert_same_state(left, right):
    a, b = load_checkpoint(left), load_checkpoint(right)
    assert (a.step, a.epoch, a.seed) == (b.step, b.epoch, b.seed)
    for name in ("weights", "ema_weights", "optimizer"):
        found, expected = getattr(a, name), getattr(b, name)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in expected), name


@pytest.mark.parametrize(
    "n_epochs, n_iters, expected", [(100, 5, 5), (2, 100, 6), (2, 6, 6), (1, 1, 1)]
)
def test_whichever_comes_first_ends_a_run(start, n_epochs, n_iters, expected):
    """10 images in batches of 4 make an epoch of 3 steps."""
    config = make_config(training={"n_epochs": n_epochs, "n_iters": n_iters})
    assert total_steps(config, 10) == expected
    observer = start(config)
    assert observer.column("step") == list(range(1, expected + 1))
    assert observer.column("epoch") == [0, 0, 0, 1, 1, 1][:expected]
    assert observer.saved.name == f"ckpt_{expected}"
    state = load_checkpoint(observer.saved)
    assert (state.step, state.epoch, state.seed) == (expected, (expected - 1) // 3, SEED)
    assert (state.engine, state.versions) == ("fake", {**versions(), "fake": "1"})


def test_the_losses_are_those_of_the_loaders_batches(start, images):
    """Up to the validation, which learns nothing: the same steps of a bare trainer."""
    config = make_config()
    observer = start(config)
    trainer = FakeEngine().trainer(config, seed=SEED)
    for record in observer.records:
        batch = make_batch(images.train, config, SEED, record["step"])
        loss = trainer.learn(batch.x_t, batch.t, batch.target)
        assert (record["loss"], record["grad_norm"]) == (loss, trainer.grad_norm)
        assert record["loss_per_element"] == loss / ELEMENTS
    final = load_checkpoint(observer.saved)
    for name, value in trainer.weights().items():
        assert np.array_equal(final.weights[name], value)
        assert np.array_equal(final.ema_weights[name], trainer.ema_weights()[name])


def test_validation_is_the_mean_over_held_out_images(start, images):
    config = make_config()
    observer = start(config)
    validated = {r["step"]: r for r in observer.records if "validation_loss" in r}
    assert list(validated) == [3, 6, 9, 10]
    final = load_checkpoint(observer.saved)
    trainer = FakeEngine().trainer(config, final.weights)
    schedule = Schedule.from_config(config.diffusion)
    per_image = [
        trainer.loss(x_t[i : i + 1], t[i : i + 1], target[i : i + 1])
        for batch in validation_batches(images.held_out, config, 4, 1000)
        for x_t, t, target in [make_example(schedule, *batch)]
        for i in range(len(x_t))
    ]
    np.testing.assert_allclose(validated[10]["validation_loss"], np.mean(per_image), rtol=1e-6)
    np.testing.assert_allclose(
        validated[10]["validation_loss_per_element"], np.mean(per_image) / ELEMENTS, rtol=1e-6
    )


def weights_of(config, gain, bias):
    """Of a network with eps_pred = gain x_t + bias + t / 1000; see fake_engine."""
    weights = {n: np.zeros(s, np.float32) for n, s in parameter_shapes(config).items()}
    weights[GAIN][:], weights[BIAS][:] = gain, bias
    return weights


@pytest.mark.parametrize("held_out", [6, 300])  # all of them, or the first 128
def test_the_error_of_the_mean(held_out):
    """At t = 999 x_t is nearly eps: what the network says of the mean is known in advance."""
    config = make_config()
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (held_out, 8, 8, 1), np.uint8)

    def error(gain, bias):
        trainer = FakeEngine().trainer(config, weights_of(config, gain, bias))
        return validate(trainer, images, None, config)["validation_mean_error"]

    batches = list(validation_batches(images, config, 4, 1024))
    means = np.concatenate([eps.mean(axis=(2, 3)) for _, _, eps in batches])[:128]
    rms = np.sqrt(np.mean(means.astype(np.float64) ** 2))
    assert 0.08 < rms < 0.2  # 1/8, as 64 pixels have it
    assert error(0, -0.999) == pytest.approx(1, abs=1e-5)  # it says nothing
    expected = np.sqrt(np.mean((means.astype(np.float64) - 0.25) ** 2)) / rms
    assert error(0, 0.25 - 0.999) == pytest.approx(expected, rel=1e-5)  # it says 0.25
    assert error(1, -0.999) < 0.05  # it says what x_t has


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_the_validation_loss_of_other_predictions(prediction):
    """And no error of the mean, which only an eps has."""
    config = make_config(diffusion={"prediction": prediction})
    images = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 1), np.uint8)
    trainer = FakeEngine().trainer(config, weights_of(config, 0, -0.999))
    found = validate(trainer, images, None, config)
    assert "validation_mean_error" not in found
    schedule, squares = Schedule.from_config(config.diffusion), []
    for x0, t, eps in validation_batches(images, config, 4, 1024):
        _, _, target = make_example(schedule, x0, t, eps, prediction)
        a = schedule.alpha_bar[t].reshape(-1, 1, 1, 1).astype(np.float64)
        wanted = x0 if prediction == "x0" else a**0.5 * eps - (1 - a) ** 0.5 * x0
        np.testing.assert_allclose(target, wanted, atol=1e-6)
        answer = -0.999 + t.reshape(-1, 1, 1, 1) / 1000
        squares += [((wanted - answer) ** 2).sum(axis=(1, 2, 3))]
    np.testing.assert_allclose(found["validation_loss"], np.concatenate(squares).mean(), rtol=1e-5)


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_a_run_learns_what_its_config_says(start, images, prediction):
    config = make_config(
        diffusion={"prediction": prediction, "zero_terminal_snr": True}, model={"dropout": 0.0}
    )
    observer = start(config)
    batch = make_batch(images.train, config, SEED, 1)
    answer = FakeEngine().trainer(config, seed=SEED).predict(batch.x_t, batch.t)
    expected = ((batch.target - answer) ** 2).sum(axis=(1, 2, 3)).mean()
    np.testing.assert_allclose(observer.records[0]["loss"], expected, rtol=1e-6)
    x0, eps = np.ones((2, *batch.x_t.shape), np.float32)
    example = make_example(Schedule.from_config(config.diffusion), x0, batch.t, eps, prediction)
    stepped, learning = (FakeEngine().trainer(config, seed=SEED) for _ in range(2))
    assert stepped.step(x0, batch.t, eps) == learning.learn(*example)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_images_are_weighted_by_their_timestep(start, images, prediction):
    keys = {"loss_weight": "min_snr_gamma", "min_snr_gamma": 2.0, "accumulate_steps": 3}
    config = make_config(
        diffusion={"prediction": prediction}, training=keys, model={"dropout": 0.0}
    )
    observer = start(config)
    batch = make_batch(images.train, config, SEED, 1)
    answer = FakeEngine().trainer(config, seed=SEED).predict(batch.x_t, batch.t)
    a = Schedule.from_config(config.diffusion).alpha_bar[batch.t].astype(np.float64)
    snr = a / (1 - a)
    clipped = np.minimum(snr, 2)
    weight = {"eps": clipped / snr, "x0": clipped, "v": clipped / (snr + 1)}[prediction]
    difference = batch.target.astype(np.float64) - answer
    expected = np.mean(weight * (difference**2).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(observer.records[0]["loss"], expected, rtol=1e-6)
    bias = np.array((difference * weight.reshape(-1, 1, 1, 1)).sum() / 2)  # d loss / d bias
    gain = (difference * batch.x_t * weight.reshape(-1, 1, 1, 1)).sum() / 2 / 32  # of 32 numbers
    norm = (bias**2 + 32 * gain**2) ** 0.5
    np.testing.assert_allclose(observer.records[0]["grad_norm"], norm, rtol=1e-5)


def test_the_learning_rate_is_recorded_where_it_varies(start, images):
    assert start(make_config(), "constant").column("lr") == []
    config = make_config(optim={"warmup_steps": 4, "decay": "cosine"})
    rates = [lr_at(config.optim, step, 10) for step in range(1, 11)]
    observer = start(config)
    assert observer.column("lr") == rates
    first, last = (load_checkpoint(observer.saved.with_name(f"ckpt_{n}")) for n in (8, 10))
    moved = np.abs(first.weights[BIAS] - last.weights[BIAS]).max()
    momentum = np.abs(first.optimizer[f"momentum_buffer/{BIAS}"]).max()
    assert 0 < moved < 1.5 * rates[8] * momentum  # the last step's rate is 0


def test_a_varying_learning_rate_goes_on_where_it_was(start, tmp_path):
    config = make_config(
        optim={"warmup_steps": 7, "decay": "cosine"},
        model={"ema_rate": None, "ema_half_life_images": 12},
    )
    whole = start(config, "whole")
    with pytest.raises(Interrupted):
        start(config, "cut", FakeEngine(before_step=signals_at(6, signal.SIGINT)))
    rest = start(config, "cut", resume=True)
    assert rest.column("step") == [7, 8, 9, 10]
    assert rest.column("lr") == whole.column("lr")[6:]
    assert_same_state(rest.saved, whole.saved)
    start_ema = FakeEngine().trainer(config, seed=SEED).ema_weights()
    one_step = FakeEngine().trainer(config, seed=SEED)
    batch = make_batch(np.zeros((4, 8, 8, 1), np.uint8), config, SEED, 1)
    one_step.learn(batch.x_t, batch.t, batch.target)
    r = 0.5 ** (4 / 12)
    expected = r * start_ema[BIAS] + (1 - r) * one_step.weights()[BIAS]
    np.testing.assert_allclose(one_step.ema_weights()[BIAS], expected, rtol=1e-5)


@pytest.mark.parametrize("keys", [{"n_iters": 5}, {"n_epochs": 1}])
def test_a_warmup_longer_than_the_run_is_refused(keys, monkeypatch, tmp_path, restored_logging):
    monkeypatch.setattr(engine_choice, "load_engine", None)  # it is not started
    with pytest.raises(UserError, match=r"optim.warmup_steps \(5000\) must be less than the run"):
        run_training(
            TrainRequest(make_config(training=keys, optim={"warmup_steps": 5000}), tmp_path, "d")
        )
    assert not list(tmp_path.glob("logs/d/*"))


def test_a_blind_network_is_warned_of_at_the_end_of_a_long_run(start, caplog, monkeypatch):
    config = make_config(optim={"lr": 1e-30})
    start(config, "short")
    monkeypatch.setattr(validation, "_MEAN_ERROR_STEPS", 10)
    start(make_config(optim={"lr": 1e-30}, training={"n_iters": 9}), "shorter")
    assert "validation_mean_error" not in caplog.text
    start(config, "long")
    [line] = [m for m in caplog.messages if "validation_mean_error" in m]
    assert line.startswith("After 10 steps the network cannot tell an image's mean")
    assert "model.num_groups" in line


@pytest.mark.parametrize(
    "model, share", [({}, "66%"), ({"ema": False}, None), ({"ema_warmup": True}, None)]
)
def test_previews_of_a_young_average_are_warned_of_once(start, caplog, model, share):
    start(make_config(model=model))
    found = [message for message in caplog.messages if "random start" in message]
    if share is None:
        assert not found
    else:
        [line] = found
        assert f"still holds {share} of the random start after 4 steps" in line
        assert "`weights` raw" in line


def test_validation_noise_never_changes(start):
    """Nor does it depend on the seed: a network that does not learn keeps its loss."""
    losses = []
    for seed in (1, 2):
        config = make_config(optim={"lr": 1e-30})
        losses += start(config, f"seed{seed}", seed=seed).column("validation_loss")
    assert len(losses) == 8
    # The bias of the last layer is drawn by the seed, and it alone.
    assert len(set(losses[:4])) == 1 and len(set(losses[4:])) == 1


@pytest.mark.parametrize("keep_last, expected", [(1, [8, 10]), (2, [4, 8, 10])])
def test_snapshots(start, tmp_path, keep_last, expected):
    observer = start(make_config(training={"keep_last": keep_last}))
    assert steps(tmp_path / "run") == expected
    assert list(observer.previews) == [4, 8, 10]


def test_snapshots_by_time(start, tmp_path, monkeypatch):
    training = {"snapshot_freq": 100, "snapshot_minutes": 0.5, "keep_last": 100}
    clock = iter(range(0, 10_000, 8))  # each look at it eight seconds later
    monkeypatch.setattr("jittor_ddim.runs.snapshots.time.monotonic", lambda: next(clock))
    start(make_config(training=training))
    # Looked at once a step and once more at a save: due when 30 s have passed since that.
    assert steps(tmp_path / "run") == [4, 8, 10]


def test_steps_go_on_while_a_snapshot_is_written(start, tmp_path, monkeypatch):
    written, save = threading.Event(), snapshots.save_checkpoint

    def slowly(folder, checkpoint, keep_last):
        assert checkpoint.step != 4 or written.wait(60)
        return save(folder, checkpoint, keep_last)

    monkeypatch.setattr(snapshots, "save_checkpoint", slowly)
    engine = FakeEngine(before_step=lambda step: written.set() if step == 7 else None)
    observer = start(make_config(), engine=engine)
    assert observer.column("saving")[:7] == [0, 0, 0, 0, 1, 1, 1]
    monkeypatch.undo()
    start(make_config(), "plain")
    # Written at step 7, but with the weights of step 4.
    assert_same_state(tmp_path / "run/ckpt_4", tmp_path / "plain/ckpt_4")


def test_a_full_disk_ends_the_run_soon(start, tmp_path, monkeypatch):
    failed, save, taken = threading.Event(), snapshots.save_checkpoint, []

    def full(folder, checkpoint, keep_last):
        if checkpoint.step < 8:
            return save(folder, checkpoint, keep_last)
        failed.set()
        raise MachineError(f"{folder}: no space left on device; free some space")

    def before_step(step):
        taken.append(step)
        assert step < 9 or failed.wait(60)
        time.sleep(0.01)

    monkeypatch.setattr(snapshots, "save_checkpoint", full)
    config = make_config(training={"n_iters": 1000, "n_epochs": 1000, "snapshot_freq": 4})
    with pytest.raises(MachineError, match="no space left"):
        start(config, engine=FakeEngine(before_step=before_step))
    assert steps(tmp_path / "run") == [4]
    assert taken[-1] < 12  # where the next snapshot would have told


def test_a_full_disk_does_not_hide_that_a_run_diverged(start, tmp_path, monkeypatch, caplog):
    begun, learn = threading.Event(), FakeTrainer.learn

    def full(folder, checkpoint, keep_last):
        assert begun.wait(60)
        raise MachineError(f"{folder}: no space left on device; free some space")

    def overflow(self, *batch):
        loss = learn(self, *batch)
        if self.steps_done < 5:
            return loss
        begun.set()
        return math.nan

    monkeypatch.setattr(snapshots, "save_checkpoint", full)
    monkeypatch.setattr(FakeTrainer, "learn", overflow)
    with pytest.raises(DivergedError, match="at step 5; nothing was saved"):
        start(make_config())
    assert "no space left" in caplog.text


@pytest.mark.parametrize("ema", [True, False])
def test_previews_are_samples_of_the_snapshots_weights(start, ema):
    config = make_config(model={"ema": ema})
    observer = start(config)
    state = load_checkpoint(observer.saved)
    unet = FakeEngine().unet(config)
    unet.load(state.ema_weights if ema else state.weights)
    x_T = initial_noise(config, indices=range(16))
    expected = to_uint8(from_network(sample(unet, config, x_T, 20), config.data))
    assert np.array_equal(observer.previews[10], expected)


def test_a_signal_saves_and_the_resumed_run_equals_the_unbroken_one(start, tmp_path):
    config = make_config()
    unbroken = start(config, "unbroken")
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    for number, step in ((signal.SIGINT, 2), (signal.SIGTERM, 7)):
        folder = tmp_path / number.name
        with pytest.raises(Interrupted, match=rf"step {step}, saved {folder}/ckpt_{step}") as stop:
            start(config, number.name, FakeEngine(before_step=signals_at(step, number)))
        assert stop.value.signal_number == number
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
        assert steps(folder)[-1] == step  # the step was finished, and no other begun
        resumed = start(config, number.name, seed=SEED + 1, resume=True)  # its own seed stays
        for key in ("loss", "grad_norm", "epoch"):
            assert resumed.column(key) == unbroken.column(key)[step:], key
        assert np.array_equal(resumed.previews[10], unbroken.previews[10])
        assert_same_state(folder, tmp_path / "unbroken")


def test_two_signals_at_once_are_one(start, tmp_path):
    """``timeout -s INT`` signals the process, and then its group, to which the process belongs."""
    twice = signals_at(3, signal.SIGINT, signal.SIGINT)
    with pytest.raises(Interrupted):
        start(make_config(), engine=FakeEngine(before_step=twice))
    assert steps(tmp_path / "run") == [3]


def test_a_later_second_signal_acts_at_once(start, tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "_SAME_SIGNAL_S", 0.0)
    twice = signals_at(3, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start(make_config(), engine=FakeEngine(before_step=twice))
    assert steps(tmp_path / "run") == []


def test_divergence_names_the_step_and_the_remedy(start, tmp_path):
    config = make_config(optim={"lr": 1e30})
    with pytest.raises(DivergedError, match=r"inf.* at step 2; nothing was saved.*lr") as error:
        start(config)
    assert "\n" not in str(error.value)
    assert steps(tmp_path / "run") == []


def test_divergence_after_resuming_names_the_checkpoint_resumed_from(start, tmp_path):
    with pytest.raises(Interrupted):
        start(make_config(), engine=FakeEngine(before_step=signals_at(1, signal.SIGINT)))
    config = make_config(optim={"lr": 1e30}, training={"snapshot_freq": 100})
    with pytest.raises(DivergedError, match=rf"at step 3; .*{tmp_path}/run/ckpt_1\b"):
        start(config, resume=True)


@pytest.mark.parametrize("spoilt", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_never_a_good_checkpoint(
    start, tmp_path, monkeypatch, spoilt, value
):
    """The loss is that before the step: with an infinite gradient it is still finite."""
    step = FakeTrainer.learn

    def overflow(self, *batch):
        loss = step(self, *batch)
        if self.steps_done < 8:
            return loss
        self._parameters["conv_out.bias"][:] = np.nan
        self.grad_norm = value
        return value if spoilt == "loss" else loss

    monkeypatch.setattr(FakeTrainer, "learn", overflow)
    good = rf"last good checkpoint is {tmp_path}/run/ckpt_4\b"
    with pytest.raises(DivergedError, match=rf"{value}.* at step 8; .*{good}"):
        start(make_config())
    assert steps(tmp_path / "run") == [4]


@pytest.mark.parametrize("part", ["ema_weights", "optimizer_state"])
def test_what_could_not_be_resumed_is_not_saved(start, tmp_path, monkeypatch, part):
    read = getattr(FakeTrainer, part)

    def spoilt(self):
        return {name: np.full_like(array, np.inf) for name, array in read(self).items()}

    monkeypatch.setattr(FakeTrainer, part, spoilt)
    with pytest.raises(DivergedError, match="left the finite numbers at step 4"):
        start(make_config())
    assert steps(tmp_path / "run") == []


def test_a_preview_that_is_not_finite_is_never_shown(start):
    engine = FakeEngine(denoiser=lambda weights, x_t, t: x_t * np.nan)
    with pytest.raises(DivergedError, match=r"preview at step 4: .* not finite at timestep \d+"):
        start(make_config(), engine=engine)


# The job, which adds the folder, the data and the log.


@pytest.fixture
def job(monkeypatch, tmp_path, restored_logging):
    """Train the digits in tmp_path; return the checkpoint."""

    def job(config=None, resume=False, **options):
        engine = options.pop("fake", None) or FakeEngine()
        monkeypatch.setattr(engine_choice, "load_engine", lambda *choice: engine)
        return run_training(
            TrainRequest(config or make_config(), tmp_path, "d", resume=resume, **options)
        )

    return job


def test_the_files_of_a_run(job, tmp_path):
    config = make_config()
    saved = job(config, comment="a remark")
    folder = tmp_path / "logs" / "d"
    assert saved == folder / "ckpt_10"
    assert load_config(folder / "config.yml") == config
    assert list((folder / "tensorboard").glob("events*"))
    always = {
        "step", "epoch", "loss", "loss_per_element", "grad_norm", "step_time_s", "data_time_s",
        "gc_time_s", "cpu_time_s", "kernels_loaded", "pause_time_s", "saving", "images_per_s",
        "host_memory_mb", "cpu_utilization",
    }  # fmt: skip
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 11))
    for record in records:
        validated = record["step"] in (3, 6, 9, 10)
        validation = {
            "validation_loss", "validation_loss_per_element", "validation_mean_error",
        }  # fmt: skip
        assert record.keys() == (always | validation if validated else always)
        assert math.isclose(record["loss"], ELEMENTS * record["loss_per_element"])
        seconds = record["step_time_s"] + record["data_time_s"]
        assert math.isclose(record["images_per_s"], 4 / seconds, rel_tol=1e-6)
    log = (folder / "stdout.txt").read_text(encoding="utf-8")
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    loss = f"{records[0]['loss_per_element']:.6f}"
    line = (
        rf"INFO - training\.py - {stamp} - \[Epoch 0\] Step: 1, Loss: {loss}, Step Time: [\d.]+s"
    )
    assert re.search(f"^{line}$", log, re.MULTILINE)
    assert log.count("[Epoch ") == 10
    assert "a remark" in log and "Validation loss" in log


def test_a_finished_run_is_not_resumed_unless_it_may_grow(job, tmp_path):
    job()
    with pytest.raises(UserError, match=r"finished at step 10; raise training\.n_iters"):
        job(resume=True)
    job(make_config(training={"n_iters": 12}), resume=True)
    records = list(read_metrics(tmp_path / "logs" / "d" / "metrics.jsonl"))
    assert [record["step"] for record in records] == list(range(1, 13))


@pytest.mark.parametrize(
    ("variable", "again"),
    [("SLURM_RESTART_COUNT", "1"), ("TORCHELASTIC_MAX_RESTARTS", "3")],
)
def test_what_is_started_again_after_the_end_succeeds(
    job, tmp_path, monkeypatch, capsys, variable, again
):
    saved = job()
    metrics = (tmp_path / "logs" / "d" / "metrics.jsonl").read_bytes()
    monkeypatch.setenv(variable, again)
    assert job() == saved == job(resume=True)
    said = capsys.readouterr().err
    assert said.count("ckpt_10: the run was started again and had finished; nothing to do") == 2
    assert (tmp_path / "logs" / "d" / "metrics.jsonl").read_bytes() == metrics


def test_nothing_to_resume(job):
    with pytest.raises(UserError, match="nothing to resume"):
        job(resume=True)


def test_an_engine_that_does_not_start_destroys_nothing(job, monkeypatch, tmp_path):
    saved = job()

    def fail(*choice):
        raise UserError("no such engine")

    monkeypatch.setattr(engine_choice, "load_engine", fail)
    with pytest.raises(UserError, match="no such engine"):
        run_training(TrainRequest(make_config(), tmp_path, "d"))
    assert load_checkpoint(saved).step == 10


def test_a_kept_run_is_untouched(job, tmp_path):
    saved = job()
    with pytest.raises(UserError, match="kept"):
        job(ask=lambda question: False)
    assert saved.exists()
    job(make_config(training={"n_iters": 1}), ask=lambda question: True)
    assert steps(tmp_path / "logs" / "d") == [1]


def test_the_log_level(job, tmp_path, capsys):
    """It is the console's; the file keeps every step."""
    job(verbose="warning")
    assert "Step: 1," in (tmp_path / "logs" / "d" / "stdout.txt").read_text()
    assert "Step: 1," not in capsys.readouterr().err


# The command, in a process that stops in every way a process can.


def ddim(step, number, *arguments):
    script = Path(__file__).with_name("ddim_with_fake_engine.py")
    return subprocess.run(
        [sys.executable, str(script), str(step), number.name, *map(str, arguments)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def fingerprints(folder):
    """Of the files in the last checkpoint that hold numbers."""
    last = list_checkpoints(folder)[-1]
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in last.glob("*.safetensors")
    }


def losses(folder):
    keys = ("step", "epoch", "loss", "grad_norm", "validation_loss")
    return [{key: r.get(key) for key in keys} for r in read_metrics(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yml"
    path.write_text(make_config().to_yaml())
    return path


@pytest.fixture(scope="module")
def unbroken(config_file, tmp_path_factory):
    exp = tmp_path_factory.mktemp("unbroken")
    done = ddim(0, signal.SIGKILL, "train", "--config", config_file, "--exp", exp, "--doc", "d")
    assert done.returncode == 0, done.stderr
    folder = exp / "logs" / "d"
    assert json.loads(done.stdout) == {"checkpoint": str(folder / "ckpt_10")}
    return folder


@pytest.mark.parametrize(
    "number, code, last", [("SIGINT", 130, 7), ("SIGTERM", 143, 7), ("SIGKILL", -9, 4)]
)
def test_stopped_by_a_signal_and_resumed(config_file, unbroken, tmp_path, number, code, last):
    train = ["train", "--config", config_file, "--exp", tmp_path, "--doc", "d"]
    done = ddim(7, signal.Signals[number], *train)
    assert done.returncode == code, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    folder = tmp_path / "logs" / "d"
    assert steps(folder)[-1] == last
    if last == 7:
        assert done.stderr.endswith(f"stopped at step 7, saved {folder / 'ckpt_7'}\n")
    done = ddim(0, signal.SIGKILL, *train, "--resume_training")
    assert done.returncode == 0, done.stderr
    assert losses(folder) == losses(unbroken)
    assert fingerprints(folder) == fingerprints(unbroken)


def test_divergence_ends_with_code_1_and_one_line(config_file, tmp_path):
    done = ddim(
        0, signal.SIGKILL, "train", "--config", config_file, "--exp", tmp_path, "--doc", "d",
        "--set", "optim.lr=1.0e+30", "--verbose", "critical",
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"error: the loss became (inf|nan) .*at step 2; .*\n", done.stderr)
