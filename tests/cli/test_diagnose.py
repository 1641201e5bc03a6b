"""``ddim diagnose`` as it is typed: exit codes, JSON, languages, and that it only reads."""

import json

import faulty_runs as runs
import pytest

from jittor_ddim.cli.main import main


@pytest.fixture(autouse=True)
def _process(restored_process):
    pass


@pytest.fixture
def young(tmp_path):
    config = runs.config(**{"model.ema_rate": 0.9999, "model.ema_warmup": False})
    return runs.write(tmp_path / "exp" / "logs" / "young", config)


def test_a_healthy_run_ends_with_0(tmp_path, capsys):
    run = runs.write(tmp_path / "run", runs.config())
    assert main(["diagnose", str(run)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{run}: nothing found", "Logged steps: 600", "Weights: ckpt_600",
        "Images looked at: 1,708 / 1,708",
    ]  # fmt: skip


def test_a_finding_ends_with_3_and_names_the_flag(young, capsys):
    assert main(["diagnose", str(young)]) == 3
    out = capsys.readouterr().out
    assert "1. The moving average is too young for its rate" in out
    assert "94.2% of it is the random start" in out
    assert "Sample with --weights raw" in out and "model.ema_warmup: true" in out


def test_json_has_the_numbers(young, capsys):
    assert main(["diagnose", str(young), "--json"]) == 3
    result = json.loads(capsys.readouterr().out)
    (found,) = result["findings"]
    assert (result["healthy"], found["cause"], found["grade"]) == (False, "young_average", "ruins")
    assert found["values"]["share"] == pytest.approx(0.9999**600)
    assert {"what", "seen", "why", "remedy"} <= set(found)


def test_chinese(young, capsys):
    assert main(["diagnose", str(young), "--lang", "zh"]) == 3
    assert "对策：用 --weights raw 采样" in capsys.readouterr().out


def test_nothing_is_written(young):
    before = sorted(young.parents[2].rglob("*"))
    main(["diagnose", str(young)])
    assert sorted(young.parents[2].rglob("*")) == before


def test_a_run_of_nothing_but_its_config(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yml").write_text(runs.config().to_yaml())
    assert main(["diagnose", str(run)]) == 0
    assert capsys.readouterr().out.startswith(
        f"{run}: nothing found, but the losses, the weights could not be judged\n"
        "Logged steps: none\nWeights: none\n"
    )


@pytest.mark.parametrize(
    ("language", "verdict"),
    [("en", ": nothing found, but the images could not be judged"),
     ("zh", "：未发现问题，但无法判断图像")],
)  # fmt: skip
def test_images_that_are_gone_are_part_of_the_verdict(language, verdict, tmp_path, capsys):
    """They are the reason for many a bad run; without them no run is healthy."""
    run = runs.write(tmp_path / "run", runs.own_images(tmp_path / "gone"))
    assert main(["diagnose", str(run), "--lang", language]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{run}{verdict}"
    assert main(["diagnose", str(run), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["healthy"], result["not_judged"]) == (False, ["images"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: has no config.yml; give a run's folder, such as exp/logs/c10"),
        (["."], ".: has no config.yml"),
        (["run", "--lang", "fr"], "--lang fr: choose one of en, zh"),
    ],
)
def test_wrong_input(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["diagnose", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_damaged_log_is_named(young, capsys):
    lines = (young / "metrics.jsonl").read_text().splitlines()
    lines[3] = lines[3][:20]
    (young / "metrics.jsonl").write_text("\n".join(lines))
    assert main(["diagnose", str(young)]) == 2
    assert "metrics.jsonl: line 4 is damaged; delete that line" in capsys.readouterr().err
