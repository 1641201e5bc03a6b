"""The moving average of the weights: its rate, and what it still holds of their random start.

An update takes in the weights as they are after a step: average = r average + (1 - r) weights.
"""

import math

from jittor_ddim.config import Config, ModelConfig

#: Of the random start in an average, above which its user is told. The start is noise as
#: large as the weights, and a hundredth of it is little beside what they have learnt. A rate of
#: 0.9999 comes to it after 46,050 steps, 0.999 after 4,603, a warm-up after 4.
TOO_MUCH_START = 0.01


def with_rate(config: Config) -> ModelConfig:
    """Return the section ``model`` with its ``ema_rate``, if need be that of a half-life.

    After ``ema_half_life_images`` h, at B images a step, half of an average is newer: a step's
    rate is 0.5^(B / h).
    """
    half_life = config.model.ema_half_life_images
    if half_life is None:
        return config.model
    rate = 0.5 ** (config.training.batch_size / half_life)
    return config.model.model_copy(update={"ema_rate": rate})


def rate(model: ModelConfig, update: int) -> float:
    """Return r of an update: ``ema_rate``, with a warm-up min(ema_rate, (1 + n) / (10 + n)).

    A young average then spans about a tenth of the steps taken, as TensorFlow's
    ``ExponentialMovingAverage`` does with ``num_updates``.

    :param model: from :func:`with_rate`, as for all functions here
    :param update: n, from 1
    """
    if not model.ema_warmup:
        return model.ema_rate
    return min(model.ema_rate, (1 + update) / (10 + update))


def share_of_start(model: ModelConfig, updates: int) -> float:
    """Return the weight that the start has in an average: the product of the rates so far."""
    if not model.ema_warmup:
        return model.ema_rate**updates
    # As long as the warm-up lasts, the product of (1 + n) / (10 + n) leaves nine factors.
    last = math.floor((10 * model.ema_rate - 1) / (1 - model.ema_rate))
    warm = min(max(last, 0), updates)
    start = math.prod(j / (warm + j) for j in range(2, 11))
    return start * model.ema_rate ** (updates - warm)


def remark_on_start(model: ModelConfig, updates: int) -> str | None:
    """Return a remark on an average that is mostly or partly noise, or None."""
    share = share_of_start(model, updates)
    if share <= TOO_MUCH_START:
        return None
    return (
        f"the moving average still holds {share:.0%} of the random start after {updates} steps, "
        "and samples show it as noise"
    )
