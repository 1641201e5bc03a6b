"""The work of a call and a step, counted instead of timed, so that no busy machine shakes it.

A number here may fall; one that rises is a slower engine.
"""

import re
from collections import Counter

import numpy as np
import pytest

from jittor_ddim.architecture import layers
from jittor_ddim.config import parse_config
from jittor_ddim.stopwatch import count_loads

CONFIG = parse_config(
    {
        "data": {"dataset": "FOLDER", "root": "x", "image_size": 16, "channels": 3},
        "model": {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [8]},
    },
    "work",
)
CONVOLUTIONS = sum(layer.kind in ("conv3x3", "conv1x1") for layer in layers(CONFIG)) + sum(
    layer.kind == "downsample" for layer in layers(CONFIG)
)
NORMS = sum(layer.kind == "groupnorm" for layer in layers(CONFIG))
ATTENTIONS = sum(layer.kind == "attention" for layer in layers(CONFIG))
X = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
T = np.array([3, 500])


def calls_of(engine, action):
    """How many kernels of each kind an action runs."""
    if engine.name == "jittor":
        import jittor as jt

        with jt.profile_scope() as rows:
            action()
        count = rows[0].index("Count")
        kinds = {
            "(data).forward(": "convolution", "(data).pack(": "pack", "mkl_matmul": "linear",
            "ddim::normalise": "norm", "ddim::attention": "attention",
        }  # fmt: skip
        found = Counter()
        for row in rows[1:]:
            kind = next((kinds[key] for key in kinds if key in row[0]), None)
            found[kind or re.sub(r"[^\w:].*", "", row[0].strip("«"))] += int(row[count])
        return found
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as trace:
        action()
    return Counter({event.key: event.count for event in trace.key_averages()})


def test_a_call_of_the_network(engine):
    unet = engine.unet(CONFIG)
    x = unet.to_device(X)
    for _ in range(2):
        unet.predict_on_device(x, 7)
    found = calls_of(engine, lambda: unet.predict_on_device(x, 7))
    if engine.name == "jittor":
        assert found["convolution"] == CONVOLUTIONS
        assert found["norm"] == NORMS
        assert found["attention"] == ATTENTIONS
        assert sum(found.values()) <= 144, found
    else:
        assert found["aten::mkldnn_convolution"] == CONVOLUTIONS
        assert found["aten::native_group_norm"] == NORMS
        assert found["aten::scaled_dot_product_attention"] == ATTENTIONS
        # The joints of the way up, the padding on the way down, and the layout at both ends.
        assert found["aten::copy_"] <= 13, found


def test_steps_after_the_second_load_no_kernels_and_keep_no_arrays(engine, framework):
    trainer = engine.trainer(CONFIG)
    eps = np.ones_like(X)
    for _ in range(2):
        trainer.step(X, T, eps)
    loaded, alive = count_loads(), framework.count_alive()
    for _ in range(3):
        trainer.step(X, T, eps)
    assert count_loads() == loaded
    assert framework.count_alive() <= alive


@pytest.mark.jittor
def test_weights_are_laid_out_once(jittor_engine):
    unet = jittor_engine.unet(CONFIG)
    x = unet.to_device(X)
    packings = [
        calls_of(jittor_engine, lambda: unet.predict_on_device(x, 7))["pack"] for _ in range(2)
    ]
    assert packings == [CONVOLUTIONS, 0]
