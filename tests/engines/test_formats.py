"""Weights of other formats in an engine, against what their own code computed with them."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from oracles import GOLDEN, golden

import jittor_ddim as jd
from jittor_ddim.checkpoints import read_weights
from jittor_ddim.checkpoints.native import load_checkpoint, save_checkpoint
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.training import make_trainer

pytestmark = pytest.mark.jittor
OFFICIAL = GOLDEN / "official_ckpt_micro.pth"


def difference(found, expected):
    """The largest, where 1 is the bound for float32."""
    bound = 2e-5 * max(1, np.abs(expected).max())
    return np.abs(found - expected).max() / bound


@pytest.mark.parametrize(
    "name", ["official_ckpt_micro.pth", "pesser_micro.ckpt", "pesser_micro_legacy.ckpt"]
)
def test_official_weights_compute_what_they_did(jittor_engine, name):
    data = golden("ckpt_micro")
    unet = jittor_engine.unet(data["config"], jd.load_weights(GOLDEN / name))
    assert difference(unet.predict(data["x"], data["t"]), data["ema_eps"]) < 1
    plain = jd.load_weights(OFFICIAL, ema=False)
    unet.load(plain)
    assert difference(unet.predict(data["x"], data["t"]), data["ema_eps"]) > 1


def test_diffusers_weights_compute_what_they_did(jittor_engine):
    data = golden("diffusers_tiny")
    weights, config = read_weights(GOLDEN / "diffusers_tiny")[:2]
    assert config
    unet = jittor_engine.unet(config, weights)
    assert difference(unet.predict(data["x"], data["t"]), data["eps"]) < 1
    for steps in (10, 30):
        sequence = sorted(int(t) for t in data[f"timesteps_{steps}"])
        found = jd.sample(unet, config, data["x"], timesteps=sequence, eta=0.0)
        expected = data[f"ddim_{steps}"]
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    found = jd.sample(unet, config, data["x"], timesteps=50, eta=0.0)
    expected = data["ddim_50"]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_an_official_checkpoint_goes_on_as_ours(jittor_engine, tmp_path):
    """The same step from the file and from our checkpoint of it, with Adam's moments in it."""
    config = golden("ckpt_micro")["config"]
    checkpoint = read_contents(OFFICIAL).checkpoint(config)
    save_checkpoint(tmp_path, checkpoint, keep_last=1)
    rng = np.random.default_rng(0)
    x0, eps = rng.standard_normal((2, 4, 3, 8, 8)).astype(np.float32)
    t = rng.integers(0, 1000, 4)
    results = []
    for resume in (checkpoint, load_checkpoint(tmp_path)):
        trainer = make_trainer(config, jittor_engine, resume.seed, resume)
        trainer.step(x0, t, eps)
        assert trainer.steps_done == 6
        results.append(trainer.weights())
    moved = [np.abs(results[0][name] - checkpoint.weights[name]).max() for name in results[0]]
    assert 0 < max(moved) < 3 * config.optim.lr
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name])


def test_what_jittor_saves_is_read(jittor_engine, tmp_path):
    """`jittor.save` in a process of its own: state dicts as .pkl and .pth, and arrays."""
    code = """if True:
        import sys, numpy as np
        from jittor_ddim import load_engine
        load_engine("jittor", device="cpu")
        import jittor as jt
        folder = sys.argv[1]
        state = {"a.weight": jt.array(np.arange(6, dtype="float32").reshape(2, 3)),
                 "a.bias": jt.array(np.ones(2, "float32"))}
        jt.save(state, folder + "/vars.pkl")
        jt.save(state, folder + "/torch.pth")
        jt.save({name: var.numpy() for name, var in state.items()}, folder + "/arrays.pkl")
        jt.save([state, {"defaults": {}}, 3, 7, state], folder + "/list.pkl")
    """
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=dict(os.environ), check=True, timeout=300
    )
    formats = {"vars.pkl": "jittor", "torch.pth": "pytorch", "arrays.pkl": "jittor",
               "list.pkl": "official"}  # fmt: skip
    for name, format in formats.items():
        contents = read_contents(tmp_path / name)
        assert contents.format == format
        assert dataclasses.replace(contents, weights={}, ema_weights=None).training is None
        expected = np.arange(6, dtype=np.float32).reshape(2, 3)
        np.testing.assert_array_equal(contents.weights["a.weight"], expected)
        np.testing.assert_array_equal(contents.weights["a.bias"], np.ones(2, np.float32))
