"""Networks of every kind, written for diffusers, sample there as they do here."""

import numpy as np
import pytest
from oracles import recipe_weights
from starting import start_engine

import jittor_ddim as jd
from engines.test_trainer import SMALL, changed
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints import read_weights

pytestmark = pytest.mark.pytorch

CONFIG = changed(SMALL, model={"ch_mult": (1, 2), "attn_resolutions": (4,)})


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize(
    "diffusion",
    [
        {"beta_schedule": "cosine"},
        {"prediction": "x0"},
        {"prediction": "v", "zero_terminal_snr": True},
        {"prediction": "x0", "zero_terminal_snr": True, "beta_schedule": "sigmoid"},
    ],
    ids=str,
)
def test_a_pipeline_samples_there_as_it_does_here(tmp_path, diffusion, spacing):
    engine = start_engine("pytorch")
    diffusers = pytest.importorskip("diffusers")
    import torch

    config = changed(CONFIG, diffusion=diffusion)
    weights = recipe_weights(parameter_shapes(config))
    jd.save_weights(tmp_path / "p", weights, config, format="diffusers")
    found = read_weights(tmp_path / "p")
    assert found.config and found.config.diffusion == config.diffusion
    pipeline = diffusers.DDIMPipeline.from_pretrained(tmp_path / "p")
    scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing=spacing
    )
    scheduler.set_timesteps(10)
    x_T = jd.initial_noise(config, indices=range(2))
    x = torch.from_numpy(x_T)
    for t in scheduler.timesteps:
        with torch.no_grad():
            output = pipeline.unet(x, t).sample
        x = scheduler.step(output, t, x, eta=0.0).prev_sample
    timesteps = sorted(int(t) for t in scheduler.timesteps)
    assert (timesteps[-1] == 999) == (spacing == "trailing")
    ours = jd.sample(engine.unet(found.config, found.weights), config, x_T, timesteps)
    assert np.abs(ours - x.numpy()).max() <= 1e-4 * np.abs(ours).max()
