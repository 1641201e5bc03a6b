import math

import numpy as np
import pytest

from jittor_ddim.config import OptimConfig
from jittor_ddim.learning_rate import lr_at


def rates(last_step, **keys):
    optim = OptimConfig(lr=0.8, **keys)
    return [lr_at(optim, step, last_step) for step in range(1, last_step + 1)]


def test_a_constant_rate_is_the_number_itself():
    assert rates(5) == [0.8] * 5 == rates(5, warmup_steps=1)
    assert not OptimConfig(warmup_steps=1).lr_varies
    assert OptimConfig(warmup_steps=2).lr_varies and OptimConfig(decay="cosine").lr_varies


def test_a_warmup_rises_from_its_first_part_to_the_whole():
    np.testing.assert_allclose(rates(6, warmup_steps=4), [0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


@pytest.mark.parametrize("warmup_steps", [0, 1, 3])
def test_a_cosine_ends_at_zero(warmup_steps):
    found = rates(11, warmup_steps=warmup_steps, decay="cosine")
    peak = max(warmup_steps, 1)
    assert found[peak - 1] == 0.8 and found[-1] == 0
    assert found[:peak] == sorted(found[:peak])
    expected = [0.4 * (1 + math.cos(math.pi * (n - peak) / (11 - peak))) for n in range(peak, 12)]
    np.testing.assert_allclose(found[peak - 1 :], expected)
    assert lr_at(OptimConfig(decay="cosine"), 12, 11) == 0  # a step more, as a comparison takes


def test_the_shortest_runs():
    assert rates(1, decay="cosine") == [0.8]
    assert rates(2, decay="cosine") == [0.8, 0]
    assert rates(2, warmup_steps=5, decay="cosine") == [0.8 / 5, 2 * 0.8 / 5]
