"""Each fault is planted in a run of its own, and found: that one and no other."""

import json
import re
import shutil
from dataclasses import replace

import faulty_runs as runs
import numpy as np
import pytest
import yaml

from jittor_ddim import diagnose
from jittor_ddim.checkpoints import native
from jittor_ddim.diagnosis import findings, table
from jittor_ddim.diagnosis.findings import GRADES
from jittor_ddim.pages.words import LANGUAGES

PLANTED = {}


def plants(function):
    PLANTED[function.__name__] = function
    return function


@plants
def not_finite(at):
    """As a foreign program may leave it: our own runs stop before they save."""
    run = runs.write(at, runs.config(), saved=broken(runs.checkpoint(runs.config())))
    return run


def broken(checkpoint):
    weights = dict(checkpoint.weights)
    weights["conv_in.weight"] = np.full_like(weights["conv_in.weight"], np.nan)
    return replace(checkpoint, weights=weights)


@plants
def damaged(at):
    run = runs.write(at, runs.config())
    file = run / f"ckpt_{runs.STEPS}" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    return run


@plants
def nan_from_start(at):
    """Nothing but null in the log: such a column does not exist for a reader of numbers."""
    config = runs.config()
    metrics = runs.records(config, np.full(runs.STEPS, np.nan), grad_norm=np.nan)
    return runs.write(at, config, metrics=metrics, saved=False)


@plants
def diverged(at):
    """Nothing saved: the loss grew until it was NaN."""
    config = runs.config(**{"optim.lr": 0.5})
    loss = np.array([1.0, 1.3, 9.0, 4e3, 8e7])
    return runs.write(at, config, metrics=runs.records(config, loss), saved=False)


@plants
def nan_steps(at):
    loss = runs.losses()
    loss[570] = np.nan
    return runs.write(at, runs.config(), metrics=runs.records(runs.config(), loss))


@plants
def dark_images(at):
    root = runs.images(at.parent / "data", change=lambda x, k: (x / 255).round().astype(np.uint8))
    config = runs.own_images(root)
    loss = runs.losses(end=0.0)
    return runs.write(at, config, metrics=runs.records(config, loss, images=285))


@plants
def constant_images(at):
    one = runs.load_digits()[0][0]
    config = runs.own_images(runs.images(at.parent / "data", change=lambda x, k: one))
    return runs.write(at, config, metrics=runs.records(config, images=285))


@plants
def dead_layer(at):
    config = runs.config()
    healthy = runs.checkpoint(config)
    weights = healthy.weights | {"conv_out.weight": 0 * healthy.weights["conv_out.weight"]}
    metrics = runs.records(config, runs.losses(end=0.0) * 0.02 + 1)
    return runs.write(at, config, metrics=metrics, weights=weights)


@plants
def stuck_average(at):
    config = runs.config()
    return runs.write(at, config, ema_weights=runs.fresh_weights(config, runs.SEED))


@plants
def foreign_average(at):
    config = runs.config()
    return runs.write(at, config, ema_weights=runs.fresh_weights(config, runs.SEED + 1))


@plants
def shrunk(at):
    config = runs.config(**{"optim.weight_decay": 10.0})
    healthy = runs.checkpoint(config)
    small = {name: w * np.float32(0.01) for name, w in healthy.weights.items()}
    metrics = runs.records(config, runs.losses() * 0.1 + 0.9)
    return runs.write(at, config, metrics=metrics, weights=small, ema_weights=small)


@plants
def foreign_weights(at):
    config = runs.config()
    healthy = runs.checkpoint(config)
    huge = {name: w * np.float32(1e4) for name, w in healthy.weights.items()}
    return runs.write(at, config, weights=huge, ema_weights=huge)


@plants
def stifled(at):
    config = runs.config(**{"optim.grad_clip": 1e-7})
    saved = runs.checkpoint(config, moved=0.05)
    tiny = {name: np.full_like(v, 1e-21) for name, v in saved.optimizer.items()}
    metrics = runs.records(config, runs.losses(end=0.18))
    return runs.write(at, config, metrics=metrics, saved=saved, optimizer=tiny)


