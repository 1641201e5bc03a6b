"""What the comparison says, in a few sentences, and no more than was measured."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from jittor_ddim.compare.report.series import common_losses
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Check, CheckName, Comparison, Ratio, Side
from jittor_ddim.engines import describe_engine
from jittor_ddim.figures.formatting import fixed, number, percent, small

#: good and bad: a test kept or not; fact: a measured number; open: nothing can be said.
State = Literal["good", "bad", "fact", "open"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
#: The end of a run is its last tenth.
_END = 0.1


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict and what stands behind it."""

    state: State
    title: str
    detail: str = ""


def findings(comparison: Comparison, words: Words) -> list[Finding]:
    """Return the verdict: failures first, then alignment (of runs: the losses), then speed."""
    found = [_failure(side, words) for side in comparison.sides if side.failure]
    if comparison.kind == "engines":
        found.append(_alignment(comparison, words))
    else:
        found += [_config(comparison, words), *_losses(comparison, words)]
    found += _speed(comparison, "train", words)
    if comparison.kind == "engines" or _ratios(comparison, "sample"):
        found += _speed(comparison, "sample", words)
    if comparison.kind == "engines":
        found.append(_processes(comparison, words))
    return found


def check_label(check: Check, comparison: Comparison, words: Words) -> str:
    """Return what was checked, and of which side where there is a choice."""
    label = words(f"check.{check.name}")
    if len(comparison.sides) == 2:
        return label
    return words("check_of_side", check=label, side=comparison.sides[check.side].name)


def measured_text(check: Check) -> str:
    """Return what a check measured, in its unit."""
    return _in_unit(check.name, check.measured)


def bound_text(check: Check) -> str:
    """Return the bound of a check, in its unit."""
    return _in_unit(check.name, check.bound)


def _in_unit(name: CheckName, value: float) -> str:
    if name == "weights":
        return number(value, 0)
    return percent(value) if name.startswith("images") else small(value)


def _failure(side: Side, words: Words) -> Finding:
    return Finding(
        "bad",
        words("verdict.failed", name=side.name),
        words("verdict.failed_detail", reason=side.failure),
    )


def _alignment(comparison: Comparison, words: Words) -> Finding:
    checks = comparison.alignment.checks if comparison.alignment else []
    if not checks:
        return Finding("open", words("verdict.not_measured"), words("verdict.not_measured_detail"))
    names = {check.name for check in checks}
    missing = [words(f"check.{name}") for name in CHECKS if name not in names]
    open_part = words("verdict.missing", names=words.listing(missing)) if missing else ""
    failed = [check for check in checks if not check.passed]
    if failed:
        title = words("verdict.not_aligned", failed=len(failed), count=len(checks))
        parts = [_stated("broken", check, comparison, words) for check in failed]
        begins = next((check.first for check in failed if check.first), "")
        first = words("verdict.first", where=begins) if begins else ""
        return Finding("bad", title, words.sentences([first, *parts, open_part]))
    amounts = words("punctuation.amounts").join(
        _stated("amount", check, comparison, words) for check in checks
    )
    detail = words.sentences([words("verdict.amounts", amounts=amounts), open_part])
    if missing:
        title = words("verdict.partly_aligned", made=len(checks), count=len(CHECKS))
        return Finding("open", title, detail)
    return Finding("good", words("verdict.aligned", count=len(checks)), detail)


def _stated(key: str, check: Check, comparison: Comparison, words: Words) -> str:
    return words(
        f"verdict.{key}",
        name=check_label(check, comparison, words),
        measured=_unbroken(measured_text(check)),
        bound=_unbroken(bound_text(check)),
    )


def _unbroken(text: str) -> str:
    """Keep a number on one line: no break at a hyphen or before a percent sign."""
    return text.replace("-", "\N{NON-BREAKING HYPHEN}").replace(" ", "\N{NO-BREAK SPACE}")


