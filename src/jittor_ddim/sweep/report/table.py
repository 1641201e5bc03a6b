"""A sweep as text: the Markdown table beside what others have published, and the CSV of cells."""

import csv
import io
from collections.abc import Sequence

from jittor_ddim.evaluation.published import (
    EARLIER_PROTOCOL,
    PAPER_PROTOCOL,
    earlier_figures,
    paper_fid,
)
from jittor_ddim.figures.formatting import fixed
from jittor_ddim.sweep.results import SIGMA_HAT, Eta, Sweep, sort_key

NAMES = {"jittor": "Jittor", "pytorch": "PyTorch"}
MISSING = "–"
#: Fewer samples than features have a singular covariance.
_SINGULAR = 2048

#: Of the CSV; the names of a cell's fields where it has them.
_COLUMNS: list[str] = [
    "timesteps",
    "eta",
    "engine",
    "calls",
    "images",
    "seconds_per_image",
    "distance_name",
    "distance",
    "paired_difference",
    "paired_standard_error",
    "batch_size",
    "device",
    "precision",
]


def eta_text(eta: Eta) -> str:
    """Return an eta for people."""
    return f"σ̂ ({SIGMA_HAT})" if isinstance(eta, str) else f"{eta:g}"


def is_fid(sweep: Sweep) -> bool:
    """Whether the distance is the one that papers report: of the published Inception network."""
    return sweep.distance_name == "FID"


def markdown(sweep: Sweep) -> str:
    """Return the table with its caption, and the published figures beside it or below it."""
    beside = is_fid(sweep)
    parts = [f"# S × η of {sweep.title}", *_lines(_table(sweep, with_published=beside))]
    parts += ["", _caption(sweep)]
    published = _published_rows(sweep)
    if published and not beside:
        parts += [
            "",
            "## Published FIDs",
            "",
            f"Of another distance than {sweep.distance_name} above: not to be compared with it.",
            *_lines(_published_table(sweep, published)),
        ]
    if published:
        parts += ["", *_sources(sweep)]
    for engine, failure in sweep.failures.items():
        parts += ["", f"**{NAMES[engine]} has failed**, so cells are missing: {failure}"]
    return "\n".join(parts) + "\n"


