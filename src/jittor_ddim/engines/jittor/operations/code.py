"""Run C++ of ours as an operation of Jittor's.

Every Var here is flat. Sizes go to a kernel as numbers, so that Jittor compiles it once, whatever
the shapes.
"""

from functools import cache
from pathlib import Path
from typing import Any

import jittor as jt
from jittor import Var

from jittor_ddim.engines.jittor.onednn import onednn_folder

Numbers = dict[str, int]


def run(
    sizes: list[int],
    inputs: list[Var],
    files: tuple[Path, ...],
    source: str,
    numbers: Numbers,
    dtype: str = "float32",
) -> list[Var]:
    """Return the results of a kernel.

    :param sizes: of the results
    :param files: the headers with the functions that ``source`` calls
    :param numbers: what ``source`` finds as ``data["name"]``
    :param dtype: of the results
    """
    outputs: Any = jt.code(
        [[size] for size in sizes],
        [dtype] * len(sizes),
        inputs,
        cpu_header=_text(files),
        cpu_src=source,
        data=numbers,
    )
    for output in outputs:
        output.compile_options = _onednn_flags()
    return list(outputs)


def headers(*names: str) -> tuple[Path, ...]:
    """Return the files of these names in this folder."""
    return tuple(Path(__file__).with_name(f"{name}.h") for name in names)


def flat(x: Var) -> Var:
    """Return x as a kernel takes it."""
    return x.reshape(-1)


@cache
def _text(files: tuple[Path, ...]) -> str:
    """The C++ itself, not its place: Jittor's cache then sees every change."""
    return "\n".join(path.read_text() for path in files)


@cache
def _onednn_flags() -> dict[str, int]:
    folder = onednn_folder()
    return {f'FLAGS: -I"{folder}/include" -L"{folder}/lib" -lmkldnn ': 1}
