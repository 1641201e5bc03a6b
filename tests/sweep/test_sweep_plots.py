"""The sweep's figures: what is drawn where, and that something is seen."""

import numpy as np
import pytest
from PIL import Image
from sweep_example import make_sweep

from jittor_ddim.evaluation.published import PAPER_FID, PAPER_TIMESTEPS
from jittor_ddim.figures.style import BLUE, PINK
from jittor_ddim.sweep.report import plots
from jittor_ddim.sweep.report.plots import write_plots


@pytest.fixture
def figures(monkeypatch):
    """The figures by file name, kept on their way to the disk."""
    kept = {}

    def keep(figure, path, save=plots.save_figure):
        kept[path.name] = figure
        return save(figure, path)

    monkeypatch.setattr(plots, "save_figure", keep)
    return kept


def lines(figure, colour, style):
    return [
        line.get_xydata().tolist()
        for line in figure.axes[0].lines
        if line.get_color() == colour and line.get_linestyle() == style
    ]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_distance_against_steps(tmp_path, figures):
    sweep = make_sweep()
    write_plots(sweep, tmp_path)
    figure = figures["distance_by_steps.png"]
    for eta, colour in ((0.0, BLUE), ("ddpm_noisy", PINK)):
        for engine, style in (("jittor", "-"), ("pytorch", ":")):
            expected = [
                [cell.timesteps, cell.distance]
                for cell in sweep.cells
                if (cell.engine, cell.eta) == (engine, eta) and cell.distance is not None
            ]
            assert len(expected) == 4 and lines(figure, colour, style) == [expected]
        paper = [
            [s, float(f)] for s, f in zip(PAPER_TIMESTEPS, PAPER_FID["CIFAR10"][eta], strict=True)
        ]
        assert lines(figure, colour, "--") == [paper]
    axes = figure.axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_ylabel() == "FID"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "10", "20", "50", "100", "1,000",
    ]  # fmt: skip
    assert legend(figure) == [
        "η = 0", "η = 0.5", "η = 1", "σ̂ (ddpm_noisy)", "", "Jittor", "PyTorch", "DDIM paper",
    ]  # fmt: skip


def test_the_distance_against_seconds(tmp_path, figures):
    sweep = make_sweep()
    write_plots(sweep, tmp_path)
    figure = figures["distance_by_seconds.png"]
    expected = [
        [cell.seconds_per_image, cell.distance]
        for cell in sweep.cells
        if (cell.engine, cell.eta) == ("pytorch", 0.0) and cell.distance is not None
    ]
    assert lines(figure, BLUE, ":") == [expected]
    assert not lines(figure, BLUE, "--") and "DDIM paper" not in legend(figure)
    axes = figure.axes[0]
    texts = [text for text in axes.texts if text.get_text().startswith("S = ")]
    assert [text.get_text() for text in texts] == ["S = 10", "S = 20", "S = 50", "S = 100"]
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert axes.get_xlabel() == "seconds per image, batches of 64 on cpu"


@pytest.mark.parametrize("kind", [{"distance_name": "FD-small"}, {"dataset": "DIGITS"}])
def test_the_papers_curve_is_only_where_it_belongs(kind, tmp_path, figures):
    write_plots(make_sweep(**kind), tmp_path)
    figure = figures["distance_by_steps.png"]
    assert not lines(figure, BLUE, "--") and legend(figure)[-1] == "PyTorch"
    small = "distance_name" in kind
    assert figure.axes[0].get_ylabel() == ("FD-small (not FID)" if small else "FID")


@pytest.mark.parametrize("engines", [("jittor",), ("jittor", "pytorch")])
def test_the_pictures_are_not_blank(engines, tmp_path):
    for path in write_plots(make_sweep(engines=engines), tmp_path):
        pixels = np.asarray(Image.open(path).convert("RGB"), float)
        assert pixels.shape[:2] == (630, 1140) and (pixels != 255).any(axis=-1).mean() > 0.02
        for colour in (BLUE, PINK):
            wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert (np.abs(pixels - wanted).max(axis=-1) < 8).sum() > 200


def test_times_alone_and_one_point(tmp_path, figures):
    sweep = make_sweep(engines=("jittor",))
    whole = sweep.cells
    sweep.cells = [cell for cell in whole if cell.distance is None]
    write_plots(sweep, tmp_path)
    (text,) = figures["distance_by_steps.png"].axes[0].texts
    assert text.get_text() == "no distance in this sweep"
    sweep.cells = whole[:1]
    write_plots(sweep, tmp_path)
    assert len(lines(figures["distance_by_seconds.png"], BLUE, "-")) == 1
