"""What the comparison says, in a few sentences, and no more than was measured."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jittor_ddim.compare.report.series import common_losses
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import CHECKS, Check, Comparison, Located, Ratio, Side
from jittor_ddim.engines import describe_engine
from jittor_ddim.figures.formatting import fixed, number, percent, small
from jittor_ddim.parity.align.report.words import Words as AlignWords
from jittor_ddim.parity.rounding import FACTOR

#: good and bad: a test passed or failed; fact: a measured number; open: nothing can be said.
State = Literal["good", "bad", "fact", "open"]
Kind = Literal["train", "sample"]
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
    first, *others = comparison.sides
    found = [
        Finding(
            "bad",
            words("verdict.failed", name=side.name),
            words("verdict.failed_detail", reason=side.failure),
        )
        for side in comparison.sides
        if side.failure
    ]
    if comparison.kind == "runs":
        found.append(_config(comparison, words))
        found += [_losses(first, other, words) for other in others]
        found += _speed(comparison, "train", words)
        return found
    found.append(_alignment(comparison, words))
    if comparison.alignment and comparison.alignment.located:
        found.append(_located(comparison.alignment.located, comparison, words))
    found += _speed(comparison, "train", words) + _speed(comparison, "sample", words)
    return [*found, _processes(comparison, words)]


def check_label(check: Check, comparison: Comparison, words: Words) -> str:
    """Return what was checked, and of which side where there is a choice."""
    of_sampler = check.name not in CHECKS
    key = "images_of" if of_sampler else check.name
    label = words(f"check.{key}", sampler=check.name.removeprefix("images_"))
    if len(comparison.sides) == 2:
        return label
    return words("check_of_side", check=label, side=comparison.sides[check.side].name)


def in_unit(check: Check, value: float) -> str:
    """Return what a check measured, or its bound, in its unit."""
    if check.name == "weights":
        return number(value, 0)
    return percent(value) if check.name.startswith("images") else small(value)


def _alignment(comparison: Comparison, words: Words) -> Finding:
    checks = comparison.alignment.checks if comparison.alignment else []
    if not checks:
        return Finding("open", words("verdict.not_measured"), words("verdict.not_measured_detail"))

    def stated(key: str, check: Check) -> str:
        measured, bound = (_unbroken(in_unit(check, n)) for n in (check.measured, check.bound))
        label = check_label(check, comparison, words)
        return words(f"verdict.{key}", name=label, measured=measured, bound=bound)

    names = {check.name for check in checks}
    missing = [words(f"check.{name}") for name in CHECKS if name not in names]
    open_part = words("verdict.missing", names=words.listing(missing)) if missing else ""
    wider = _of_rounding(comparison, words)
    failed = [check for check in checks if not check.passed]
    if failed:
        title = words("verdict.not_aligned", failed=len(failed), count=len(checks))
        begins = next((check.first for check in failed if check.first), "")
        first = words("verdict.first", where=begins) if begins else ""
        parts = [stated("broken", check) for check in failed]
        return Finding("bad", title, words.sentences([first, *parts, wider, open_part]))
    amounts = words("punctuation.amounts").join(stated("amount", check) for check in checks)
    detail = words.sentences([words("verdict.amounts", amounts=amounts), wider, open_part])
    if missing:
        count = len(checks) + len(missing)
        title = words("verdict.partly_aligned", made=len(checks), count=count)
        return Finding("open", title, detail)
    return Finding("good", words("verdict.aligned", count=len(checks)), detail)


def _located(located: Located, comparison: Comparison, words: Words) -> Finding:
    """Where the sides depart and why, as ``ddim align`` found it."""
    if not located.check:
        sides = {"first": comparison.sides[0].name, "second": comparison.sides[located.side].name}
        detail = words("verdict.not_located_detail", **sides, report=located.report)
        return Finding("open", words("verdict.not_located"), detail)
    align = AlignWords(words.language)
    place = located.where.get(words.language, "")
    where = words.listing([part for part in (located.module, place) if part])
    title = words("verdict.located", where=where or words("verdict.whole"))
    check = align(f"check.{located.check}")
    parts = [words("verdict.located_detail", check=check, report=located.report)]
    if located.cause:
        cause = align(f"cause.{located.cause}.what")
        evidence = located.evidence.get(words.language, "")
        parts.insert(0, words("verdict.cause", cause=cause, evidence=evidence))
    return Finding("fact", title, words.sentences(parts))


def _of_rounding(comparison: Comparison, words: Words) -> str:
    """Why the bounds of curves are wider than usual; "" where they are not."""
    checks = comparison.alignment.checks if comparison.alignment else []
    wider = [check for check in checks if check.rounding]
    if not wider:
        return ""
    amounts = [
        f"{check_label(check, comparison, words)} {_unbroken(small(check.rounding or 0.0))}"
        for check in wider
    ]
    return words(
        "verdict.rounding",
        amounts=words.listing(amounts),
        count=max(check.count for check in wider),
        factor=f"{FACTOR:g}",
    )


def _unbroken(text: str) -> str:
    """Keep a number on one line: no break at a hyphen or before a percent sign."""
    return text.replace("-", "\N{NON-BREAKING HYPHEN}").replace(" ", "\N{NO-BREAK SPACE}")


def _speed(comparison: Comparison, kind: Kind, words: Words) -> list[Finding]:
    """One sentence for each side that was timed beside the first, of its largest batch."""
    known = [
        ratio
        for ratio in comparison.ratios
        if ratio.kind == kind and np.isfinite([ratio.value, ratio.low, ratio.high]).all()
    ]
    if not known:
        return [Finding("open", words(f"verdict.{kind}_not_compared"))]
    found = []
    for side in sorted({ratio.side for ratio in known}):
        ratios = [ratio for ratio in known if ratio.side == side]
        main = max(ratios, key=lambda ratio: ratio.batch_size)
        state, title, detail = _fastest(comparison, main, words)
        if others := [ratio for ratio in ratios if faster(ratio) != faster(main)]:
            batches = words.listing([str(ratio.batch_size) for ratio in others])
            detail = words.sentences([detail, words("verdict.otherwise", batches=batches)])
        found.append(Finding(state, title, detail))
    return found


def _fastest(comparison: Comparison, ratio: Ratio, words: Words) -> tuple[State, str, str]:
    """Which side is faster and how much, and the 95 % interval of that number."""
    first, second = (comparison.sides[k].name for k in (0, ratio.side))
    key, batch = f"verdict.{ratio.kind}", ratio.batch_size
    winner = faster(ratio)
    if winner is None:
        names = {"first": first, "second": second}
        detail = words("verdict.undecided", batch=batch, **names, **ratio_texts(ratio))
        return "open", words(f"{key}_same", **names), detail
    factor, low, high = ratio.value, ratio.low, ratio.high
    if winner:
        factor, low, high = 1 / factor, 1 / high, 1 / low
        first, second = second, first
    title = words(f"{key}_faster", winner=first, loser=second, factor=f"{factor:.2f}")
    detail = words("verdict.interval", batch=batch, low=f"{low:.2f}", high=f"{high:.2f}")
    return "fact", title, detail


def faster(ratio: Ratio) -> int | None:
    """Return the index of the faster side; None where the interval contains 1 or is NaN."""
    if ratio.low > 1:
        return 0
    return ratio.side if ratio.high < 1 else None


def ratio_texts(ratio: Ratio) -> dict[str, str]:
    """Return value, low and high with digits that agree."""
    value, low, high = fixed([ratio.value, ratio.low, ratio.high], 3, "")
    return {"value": value, "low": low, "high": high}


def _processes(comparison: Comparison, words: Words) -> Finding:
    sides = comparison.sides
    mixed = [s for s in sides if set(s.frameworks) - {describe_engine(s.engine).module}]
    if not mixed and not all(side.frameworks for side in sides):
        return Finding("open", words("verdict.processes_unknown"))
    loaded = [
        words("verdict.loaded", name=side.name, frameworks=" + ".join(side.frameworks) or "–")
        for side in sides
    ]
    detail = words("verdict.loaded_detail", loaded=words.listing(loaded))
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


def _losses(first: Side, second: Side, words: Words) -> Finding:
    not_compared = Finding("open", words("verdict.losses_not_compared"))
    if first.training is None or second.training is None:
        return not_compared
    _, a, b = common_losses(first.training, second.training)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if not len(a):
        return not_compared
    last = max(1, round(_END * len(a)))
    means = fixed([float(a[-last:].mean()), float(b[-last:].mean())], 3, "")
    return Finding(
        "fact",
        words("verdict.losses", first=first.name, second=second.name, a=means[0], b=means[1]),
        words("verdict.losses_detail", count=last),
    )