@plants
def clipped(at):
    config = runs.config(**{"optim.optimizer": "SGD", "optim.lr": 1e-4})
    saved = runs.checkpoint(config, moved=0.013)
    metrics = runs.records(config, runs.losses(end=0.56), grad_norm=140.0)
    return runs.write(at, config, metrics=metrics, saved=saved, optimizer={})


@plants
def warming_up(at):
    config = runs.config(**{"optim.warmup_steps": 50_000, "training.n_iters": 100_000})
    metrics = runs.records(config, runs.losses(end=0.62))
    return runs.write(at, config, metrics=metrics, saved=runs.checkpoint(config, moved=0.02))


@plants
def hardly_moved(at):
    config = runs.config(**{"optim.lr": 1e-7})
    metrics = runs.records(config, np.full(runs.STEPS, 1.06))
    return runs.write(at, config, metrics=metrics, saved=runs.checkpoint(config, moved=3e-4))


@plants
def nothing_learnt(at):
    loss = np.random.default_rng(0).normal(1, 0.02, runs.STEPS)
    return runs.write(at, runs.config(), metrics=runs.records(runs.config(), loss))


@plants
def young_average(at):
    return runs.write(at, runs.config(**{"model.ema_rate": 0.9999, "model.ema_warmup": False}))


@plants
def other_config(at):
    run = runs.write(at, runs.config())
    file = run / "config.yml"
    file.write_text(file.read_text().replace("beta_end: 0.02", "beta_end: 0.03"))
    return run


@plants
def old_weights(at):
    config = runs.config(**{"sampling.ckpt_id": 50})
    run = runs.write(at, config, saved=runs.checkpoint(config, step=50))
    native.save_checkpoint(run, runs.checkpoint(config), keep_last=9)
    return run


@plants
def unsaved_steps(at):
    config = runs.config()
    return runs.write(at, config, saved=runs.checkpoint(config, step=200))


@plants
def signal_left(at):
    config = runs.config(**{"diffusion.num_diffusion_timesteps": 50})
    return runs.write(at, config)


@plants
def unlearnt_classes(at):
    config = runs.config(**{"model.num_classes": 10, "training.class_dropout": 1.0})
    return runs.write(at, config, weights=unmoved_classes(config, range(10)))


def unmoved_classes(config, rows):
    weights = dict(runs.checkpoint(config).weights)
    table = weights["class_embedding.weight"].copy()
    table[list(rows)] = 0
    return weights | {"class_embedding.weight": table}


@plants
def one_channel_groups(at):
    with pytest.warns(UserWarning, match="one of the 16 channels per group"):
        config = runs.config(**{"model.num_groups": 16})
    return runs.write(at, config, metrics=runs.records(config, validation_mean_error=0.99))


@plants
def other_images(at):
    config = runs.config()
    metrics = runs.records(config)[:400] + runs.records(config, images=3000)[400:]
    return runs.write(at, config, metrics=metrics, log=["Resuming from step 400 of a run in x"])


@plants
def repeated_images(at):
    digits = runs.load_digits()[0]
    root = runs.images(at.parent / "data", change=lambda x, k: digits[k % 60])
    config = runs.own_images(root)
    return runs.write(at, config, metrics=runs.records(config, images=285))


