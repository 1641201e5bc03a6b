"""A sampler defined here is used by the public functions and by the commands, by its name."""

import json

import numpy as np
import pytest
from fake_engine import FakeEngine
from own_sampler import calls_of_heun, heun
from PIL import Image

import jittor_ddim as jd
from jittor_ddim.cli.main import main
from jittor_ddim.data.transforms import from_network, to_uint8


def restless(model, x_t, timesteps, schedule, eta, noise):
    """Add noise of size eta to every second prediction."""
    for k, (t, t_next, _, _) in enumerate(schedule.descend(timesteps)):
        x0, _ = model(x_t, t)
        x_t = x0 + eta * noise(k) if k % 2 else x0
        yield jd.Step(t, t_next, x_t, x0)


@pytest.fixture(autouse=True)
def registered():
    before = dict(jd.SAMPLERS)
    jd.samplers.register("heun2", heun, calls_of_heun)
    jd.samplers.register("restless", restless)
    yield
    jd.SAMPLERS.clear()
    jd.SAMPLERS.update(before)


@pytest.mark.parametrize(("timesteps", "calls"), [(1, 1), (2, 1), (9, 9), (10, 9), (199, 199)])
def test_timesteps_counts_network_calls(engine, config, timesteps, calls, caplog):
    unet, x_T = engine.unet(config), jd.initial_noise(config, 3, range(2))
    with caplog.at_level("INFO", "jittor_ddim"):
        steps = list(jd.sample_steps(unet, config, x_T, timesteps, sampler="heun2"))
    assert len(engine.calls) == calls and len(steps) == (calls + 1) // 2
    assert ("network calls" in caplog.text) == (calls < timesteps)
    assert steps[-1].t_next == -1
    assert np.array_equal(steps[-1].x_t, jd.sample(unet, config, x_T, timesteps, variance="heun2"))


def test_more_calls_than_all_timesteps_take_are_refused(engine, config):
    unet, x_T = engine.unet(config), jd.initial_noise(config, 3, range(2))
    with pytest.raises(jd.UserError, match="timesteps must be in 1 … 199, got 200"):
        jd.sample(unet, config, x_T, 200, sampler="heun2")
    with pytest.raises(jd.UserError, match="heun2, restless, got 'euler'"):
        jd.sample(unet, config, x_T, 10, sampler="euler")


def test_heun_is_of_second_order_and_ddim_of_first():
    """On a Gaussian, whose probability flow is known: x scales as the marginal's deviation."""
    schedule = jd.Schedule.from_config(jd.load_config("cifar10.yml").diffusion)

    def denoiser(x, t):
        a = schedule.alpha_bar_at(t)
        return (1 - a) ** 0.5 * x / (0.25 * a + 1 - a)

    def error(sampler, count):
        # down to t = 99, so that the last step, which has no second call, is not among them
        timesteps = [99 + 900 * i // count for i in range(count + 1)]
        x_T = np.ones((1, 1, 1, 1))
        *_, end, _ = jd.samplers.walk(sampler, denoiser, x_T, timesteps, schedule)
        a, a_T = schedule.alpha_bar_at(99), schedule.alpha_bar_at(999)
        exact = ((0.25 * a + 1 - a) / (0.25 * a_T + 1 - a_T)) ** 0.5
        return abs(end.x_t.item() - exact)

    for sampler, order in (("ddim", 1), ("heun2", 2)):
        slope = np.log2(error(sampler, 50) / error(sampler, 100))
        assert abs(slope - order) < 0.3


@pytest.mark.parametrize("options", [{"sampler": "heun2"}, {"sampler": "restless", "eta": 0.7}])
def test_the_commands_take_it(options, engine, config, exp, restored_process, capsys):
    line = f"sample --exp {exp} --doc d --fid --timesteps 7 --seed 5 -i own --num_samples 3"
    line += f" --sample_type {options['sampler']} --eta {options.get('eta', 0)}"
    assert main(line.split()) == 0
    folder = exp / "image_samples" / "own"
    assert json.loads(capsys.readouterr().out) == {"made": [str(folder)]}
    unet = engine.unet(config, jd.load_weights(exp / "logs" / "d"))
    x_T = jd.initial_noise(config, 5, range(3))
    wanted = to_uint8(
        from_network(jd.sample(unet, config, x_T, 7, seed=5, **options), config.data)
    )
    found = [np.asarray(Image.open(folder / f"{i}.png")) for i in range(3)]
    assert np.array_equal(found, wanted[..., 0])
    assert json.loads((folder / "sampling.json").read_text())["variance"] == options["sampler"]
    assert main([*line.replace(options["sampler"], "generalized").split()]) == 2
    assert f"variance {options['sampler']} instead of ddim" in capsys.readouterr().err


def test_noise_follows_from_the_network_call(config):
    """Also where a sampler leaves calls out: noise drawn ahead for these is dropped."""
    unet, x_T = FakeEngine().unet(config), jd.initial_noise(config, 3, range(2))
    asked = []

    def noise(k):
        asked.append(k)
        random = np.random.default_rng(k)
        return random.standard_normal(x_T.shape, np.float32)

    options = {"sampler": "restless", "eta": 0.5}
    own = jd.sample(unet, config, x_T, 8, noise=noise, **options)
    assert asked == [1, 3, 5, 7]
    assert not np.array_equal(own, jd.sample(unet, config, x_T, 8, **options))
    whole = jd.sample(unet, config, x_T, 8, seed=5, indices=[4, 9], **options)
    alone = jd.sample(unet, config, x_T[1:], 8, seed=5, indices=[9], **options)
    assert np.array_equal(whole[1:], alone)
