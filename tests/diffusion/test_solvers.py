"""The fast samplers on a distribution whose denoiser is known exactly."""

import json
from functools import cache
from itertools import chain, repeat

import numpy as np
import pytest
from oracles import golden

from jittor_ddim.config import DiffusionConfig
from jittor_ddim.diffusion.parametrization import training_target
from jittor_ddim.diffusion.samplers import ENCODERS, SAMPLERS, model_of, multistep, walk
from jittor_ddim.diffusion.schedule import Schedule, half_log_snr
from jittor_ddim.diffusion.spacing import make_timesteps
from jittor_ddim.errors import UserError

SCHEDULE = Schedule.from_config(DiffusionConfig())
GOLDEN = golden("samplers")
INFO = json.loads(GOLDEN["info"])
X_T = GOLDEN["x_T"]
DETERMINISTIC = [name for name, s in SAMPLERS.items() if not s.takes("noise") or s.takes("eta")]
#: diffusers computes in float32, and of high orders its weights cancel.
ROUNDING = {"deis_3_20": 2e-5}


def predict(x, t):
    """The exact eps of the mixture of Gaussians that golden/README.md describes."""
    a = SCHEDULE.alpha_bar_at(t)
    means, variances = GOLDEN["means"], a * GOLDEN["scales"] ** 2 + 1 - a
    offsets = x[:, None] - np.sqrt(a) * means
    squares = (offsets**2).sum(axis=(2, 3, 4))
    logits = np.log(GOLDEN["weights"]) - 96 * np.log(variances) - squares / (2 * variances)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True) * variances
    return np.sqrt(1 - a) * np.einsum("bk,bkchw->bchw", p, offsets)


def last(steps):
    *_, end = steps
    return end


def distance(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def in_ours(run):
    """A golden run's sampler and options, by the names that we use."""
    name, options = run.rpartition("_")[0], {}
    for other in ("unipc", "deis"):
        if name.startswith(other):
            name, options = other, {"order": INFO[run]["options"]["solver_order"]}
    kind = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}[INFO[run]["prediction"]]
    for suffix in ("_epsilon", "_sample", "_v_prediction"):
        name = name.removesuffix(suffix)
    if (noise := GOLDEN.get(f"{run}/noise")) is not None:
        options["noise"] = noise.__getitem__
    return name, options | {"prediction": kind}


@pytest.mark.parametrize("run", INFO)
def test_golden_runs(run):
    sampler, options = in_ours(run)
    calls = []

    def answer(x, t):
        calls.append(t)
        a, eps = SCHEDULE.alpha_bar_at(t), predict(x, t)
        x0 = (x - np.sqrt(1 - a) * eps) / np.sqrt(a)
        return training_target(options["prediction"], x0, eps, a)

    timesteps = sorted(set(INFO[run]["calls_at"]))
    steps = list(walk(sampler, answer, X_T, timesteps, SCHEDULE, **options))
    bound = ROUNDING.get(run, 1e-5)
    assert calls == INFO[run]["calls_at"]
    assert len(calls) == SAMPLERS[sampler].calls(timesteps)
    assert distance(steps[-1].x_t, GOLDEN[f"{run}/end"]) < bound
    found, states = [step.x_t for step in steps], GOLDEN[f"{run}/states"]
    if sampler == "heun":  # whose states are there in other units, x / alpha, two for each step
        ends = [SCHEDULE.alpha_bar_at(step.t_next) if step.t_next >= 0 else 1 for step in steps]
        found = [x / np.sqrt(a) for x, a in zip(found, ends, strict=True)]
        states = [*states[1::2], states[-1]]
    # plms: without the first prediction
    assert max(map(distance, found, states[-len(steps) :])) < bound


def between(count):
    """``count`` steps, even in lambda, between timesteps 980 and 20; the walk ends at 20."""
    ends = [half_log_snr(SCHEDULE.alpha_bar_at(t)) for t in (20, 980)]
    return [20, *SCHEDULE.timesteps_at(np.linspace(*ends, count + 1)[1:-1]), 980]


def state_at_20(sampler, count, x=X_T[:1], **options):
    *_, before_the_last, _ = walk(sampler, predict, x, between(count), SCHEDULE, **options)
    return before_the_last.x_t


@cache
def exact_state_at_20():
    return state_at_20("deis", 3000, order=3)


@pytest.mark.parametrize(
    ("sampler", "options", "order"),
    [
        ("ddim", {}, 1), ("dpmpp_1m", {}, 1), ("dpmpp_2m", {}, 2),
        ("dpmpp_3m", {}, 2),  # as published: multistep.py
        ("unipc", {"order": 1}, 2), ("unipc", {"order": 2}, 3),  # one more, by the corrector
        *(("deis", {"order": n}, n) for n in (1, 2, 3)),
        ("heun", {}, 2), ("plms", {}, 2), ("ipndm", {"order": 1}, 1), ("ipndm", {"order": 2}, 2),
    ],
)  # fmt: skip
def test_order_of_convergence(sampler, options, order):
    exact = exact_state_at_20()
    counts = np.array([128, 256, 512])
    errors = [np.abs(state_at_20(sampler, n, **options) - exact).max() for n in counts]
    slope, _ = np.polyfit(np.log(counts), np.log(errors), 1)
    assert abs(-slope - order) < 0.3, errors


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_all_agree_with_fine_ddim(sampler):
    fine = last(walk("ddim", predict, X_T, make_timesteps(SCHEDULE, 1000), SCHEDULE)).x_t
    timesteps = make_timesteps(SCHEDULE, 250, "uniform", SAMPLERS[sampler].calls)
    assert distance(last(walk(sampler, predict, X_T, timesteps, SCHEDULE)).x_t, fine) < 0.01


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_call_ends_at_the_predicted_image(sampler):
    step = last(walk(sampler, predict, X_T, [0], SCHEDULE, noise=lambda k: None))
    np.testing.assert_allclose(step.x_t, step.x0, rtol=1e-9)
    assert (step.t, step.t_next) == (0, -1)


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_an_image_does_not_depend_on_its_batch(sampler):
    timesteps = make_timesteps(SCHEDULE, 9, "logsnr")
    together = last(walk(sampler, predict, X_T, timesteps, SCHEDULE)).x_t
    alone = [last(walk(sampler, predict, x[None], timesteps, SCHEDULE)).x_t[0] for x in X_T]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "ddpm_noisy"])
