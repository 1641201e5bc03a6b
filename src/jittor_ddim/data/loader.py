"""The training batches: a pure function of (seed, step), prepared ahead by threads."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.data.source import ImageArray
from jittor_ddim.data.transforms import to_network
from jittor_ddim.diffusion.noise import Stream, generator, normal
from jittor_ddim.diffusion.parametrization import make_example
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import antithetic_timesteps

#: Validation draws the same noise in every run, so that their losses can be compared.
_VALIDATION_SEED = 0


@dataclass(frozen=True)
class Batch:
    """The network's input in one optimiser step, and the output it should give."""

    x_t: NDArray[np.float32]  # (B, C, H, W), diffused to its timesteps
    t: NDArray[np.int64]  # (B,), in 0 … T-1
    target: NDArray[np.float32]  # (B, C, H, W)
    step: int  # from 1
    epoch: int  # from 0
    labels: NDArray[np.int64] | None = None  # (B,), where the data set has them
    data_time_s: float = 0.0  # seconds the consumer waited for this batch

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What a trainer takes in a step: x_t, t, target and, where there are any, labels."""
        known = () if self.labels is None else (self.labels,)
        return self.x_t, self.t, self.target, *known


def steps_per_epoch(n_images: int, batch_size: int) -> int:
    """Return ceil(N / B): the official loader does not drop an epoch's last images."""
    return -(-n_images // batch_size)


def make_batch(
    images: ImageArray,
    config: Config,
    seed: int,
    step: int,
    rows: slice | range | None = None,
    labels: NDArray[np.int64] | None = None,
) -> Batch:
    """Return the batch of one step, or some rows of it: then no other images are read.

    Every epoch is a new permutation of the images, cut into batches. Where the last batch would
    be smaller, images from the beginning of the same epoch fill it up: all batches have one shape
    (an engine that compiles per shape does it once) and no image misses an epoch.

    :param images: uint8 (N, H, W, C)
    :param step: from 1
    :param rows: consecutive ones of the batch; None: all
    :param labels: (N,), of the images. For a network with classes, N of them, each becomes N, no
        class, with the probability ``training.class_dropout``: so it learns to draw both, which
        guidance needs (Ho and Salimans 2022, algorithm 1)
    """
    batch_size = config.training.batch_size
    epoch, position = divmod(step - 1, steps_per_epoch(len(images), batch_size))
    indices = _rows(rows, batch_size)
    order = _epoch_order(seed, epoch, len(images))
    chosen = order.take(
        np.arange(indices.start, indices.stop) + position * batch_size, mode="wrap"
    )
    rng = generator(seed, Stream.TIMESTEPS, step)
    t = antithetic_timesteps(rng, batch_size, config.diffusion.num_diffusion_timesteps)
    x0 = to_network(images[chosen], config.data, seed, step, indices)
    eps = normal(seed, Stream.TRAINING, step, indices, config.sample_shape)
    schedule = Schedule.from_config(config.diffusion)
    t, prediction = t[indices.start : indices.stop], config.diffusion.prediction
    example = make_example(schedule, x0, t, eps, prediction)
    if labels is not None:
        labels = labels[chosen]
        if (none := config.model.num_classes) is not None:
            draws = generator(seed, Stream.CLASS_DROPOUT, step).random(batch_size)
            dropped = draws[indices.start : indices.stop] < config.training.class_dropout
            labels = np.where(dropped, none, labels)
    return Batch(*example, step=step, epoch=epoch, labels=labels)


def _rows(rows: slice | range | None, batch_size: int) -> range:
    """These rows of a batch as a range within it.

    :raises ValueError: if they are none, not consecutive, or not in the batch
    """
    whole = range(batch_size)
    found = whole if rows is None else whole[rows] if isinstance(rows, slice) else rows
    if found.step != 1 or not 0 <= found.start < found.stop <= batch_size:
        raise ValueError(f"rows {rows} are no consecutive rows of a batch of {batch_size}")
    return found


@lru_cache(maxsize=2)  # neighbouring batches may lie in two epochs
def _epoch_order(seed: int, epoch: int, n_images: int) -> NDArray[np.int64]:
    return generator(seed, Stream.SHUFFLE, epoch).permutation(n_images)


def batches(
    images: ImageArray,
    config: Config,
    seed: int,
    first_step: int = 1,
    rows: slice | range | None = None,
    labels: NDArray[np.int64] | None = None,
) -> Generator[Batch, None, None]:
    """Return the endless training stream from first_step on; see :func:`make_batch`.

    A stream that starts at step k continues one that stopped at k - 1 exactly.
    ``data.num_workers`` threads work ahead; their number changes nothing but the speed. Close the
    stream to stop them; an error in one of them is raised here and ends it.

    At most 2 x ``data.num_workers`` batches are ready or being made, so memory is bounded.

    :param rows: of every batch; see :func:`make_batch`
    """
    _rows(rows, config.training.batch_size)  # raises here, not in a thread
    make = partial(make_batch, images, config, seed, rows=rows, labels=labels)
    return _prepared_ahead(make, first_step, max(1, config.data.num_workers))


def _prepared_ahead(
    make: Callable[[int], Batch], first_step: int, workers: int
) -> Generator[Batch, None, None]:
    steps = count(first_step)
    pool = ThreadPoolExecutor(workers, "batches")
    try:
        ahead = deque(pool.submit(make, step) for step in islice(steps, 2 * workers))
        while True:
            start = time.perf_counter()
            batch = ahead.popleft().result()
            waited = time.perf_counter() - start
            ahead.append(pool.submit(make, next(steps)))
            yield replace(batch, data_time_s=waited)
    finally:
        pool.shutdown(cancel_futures=True)


def validation_batches(
    images: ImageArray,
    config: Config,
    batch_size: int,
    limit: int,
    labels: NDArray[np.int64] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Yield (x0, t, eps) for a validation loss: at most limit images, evenly spaced, not flipped.

    With labels (N,) of the images, a fourth is theirs. Each image's noise and timestep are fixed.
    Batches are whole, so that an engine that compiles per shape does it once; only a set smaller
    than one batch gives a smaller batch.
    """
    data = config.data.model_copy(update={"random_flip": False})
    number = min(limit, len(images))
    if number > batch_size:
        number -= number % batch_size
    chosen = np.arange(number) * len(images) // number
    rng = generator(_VALIDATION_SEED, Stream.TIMESTEPS)
    t = antithetic_timesteps(rng, number, config.diffusion.num_diffusion_timesteps)
    for start in range(0, number, batch_size):
        indices = range(start, min(start + batch_size, number))
        x0 = to_network(images[chosen[start : indices.stop]], data, _VALIDATION_SEED, 0, indices)
        eps = normal(_VALIDATION_SEED, Stream.TRAINING, 0, indices, config.sample_shape)
        known = () if labels is None else (labels[chosen[start : indices.stop]],)
        yield x0, t[start : indices.stop], eps, *known
