"""Pipelines written with a sampler and a spacing: diffusers samples with them as we do."""

from inspect import signature

import numpy as np
import pytest
from checkpoints.test_diffusers_schedulers import WRITTEN
from oracles import recipe_weights
from starting import start_engine

import jittor_ddim as jd
from engines.test_trainer import SMALL, changed
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints import write_weights
from jittor_ddim.checkpoints.diffusers_schedulers import _SCHEDULERS
from jittor_ddim.diffusion.samplers import SAMPLERS
from jittor_ddim.diffusion.settings import SamplerSettings

pytestmark = pytest.mark.pytorch

CONFIG = changed(SMALL, model={"ch_mult": (1, 2), "attn_resolutions": (4,)})
#: Divides T, and is enough for every order.
S = 5
#: Whether the scheduler takes the noise of a generator.
NOISY = {"ddpm_noisy", "sde_dpmpp_2m"}


@pytest.fixture(scope="module")
def engine():
    pytest.importorskip("diffusers")
    return start_engine("pytorch")


@pytest.mark.parametrize(
    ("sampler", "spacing"), [(one, spacing) for one in WRITTEN for spacing in sorted(WRITTEN[one])]
)
def test_diffusers_samples_as_we_do(tmp_path, engine, sampler, spacing):
    compare(tmp_path, engine, CONFIG, sampler, spacing)


@pytest.mark.parametrize(
    ("sampler", "order"), [("unipc", 1), ("unipc", 3), ("deis", 1), ("deis", 2)]
)
def test_so_it_does_with_other_orders(tmp_path, engine, sampler, order):
    compare(tmp_path, engine, CONFIG, sampler, "linspace", order)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "unipc", "deis", "heun"])
@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_so_it_does_with_other_networks(tmp_path, engine, sampler, prediction):
    diffusion = {"prediction": prediction, "beta_schedule": "sigmoid"}
    compare(tmp_path, engine, changed(CONFIG, diffusion=diffusion), sampler, "trailing")


@pytest.mark.parametrize("sampler", ["dpmpp_3m", "unipc", "deis", "plms"])
def test_so_it_does_in_20_steps(tmp_path, engine, sampler):
    """Without the lower orders of few steps."""
    compare(tmp_path, engine, CONFIG, sampler, "trailing", steps=20)


@pytest.mark.parametrize("name", _SCHEDULERS)
def test_options_and_their_defaults_are_those_of_diffusers(engine, name):
    import diffusers

    known = signature(getattr(diffusers, name).__init__).parameters
    ours = _SCHEDULERS[name]
    assert {key: known[key].default for key in ours.options} == {
        key: default for key, (_, default) in ours.options.items()
    }
    assert known["timestep_spacing"].default == ours.default_spacing
    assert all(set(options) <= set(known) for options in ours.spacings.values())


def compare(folder, engine, config, sampler, spacing, order=None, steps=S):
    import diffusers
    import torch

    weights = recipe_weights(parameter_shapes(config))
    settings = SamplerSettings(sampler=sampler, spacing=spacing, order=order)
    write_weights(folder / "p", weights, config, "diffusers", settings)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder / "p")
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(steps)
    calls = SAMPLERS[sampler].calls(range(steps))
    assert len(scheduler.timesteps) == calls
    x_T = jd.initial_noise(config, indices=range(2))
    noises = torch.randn(steps, *x_T.shape, generator=torch.manual_seed(0)).numpy()
    asked = []

    class Told:
        """Our network, which notes when it is called."""

        def __getattr__(self, name):
            return getattr(unet, name)

        def predict_on_device(self, x, t, *rest):
            asked.append(float(np.asarray(t).flat[0]))
            return unet.predict_on_device(x, t, *rest)

    unet = engine.unet(config, weights)
    ours = jd.sample(
        Told(), config, x_T, calls, 0.0, spacing, sampler, noises.__getitem__, order=order
    )
    # diffusers rounds the timesteps that its network is told, but not its sigmas.
    apart = np.abs(np.array(asked) - scheduler.timesteps.numpy())
    assert apart.max() < 1 if spacing in ("logsnr", "karras") else not apart.any()
    x = torch.from_numpy(x_T) * scheduler.init_noise_sigma
    generator = torch.manual_seed(0)
    for t, told in zip(scheduler.timesteps, asked, strict=True):
        with torch.no_grad():
            output = pipeline.unet(scheduler.scale_model_input(x, t), torch.tensor(told)).sample
        noise = {"generator": generator} if sampler in NOISY else {}
        x = scheduler.step(output, t, x, **noise).prev_sample
    assert np.abs(ours - x.numpy()).max() <= 1e-4 * np.abs(ours).max()
