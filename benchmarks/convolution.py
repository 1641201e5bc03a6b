"""How fast PyTorch convolves here: the limit that a roofline is drawn with."""

import math
import time

import torch

_REPEATS = 10


@torch.no_grad()
def convolution_peak(batch: int, precision: str) -> float:
    """Return the most operations a second in one of the CIFAR-10 network's 3x3 convolutions."""
    best = 0.0
    for channels, size in ((128, 32), (256, 16), (256, 8)):
        shape = (batch, channels, size, size)
        given = [
            x.to(getattr(torch, precision)).to(memory_format=torch.channels_last)
            for x in (torch.randn(shape), torch.randn(channels, channels, 3, 3))
        ]
        seconds = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            torch.nn.functional.conv2d(*given, padding=1)
            seconds.append(time.perf_counter() - start)
        best = max(best, 2 * math.prod(shape) * channels * 9 / min(seconds))
    return best
