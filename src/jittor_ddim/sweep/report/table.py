"""A sweep as text: the Markdown table beside what others have published, and the CSV of cells."""

import csv
import io
from collections.abc import Sequence

from jittor_ddim.engines import describe_engine
from jittor_ddim.evaluation.published import (
    EARLIER_DATASET,
    EARLIER_ENGINES,
    EARLIER_PROTOCOL,
    PAPER_PROTOCOL,
    earlier_figures,
    paper_fid,
)
from jittor_ddim.figures.formatting import fixed
from jittor_ddim.sweep.results import Row, Sweep

MISSING = "–"
#: Fewer samples than features have a singular covariance.
_SINGULAR = 2048

#: Of the CSV; the names of a cell's fields where it has them.
_FIELDS: tuple[str, ...] = (
    "timesteps", "eta", "engine", "calls", "images", "seconds_per_image", "distance_name",
    "distance", "paired_difference", "paired_standard_error", "batch_size", "device", "precision",
)  # fmt: skip


def markdown(sweep: Sweep) -> str:
    """Return the table with its caption, and the published figures beside it or below it."""
    rows = sweep.rows()
    published = _published(sweep, rows)
    known = [
        row for row, *texts in zip(rows, *published.values(), strict=True) if {*texts} != {MISSING}
    ]
    beside = published if known and sweep.is_fid else {}
    parts = [f"# S × η of {sweep.title}", *_lines(_measured(sweep, rows) | beside)]
    parts += ["", _caption(sweep)]
    if known and not sweep.is_fid:
        parts += [
            "",
            "## Published FIDs",
            "",
            f"These are not {sweep.distance_name}: do not compare them with the table above.",
            *_lines(_labels(known) | _published(sweep, known)),
        ]
    if known:
        parts += ["", _sources(sweep)]
    for engine, failure in sweep.failures.items():
        title = describe_engine(engine).title
        parts += ["", f"**{title} has failed**, so cells are missing: {failure}"]
    return "\n".join(parts) + "\n"


def comma_separated(sweep: Sweep) -> str:
    """Return one line per cell, with every number as it was computed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for cell in sweep.cells:
        # The first engine's cell differs from each other engine's: given only if there is one.
        pairs = [
            pair
            for pair in sweep.pairs
            if pair.row == cell.row and cell.engine in (sweep.engines[0], pair.engine)
        ]
        pair = pairs[0] if len(pairs) == 1 else None
        row = {key: value for key, value in cell.model_dump().items() if key in _FIELDS}
        row["distance_name"] = sweep.distance_name if cell.distance is not None else None
        row["paired_difference"] = pair and pair.difference
        row["paired_standard_error"] = pair and pair.standard_error
        writer.writerow(row)
    return text.getvalue()


def _labels(rows: Sequence[Row]) -> dict[str, list[str]]:
    return {"S": [str(row.timesteps) for row in rows], "η": [row.variant.title for row in rows]}


def _measured(sweep: Sweep, rows: Sequence[Row]) -> dict[str, list[str]]:
    columns, name = _labels(rows), sweep.distance_name
    for engine in sweep.engines:
        cells = [sweep.cell(engine, row) for row in rows]
        title = describe_engine(engine).title
        seconds = [cell and cell.seconds_per_image for cell in cells]
        columns[f"{title} s/image"] = fixed(seconds, 3, MISSING)
        columns[f"{title} {name}"] = fixed([cell and cell.distance for cell in cells], 4, MISSING)
    others = sweep.engines[1:]
    for other in others:
        which = f" {_difference(sweep, other)}" if len(others) > 1 else ""
        columns[f"{name} difference{which} ± s.e."] = _differences(sweep, other, rows)
    return columns


def _difference(sweep: Sweep, other: str) -> str:
    first, second = (describe_engine(engine).title for engine in (sweep.engines[0], other))
    return f"{first} minus {second}"


def _differences(sweep: Sweep, other: str, rows: Sequence[Row]) -> list[str]:
    pairs = [sweep.pair(other, row) for row in rows]
    errors = fixed([pair and pair.standard_error for pair in pairs], 2, "")
    differences = []
    for pair, error in zip(pairs, errors, strict=True):
        decimals = len(error.partition(".")[2])
        difference = pair and f"{pair.difference:+,.{decimals}f}".replace("-", "−")
        differences.append(f"{difference} ± {error}" if pair else MISSING)
    return differences


def _published(sweep: Sweep, rows: Sequence[Row]) -> dict[str, list[str]]:
    keys = [(row.timesteps, row.variant.stored) for row in rows]
    fids = [paper_fid(sweep.dataset, *key) or MISSING for key in keys]
    columns = {"FID, DDIM paper": fids}
    if sweep.dataset == EARLIER_DATASET:
        for engine in sorted(EARLIER_ENGINES):
            figures = [earlier_figures(*key, engine) for key in keys]
            texts = [f"{found[1]} ({found[0]})" if found else MISSING for found in figures]
            columns[f"FID (s/image), earlier report, {engine}"] = texts
    return columns


def _sources(sweep: Sweep) -> str:
    sources = [PAPER_PROTOCOL[sweep.dataset]]
    if sweep.dataset == EARLIER_DATASET:
        sources.append(EARLIER_PROTOCOL)
    return (
        "Published: " + "; ".join(sources) + f". Here N = {sweep.images:,} and {sweep.skip} "
        "timesteps: FIDs of another N, or of other timesteps, are not directly comparable."
    )


def _caption(sweep: Sweep) -> str:
    """What the distance is and how seconds were measured."""
    extractor, name = sweep.extractor, sweep.distance_name
    count = sweep.reference_images
    against = sweep.reference if count is None else f"{sweep.reference} ({count:,} images)"
    made_of = [f"features {extractor.get('features', '?')}"]
    made_of += [f"mode {mode}"] if (mode := extractor.get("mode")) else []
    made_of += [f"weights sha256 {sha[:16]}"] if (sha := extractor.get("weights_sha256")) else []
    sentences = [
        f"{name} of N = {sweep.images:,} samples against {against}; {', '.join(made_of)}; "
        f"{sweep.skip} timesteps, seed {sweep.seed}, network {sweep.network}.",
        *(f"Note: {remark}." for remark in sweep.remarks),
    ]
    if sweep.is_fid and sweep.images < _SINGULAR:
        sentences.append(f"With fewer than {_SINGULAR:,} samples an FID reads far too high.")
    if not sweep.is_fid:
        sentences.append(
            f"This {name} is not FID: it is made of other features and must not be compared with "
            "the paper's FIDs."
        )
    if others := sweep.engines[1:]:
        differences = " and ".join(_difference(sweep, other) for other in others)
        sentences.append(
            f"All engines start from the same noise: the difference is {differences}, paired, ± "
            "its standard error."
        )
    sentences.append(
        "Seconds per image cover sampling alone (network and sampler, without features), in "
        f"batches of {sweep.batch_size} on {sweep.device} in {sweep.precision}, after a warm-up "
        "that is not counted."
    )
    engines = map(describe_engine, sweep.engines if sweep.compiled else ())
    sentences += [
        f"{engine.title}'s network was compiled." for engine in engines if engine.compiles
    ]
    if any(cell.distance is None for cell in sweep.cells):
        sentences.append(f"Rows without {name} were timed on one batch.")
    return " ".join(sentences)


def _lines(columns: dict[str, list[str]]) -> list[str]:
    """Return a Markdown table of columns, each by its heading."""
    rows = [list(columns), ["---:"] * len(columns), *zip(*columns.values(), strict=True)]
    return ["", *("| " + " | ".join(row) + " |" for row in rows)]