@plants
def flat_images(at):
    root = runs.images(at.parent / "data", change=lambda x, k: x // 12 + 100)
    config = runs.own_images(root)
    return runs.write(at, config, metrics=runs.records(config, runs.losses(end=5e-3), images=285))


@plants
def overfitting(at):
    config = runs.config()
    seen = np.full(runs.STEPS, np.nan)
    seen[49::50] = [0.3, 0.16, 0.14, 0.132, 0.135, 0.14, 0.147, 0.15, 0.16, 0.165, 0.17, 0.172]
    metrics = runs.records(config, runs.losses(end=0.05), validation_loss_per_element=seen)
    return runs.write(at, config, metrics=metrics)


@plants
def spikes(at):
    loss = runs.losses()
    loss[[150, 320, 480, 560]] *= 8
    return runs.write(at, runs.config(), metrics=runs.records(runs.config(), loss))


@plants
def stalled(at):
    config = runs.config(**{"training.n_iters": 1500})
    loss = runs.losses(steps=1500, end=0.14)
    metrics = runs.records(config, loss)
    return runs.write(at, config, metrics=metrics, saved=runs.checkpoint(config, step=1500))


@plants
def too_few_steps(at):
    loss = np.arange(1, 61) ** -0.4 * np.random.default_rng(0).normal(1, 0.05, 60)
    config = runs.config(**{"training.n_iters": 60})
    metrics = runs.records(config, loss)
    return runs.write(at, config, metrics=metrics, saved=runs.checkpoint(config, step=60))


@plants
def mean_unlearnt(at):
    config = runs.config(**{"training.n_iters": 1500})
    metrics = runs.records(config, runs.losses(steps=1500), validation_mean_error=0.97)
    return runs.write(at, config, metrics=metrics, saved=runs.checkpoint(config, step=1500))


@plants
def frozen(at):
    config = runs.config()
    healthy, start = runs.checkpoint(config), runs.fresh_weights(config, runs.SEED)
    name = "mid.block_1.conv1.weight"
    return runs.write(at, config, weights=healthy.weights | {name: start[name]})


@plants
def not_centred(at):
    config = runs.config(**{"data.rescaled": False})
    return runs.write(at, config, metrics=runs.records(config, runs.losses(end=0.04)))


@plants
def wasted_timesteps(at):
    config = runs.config(**{"diffusion.beta_end": 0.1})
    return runs.write(at, config, metrics=runs.records(config, runs.losses(end=0.02)))


@plants
def no_unconditional(at):
    config = runs.config(**{"model.num_classes": 10, "training.class_dropout": 0})
    return runs.write(at, config, weights=unmoved_classes(config, [10]))


@plants
def slow_loader(at):
    config = runs.config()
    return runs.write(at, config, metrics=runs.records(config, data_time_s=0.1))


@plants
def long_pauses(at):
    config = runs.config()
    pauses = np.where(np.arange(runs.STEPS) % 50 == 0, 9.0, 0.0)
    return runs.write(at, config, metrics=runs.records(config, pause_time_s=pauses))


@pytest.mark.parametrize("cause", table.NAMES)
def test_a_planted_fault_is_named(cause, tmp_path):
    found = diagnose(PLANTED[cause](tmp_path / "exp" / "logs" / "run"))
    assert [finding.cause for finding in found] == [cause]
    for language in LANGUAGES:
        told = found[0].explain(language)
        assert all(told.values()) and not re.search(r"[{}]|\bnan\b|\binf\b", str(told.values()))


def test_a_healthy_run_has_nothing(tmp_path):
    assert diagnose(runs.write(tmp_path / "exp" / "logs" / "run", runs.config())) == []


def test_the_worst_comes_first(tmp_path):
    """What costs only time last, and what follows from another cause not at all."""
    config = runs.config(**{"optim.lr": 1e-7, "data.rescaled": False})
    metrics = runs.records(config, np.full(runs.STEPS, 1.06), data_time_s=0.1)
    saved = runs.checkpoint(config, moved=3e-4)
    found = diagnose(runs.write(tmp_path / "run", config, metrics=metrics, saved=saved))
    assert [f.cause for f in found] == ["hardly_moved", "not_centred", "slow_loader"]
    assert [f.grade for f in found] == list(GRADES)


def test_a_run_without_weights_and_images_is_judged_by_its_log(tmp_path):
    root = runs.images(tmp_path / "data")
    config = runs.own_images(root)
    metrics = runs.records(config, images=285, data_time_s=0.1)
    run = runs.write(tmp_path / "run", config, metrics=metrics, saved=False)
    shutil.rmtree(root)
    assert [finding.cause for finding in diagnose(run)] == ["slow_loader"]


@pytest.mark.parametrize("fault", [None, "stifled", "dead_layer"])
def test_weights_without_a_log_are_judged_alone(fault, tmp_path):
    """Such as those of `ddim convert`."""
    plant = PLANTED[fault] if fault else lambda at: runs.write(at, runs.config())
    run = plant(tmp_path / "run")
    for name in ("metrics.jsonl", "stdout.txt"):
        (run / name).unlink()
    assert [finding.cause for finding in diagnose(run)] == [fault] * bool(fault)


def test_a_log_of_little_more_than_losses(tmp_path):
    run = too_few_steps(tmp_path / "run")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    few = [{key: line[key] for key in ("step", "loss_per_element")} for line in lines]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in few))
    (finding,) = diagnose(run)
    assert (finding.cause, finding.values["time"]) == ("too_few_steps", "?")


