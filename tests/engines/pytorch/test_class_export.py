"""diffusers itself loads our export of a network with classes."""

import numpy as np
import pytest
from oracles import golden, recipe_weights
from starting import start_engine

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints import save_weights

pytestmark = pytest.mark.pytorch


def test_its_outputs_are_ours(tmp_path):
    engine = start_engine("pytorch")  # or skipped
    diffusers = pytest.importorskip("diffusers")
    import torch

    data = golden("unet_classes")
    weights = recipe_weights(parameter_shapes(data["config"]))
    save_weights(tmp_path / "p", weights, data["config"], format="diffusers")
    model = diffusers.UNet2DModel.from_pretrained(tmp_path / "p" / "unet").eval()
    inputs = data["x"], data["t"], data["labels"]
    with torch.no_grad():
        found = model(*map(torch.from_numpy, inputs)).sample.numpy()
    ours = engine.unet(data["config"], weights).predict(*inputs)
    assert np.abs(found - ours).max() <= 2e-5 * np.abs(ours).max()
