"""What only a GPU can show: replayed and compiled networks are the same network."""

import numpy as np
import pytest
from oracles import golden, recipe_weights

from jittor_ddim import load_engine
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.engines.pytorch import runtime

pytestmark = [
    pytest.mark.pytorch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, of its own functions
]

BATCHES = 6  # three before the recording, and replays


@pytest.fixture(scope="module", autouse=True)
def gpu():
    runtime.start()
    if missing := runtime.missing_for_cuda():
        pytest.skip(f"missing: {missing[0]}")


@pytest.fixture(scope="module")
def tiny():
    data = golden("unet_tiny")
    return {**data, "weights": recipe_weights(parameter_shapes(data["config"]))}


def without_graphs(monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_CUDA_GRAPHS", "off")


def with_dropout(config, rate):
    return config.model_copy(update={"model": config.model.model_copy(update={"dropout": rate})})


def batches(tiny):
    rng = np.random.default_rng(0)
    for _ in range(BATCHES):
        x0, eps = rng.standard_normal((2, *tiny["x"].shape), np.float32)
        yield x0, rng.integers(0, 1000, len(x0)), eps


def learn(engine, config, tiny):
    """The losses and gradient norms of some steps, and the weights and averages after them."""
    trainer = engine.trainer(config, tiny["weights"], seed=3)
    seen = [(trainer.step(*batch), trainer.grad_norm) for batch in batches(tiny)]
    return np.array(seen), trainer.weights(), trainer.ema_weights()


def relative_rms(found, expected):
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


def test_the_golden_output(tiny):
    unet = load_engine("pytorch", device="cuda").unet(tiny["config"], tiny["weights"])
    for _ in range(BATCHES):
        error = np.abs(unet.predict(tiny["x"], tiny["t"]) - tiny["eps"]).max()
        assert error <= 2e-5 * np.abs(tiny["eps"]).max()


@pytest.mark.parametrize(("precision", "bound"), [("tf32", 4e-3), ("bfloat16", 2e-2)])
def test_lower_precisions(tiny, precision, bound):
    unet = load_engine("pytorch", "cuda", precision).unet(tiny["config"], tiny["weights"])
    for _ in range(BATCHES):
        error = relative_rms(unet.predict(tiny["x"], tiny["t"]), tiny["eps"])
        assert 1e-5 < error <= bound, error


def test_replays_are_the_network_to_the_bit(tiny, monkeypatch):
    engine = load_engine("pytorch", device="cuda")
    replayed = engine.unet(tiny["config"], tiny["weights"])
    without_graphs(monkeypatch)
    plain = engine.unet(tiny["config"], tiny["weights"])
    x = np.random.default_rng(0).standard_normal((BATCHES, *tiny["x"].shape), np.float32)
    for rows in (x, x[:, :1]):  # another shape is recorded anew
        for t, x_t in enumerate(rows):
            found, expected = (u.predict_on_device(u.to_device(x_t), t) for u in (replayed, plain))
            assert np.array_equal(plain.to_host(found), plain.to_host(expected)), t
    replayed.load(recipe_weights(parameter_shapes(tiny["config"]), 1))
    found = [replayed.predict(x[0], tiny["t"]) for _ in range(BATCHES)]
    assert all(np.array_equal(found[0], each) for each in found)
    assert np.abs(found[0] - plain.predict(x[0], tiny["t"])).max() > 1e-2


@pytest.mark.parametrize(
    ("optimizer", "ema_warmup", "warmup_steps"),
    [("Adam", False, 0), ("Adam", True, 0), ("RMSProp", False, 0), ("SGD", False, 0),
     ("Adam", False, 5), ("RMSProp", False, 5), ("SGD", False, 5)],
)  # fmt: skip
def test_replayed_training(tiny, monkeypatch, optimizer, ema_warmup, warmup_steps):
    """Dropout included: its masks are keyed by seed and step in a replay too."""
    engine = load_engine("pytorch", device="cuda")
    config = with_dropout(tiny["config"], 0.2)
    model = config.model.model_copy(update={"ema_warmup": ema_warmup})
    config = config.model_copy(update={"model": model})
    keys = {"optimizer": optimizer, "lr": 1e-3, "grad_clip": 1.0, "warmup_steps": warmup_steps}
    optim = config.optim.model_copy(update=keys)
    config = config.model_copy(update={"optim": optim})
    replayed = learn(engine, config, tiny)
    without_graphs(monkeypatch)
    plain = learn(engine, config, tiny)
    assert replayed[0] == pytest.approx(plain[0], rel=1e-5)
    for found, expected in zip(replayed[1:], plain[1:], strict=True):
        for name, array in expected.items():
            # cuDNN adds up gradients in any order, and Adam's first steps amplify it.
            assert np.abs(found[name] - array).max() <= 1e-3 * max(1, np.abs(array).max()), name


def test_a_resumed_replay_goes_on(tiny):
    engine = load_engine("pytorch", device="cuda")
    config, given = with_dropout(tiny["config"], 0.2), list(batches(tiny))
    whole = engine.trainer(config, tiny["weights"], seed=3)
    losses = [whole.step(*batch) for batch in given]
    first = engine.trainer(config, tiny["weights"], seed=3)
    for batch in given[:4]:
        first.step(*batch)
    second = engine.trainer(config, first.weights(), seed=3)
    second.restore(first.ema_weights(), first.optimizer_state(), first.steps_done)
    assert [second.step(*batch) for batch in given[4:]] == pytest.approx(losses[4:], rel=1e-6)


@pytest.mark.parametrize(("precision", "bound"), [("float32", 2e-5), ("bfloat16", 2e-2)])
def test_compiled_networks(tiny, monkeypatch, precision, bound):
    compiled = load_engine("pytorch", "cuda", precision, compile=True)
    unet = compiled.unet(tiny["config"], tiny["weights"])
    found = [unet.predict(tiny["x"], tiny["t"]) for _ in range(BATCHES)]
    assert all(relative_rms(eps, tiny["eps"]) <= bound for eps in found)

    config = with_dropout(tiny["config"], 0.0)
    losses = learn(compiled, config, tiny)[0]
    without_graphs(monkeypatch)
    expected = learn(load_engine("pytorch", device="cuda"), config, tiny)[0]
    assert losses[:, 0] == pytest.approx(expected[:, 0], rel=bound)
