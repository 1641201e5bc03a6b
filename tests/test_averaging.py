import math

import pytest

from jittor_ddim.averaging import TOO_MUCH_START, rate, share_of_start, with_rate
from jittor_ddim.config import ModelConfig, load_config


def model(ema_rate, ema_warmup):
    return ModelConfig(ema_rate=ema_rate, ema_warmup=ema_warmup)


def test_the_rate_of_an_update():
    warm = model(0.999, True)
    assert [rate(warm, n) for n in (1, 2, 8)] == [2 / 11, 3 / 12, 0.5]
    assert rate(warm, 8989) < 0.999 == rate(warm, 8990) == rate(warm, 10**9)
    assert rate(model(0.999, False), 1) == 0.999


@pytest.mark.parametrize("batch_size", [16, 64])
def test_a_half_life_is_in_images(batch_size):
    config = load_config("cifar10.yml", {
        "model.ema_rate": None, "model.ema_half_life_images": 6400,
        "training.batch_size": batch_size,
    })  # fmt: skip
    found = with_rate(config)
    assert math.isclose(share_of_start(found, 6400 // batch_size), 0.5)
    assert rate(found, 7) == 0.5 ** (batch_size / 6400)
    given = load_config("cifar10.yml")
    assert with_rate(given) is given.model


@pytest.mark.parametrize("ema_warmup", [False, True])
@pytest.mark.parametrize("ema_rate", [0.0, 0.05, 0.1, 0.5, 0.75, 0.995])
def test_the_share_of_the_start_is_the_product_of_the_rates(ema_rate, ema_warmup):
    for updates in (0, 1, 2, 7, 8, 9, 25, 26, 27, 60):
        of_each = (rate(model(ema_rate, ema_warmup), n) for n in range(1, updates + 1))
        share = share_of_start(model(ema_rate, ema_warmup), updates)
        assert math.isclose(share, math.prod(of_each), rel_tol=1e-12)


def test_known_shares():
    """e^-1 after as many steps as the average spans; a warm-up forgets the start at once."""
    for ema_rate, updates in ((0.999, 1000), (0.9999, 10_000)):
        assert abs(share_of_start(model(ema_rate, False), updates) - math.exp(-1)) < 1e-3
        assert share_of_start(model(ema_rate, True), updates) < 1e-20
    assert share_of_start(model(0.9999, True), 10**15) == 0


@pytest.mark.parametrize(
    "ema_rate, ema_warmup, last",
    [(0.9999, False, 46_049), (0.999, False, 4602), (0.9999, True, 3)],
)
def test_when_a_start_is_too_much(ema_rate, ema_warmup, last):
    config = model(ema_rate, ema_warmup)
    assert share_of_start(config, last + 1) <= TOO_MUCH_START < share_of_start(config, last)
