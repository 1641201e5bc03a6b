"""Runs as training leaves them, with a fault planted: config, metrics, log and a checkpoint.

Their numbers are like those of measured runs (the loss of the digits' demo, weights that moved by
0.6 of their size), so that a healthy one has nothing that a cause could name.
"""

import json
from dataclasses import replace

import numpy as np
from PIL import Image

from jittor_ddim.averaging import share_of_start, with_rate
from jittor_ddim.checkpoints import native
from jittor_ddim.checkpoints.contents import Checkpoint
from jittor_ddim.config import Config, load_config
from jittor_ddim.data.digits import load_digits
from jittor_ddim.initialization import fresh_weights

STEPS, SEED = 600, 1234
TINY = {
    "model.ch": 16, "model.ch_mult": [1], "model.num_groups": 4, "training.n_iters": STEPS,
    "model.ema_rate": 0.98, "training.validation_freq": 50,
}  # fmt: skip


def config(**overrides) -> Config:
    return load_config("digits.yml", TINY | overrides)


def losses(steps=STEPS, end=0.07):
    """Falling as the digits' does, and differing from step to step by a tenth."""
    rng = np.random.default_rng(0)
    course = end + np.exp(-np.arange(steps) / 20)
    return course * rng.normal(1, 0.1, steps)


def records(config, loss=None, images=1708, first=1, **columns):
    """The lines of metrics.jsonl; a column is one number, or one for each step."""
    loss = losses() if loss is None else loss
    batch = config.training.batch_size
    every = {
        "loss_per_element": loss, "grad_norm": 15.0, "step_time_s": 0.08, "data_time_s": 1e-5,
        "pause_time_s": 4e-4,
    } | columns  # fmt: skip
    found = []
    for row in range(len(loss)):
        step = first + row
        values = {key: float(np.broadcast_to(v, len(loss))[row]) for key, v in every.items()}
        known = {key: value if np.isfinite(value) else None for key, value in values.items()}
        if step % 50 == 0 and "validation_loss_per_element" not in known:
            # Always of the same noise, so that it hardly varies.
            recent = np.median(loss[max(0, row - 49) : row + 1])
            known["validation_loss_per_element"] = float(recent)
        seconds = values["step_time_s"] + values["data_time_s"]
        epoch = (step - 1) // -(-images // batch)
        found.append({"step": step, "epoch": epoch, "images_per_s": batch / seconds} | known)
    return found


def checkpoint(config, step=STEPS, moved=0.6) -> Checkpoint:
    """Weights that are some of their size away from their start."""
    start, rng = fresh_weights(config, SEED), np.random.default_rng(1)
    weights = {
        name: (w + moved * (w.std() or 0.1) * rng.standard_normal(w.shape)).astype(np.float32)
        for name, w in start.items()
    }
    share = np.float32(share_of_start(with_rate(config), step))
    average = {name: share * start[name] + (1 - share) * w for name, w in weights.items()}
    squares = {f"exp_avg_sq/{name}": np.full_like(w, 1e-8) for name, w in weights.items()}
    return Checkpoint(step=step, epoch=0, seed=SEED, config=config, weights=weights,
                      ema_weights=average, optimizer=squares)  # fmt: skip


def write(folder, config, *, metrics=None, saved=True, log=(), **changes):
    """Write a run and return its folder.

    :param metrics: of :func:`records`
    :param saved: a checkpoint, True for a healthy one, False for none
    :param changes: fields of the checkpoint
    """
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text(config.to_yaml())
    lines = records(config) if metrics is None else metrics
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "stdout.txt").write_text("".join(f"INFO - train.py - x - {line}\n" for line in log))
    if saved:
        healthy = checkpoint(config) if saved is True else saved
        native.save_checkpoint(folder, replace(healthy, **changes), keep_last=9)
    return folder


def images(folder, number=300, change=lambda image, k: image):
    """Write a folder of digits, changed, and return it."""
    folder.mkdir(parents=True)
    for k, digit in enumerate(load_digits()[0][:number]):
        Image.fromarray(change(digit, k)).save(folder / f"{k:05}.png")
    return folder


def own_images(folder, **more):
    """A config for them."""
    return config(**{"data.dataset": "FOLDER", "data.root": str(folder)} | more)
