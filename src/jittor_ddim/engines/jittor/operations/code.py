"""Run this package's C++ as a Jittor operation, on a CPU or a GPU.

The headers in ``cpu/`` and ``cuda/`` have the same functions; those in ``cuda/`` take pointers to
the GPU's memory, and nvcc compiles them. Every Var here is flat. Sizes go to a kernel as numbers,
so that Jittor compiles it once, whatever the shapes.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jittor as jt
from jittor import Var

from jittor_ddim.engines.jittor.onednn import onednn_folder
from jittor_ddim.engines.jittor.operations.failures import failure_numbers

Numbers = dict[str, int]


def on_gpu() -> bool:
    """Tell whether kernels run on a GPU."""
    return bool(jt.flags.use_cuda)


def run(
    layer: str,
    sizes: list[int],
    inputs: list[Var],
    files: tuple[Path, ...],
    source: str,
    numbers: Mapping[str, float],
    dtype: str = "float32",
) -> list[Var]:
    """Return the results of a kernel; one that throws is noted in :mod:`.failures`.

    :param layer: whose kernel it is, by its official name

    :param sizes: of the results
    :param files: the headers with the functions that ``source`` calls, on this device
    :param numbers: what ``source`` finds as ``data["name"]``
    :param dtype: of the results
    """
    device = "cuda" if on_gpu() else "cpu"
    text = _text((_FOLDER / "failure.h", *headers("spoil", "device"), *files))
    outputs: Any = jt.code(
        [[size] for size in sizes],
        [dtype] * len(sizes),
        inputs,
        **{f"{device}_header": text, f"{device}_src": _noting_failures(source, len(sizes))},
        data={**numbers, **failure_numbers(layer)},
    )
    if not on_gpu():
        for output in outputs:
            output.compile_options = _onednn_flags()
    return list(outputs)


def headers(cpu: str, gpu: str) -> tuple[Path, ...]:
    """Return the files of these names in the folder of the device."""
    folder, names = (_FOLDER / "cuda", gpu) if on_gpu() else (_FOLDER / "cpu", cpu)
    return tuple(folder / f"{name}.h" for name in names.split())


def flat(x: Var) -> Var:
    """Return x as a kernel takes it."""
    return x.reshape(-1)


_FOLDER = Path(__file__).parent


def _noting_failures(source: str, results: int) -> str:
    spoil = " ".join(f"ddim::spoil(out{i}_p, out{i}_shape0);" for i in range(results))
    return f"""
        try {{
            {source}
        }} catch (const std::exception& error) {{
            ddim::note_failure(data, error);
            {spoil}
        }}
    """


@cache
def _text(files: tuple[Path, ...]) -> str:
    """The C++ itself, not its place: Jittor's cache then sees every change."""
    return "\n".join(path.read_text() for path in files)


@cache
def _onednn_flags() -> dict[str, int]:
    folder = onednn_folder()
    return {f'FLAGS: -I"{folder}/include" -L"{folder}/lib" -lmkldnn ': 1}