def comma_separated(sweep: Sweep) -> str:
    """Return one line a cell, with every number as it was computed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell in sweep.cells:
        pair = sweep.pair(cell.timesteps, cell.eta)
        row = {key: value for key, value in cell.model_dump().items() if key in _COLUMNS}
        row["distance_name"] = sweep.distance_name if cell.distance is not None else None
        row["paired_difference"] = pair and pair.difference
        row["paired_standard_error"] = pair and pair.standard_error
        writer.writerow(row)
    return text.getvalue()


def _table(sweep: Sweep, with_published: bool) -> list[list[str]]:
    """The header and the rows."""
    engines, name = sweep.engines, sweep.distance_name
    header = ["S", "η"]
    for engine in engines:
        header += [f"{NAMES[engine]} s/image", f"{NAMES[engine]} {name}"]
    paired = len(engines) == 2
    header += [f"{name} difference ± s.e."] if paired else []
    published = with_published and bool(_published_rows(sweep))
    header += _published_header(sweep) if published else []
    rows = [[str(timesteps), eta_text(eta)] for timesteps, eta in sweep.rows()]
    columns = [column for engine in engines for column in _figures(sweep, engine)]
    columns += [_differences(sweep)] if paired else []
    for row, *texts in zip(rows, *columns, strict=True):
        row += texts
    if published:
        for row, key in zip(rows, sweep.rows(), strict=True):
            row += _published(sweep, *key)
    return [header, *rows]


def _figures(sweep: Sweep, engine: str) -> tuple[list[str], list[str]]:
    """The seconds and the distances of an engine, row by row."""
    cells = [sweep.cell(engine, *key) for key in sweep.rows()]
    return (
        fixed([cell and cell.seconds_per_image for cell in cells], 3, MISSING),
        fixed([cell and cell.distance for cell in cells], 4, MISSING),
    )


def _differences(sweep: Sweep) -> list[str]:
    pairs = [sweep.pair(*key) for key in sweep.rows()]
    errors = fixed([pair and pair.standard_error for pair in pairs], 2, "")
    differences = []
    for pair, error in zip(pairs, errors, strict=True):
        decimals = len(error.partition(".")[2])
        difference = pair and f"{pair.difference:+,.{decimals}f}".replace("-", "−")
        differences.append(f"{difference} ± {error}" if pair else MISSING)
    return differences


def _published_rows(sweep: Sweep) -> list[tuple[int, Eta]]:
    """The rows for which somebody has published a figure."""
    return [
        key for key in sweep.rows() if any(text != MISSING for text in _published(sweep, *key))
    ]


def _published_header(sweep: Sweep) -> list[str]:
    header = ["FID, DDIM paper"]
    if sweep.dataset == "CIFAR10":
        header += [f"FID (s/image), earlier report, {name}" for name in NAMES.values()]
    return header


def _published(sweep: Sweep, timesteps: int, eta: Eta) -> list[str]:
    cells = [paper_fid(sweep.dataset, timesteps, eta) or MISSING]
    if sweep.dataset == "CIFAR10":
        for engine in NAMES:
            earlier = earlier_figures(sweep.dataset, timesteps, eta, engine)
            cells.append(f"{earlier[1]} ({earlier[0]})" if earlier else MISSING)
    return cells


def _published_table(sweep: Sweep, rows: Sequence[tuple[int, Eta]]) -> list[list[str]]:
    header = ["S", "η", *_published_header(sweep)]
    return [header] + [
        [str(timesteps), eta_text(eta), *_published(sweep, timesteps, eta)]
        for timesteps, eta in sorted(rows, key=sort_key)
    ]


def _sources(sweep: Sweep) -> list[str]:
    sources = [PAPER_PROTOCOL[sweep.dataset]]
    if sweep.dataset == "CIFAR10":
        sources.append(EARLIER_PROTOCOL)
    return [
        "Published: " + "; ".join(sources) + f". Here N = {sweep.images:,} and {sweep.skip} "
        "timesteps: FIDs of another N, or of other timesteps, are not directly comparable."
    ]


def _caption(sweep: Sweep) -> str:
    return " ".join([distance_sentence(sweep), time_sentence(sweep)])


def distance_sentence(sweep: Sweep) -> str:
    """Return what the distance is, in one or two sentences."""
    extractor = sweep.extractor
    against = f"{sweep.reference}"
    if sweep.reference_images is not None:
        against += f" ({sweep.reference_images:,} images)"
    made_of = f"features {extractor.get('features', '?')}"
    if extractor.get("mode"):
        made_of += f", mode {extractor['mode']}"
    if extractor.get("weights_sha256"):
        made_of += f", weights sha256 {extractor['weights_sha256'][:16]}"
    text = (
        f"{sweep.distance_name} of N = {sweep.images:,} samples against {against}; {made_of}; "
        f"{sweep.skip} timesteps, seed {sweep.seed}, network {sweep.network}."
    )
    text += "".join(f" Note: {remark}." for remark in sweep.remarks)
    if is_fid(sweep) and sweep.images < _SINGULAR:
        text += f" With fewer than {_SINGULAR:,} samples a FID reads far too high."
    if not is_fid(sweep):
        text += (
            f" This {sweep.distance_name} is not FID: it is made of other features and must not "
            "be compared with the paper's FIDs."
        )
    if len(sweep.engines) == 2:
        first, second = (NAMES[engine] for engine in sweep.engines)
        text += (
            f" Both engines walk from the same noise: the difference is {first} minus {second}, "
            "paired, ± its standard error."
        )
    return text


def time_sentence(sweep: Sweep) -> str:
    """Return how seconds were measured."""
    text = (
        "Seconds an image are of sampling alone (network and sampler, without features), in "
        f"batches of {sweep.batch_size} on {sweep.device} in {sweep.precision}, after a warm-up "
        "that is not counted."
    )
    if sweep.compiled:
        text += " PyTorch's network was compiled."
    if any(cell.distance is None for cell in sweep.cells):
        text += f" Rows without {sweep.distance_name} were timed on one batch."
    return text


def _lines(table: list[list[str]]) -> list[str]:
    header, *rows = table
    rule = ["---:"] * len(header)
    return ["", *("| " + " | ".join(row) + " |" for row in (header, rule, *rows))]
