"""Whether two models fit into this machine's memory together with what is compared of them."""

import psutil

from jittor_ddim.errors import UserError

#: Both models, their gradients, optimisers and the copies that are compared take so many times the
#: weights; measured with four linear layers of 131 MB (docs/align.md).
_TIMES = 13
_GB = 10**9


def check_memory(side: str, numbers: int) -> None:
    """Check that there is enough, once one side is built and before the other is.

    :param numbers: how many the weights of the side are, of four bytes each
    :raises UserError: naming what is needed and what there is
    """
    weights = 4 * numbers
    needed, free = (_TIMES - 1) * weights, psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{side}: with weights of {weights / _GB:.1f} GB the comparison needs about "
            f"{needed / _GB:.0f} GB more of memory, and {free / _GB:.0f} GB are free; build both "
            "models with fewer layers or channels, which shows the same differences"
        )
