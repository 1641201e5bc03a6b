import numpy as np
import pytest

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints.inferred import infer_config
from jittor_ddim.config import config_names, load_config
from jittor_ddim.errors import UserError


def zeros(config):
    """Weights that take no memory."""
    return {name: np.broadcast_to(np.float32(0), shape)
            for name, shape in parameter_shapes(config).items()}  # fmt: skip


#: Those that attend at 16x16 alone, as every official network does: it tells the image size.
OTHERS = ("digits.yml", "cifar10_small.yml", "tiles.yml")
USUAL = [name for name in config_names() if name not in OTHERS]


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("changes", [
    {}, {"model.resamp_with_conv": False}, {"model.conv_shortcut": True},
    {"model.num_res_blocks": 1, "model.ch": 64},
])  # fmt: skip
def test_shapes_tell_the_network(name, changes, tmp_path, caplog):
    config = load_config(name, changes)
    found = infer_config(zeros(config), tmp_path)
    for key in ("ch", "ch_mult", "num_res_blocks", "attn_resolutions", "in_channels", "out_ch",
                "resamp_with_conv", "conv_shortcut"):  # fmt: skip
        assert getattr(found.model, key) == getattr(config.model, key)
    assert found.data.image_size == config.data.image_size
    assert found.diffusion == config.diffusion
    assert parameter_shapes(found) == parameter_shapes(config)
    assert "set `config` if this is wrong" in caplog.text


@pytest.mark.parametrize(("resolutions", "where"), [([], "only in the middle"),
                                                     ([16, 8], "on 2 levels")])  # fmt: skip
def test_what_shapes_do_not_tell_is_asked_for(resolutions, where, tmp_path):
    config = load_config("cifar10.yml", {"model.attn_resolutions": resolutions})
    with pytest.raises(UserError, match=f"{where} .*give `config`"):
        infer_config(zeros(config), tmp_path)


@pytest.mark.parametrize("damage", ["conv_in.weight", "down", "conv_out.weight"])
def test_other_networks_are_refused(damage, tmp_path):
    weights = zeros(load_config("cifar10.yml"))
    weights = {name: array for name, array in weights.items() if not name.startswith(damage)}
    with pytest.raises(UserError, match="not a DDIM U-Net|give `config`"):
        infer_config(weights, tmp_path)
