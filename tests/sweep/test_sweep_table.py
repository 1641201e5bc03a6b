"""A sweep as text: the same numbers in Markdown, CSV and JSON; nothing mixed that differs."""

import csv
import io
import re

import pytest
from sweep_example import make_sweep

from jittor_ddim.evaluation.published import earlier_figures, paper_fid
from jittor_ddim.sweep.report import write_report
from jittor_ddim.sweep.report.table import comma_separated, markdown
from jittor_ddim.sweep.results import Sweep


def tables(text):
    """Every table of a Markdown text as (header, rows)."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        header, rule, *rows = (line.strip("| \n").split(" | ") for line in block.splitlines())
        assert all(cell == "---:" for cell in rule) and len(rule) == len(header)
        assert all(len(row) == len(header) for row in rows)
        found.append((header, rows))
    return found


def test_the_three_forms_carry_the_same_numbers(tmp_path):
    sweep = make_sweep()
    names = [path.name for path in write_report(sweep, tmp_path)]
    assert names == [
        "sweep.md", "sweep.csv", "sweep.json", "distance_by_steps.png", "distance_by_seconds.png",
    ]  # fmt: skip
    assert Sweep.model_validate_json((tmp_path / "sweep.json").read_bytes()) == sweep
    lines = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    assert len(lines) == len(sweep.cells) == 34
    ((header, rows),) = tables((tmp_path / "sweep.md").read_text())
    table = {(row[0], row[1]): dict(zip(header, row, strict=True)) for row in rows}
    for line, cell in zip(lines, sweep.cells, strict=True):
        assert float(line["seconds_per_image"]) == cell.seconds_per_image
        assert (line["distance"] == "") == (cell.distance is None)
        eta = "σ̂ (ddpm_noisy)" if line["eta"] == "ddpm_noisy" else f"{float(line['eta']):g}"
        row = table[line["timesteps"], eta]
        name = {"jittor": "Jittor", "pytorch": "PyTorch"}[line["engine"]]
        seconds = float(row[f"{name} s/image"])
        assert seconds == pytest.approx(cell.seconds_per_image, abs=6e-5)
        if cell.distance is None:
            assert row[f"{name} FID"] == row["FID difference ± s.e."] == "–"
            assert line["distance_name"] == line["paired_difference"] == ""
            continue
        assert float(line["distance"]) == cell.distance and line["distance_name"] == "FID"
        assert float(row[f"{name} FID"]) == pytest.approx(cell.distance, abs=6e-4)
        assert (line["paired_difference"], line["paired_standard_error"]) == ("0.0123", "0.0045")
        assert row["FID difference ± s.e."] == "+0.0123 ± 0.0045"


def test_published_figures_stand_beside_a_fid():
    ((header, rows),) = tables(markdown(make_sweep()))
    table = {(row[0], row[1]): dict(zip(header, row, strict=True)) for row in rows}
    assert table["10", "σ̂ (ddpm_noisy)"]["FID, DDIM paper"] == "367.43"
    assert table["1000", "0"]["FID, DDIM paper"] == "4.04"
    row = table["50", "0.5"]
    assert row["FID, DDIM paper"] == "5.25"
    assert row["FID (s/image), earlier report, Jittor"] == "13.897 (0.0220)"
    assert row["FID (s/image), earlier report, PyTorch"] == "15.432 (0.0262)"
    assert table["10", "0"]["FID (s/image), earlier report, Jittor"] == "–"


def test_the_caption_states_both_protocols():
    text = markdown(make_sweep())
    for part in (
        "FID of N = 128 samples against CIFAR-10 train and test (60,000 images)",
        "mode clean, weights sha256 abababababababab",
        "uniform timesteps, seed 1234, network 0123456789abcdef",
        "fewer than 2,048 samples",
        "batches of 64 on cpu in float32, after a warm-up that is not counted",
        "Rows without FID were timed on one batch",
        "difference is Jittor minus PyTorch, paired",
        "DDIM paper, Table 1 (CIFAR-10, quad, 50,000 images)",
        "uniform timesteps, 5,000 images against the train and test images, RTX 4090",
        "Here N = 128 and uniform timesteps",
    ):
        assert part in text, part
    assert "not FID" not in text


def test_another_distance_never_shares_a_table_with_fids():
    text = markdown(make_sweep(distance_name="FD-small"))
    (header, rows), (published_header, published) = tables(text)
    assert not [name for name in header if "FID" in name or "paper" in name]
    assert "Jittor FD-small" in header and len(rows) == 17
    assert published_header[2] == "FID, DDIM paper" and len(published) == 17
    assert "This FD-small is not FID" in text and "must not be compared" in text
    assert "fewer than 2,048" not in text and "mode" not in text


def test_a_fid_of_other_weights_is_not_put_beside_the_published_ones():
    text = markdown(make_sweep(distance_name="FD-inception"))
    assert len(tables(text)) == 2 and "must not be compared with the paper's" in text


@pytest.mark.parametrize(("dataset", "paper"), [("DIGITS", None), ("CELEBA", "17.33")])
def test_only_what_was_published_for_the_data_set_is_shown(dataset, paper):
    text = markdown(make_sweep(dataset=dataset))
    ((header, rows),) = tables(text)
    assert "earlier report" not in text
    assert ("Published" in text) == (paper is not None)
    if paper:
        assert header[-1] == "FID, DDIM paper" and rows[0][-1] == paper and "CelebA" in text
    else:
        assert "paper" not in "".join(header)


def test_one_engine_and_its_failure():
    sweep = make_sweep(engines=("jittor",), failures={"jittor": "batch: killed"})
    text = markdown(sweep)
    ((header, _),) = tables(text)
    assert not [name for name in header if name.startswith("PyTorch") or "±" in name]
    assert "**Jittor has failed**, so cells are missing: batch: killed" in text
    assert "paired" not in text


def test_a_missing_cell_is_a_dash():
    sweep = make_sweep()
    sweep.cells = [c for c in sweep.cells if (c.engine, c.timesteps) != ("pytorch", 10)]
    sweep.pairs = [pair for pair in sweep.pairs if pair.timesteps != 10]
    sweep.pairs[0] = sweep.pairs[0].model_copy(update={"difference": -0.5})
    ((_, rows),) = tables(markdown(sweep))
    assert rows[0][4:7] == ["–", "–", "–"] and rows[4][6] == "−0.5000 ± 0.0045"
    assert len(comma_separated(sweep).splitlines()) == 1 + 30


def test_published_figures_as_printed():
    """A few of each table's corners."""
    assert paper_fid("CIFAR10", 10, 0.0) == "13.36" and paper_fid("CIFAR10", 1000, 1.0) == "4.73"
    assert paper_fid("CELEBA", 1000, "ddpm_noisy") == "3.26"
    assert paper_fid("CIFAR10", 500, 0.0) is None and paper_fid("LSUN", 10, 0.0) is None
    assert earlier_figures(1000, 1.0, "Jittor") == ("0.4118", "10.236")
    assert earlier_figures(50, 0.0, "PyTorch") == ("0.0269", "14.223")
    assert earlier_figures(50, "ddpm_noisy", "PyTorch") is None
