"""A GPU whose memory is full: said in one line, with the batch that would fit."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from jittor_ddim.architecture import count_parameters, layers
from jittor_ddim.config import Config
from jittor_ddim.engines.primitives import Primitives
from jittor_ddim.errors import MachineError
from jittor_ddim.hardware import gpu_memory

#: Bytes that are kept for each byte that layers put out for an image, in float32. Training keeps
#: them for the gradient, with what lies between: 512 images of cifar10.yml took 38 GiB of a GPU.
_TRAINING, _SAMPLING = 2.3, 1.0
#: Arrays of the parameters' size in training: weights, gradients, two of Adam's, the average.
_COPIES = 5
#: What the driver and libraries take for themselves, and how much of the rest to count on.
_OVERHEAD, _USABLE = 2 * 2**30, 0.95


@contextmanager
def naming_what_fits(
    primitives: Primitives, config: Config, batch: int, training: bool
) -> Iterator[None]:
    """Turn an engine's error of a full GPU into one that names a batch that fits.

    :param batch: how many images are computed at once
    :raises MachineError: instead of the engine's error
    """
    try:
        yield
    except Exception as error:
        if not primitives.is_memory_full(error):
            raise
        raise MachineError(_advice(config, batch, training)) from error


def largest_batch(config: Config, memory: int, training: bool) -> int:
    """Return about how many images fit at once into bytes of a GPU's memory, in float32.

    :returns: a multiple of 8 from 8 on; 0 if not one fits
    """
    image = 4 * sum(math.prod(layer.out_shape) for layer in layers(config))
    image *= _TRAINING if training else _SAMPLING
    fixed = 4 * count_parameters(config) * (_COPIES if training else 1) + _OVERHEAD
    count = max(0, int(_USABLE * (memory - fixed) / image))
    return count // 8 * 8 if count >= 8 else count


def _advice(config: Config, batch: int, training: bool) -> str:
    memory = gpu_memory()
    size = f" ({memory / 2**30:.0f} GiB)" if memory else ""
    text = f"the GPU's memory{size} is full at a batch of {batch}"
    # The estimate is rough: name at most half of what failed.
    fits = min(largest_batch(config, memory, training) if memory else batch, batch // 2)
    if fits == 0:
        return f"{text}; this network needs a larger GPU"
    if training:
        parts = config.training.accumulate_steps
        return (
            f"{text}; about {fits} would fit: set training.batch_size={fits * parts}, or "
            f"training.accumulate_steps={parts * math.ceil(batch / fits)} for the same result"
        )
    return (
        f"{text}; about {fits} would fit: lower `batch_size` (sampling.batch_size); with guidance "
        "each image counts twice"
    )
