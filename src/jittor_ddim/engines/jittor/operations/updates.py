"""The updates of all parameters in a few operations, on a GPU: updates.h.

A network has hundreds of parameters, most of them small; launching kernels for each of them takes
longer than what they compute. The rules are those of :mod:`..optimizer`.
"""

from collections.abc import Mapping, Sequence

import jittor as jt
from jittor import Var

from jittor_ddim.engines.jittor.operations.code import flat, headers, run

#: Parameters of an operation. The last one's missing are single zeros: one kernel serves all.
GROUP = 32


def adam(kinds: Sequence[Sequence[Var]], numbers: Mapping[str, float]) -> list[list[Var]]:
    """Return the new parameters, and the new state by kind.

    :param kinds: the parameters, gradients, means, squares, and with amsgrad the largest squares
    :param numbers: ``beta1``, ``rest1`` (1 - beta1), ``beta2``, ``rest2``, ``rate``, ``root``,
        ``epsilon`` and ``decay``, each of which may change from step to step
    """
    amsgrad = "true" if len(kinds) == 5 else "false"
    return _update("Adam", f"adam<{GROUP}, {amsgrad}>", kinds, len(kinds) - 1, numbers)


def mix(averages: Sequence[Var], parameters: Sequence[Var], mu: float) -> list[Var]:
    """Return mu averages + (1 - mu) parameters."""
    numbers = {"mu": mu, "rest": 1 - mu}
    return _update("the moving average", f"mix<{GROUP}>", [averages, parameters], 1, numbers)[0]


def _update(
    layer: str,
    function: str,
    kinds: Sequence[Sequence[Var]],
    results: int,
    numbers: Mapping[str, float],
) -> list[list[Var]]:
    filler = jt.zeros(1)
    found: list[list[Var]] = [[] for _ in range(results)]
    for start in range(0, len(kinds[0]), GROUP):
        parts = [kind[start : start + GROUP] for kind in kinds]
        fillers = [filler] * (GROUP - len(parts[0]))
        inputs = [v for part in parts for v in (*map(flat, part), *fillers)]
        sizes = [v.shape[0] for v in inputs[:GROUP]] * results
        source = f"""
            const float* given[] = {{{", ".join(f"in{i}_p" for i in range(len(inputs)))}}};
            float* results[] = {{{", ".join(f"out{i}_p" for i in range(len(sizes)))}}};
            const int64_t counts[] = {{{", ".join(f"in{i}_shape0" for i in range(GROUP))}}};
            ddim::{function}(given, results, counts, data);
        """
        files = headers(cpu="", gpu="channels updates")
        new = run(layer, sizes, inputs, files, source, numbers)
        for index, kind in enumerate(found):
            of_kind = new[index * GROUP :]
            kind += [v.reshape(p.shape) for v, p in zip(of_kind, parts[0], strict=False)]
    return found
