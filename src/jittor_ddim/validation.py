"""How well a network in training predicts the noise of images that it does not learn from."""

import logging
import math

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.data import ImageArray
from jittor_ddim.data.loader import validation_batches
from jittor_ddim.diffusion.parametrization import make_example
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.engines.base import Trainer

#: Validation uses at most this many images: at the CIFAR-10 size a minute on two cores.
_VALIDATION_IMAGES = 1024
#: The error of the mean needs no more: of 128 images it is known to about a tenth.
_MEAN_ERROR_IMAGES = 128
#: A network with more of it, after so many steps, cannot tell an image's brightness.
_MEAN_ERROR_LIMIT, _MEAN_ERROR_STEPS = 0.9, 1000

_log = logging.getLogger(__name__)


def validate(
    trainer: Trainer,
    held_out: ImageArray,
    held_out_labels: NDArray[np.int64] | None,
    config: Config,
) -> dict[str, float]:
    """Return the loss on held-out images, with fixed noise, and the error of the mean.

    The latter is RMS(mean(eps_pred) - mean(eps)) / RMS(mean(eps)) at t = T-1, each mean over the
    pixels of a channel. Near 1 the network cannot tell an image's brightness or colour, which
    samples then get at random: in x0 this error is divided by sqrt(alpha_bar). The loss hides it.
    A network that predicts x0 or v does not divide so, and has no such number.
    """
    schedule, prediction = Schedule.from_config(config.diffusion), config.diffusion.prediction
    last = config.diffusion.num_diffusion_timesteps - 1
    total, count = 0.0, 0
    errors, means = [], []
    for x0, t, eps, *labels in validation_batches(
        held_out, config, config.training.batch_size, _VALIDATION_IMAGES, held_out_labels
    ):
        total += trainer.loss(*make_example(schedule, x0, t, eps, prediction), *labels) * len(x0)
        if prediction == "eps" and count < _MEAN_ERROR_IMAGES:
            x_last, t_last, _ = make_example(schedule, x0, np.full_like(t, last), eps, prediction)
            eps_pred = trainer.predict(x_last, t_last, *labels)
            errors.append(np.mean(eps_pred - eps, axis=(2, 3), dtype=np.float64))
            means.append(np.mean(eps, axis=(2, 3), dtype=np.float64))
        count += len(x0)
    loss = total / count
    found = {
        "validation_loss": loss,
        "validation_loss_per_element": loss / math.prod(config.sample_shape),
    }
    _log.info("Validation loss: %.6f", found["validation_loss_per_element"])
    if errors:
        error, mean = (np.square(np.concatenate(x)).mean() ** 0.5 for x in (errors, means))
        found["validation_mean_error"] = float(error / mean)
        _log.info("Error of the mean: %.2f", error / mean)
    return found


def warn_of_mean_error(steps: int, mean_error: float) -> None:
    """Warn, after enough steps, of a network that cannot tell an image's brightness."""
    if steps >= _MEAN_ERROR_STEPS and mean_error > _MEAN_ERROR_LIMIT:
        _log.warning(
            "After %d steps the network cannot tell an image's mean (validation_mean_error %.2f): "
            "samples get brightness and colour at random; train longer, and give each group of "
            "model.num_groups several channels",
            steps,
            mean_error,
        )
