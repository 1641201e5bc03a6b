import re
import time
from types import SimpleNamespace

import comparison_example as example
import numpy as np
import pytest
from report_reader import printed_equals, read_page

from jittor_ddim.compare.report import verdict, write_report
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison
from jittor_ddim.errors import UserError

SECTIONS = ["verdict", "alignment", "training", "time", "batches", "resources", "earlier"]


def write(comparison, folder, samples=(), language="en"):
    return read_page(write_report(comparison, samples, folder, language))


def sections(page):
    return [name for name in page.attributes("section", "id") if name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(example.complete(), example.samples(count=4, size=8, frames=3), folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return read_page(folder / "report.html")


def test_one_file_that_asks_for_nothing(page):
    assert "default-src 'none'" in page.source
    addresses = page.attributes("img", "src")
    assert len(addresses) == 8 and all(a.startswith("data:image/") for a in addresses)
    rest = re.sub(r'xmlns(:xlink)?="[^"]*"', "", page.source)
    assert not re.search(r"https?://|@import|<link|<script(?! type=\"application/json\")", rest)
    references = page.attributes("use", "xlink:href") + page.attributes("image", "href")
    assert all(reference.startswith(("#", "data:")) for reference in references)


def test_files_beside_the_page(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    plots = "outputs gradients loss loss_difference step_times step_time_cdf phases"
    plots += " train_throughput sample_throughput memory utilization"
    expected = {f"plots/{name}.{kind}" for name in plots.split() for kind in ("png", "svg")}
    images = ("first.png", "second.png", "difference.png", "first.gif", "second.gif", "both.gif")
    expected |= {f"images/eta{eta}_{name}" for eta in (0, 1) for name in images}
    assert names == expected | {"report.html"}


def test_sections_in_reading_order(page):
    expected = [*SECTIONS[:2], "pictures", *SECTIONS[2:], "environment"]
    assert sections(page) == expected


def test_no_id_stands_twice_and_every_reference_has_its_target(page):
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'(?:href="|url\()#([^")]+)', page.source))
    targets |= set(re.findall(r'aria-labelledby="([^"]+)"', page.source))
    assert targets and targets <= set(ids)


def test_plots_take_the_colours_of_the_page_and_say_what_they_are(page):
    drawn = page.source[page.source.index("<main>") :]
    assert "var(--first)" in drawn and "var(--second)" in drawn
    assert not re.search(r"#(0072b2|d55e00|262626|ffffff)", drawn, re.IGNORECASE)
    labels = page.attributes("svg", "aria-label")
    assert len(labels) == 11
    assert all("Jittor" in label and "PyTorch" in label for label in labels)
    assert all(page.attributes("img", "alt"))


def test_every_table_has_a_caption_and_scopes(page):
    assert len(page.tables) == 16
    for name, table in page.tables.items():
        assert table.caption and table.rows, name
        assert table.scopes == {"row", "col"}, name


def test_the_page_carries_its_data(page):
    assert Comparison.model_validate(page.data) == example.complete()


def test_costs_are_those_of_the_data(page):
    for kind in ("train", "sample"):
        costs = {
            (side.name, str(cost.batch_size)): cost
            for side in example.complete().sides
            for cost in side.costs
            if cost.kind == kind
        }
        rows = page.tables[f"times_{kind}"].all_rows
        assert len(rows) == len(costs) == 8
        for name, batch, warmup, count, *numbers in rows:
            cost = costs[name, batch]
            assert (warmup, count) == ("3", "1,200")
            timing = cost.timing
            values = (cost.first_call_s, timing.mean, timing.p50, timing.p95, timing.p99)
            values += (timing.max, cost.images_per_s)
            for text, value in zip(numbers, values, strict=True):
                assert printed_equals(text, value)
        for name, batch, memory, cpu, gpu in page.tables[f"resources_{kind}"].all_rows:
            assert printed_equals(memory, costs[name, batch].peak_host_memory_mb)
            assert printed_equals(cpu, costs[name, batch].cpu_utilization)
            assert gpu == "no GPU here"


def test_columns_have_as_many_decimals(page):
    rows = page.tables["times_train"].all_rows
    for column in range(4, len(rows[0])):
        assert len({len(row[column].partition(".")[2]) for row in rows}) == 1


def test_step_times_leave_the_warm_up_out(page):
    table = page.tables["steps"]
    for index, side in enumerate(example.complete().sides):
        times = np.array(side.training.step_time_s[3:])
        expected = [np.percentile(times, p) for p in (50, 95, 99)]
        for label, value in zip(("p50, s", "p95, s", "p99, s"), expected, strict=True):
            assert printed_equals(table.rows[label][index], value)
        assert printed_equals(table.rows["max, s"][index], times.max())
        assert table.rows["steps counted"][index] == "397"
        assert table.rows["warm-up steps excluded"][index] == "3"
    assert table.rows["compilation at the first step, s"][1] == "not measured"


def test_slow_steps_by_cause(page):
    found = {tuple(row[:2]): row[2:] for row in page.tables["causes"].all_rows}
    for side in example.complete().sides:
        series = side.training
        for cause in set(series.cause) - {None}:
            label = Words("en")("cause." + cause.replace(" ", "_"))
            count, longest = found.pop((side.name, label))
            of_cause = [
                t for t, c in zip(series.step_time_s, series.cause, strict=True) if c == cause
            ]
            assert int(count) == len(of_cause)
            assert printed_equals(longest, max(of_cause))
    assert not found


def test_alignment_by_check_and_by_layer(page):
    alignment = example.alignment()
    for check, row in zip(alignment.checks, page.tables["checks"].all_rows, strict=True):
        share = 100 if check.name.startswith("images") else 1
        assert printed_equals(row[1], check.measured * share)
        assert printed_equals(row[2], check.bound * share)
        assert row[3] == "passed"
    for name in ("outputs", "gradients"):
        rows = page.tables[name].all_rows
        for one, row in zip(getattr(alignment, name), rows, strict=True):
            assert row[0] == one.name
            for text, value in zip(row[1:], (one.max_abs, one.scale, one.relative), strict=False):
                assert printed_equals(text, value)


def test_rounding_of_a_gradient_that_is_zero_is_not_above_the_bound(tmp_path):
    comparison = example.complete(steps=5)
    zero = comparison.alignment.gradients[4]
    zero.max_abs, zero.scale = 3e-9, 1e-9
    row = write(comparison, tmp_path).tables["gradients"].all_rows[4]
    assert row[-1] == "" and float(row[3]) < 1e-8


def test_phases_ratios_and_environment(page):
    for index, side in enumerate(example.complete().sides):
        for phase, seconds in side.phases.items():
            assert printed_equals(page.tables["phases"].rows[phase][index], seconds)
        for label, text in side.environment.items():
            assert page.tables["environment"].rows[label][index] == text
    loaded = page.tables["environment"].rows["frameworks loaded in the process"]
    assert loaded == ["jittor", "torch"]
    for ratio, row in zip(example.ratios(), page.tables["ratios"].all_rows, strict=True):
        assert row[1] == str(ratio.batch_size)
        for text, value in zip(row[2:5], (ratio.value, ratio.low, ratio.high), strict=True):
            assert printed_equals(text, value)
    assert [row[5] for row in page.tables["ratios"].all_rows[-2:]] == [
        "Jittor",
        "no measurable difference",
    ]
    assert page.tables["protocol"].rows["command"] == [example.complete().command]


def test_the_earlier_report_beside_ours(page):
    table = page.tables["earlier_sampling"]
    assert len(table.rows) == 12
    for heading, row in table.rows.items():
        steps = int(heading.partition(",")[0])
        for index, side in enumerate(example.complete().sides):
            cost = max((c for c in side.costs if c.kind == "sample"), key=lambda c: c.batch_size)
            assert printed_equals(row[4 + index], steps * cost.timing.p50 / cost.batch_size)
        assert row[6] == "not measured here"
    assert table.rows["1000, η = 0.5"][:4] == ["0.3977", "10.160", "0.4061", "9.589"]
    assert "one network call at the largest batch" in table.caption
    training = page.tables["earlier_training"].rows
    assert training["Jittor, then"] == ["0.12", "0.6–0.7", "≈ 15 GB", "70–80 %"]
    series = example.complete().sides[0].training
    median, longest, memory, busy = training["Jittor, here"]
    assert printed_equals(median, np.median(series.step_time_s[3:]))
    assert printed_equals(longest, max(series.step_time_s[3:]))
    assert printed_equals(memory.partition(" ")[0], max(series.host_memory_mb))
    assert printed_equals(busy.partition(" ")[0], np.mean(series.cpu_utilization[3:]))
    assert "5,000 images against CIFAR-10's train and test images, uniform" in page.text


def test_a_gpu_fills_its_columns(tmp_path):
    page = write(example.complete(steps=30, gpu=True), tmp_path)
    row = page.tables["resources_sample"].all_rows[0]
    gpu = example.complete(gpu=True).sides[0].costs[4].gpu
    for text, value in zip(row[4:], gpu.model_dump().values(), strict=True):
        assert printed_equals(text, value)
    assert page.tables["resources_train"].all_rows[0][-1] == "not measured"
    assert "no GPU here" not in page.text
    assert "figure-power" in page.source
    assert page.tables["glance"].rows["GPU utilisation, %"] == ["91.2", "91.2"]


def test_what_a_failed_side_left_is_shown(tmp_path):
    page = write(example.with_failure(), tmp_path)
    assert page.text.index("PyTorch stopped early.") < page.text.index(
        "Aligned as far as measured"
    )
    assert "cannot allocate <3 GiB> & more" in page.text
    assert page.tables["steps"].rows["steps counted"] == ["397", "167"]
    assert page.tables["phases"].rows["forward"] == ["0.270", "not measured"]
    assert page.tables["glance"].rows["Network call, median, s"][1] == "not measured"


def test_of_two_runs_only_what_their_logs_hold(tmp_path):
    page = write(example.of_runs(), tmp_path)
    assert sections(page) == ["verdict", "training", "time", "resources", "environment"]
    assert set(page.tables) == {"steps", "causes", "protocol", "environment"}
    assert "Differing keys (2): training.batch_size, optim.lr." in page.text
    assert "engine" not in page.text.partition("How this was measured")[0]
    assert page.tables["steps"].header == ["measure", *(s.name for s in example.of_runs().sides)]


def test_numbers_that_are_none_are_no_zeros(tmp_path):
    page = write(example.with_gaps(), tmp_path)
    assert page.tables["checks"].rows["layer outputs"][0] == "NaN"
    _, largest, _, relative, remark = page.tables["outputs"].all_rows[9]
    assert (largest, relative, remark) == ("NaN", "NaN", "above the limit")
    assert page.tables["steps"].rows["p50, s"][1] == "not measured"
    assert page.tables["steps"].rows["cold start, s"][0] == "not measured"
    assert page.tables["steps"].rows["steps counted"][0] == "56"
    assert page.data["sides"][0]["training"]["step_time_s"][5] is None
    assert "figure-utilization" not in page.source  # nobody measured it


def test_three_sides(tmp_path, monkeypatch):
    """Every side is held against the first, and named where there is a choice."""
    describe = verdict.describe_engine
    third = SimpleNamespace(title="NumPy", module="numpy")
    monkeypatch.setattr(
        verdict, "describe_engine", lambda name: third if name == "numpy" else describe(name)
    )
    comparison = example.of_three()
    page = write(comparison, tmp_path, example.samples(count=4, size=8, frames=3, sides=3))
    assert "Jittor vs. PyTorch vs. NumPy" in page.text
    assert "PyTorch trains 1.25× as fast as Jittor." in page.text
    assert "Jittor trains 2.00× as fast as NumPy." in page.text
    assert "layer outputs (NumPy): 3.1e-6 (2.0e-5)" in page.text
    assert page.tables["checks"].all_rows[0][0] == "weights (PyTorch)"
    rows = [(row[0], row[-1]) for row in page.tables["ratios"].all_rows]
    assert rows == [("training step (PyTorch)", "PyTorch"), ("training step (NumPy)", "Jittor")]
    for name in ("glance", "steps", "phases", "environment"):
        assert page.tables[name].header[1:] == ["Jittor", "PyTorch", "NumPy"]
    assert "var(--third)" in page.source[page.source.index("<main>") :]
    captions = [text for text in page.attributes("img", "alt") if text.startswith("Absolute")]
    assert len(captions) == 4 and "Jittor and NumPy" in captions[1]
    names = {path.name for path in (tmp_path / "images").iterdir()}
    pictures = ["first", "second", "third", "difference", "difference_third"]
    expected = {f"eta{eta}_{name}.png" for eta in (0, 1) for name in pictures}
    animations = ("first", "second", "third", "all")
    assert names == expected | {f"eta{eta}_{name}.gif" for eta in (0, 1) for name in animations}
    assert Comparison.model_validate(page.data) == comparison


def test_nothing_in_the_data_ends_its_element_or_becomes_markup(tmp_path):
    comparison = example.of_runs()
    evil = "</script><script>alert(1)</script><!--\"'{{ 7*7 }}"
    comparison.title = comparison.command = evil
    comparison.sides[0].name = evil
    comparison.sides[1].environment = {evil: evil}
    page = write(comparison, tmp_path)
    assert page.data["title"] == evil
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.tables["environment"].rows[evil][1] == evil


def test_a_long_run_stays_small_and_keeps_its_slowest_steps(tmp_path):
    comparison = example.complete(steps=30_000)
    start = time.monotonic()
    page = write(comparison, tmp_path)
    assert time.monotonic() - start < 60
    assert len(page.source) < 2_000_000
    series = page.data["sides"][0]["training"]
    assert len(series["step"]) <= 2000
    assert series["step"][-1] == 30_000
    slowest = max(comparison.sides[0].training.step_time_s)
    assert slowest in series["step_time_s"]
    assert "thinned to 2000 steps per side" in page.text
    assert page.tables["steps"].rows["steps counted"][0] == "29,997"


def test_the_page_is_in_one_language(tmp_path):
    page = write(example.complete(steps=30), tmp_path, language="zh")
    assert page.attributes("html", "lang") == ["zh-Hans"]
    assert "已对齐：各侧计算同一个模型" in page.text
    assert "此处无 GPU" in page.text and "no GPU here" not in page.text
    for table in page.tables.values():
        assert re.search(r"[一-鿿]", table.caption)
    assert Comparison.model_validate(page.data) == example.complete(steps=30)


def test_another_language_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="`lang` de: choose one of en, zh"):
        write_report(example.complete(), [], tmp_path / "new", "de")
    assert not (tmp_path / "new").exists()
