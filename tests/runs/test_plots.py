import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jittor_ddim.errors import UserError
from jittor_ddim.runs import plots
from jittor_ddim.runs.plots import plot_run, smooth

NAMES = ["loss.png", "step_time.png", "memory.png", "utilization.png", "overview.png"]


def write_run(folder, steps=200, gpu=False, **more):
    folder.mkdir(parents=True)
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            record = {
                "step": step,
                "loss": 3072 / step,
                "loss_per_element": 1 / step,
                "step_time_s": 49.0 if step == 1 else 0.25,
                "data_time_s": 0.01,
                "host_memory_mb": 2000.0,
                "cpu_utilization": 90.0,
            }
            if gpu:
                record |= {"gpu_memory_mb": 9000.0, "gpu_utilization": 97.0}
            if step % 50 == 0:
                record["validation_loss"] = 3072 * 0.5
            file.write(json.dumps(record | more) + "\n")
    return folder


@pytest.fixture
def figures(monkeypatch):
    """The figures by file name, kept on their way to the disk."""
    kept = {}
    save = plots.save_figure

    def keep(figure, path, source):
        kept[path.name] = figure
        return save(figure, path, source)

    monkeypatch.setattr(plots, "save_figure", keep)
    return kept


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def line(axes, label):
    return next(line for line in axes.lines if line.get_label() == label).get_xydata()


def test_five_pictures(tmp_path, figures):
    run = write_run(tmp_path / "run$a_b$", gpu=True)
    paths = plot_run(run, tmp_path / "out" / "plots")
    assert [path.name for path in paths] == NAMES
    assert sorted(p.name for p in (tmp_path / "out" / "plots").iterdir()) == sorted(NAMES)
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and image.width > 1000
            assert np.asarray(image.convert("L")).std() > 5
    assert all("run$a_b$" in texts(figure) for figure in figures.values())
    assert "in this log" not in texts(figures["overview.png"])


def test_the_curves_hold_the_numbers(tmp_path, figures):
    plot_run(write_run(tmp_path / "run", gpu=True), tmp_path)
    axes = figures["loss.png"].axes[0]
    assert axes.get_yscale() == "log"
    raw = axes.lines[0].get_xydata()
    np.testing.assert_allclose(raw, [(k, 1 / k) for k in range(1, 201)], rtol=1e-12)
    validation = line(axes, "validation")
    validation = validation[np.isfinite(validation[:, 1])]
    np.testing.assert_allclose(validation, [(k, 0.5) for k in (50, 100, 150, 200)], rtol=1e-12)
    axes = figures["step_time.png"].axes[0]
    np.testing.assert_allclose(line(axes, "1 steps above 1.5 x the median"), [(1, 49)])
    assert "p50  0.25 s\np95  0.25 s\np99  0.25 s\nmax  49 s" in texts(figures["step_time.png"])
    assert set(line(figures["memory.png"].axes[0], "GPU")[:, 1]) == {9000.0}


def test_what_is_missing_is_said(tmp_path, figures):
    plot_run(write_run(tmp_path / "cpu", steps=3, step_time_s=None, loss=None), tmp_path)
    assert "no GPU in this log" in texts(figures["memory.png"])
    assert "no GPU in this log" in texts(figures["utilization.png"])
    assert "no step times in this log" in texts(figures["step_time.png"])
    assert "no finite loss in this log" in texts(figures["loss.png"])


def test_a_single_step_is_enough(tmp_path):
    assert len(plot_run(write_run(tmp_path / "run", steps=1), tmp_path)) == 5


def test_nothing_to_plot(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        plot_run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="no steps yet"):
        plot_run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_smoothing_late_in_a_curve_is_an_exponential_average():
    values = np.random.default_rng(0).normal(size=400)
    values[300] = math.nan
    out = smooth(values, 21)
    known = np.delete(values, 300)
    weights = (20 / 22) ** np.arange(len(known))[::-1] * 2 / 22
    assert abs(out[-1] - weights @ known) < 1e-12
    assert out[300] == out[299]
    np.testing.assert_allclose(smooth(np.full(50, 3.0), 21), 3.0)
    assert np.isnan(smooth(np.array([math.nan, 1.0]), 5)).tolist() == [True, False]