def _speed(
    comparison: Comparison, kind: Literal["train", "sample"], words: Words
) -> list[Finding]:
    """One sentence for each side that was timed beside the first, of its largest batch."""
    known = _ratios(comparison, kind)
    if not known:
        return [Finding("open", words(f"verdict.{kind}_not_compared"))]
    found = []
    for side in sorted({ratio.side for ratio in known}):
        ratios = [ratio for ratio in known if ratio.side == side]
        main = max(ratios, key=lambda ratio: ratio.batch_size)
        detail = _interval(comparison, main, words)
        if others := [ratio for ratio in ratios if faster(ratio) != faster(main)]:
            batches = words.listing([str(ratio.batch_size) for ratio in others])
            detail = words.sentences([detail, words("verdict.otherwise", batches=batches)])
        state = "open" if faster(main) is None else "fact"
        found.append(Finding(state, _speed_title(comparison, main, words), detail))
    return found


def faster(ratio: Ratio) -> int | None:
    """Return the index of the faster side; None where the interval contains 1 or is NaN."""
    if ratio.low > 1:
        return 0
    return ratio.side if ratio.high < 1 else None


def ratio_texts(ratio: Ratio) -> dict[str, str]:
    """Return value, low and high with digits that agree."""
    value, low, high = fixed([ratio.value, ratio.low, ratio.high], 3, "")
    return {"value": value, "low": low, "high": high}


def _ratios(comparison: Comparison, kind: Literal["train", "sample"]) -> list[Ratio]:
    return [
        ratio
        for ratio in comparison.ratios
        if ratio.kind == kind and np.isfinite([ratio.value, ratio.low, ratio.high]).all()
    ]


def _speed_title(comparison: Comparison, ratio: Ratio, words: Words) -> str:
    winner = faster(ratio)
    first, second = comparison.sides[0].name, comparison.sides[ratio.side].name
    if winner is None:
        return words(f"verdict.{ratio.kind}_same", first=first, second=second)
    names = (first, second) if winner == 0 else (second, first)
    factor = ratio.value if winner == 0 else 1 / ratio.value
    return words(
        f"verdict.{ratio.kind}_faster", winner=names[0], loser=names[1], factor=f"{factor:.2f}"
    )


def _interval(comparison: Comparison, ratio: Ratio, words: Words) -> str:
    """The 95 % interval of the number in the title."""
    winner = faster(ratio)
    if winner is None:
        first, second = comparison.sides[0].name, comparison.sides[ratio.side].name
        numbers = ratio_texts(ratio)
        return words(
            "verdict.undecided", first=first, second=second, batch=ratio.batch_size, **numbers
        )
    low, high = (ratio.low, ratio.high) if winner == 0 else (1 / ratio.high, 1 / ratio.low)
    low_text, high_text = f"{low:.2f}", f"{high:.2f}"
    return words("verdict.interval", batch=ratio.batch_size, low=low_text, high=high_text)


def _processes(comparison: Comparison, words: Words) -> Finding:
    sides = comparison.sides
    mixed = [s for s in sides if set(s.frameworks) - {describe_engine(s.engine).module}]
    if not mixed and not all(side.frameworks for side in sides):
        return Finding("open", words("verdict.processes_unknown"))
    loaded = words.listing(
        [
            words("verdict.loaded", name=side.name, frameworks=" + ".join(side.frameworks) or "–")
            for side in sides
        ]
    )
    detail = words("verdict.loaded_detail", loaded=loaded)
    if mixed:
        names = words.listing([side.name for side in mixed])
        return Finding("bad", words("verdict.processes_mixed", names=names), detail)
    return Finding("good", words("verdict.processes_clean"), detail)


def _config(comparison: Comparison, words: Words) -> Finding:
    keys = comparison.differing_keys
    if not keys:
        return Finding("good", words("verdict.same_config"))
    detail = words("verdict.keys", count=len(keys), keys=words.listing(keys))
    return Finding("fact", words("verdict.other_config"), detail)


def _losses(comparison: Comparison, words: Words) -> list[Finding]:
    first, *others = comparison.sides
    return [_loss(first, other, words) for other in others]


def _loss(first: Side, second: Side, words: Words) -> Finding:
    if first.training is None or second.training is None:
        return Finding("open", words("verdict.losses_not_compared"))
    _, a, b = common_losses(first.training, second.training)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if not len(a):
        return Finding("open", words("verdict.losses_not_compared"))
    last = max(1, round(_END * len(a)))
    means = fixed([float(a[-last:].mean()), float(b[-last:].mean())], 3, "")
    return Finding(
        "fact",
        words("verdict.losses", first=first.name, second=second.name, a=means[0], b=means[1]),
        words("verdict.losses_detail", count=last),
    )