def test_a_step_from_pure_noise_is_that_of_ddim(sampler):
    """alpha_bar = 0 at the start, which networks of x0 and v allow: no step is infinite."""
    alpha_bar = SCHEDULE.alpha_bar.astype(float)
    alpha_bar[999] = 0
    schedule = Schedule(SCHEDULE.beta, alpha_bar)

    def x0_of(x, t):
        return np.full_like(x, 0.3 + 1e-4 * t)

    options = {"prediction": "x0", "noise": lambda k: np.zeros_like(X_T)}
    first, *others = walk(sampler, x0_of, X_T, [0, 250, 500, 750, 999], schedule, **options)
    eta = 1.0 if sampler == "sde_dpmpp_2m" else 0.0
    ddim = next(walk("ddim", x0_of, X_T, [0, 250, 500, 750, 999], schedule, eta=eta, **options))
    np.testing.assert_allclose(first.x_t, ddim.x_t, rtol=1e-9)
    assert all(np.isfinite(step.x_t).all() for step in others)


@pytest.mark.parametrize(("sampler", "order"), ENCODERS.items())
def test_encoding_converges_with_the_order_of_its_solver(sampler, order):
    """From the exact state at timestep 20 back up to where it came from, at 980."""
    clean = exact_state_at_20() / np.sqrt(SCHEDULE.alpha_bar_at(20))
    counts, errors = [64, 128, 256], []
    for count in counts:
        network = model_of(predict, SCHEDULE)
        answers = chain(
            [lambda x, t: (x, 0 * x)], repeat(network)
        )  # from clean to the state at 20

        def model(x, t, answers=answers):
            return next(answers)(x, t)

        _, x_980 = last(multistep.encode(model, clean, between(count), SCHEDULE, order))
        errors.append(np.abs(x_980 - X_T[:1]).max())
    slope, _ = np.polyfit(np.log(counts), np.log(errors), 1)
    assert abs(-slope - order) < 0.3, errors


@pytest.mark.parametrize("count", [10, 14, 15])
def test_few_steps_end_with_low_orders(count):
    """lower_order_final: below 15 steps the last but one is of second order, as in diffusers."""
    timesteps = make_timesteps(SCHEDULE, count, "logsnr")

    def changes(order):
        """What each step adds to x / alpha, if eps depends on t alone."""
        x_T = X_T[:1, :1, :1, :1]
        network = lambda x, t: np.full_like(x, t**2)  # noqa: E731
        walked = walk("deis", network, x_T, timesteps, SCHEDULE, order=order)
        a = [SCHEDULE.alpha_bar_at(t) for t in (*timesteps[::-1], -1)]
        return np.diff(np.ravel([x_T, *(step.x_t for step in walked)]) / np.sqrt(a))

    same = np.isclose(changes(3), changes(2), rtol=1e-9, atol=0)
    at_the_end = 2 if count < 15 else 1
    assert same.tolist() == [True] * 2 + [False] * (count - 2 - at_the_end) + [True] * at_the_end


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "sde_dpmpp_2m"])
def test_an_eta_that_a_sampler_does_not_take(sampler):
    with pytest.raises(UserError, match=f"eta 1: the sampler {sampler} takes none; use 0"):
        walk(sampler, predict, X_T, [0, 5], SCHEDULE, eta=1.0)


def test_a_walk_begins_at_pure_noise_at_most_once():
    """Elsewhere alpha_bar = 0 is no step: nothing leads from it to another such timestep."""
    config = DiffusionConfig(prediction="v", zero_terminal_snr=True)
    schedule = Schedule.from_config(config)
    assert schedule.alpha_bar_at(998.5) == schedule.alpha_bar_at(999) == 0
    for timesteps in ([0, 998.5, 999], [998.5, 999]):
        with pytest.raises(UserError, match="timestep 998.5 keeps nothing of the image"):
            walk("ddim", predict, X_T, timesteps, schedule, prediction="v")
    walk("ddim", predict, X_T, [0, 999], schedule, prediction="v")


def test_deis_leaves_no_noise_that_can_be_seen():
    """It ends at timestep 0 only where sigma is small there."""
    config = DiffusionConfig(beta_schedule="const", beta_end=0.02)
    schedule = Schedule.from_config(config)
    clean = np.full_like(X_T, 0.3)

    def eps_of_clean(x, t):
        a = schedule.alpha_bar_at(t)
        return (x - np.sqrt(a) * clean) / np.sqrt(1 - a)

    end = last(walk("deis", eps_of_clean, X_T, [200, 500, 900], schedule))
    np.testing.assert_allclose(end.x_t, clean, atol=1e-9)


@pytest.mark.parametrize(
    ("sampler", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("unipc", 4), ("deis", 0), ("ipndm", 5)]
)
def test_an_order_that_does_not_exist(sampler, order):
    with pytest.raises(UserError, match=f"order {order}: the order of the sampler {sampler} is"):
        walk(sampler, predict, X_T, [0, 5], SCHEDULE, order=order)
