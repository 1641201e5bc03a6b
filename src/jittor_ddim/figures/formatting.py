"""Numbers as text, with the same number of decimals down a column."""

import math
from collections.abc import Sequence

#: More decimals than this say nothing about seconds or megabytes.
_MOST_DECIMALS = 6


def fixed(values: Sequence[float | None], digits: int, missing: str) -> list[str]:
    """Return numbers with as many decimals as the smallest one needs for ``digits`` digits.

    :param missing: stands for None
    """
    sizes = [abs(v) for v in values if v is not None and math.isfinite(v) and v]
    decimals = 0
    if sizes:
        decimals = min(max(digits - 1 - math.floor(math.log10(min(sizes))), 0), _MOST_DECIMALS)
    return [missing if v is None else number(v, decimals) for v in values]


def number(value: float, decimals: int) -> str:
    """Return a number with thousands separators; NaN and infinity by name."""
    return f"{value:,.{decimals}f}" if math.isfinite(value) else _unusual(value)


def small(value: float) -> str:
    """Return a difference with two digits, such as ``3.1e-6``."""
    if not math.isfinite(value):
        return _unusual(value)
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.4g} %" if math.isfinite(share) else _unusual(share)


def _unusual(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "∞" if value > 0 else "−∞"
