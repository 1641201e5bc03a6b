"""The work of a call and a step, counted instead of timed, so that no busy machine shakes it.

A number here may fall; one that rises is a slower engine.
"""

import re
from collections import Counter
from functools import partial
from unittest.mock import patch

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
#: All but conv_in and conv_out.
INNER_CONV3X3 = sum(layer.kind == "conv3x3" for layer in layers(CONFIG)) - 2
NORMS = sum(layer.kind == "groupnorm" for layer in layers(CONFIG))
ATTENTIONS = sum(layer.kind == "attention" for layer in layers(CONFIG))
#: With one thread PyTorch gives oneDNN its 1x1 convolutions from 16 images on.
X = np.random.default_rng(0).standard_normal((16, 3, 16, 16)).astype(np.float32)
T = np.arange(16) * 60


def calls_of(engine, action):
    """How many kernels of each kind an action runs."""
    if engine.name == "jittor":
        import jittor as jt

        with jt.profile_scope() as rows:
            action()
        count = rows[0].index("Count")
        kinds = {
            ".forward(in0_p, in1_p, data[": "convolution", ".pack(in0_p": "pack",
            "mkl_matmul": "linear", "ddim::normalise": "norm", "ddim::attention": "attention",
        }  # fmt: skip
        found = Counter()
        for row in rows[1:]:
            kind = next((kinds[key] for key in kinds if key in row[0]), None)
            found[kind or re.sub(r"[^\w:].*", "", row[0].strip("«"))] += int(row[count])
        return found
    from torch.profiler import ProfilerActivity, profile

    from jittor_ddim.engines.pytorch import winograd

    ours = Counter()
    with (
        patch.object(winograd, "_call", partial(count_and_call, ours, winograd._call)),
        profile(activities=[ProfilerActivity.CPU]) as trace,
    ):
        action()
    found = Counter({event.key: event.count for event in trace.key_averages()})
    kinds = {
        "convolution": found["aten::mkldnn_convolution"] + ours["forward"], "pack": ours["pack"],
        "norm": found["aten::native_group_norm"],
        "attention": found["aten::scaled_dot_product_attention"],
    }  # fmt: skip
    return found | kinds


def count_and_call(counter, function, layer, name, *arguments):
    counter[name] += 1
    return function(layer, name, *arguments)


def test_a_call_of_the_network(engine):
    unet = engine.unet(CONFIG)
    x = unet.to_device(X)
    for _ in range(2):
        unet.predict_on_device(x, 7)
    found = calls_of(engine, lambda: unet.predict_on_device(x, 7))
    assert found["convolution"] == CONVOLUTIONS
    assert found["norm"] == NORMS
    assert found["attention"] == ATTENTIONS
    if engine.name == "jittor":
        assert sum(found.values()) <= 144, found
    else:
        # The joints of the way up, the padding on the way down, and the layout at both ends.
        assert found["aten::copy_"] <= 13, found


@pytest.mark.parametrize("ema_warmup", [False, True])
def test_steps_after_the_second_load_no_kernels_and_keep_no_arrays(engine, framework, ema_warmup):
    model = CONFIG.model.model_copy(update={"ema_warmup": ema_warmup})
    trainer = engine.trainer(CONFIG.model_copy(update={"model": model}))
    eps = np.ones_like(X)
    for _ in range(2):
        trainer.step(X, T, eps)
    loaded, alive = count_loads(), framework.count_alive()
    for _ in range(3):
        trainer.step(X, T, eps)
    assert count_loads() == loaded
    assert framework.count_alive() <= alive


def test_weights_are_laid_out_once(engine):
    """Those of 3x3 convolutions between layers in both engines, in Jittor all."""
    if engine.name == "pytorch":
        from jittor_ddim.engines.kernels import use_winograd
        from jittor_ddim.engines.pytorch.compiled import winograd_functions

        if winograd_functions() is None:
            pytest.skip("there is no compiler")
        if not use_winograd(32, 32):
            pytest.skip("without winograd.h PyTorch lays out no weights here")
    unet = engine.unet(CONFIG)
    x = unet.to_device(X)
    action = partial(unet.predict_on_device, x, 7)
    packings = [calls_of(engine, action)["pack"] for _ in range(2)]
    assert packings == [CONVOLUTIONS if engine.name == "jittor" else INNER_CONV3X3, 0]
    unet.load(unet.weights())
    assert calls_of(engine, action)["pack"] == packings[0]
