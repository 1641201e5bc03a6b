"""The rows of the report's tables and the lines of its findings, for any kind of file."""

from __future__ import annotations

from jittor_ddim.figures.formatting import small
from jittor_ddim.parity.align.report.words import Words
from jittor_ddim.parity.align.results import Alignment, Finding

Rows = list[list[str]]
_MOST_WHERE = 200
_LINES = 3  # of a log, at either end


def verdict(result: Alignment, words: Words) -> str:
    """Return the verdict in one sentence."""
    if result.aligned:
        logs = all(check.name == "losses" for check in result.checks)
        return words("aligned_logs") if logs else words("aligned", precision=result.precision)
    first = next(check for check in result.checks if check.status == "departs")
    return words("not_aligned", check=words(f"check.{first.name}"))


def check_rows(result: Alignment, words: Words) -> tuple[list[str], Rows]:
    """Return heading and rows of the table of checks."""
    names = ("check", "verdict", "compared", "worst", "bound", "where", "notes")
    rows = [
        [
            words(f"check.{check.name}"),
            words(f"status.{check.status}"),
            str(check.compared),
            "" if check.worst is None else small(check.worst),
            "" if check.worst is None or check.bound is None else small(check.bound),
            words.tell(check.where),
            words("separator").join(map(words.tell, check.notes)),
        ]
        for check in result.checks
    ]
    return [words(f"columns.{name}") for name in names], rows


def finding_lines(finding: Finding, result: Alignment, words: Words) -> list[str]:
    """Return what is said of a departure, its title first."""
    lines = [words(f"check.{finding.check}")]
    if finding.module or finding.type:
        module = finding.module or words("finding.model")
        if finding.other and finding.other != finding.module:
            module += f" / {finding.other}"
        kind = words("finding.type", type=finding.type) if finding.type else ""
        lines.append(words("finding.module", module=module, type=kind))
    if finding.where:
        lines.append(words("finding.where", where=words.tell(finding.where)[:_MOST_WHERE]))
    if finding.difference is not None:
        lines.append(words("finding.difference", difference=small(finding.difference)))
    if finding.inputs:
        lines.append(words("finding.input", inputs=", ".join(finding.inputs)))
    if finding.smallest:
        lines.append(words("finding.smallest", inputs=", ".join(finding.smallest)))
    if len(finding.arguments) == 2:
        first, second = (_arguments(one) for one in finding.arguments)
        lines.append(words("finding.arguments", first=first, second=second))
    if finding.cause:
        name, values = finding.cause.name, {"first": "", "second": ""} | finding.cause.values
        lines.append(words("finding.cause", what=words(f"cause.{name}.what")))
        evidence = words.tell(finding.cause.evidence)
        lines.append(words("finding.evidence", evidence=evidence))
        lines.append(words("finding.mend", mend=words(f"cause.{name}.mend", **values)))
    else:
        lines.append(words("finding.unknown"))
    if finding.scripts:
        lines.append(words("finding.scripts", first=finding.scripts[0], second=finding.scripts[1]))
    return lines


def _arguments(arguments: dict[str, object]) -> str:
    shown = [f"{k}={v}" for k, v in arguments.items() if k not in ("training", "is_train", "args")]
    return ", ".join(shown) or "-"


def cost_rows(result: Alignment, words: Words) -> tuple[list[str], Rows]:
    """Return heading and rows of the table of costs, without rows nobody has measured."""
    heading = ["", *(side.name for side in result.sides)]
    rows = [
        [words(f"cost.{key}"), *(str(side.cost.get(key, "")) for side in result.sides)]
        for key in ("step", "rate", "busy", "memory")
        if any(key in side.cost for side in result.sides)
    ]
    if any("slow" in side.cost for side in result.sides):
        slow = [side.cost.get("slow", {}).items() for side in result.sides]
        told = [", ".join(f"{words(f'slowness.{why}')}: {n}" for why, n in one) for one in slow]
        rows.append([words("cost.slow"), *(one or "0" for one in told)])
    if any(side.parameters for side in result.sides):
        counts = [f"{side.parameters:,}" for side in result.sides]
        rows.append([words("cost.parameters"), *counts])
    return heading, rows


def ratio_line(result: Alignment, words: Words) -> str:
    """Return how much longer a step of the second side takes; "" where that was not measured."""
    if not result.ratio:
        return ""
    value, low, high, count = result.ratio
    first, second = (side.name for side in result.sides)
    return words(
        "cost.ratio", first=first, second=second, value=f"{value:.2f}", low=f"{low:.2f}",
        high=f"{high:.2f}", count=int(count),
    )  # fmt: skip


def environment_rows(result: Alignment, words: Words) -> tuple[list[str], Rows]:
    """Return heading and rows of the table of environments."""
    keys = list(dict.fromkeys(key for side in result.sides for key in side.environment))
    rows = [
        [words(f"environment.{key}"), *(side.environment.get(key, "") for side in result.sides)]
        for key in keys
    ]
    rows.append([words("environment.file"), *(side.file for side in result.sides)])
    return ["", *(side.name for side in result.sides)], rows


def log_rows(result: Alignment, words: Words) -> tuple[list[str], Rows]:
    """Return heading and rows of the losses of the first and the last steps."""
    count = min(len(side.losses) for side in result.sides)
    places = sorted({*range(min(_LINES, count)), *range(max(count - _LINES, 0), count)})
    steps = result.sides[0].steps.get("step")
    rows = [
        [
            f"{steps[k]:g}" if steps else str(k),
            *(f"{side.losses[k]:.7g}" for side in result.sides),
        ]
        for k in places
    ]
    return [words("columns.step"), *(side.name for side in result.sides)], rows
