"""What the project promises of its speed, on a 2-core CPU with AVX-512 BF16 at batch 16."""

from typing import NamedTuple


class Bar(NamedTuple):
    """A ratio of medians of seconds, the peer's over ours, and its least value."""

    what: str
    task: str  # sample or train
    contenders: tuple[str, ...]  # the fastest of them counts
    least: float


_PYTORCH = tuple(
    f"pytorch {precision}{compiled}"
    for precision in ("float32", "bfloat16")
    for compiled in ("", " compiled")
)

BARS = (
    Bar("PyTorch engine, sampling, fastest", "sample", _PYTORCH, 2.5),
    Bar("PyTorch engine, sampling, float32", "sample", ("pytorch float32",), 1.15),
    Bar("PyTorch engine, training, fastest", "train", _PYTORCH, 2.0),
    Bar("Jittor engine, sampling, float32", "sample", ("jittor float32",), 1.15),
    Bar("Jittor engine, sampling, bfloat16", "sample", ("jittor bfloat16",), 2.0),
    Bar("Jittor engine, training, float32", "train", ("jittor float32",), 1.05),
    Bar("Jittor engine, training, bfloat16", "train", ("jittor bfloat16",), 1.5),
)
