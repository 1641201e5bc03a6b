"""Random numbers by address: the same (seed, stream, step, index) always gives the same ones.

A draw depends on nothing else: not on the batch size, the number of workers, the engine, or on
what was drawn before. Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011)
is a counter-based generator: its 256-bit counter is the address, so there is no state to save when
a run stops and none to restore when it resumes.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.arguments import MAX_SEED

_MOST_THREADS = 4


class Stream(IntEnum):
    """What a draw is for. Each stream is independent of the others under the same seed."""

    INITIAL = 0  # x_T of a sample
    SAMPLING = 1  # the noise a sampler adds at a step
    SHUFFLE = 2  # the order of an epoch
    FLIP = 3
    UNIFORM_DEQUANTIZATION = 4
    GAUSSIAN_DEQUANTIZATION = 5
    TIMESTEPS = 6
    TRAINING = 7  # the eps that training predicts
    SPLIT = 8  # held-out images of a folder without a test split
    WEIGHTS = 9  # fresh weights, index = the parameter's name
    DROPOUT = 10  # the seed of an engine's dropout generator
    CLASS_DROPOUT = 11  # which labels training replaces by "none"


def generator(seed: int, stream: Stream, step: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator at one address.

    The Philox key is (seed, stream) and its counter starts at (0, index, step, 0); the lowest
    word counts the blocks drawn, so addresses never overlap (a block is 256 bits).

    :param seed: 0 … 2^64 - 1
    :param step: training step or network call, from 0
    :param index: sample index, from 0
    :raises ValueError: if a number does not fit
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be in 0 … 2^64 - 1, got {seed}")
    if step < 0 or index < 0:
        raise ValueError(f"step and index must not be negative, got {step} and {index}")
    key = np.array([seed, int(stream)], np.uint64)
    counter = np.array([0, index, step, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def normal(
    seed: int, stream: Stream, step: int, indices: Sequence[int], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Standard normal noise, one independent draw per index.

    :param indices: B sample indices
    :param shape: of one sample, for instance (C, H, W)
    :returns: float32 array of shape (B, *shape)
    """
    return _draw(np.random.Generator.standard_normal, seed, stream, step, indices, shape)


def uniform(
    seed: int, stream: Stream, step: int, indices: Sequence[int], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Uniform noise in [0, 1), one independent draw per index; arguments as in :func:`normal`."""
    return _draw(np.random.Generator.random, seed, stream, step, indices, shape)


def _draw(
    method: Callable[..., Any],
    seed: int,
    stream: Stream,
    step: int,
    indices: Sequence[int],
    shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Draw at each index with one generator, which is moved from address to address.

    Making a generator takes 27 us, half the time of drawing a 32x32 image, and holds Python's
    lock; moving one takes 3 us.
    """
    out = np.empty((len(indices), *shape), np.float32)
    random = generator(seed, stream, step, min(indices, default=0))
    state = random.bit_generator.state
    for row, index in zip(out, indices, strict=True):
        state["state"]["counter"][1] = index
        random.bit_generator.state = state
        method(random, dtype=np.float32, out=row)
    return out


def prepared_ahead(draw: Callable[[int], Any], count: int) -> Callable[[int], Any]:
    """Return a function k -> draw(k) for ascending k < count that draws the next ones in advance.

    A GPU computes a step of a sampler faster than one thread draws the noise for it. Half of the
    cores are left to the network.
    """
    threads = max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // 2))
    pool = ThreadPoolExecutor(threads, "noise")  # they end when the function is forgotten
    ahead: dict[int, Future[Any]] = {}

    def prepared(k: int) -> Any:
        for n in range(k, min(k + threads + 1, count)):
            if n not in ahead:
                ahead[n] = pool.submit(draw, n)
        for skipped in [n for n in ahead if n < k]:  # by a sampler that adds noise now and then
            del ahead[skipped]
        return ahead.pop(k).result()

    return prepared
