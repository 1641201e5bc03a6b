import comparison_example as example
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from jittor_ddim.compare.report import bars, curves
from jittor_ddim.compare.report.plots import write_plots
from jittor_ddim.compare.report.series import column, outline
from jittor_ddim.compare.report.words import Words
from jittor_ddim.pages.drawings import COLOURS, inline, style

WORDS = Words("en")


@pytest.fixture(autouse=True)
def _style():
    with matplotlib.rc_context(style()):
        yield


def lines_by_colour(axes):
    return {to_hex(line.get_color()).upper(): line.get_xydata() for line in axes.lines}


def test_curves_hold_the_numbers_in_the_side_colours():
    comparison = example.complete()
    for draw, key in ((curves.loss, "loss"), (curves.memory, "host_memory_mb")):
        drawn = lines_by_colour(draw(comparison, WORDS).axes[0])
        for side, colour in zip(comparison.sides, COLOURS, strict=False):
            series = side.training
            expected = np.column_stack([series.step, getattr(series, key)])
            np.testing.assert_allclose(drawn[colour.upper()], expected)


def test_the_loss_difference_is_relative_and_only_of_common_steps():
    comparison = example.of_runs()
    drawn = curves.loss_difference(comparison, WORDS).axes[0].lines[0].get_xydata()
    a, b = (np.array(side.training.loss[:220]) for side in comparison.sides)
    np.testing.assert_allclose(drawn[:, 0], np.arange(1, 221))
    np.testing.assert_allclose(drawn[:, 1], abs(a - b) / a)


def test_slow_steps_carry_the_mark_of_their_cause():
    comparison = example.complete()
    figure = curves.step_times(comparison, WORDS)
    for axes, side in zip(figure.axes, comparison.sides, strict=True):
        series = side.training
        marks = {line.get_marker(): line.get_xydata() for line in axes.lines[1:]}
        for cause, marker in curves.MARKERS.items():
            steps = [k for k, c in zip(series.step, series.cause, strict=True) if c == cause]
            assert sorted(marks[marker][:, 0]) == steps
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == ["warm-up", "compile", "garbage collection"] and len(labels) == 7


def test_the_distribution_leaves_the_warm_up_out():
    axes = curves.step_time_cdf(example.complete(), WORDS).axes[0]
    for side, line in zip(example.complete().sides, axes.lines, strict=True):
        x, y = line.get_data()
        np.testing.assert_allclose(x, sorted(side.training.step_time_s[3:]))
        np.testing.assert_allclose(y[[0, -1]], [100 / 397, 100])


def test_phases_are_stacked():
    patches = bars.phases(example.complete(), WORDS).axes[0].patches
    for index, side in enumerate(example.complete().sides):
        of_side = patches[4 * index : 4 * index + 4]
        widths = [bar.get_width() for bar in of_side]
        np.testing.assert_allclose(widths, list(side.phases.values()))
        lefts = [bar.get_x() for bar in of_side]
        np.testing.assert_allclose(lefts, np.cumsum([0, *widths[:-1]]))


def test_throughput_and_layers_hold_the_numbers():
    comparison = example.complete()
    axes = bars.sample_throughput(comparison, WORDS).axes[0]
    costs = [cost for cost in comparison.sides[1].costs if cost.kind == "sample"]
    expected = [(cost.batch_size, cost.images_per_s) for cost in costs]
    np.testing.assert_allclose(axes.lines[1].get_xydata(), expected)
    drawn = bars.outputs(comparison, WORDS).axes[0].lines[0].get_xydata()
    outputs = comparison.alignment.outputs
    expected = [(k, one.relative) for k, one in enumerate(outputs, 1) if one.relative]
    assert len(expected) == len(outputs) - 2
    np.testing.assert_allclose(drawn, expected)


def test_an_outline_keeps_every_spike():
    random = np.random.default_rng(0)
    x, y = np.arange(50_000.0), random.uniform(1, 2, 50_000)
    spikes = random.choice(50_000, 50, replace=False)
    y[spikes] = 100 + np.arange(50)
    y[777] = np.nan
    few_x, few_y = outline(x, y)
    assert len(few_x) <= 602 and (np.diff(few_x) > 0).all()
    assert (few_y >= 100).sum() > 40  # two of them may share a stretch
    assert np.nanmax(few_y) == np.nanmax(y) and np.nanmin(few_y) == np.nanmin(y)
    same, _ = outline(x[:600], y[:600])
    assert len(same) == 600
    assert np.isnan(column([None, 1.0])).tolist() == [True, False]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("make", [example.of_runs, example.with_gaps, example.with_failure])
def test_no_file_is_blank(tmp_path, make, language):
    plots = write_plots(make(), Words(language), tmp_path)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(plots)
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert image.width > 900 and np.asarray(image.convert("L")).std() > 5


def test_two_steps_that_agree_are_enough(tmp_path):
    comparison = example.complete(steps=1)
    comparison.sides[1].training = comparison.sides[0].training
    plots = write_plots(comparison, WORDS, tmp_path)
    assert "no difference at all" in plots["loss_difference"].svg


def test_an_inlined_drawing_has_names_of_its_own():
    text = (
        '<?xml version="1.0"?>\n<svg width="3pt" viewBox="0 0 3 3"><defs><path id="m1"/></defs>'
        '<use xlink:href="#m1" style="stroke: #0072b2" clip-path="url(#m1)"/>'
        "<text style=\"font-size: 8px; font-family: 'DejaVu Sans'; fill: #262626\">a</text></svg>"
    )
    assert inline(text, "p", "Loss &amp; more") == (
        '<svg role="img" aria-label="Loss &amp; more" width="3pt" viewBox="0 0 3 3">'
        '<defs><path id="p-m1"/></defs>'
        '<use xlink:href="#p-m1" style="stroke: var(--first)" clip-path="url(#p-m1)"/>'
        "<text style=\"font-size: 8px; font-family: 'DejaVu Sans'; fill: var(--ink)\">a</text>"
        "</svg>"
    )