def test_weights_that_did_not_begin_at_random_have_no_start(tmp_path):
    """A young average of trained weights is no noise."""
    config = runs.config(**{"model.ema_rate": 0.9999, "model.ema_warmup": False})
    log = ["Starting from the weights of cifar10.safetensors"]
    assert diagnose(runs.write(tmp_path / "run", config, log=log)) == []


def test_the_steps_that_are_needed_are_extrapolated(tmp_path):
    """A loss of 4 step^-0.5 comes to 0.8 of the linear predictor's at a step that is known."""
    steps = 200
    config = runs.config(**{"training.n_iters": steps})
    loss = 4 * np.arange(1, steps + 1) ** -0.5
    saved = runs.checkpoint(config, step=steps)
    run = runs.write(tmp_path / "run", config, metrics=runs.records(config, loss), saved=saved)
    (finding,) = diagnose(run)
    linear = finding.values["linear"]
    expected = (4 / (0.8 * linear)) ** 2
    assert finding.values["estimate"] == pytest.approx(expected, rel=0.05)
    assert finding.values["time"] == "0:02:06"  # at 0.08 s a step


@pytest.mark.parametrize(
    ("log", "rise"),
    [(["Resuming with another config: data.root /a instead of /b"], 1),
     (["Resuming from step 400 of a run in x"], 2)],
)  # fmt: skip
def test_other_images_are_told_by_the_log_or_the_loss(log, rise, tmp_path):
    config, loss = runs.config(), runs.losses(end=0.045)
    loss[400:] *= rise
    metrics = runs.records(config, loss)
    (finding,) = diagnose(runs.write(tmp_path / "run", config, metrics=metrics, log=log))
    assert finding.cause == "other_images"
    assert finding.values["seen"].startswith(("data.root /a", "step 400: loss 0.04"))


def test_another_number_of_images_is_told_by_the_epochs(tmp_path):
    (finding,) = diagnose(other_images(tmp_path / "run"))
    assert finding.values["seen"].startswith("step 401: epoch 8; N <= 1,")


def test_another_batch_size_is_no_other_data_set(tmp_path):
    before, after = (runs.config(**{"training.batch_size": size}) for size in (64, 16))
    metrics = runs.records(before)[:400] + runs.records(after)[400:]
    assert diagnose(runs.write(tmp_path / "run", after, metrics=metrics)) == []


def test_images_that_changed_since_are_told_by_the_epochs(tmp_path):
    config = runs.config()
    metrics = runs.records(config, images=5000)
    metrics = [{**line, "epoch": (line["step"] - 1) // 79} for line in metrics]
    (finding,) = diagnose(runs.write(tmp_path / "run", config, metrics=metrics))
    assert finding.cause == "other_images" and "N = 1,708" in finding.values["seen"]


def texts(language):
    file = findings.Words.folder / f"{language}.yml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_both_languages_say_the_same_of_every_cause():
    english, chinese = (dict(flat(texts(language))) for language in LANGUAGES)
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        named = [set(re.findall(r"\{(\w+)[^}]*\}", t)) for t in (text, chinese[key])]
        assert named[0] == named[1], key
    assert set(texts("en")["causes"]) == set(table.NAMES) == set(PLANTED)
    assert set(texts("en")["grade"]) == set(GRADES)
