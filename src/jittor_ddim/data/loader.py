"""The training batches: a pure function of (seed, step), prepared ahead by threads."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.data.transforms import to_network
from jittor_ddim.diffusion.noise import Stream, generator, normal
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.timesteps import antithetic_timesteps
from jittor_ddim.diffusion.training import make_example
from jittor_ddim.errors import ConfigError

#: Validation draws the same noise in every run, so that their losses can be compared.
_VALIDATION_SEED = 0


@dataclass(frozen=True)
class Batch:
    """What the network is given in one optimiser step, and what it should answer."""

    x_t: NDArray[np.float32]  # (B, C, H, W), diffused to its timesteps
    t: NDArray[np.int64]  # (B,), in 0 … T-1
    target: NDArray[np.float32]  # (B, C, H, W)
    step: int  # from 1
    epoch: int  # from 0
    data_time_s: float = 0.0  # seconds the consumer waited for this batch


def steps_per_epoch(n_images: int, batch_size: int) -> int:
    """Return ceil(N / B): the official loader does not drop an epoch's last images."""
    return -(-n_images // batch_size)


def make_batch(
    images: NDArray[np.uint8],
    config: Config,
    seed: int,
    step: int,
    rank: int = 0,
    world_size: int = 1,
) -> Batch:
    """Return the batch of one step, or one process's equal share of it.

    Every epoch is a new permutation of the images, cut into batches. Where the last batch would
    be smaller, images from the beginning of the same epoch fill it up: all batches have one shape
    (an engine that compiles per shape does it once) and no image misses an epoch.

    :param images: uint8 (N, H, W, C)
    :param step: from 1
    """
    batch_size = config.training.batch_size
    epoch, position = divmod(step - 1, steps_per_epoch(len(images), batch_size))
    share = batch_size // world_size
    indices = range(rank * share, (rank + 1) * share)
    order = _epoch_order(seed, epoch, len(images))
    chosen = order.take(
        np.arange(indices.start, indices.stop) + position * batch_size, mode="wrap"
    )
    rng = generator(seed, Stream.TIMESTEPS, step)
    t = antithetic_timesteps(rng, batch_size, config.diffusion.num_diffusion_timesteps)
    x0 = to_network(images[chosen], config.data, seed, step, indices)
    eps = normal(seed, Stream.TRAINING, step, indices, config.sample_shape)
    schedule = Schedule.from_config(config.diffusion)
    example = make_example(schedule, x0, t[indices.start : indices.stop], eps)
    return Batch(*example, step=step, epoch=epoch)


@lru_cache(maxsize=2)  # neighbouring batches may lie in two epochs
def _epoch_order(seed: int, epoch: int, n_images: int) -> NDArray[np.int64]:
    return generator(seed, Stream.SHUFFLE, epoch).permutation(n_images)


class Batches(Iterator[Batch]):
    """An endless stream of batches, prepared ahead; close it, or use it in a `with`."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        config: Config,
        seed: int,
        first_step: int,
        rank: int,
        world_size: int,
    ) -> None:
        """Start the workers; arguments as in :func:`batches`."""
        workers = max(1, config.data.num_workers)
        self._make = partial(make_batch, images, config, seed, rank=rank, world_size=world_size)
        self._pool = ThreadPoolExecutor(workers, "batches")
        self._next_step = first_step
        self._ahead: deque[Future[Batch]] = deque()
        for _ in range(2 * workers):
            self._submit()

    def _submit(self) -> None:
        self._ahead.append(self._pool.submit(self._make, self._next_step))
        self._next_step += 1

    def __next__(self) -> Batch:
        """Return the next batch; what failed in a worker is raised here."""
        if not self._ahead:
            raise StopIteration
        start = time.perf_counter()
        try:
            batch = self._ahead.popleft().result()
        except BaseException:
            self.close()  # else a caller that goes on would miss a step without knowing it
            raise
        waited = time.perf_counter() - start
        self._submit()
        return replace(batch, data_time_s=waited)

    def close(self) -> None:
        """Stop the workers; returns when they have."""
        self._ahead.clear()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "Batches":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def batches(
    images: NDArray[np.uint8],
    config: Config,
    seed: int,
    first_step: int = 1,
    rank: int = 0,
    world_size: int = 1,
) -> Batches:
    """Return the endless training stream from first_step on; see :func:`make_batch`.

    A stream that starts at step k continues one that stopped at k - 1 exactly.
    ``data.num_workers`` threads work ahead; their number changes nothing but the speed.

    :raises ConfigError: if the batch cannot be shared equally by the processes
    """
    if config.training.batch_size % world_size:
        raise ConfigError(
            f"training.batch_size ({config.training.batch_size}) must be divisible by the number "
            f"of processes ({world_size})"
        )
    return Batches(images, config, seed, first_step, rank, world_size)


def validation_batches(
    images: NDArray[np.uint8], config: Config, batch_size: int, limit: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]]:
    """Yield (x0, t, eps) for a validation loss: at most limit images, evenly spaced, not flipped.

    The noise and timestep of an image are fixed. Batches are whole, so that an engine that
    compiles per shape does it once; only a set smaller than one batch gives a smaller batch.
    """
    data = config.data.model_copy(update={"random_flip": False})
    count = min(limit, len(images))
    if count > batch_size:
        count -= count % batch_size
    chosen = np.arange(count) * len(images) // count
    rng = generator(_VALIDATION_SEED, Stream.TIMESTEPS)
    t = antithetic_timesteps(rng, count, config.diffusion.num_diffusion_timesteps)
    for start in range(0, count, batch_size):
        indices = range(start, min(start + batch_size, count))
        x0 = to_network(images[chosen[start : indices.stop]], data, _VALIDATION_SEED, 0, indices)
        eps = normal(_VALIDATION_SEED, Stream.TRAINING, 0, indices, config.sample_shape)
        yield x0, t[start : indices.stop], eps
