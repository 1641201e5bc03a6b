"""Run C++ of ours as an operation of Jittor's; it is in the headers here.

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
    sizes: list[int], inputs: list[Var], headers: tuple[str, ...], source: str, numbers: Numbers
) -> list[Var]:
    """Return the results of a kernel.

    :param sizes: of the results
    :param headers: the names of the files with the functions that ``source`` calls
    :param numbers: what ``source`` finds as ``data["name"]``
    """
    outputs: Any = jt.code(
        [[size] for size in sizes],
        ["float32"] * len(sizes),
        inputs,
        cpu_header=_text(headers),
        cpu_src=source,
        data=numbers,
    )
    for output in outputs:
        output.compile_options = _onednn_flags()
    return list(outputs)


def flat(x: Var) -> Var:
    """Return x as a kernel takes it."""
    return x.reshape(-1)


@cache
def _text(headers: tuple[str, ...]) -> str:
    """The C++ itself, not its place: Jittor's cache then sees every change."""
    return "\n".join((Path(__file__).parent / f"{name}.h").read_text() for name in headers)


@cache
def _onednn_flags() -> dict[str, int]:
    folder = onednn_folder()
    return {f'FLAGS: -I"{folder}/include" -L"{folder}/lib" -lmkldnn ': 1}
