"""The demo with an engine in NumPy: what it makes, and that it goes on where it was stopped."""

import html
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine
from killing import ENVIRONMENT
from PIL import Image

from jittor_ddim import models
from jittor_ddim.cli.main import main
from jittor_ddim.config import load_config, parse_config
from jittor_ddim.demo import recipe
from jittor_ddim.demo.pictures import draw
from jittor_ddim.demo.results import Reading
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.jobs import demo as job
from jittor_ddim.jobs.train import run_training

SCRIPT = Path(__file__).parents[1] / "ddim_with_fake_engine.py"


@pytest.fixture
def engine(monkeypatch, restored_process, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(recipe.CHANGES, "training.n_iters", 4)
    engine = FakeEngine()
    monkeypatch.setattr(engine_choice, "load_engine", lambda *choice: engine)
    return engine


def steps(exp):
    lines = (exp / "logs" / "demo" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_it_makes_pictures_a_run_and_a_page(engine, capsys):
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert Path(report["page"]) == Path("demo/index.html")
    drawn, read = err.find(f"Drawn by {recipe.MODEL}"), err.find("samples as the digit")
    assert 0 <= drawn < read
    for folder in (recipe.MODEL, "demo"):
        with (
            Image.open(f"demo/image_samples/{folder}/grid.png") as grid,
            Image.open(f"demo/image_samples/{folder}/sampling.gif") as gif,
        ):
            assert abs(gif.width / gif.height - grid.width / grid.height) < 0.02
            if folder == "demo":  # large grids, of noise above all, are animated in fewer frames
                assert gif.n_frames == recipe.SAMPLING.timesteps + 1
    judged = [(one["sampler"], one["calls"]) for one in report["judged"]]
    assert judged == [(s, calls) for s in recipe.SAMPLERS for calls in recipe.CALLS]
    assert report["verdict"] == report["judged"][-1]
    assert steps(Path("demo")) == [1, 2, 3, 4]


def test_the_page_says_commands_that_work(engine, capsys):
    assert main(["demo", "--seed", "7"]) == 0
    page = Path("demo/index.html").read_text(encoding="utf-8")
    commands = [html.unescape(code) for code in re.findall("<code>(ddim .*?)</code>", page)]
    samples = [shlex.split(line)[1:] for line in commands if line.startswith("ddim sample")]
    assert len(samples) == 2
    for arguments in samples:
        assert main(arguments) == 0, capsys.readouterr().err
    (training,) = [shlex.split(line)[1:] for line in commands if "digits.yml --set" in line]
    assert main(training) == 0
    trained, shown = (
        load_config(f"{run}/config.yml") for run in ("exp/logs/digits", "demo/logs/demo")
    )
    assert trained == shown
    losses = [
        [json.loads(line)["loss"] for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        for run in ("exp/logs/digits", "demo/logs/demo")
    ]
    assert losses[0] == losses[1]


def test_samples_are_judged_by_what_was_asked_for(engine, capsys, monkeypatch):
    asked, judged = [], []

    def sample(unet, config, settings, rows, batch_size, classes):
        asked.append((settings.sampler, settings.spacing, settings.count, classes.labels(rows)))
        return np.zeros((len(rows), *config.sample_shape[1:], 1), np.uint8)

    class Judge:
        real = Reading(1, 1, 1)

        def judge(self, pixels, labels):
            judged.append(labels.tolist())
            return Reading(len(pixels), 1, 1), 1.0

    monkeypatch.setattr(job, "sample_images", sample)
    monkeypatch.setattr(job, "Judge", Judge)
    assert main(["demo"]) == 0
    digits = [k % 10 for k in range(recipe.JUDGED)]
    assert asked == [
        (sampler, spacing, calls, digits)
        for sampler, spacing in recipe.SAMPLERS.items()
        for calls in recipe.CALLS
    ]
    assert judged == [digits] * len(asked)


def test_only_another_seed_trains_again(engine, capsys, monkeypatch):
    trained = []
    monkeypatch.setattr(
        job, "run_training", lambda request: trained.append(request.seed) or run_training(request)
    )
    reports = []
    for seed in ("1234", "1234", "7"):
        assert main(["demo", "--seed", seed]) == 0
        reports.append(json.loads(capsys.readouterr().out)["judged"])
    assert trained == [1234, 7]
    assert reports[0] == reports[1] != reports[2]


def test_a_wrong_language_is_refused_before_anything_is_computed(engine, capsys):
    assert main(["demo", "--lang", "fr"]) == 2
    assert capsys.readouterr().err == "error: --lang fr: choose one of en, zh\n"
    assert not Path("demo").exists() and engine.calls == []


@pytest.mark.slow
def test_killed_it_goes_on_where_it_was_saved(tmp_path):
    """1,200 steps of the toy engine, killed at step 450."""

    def demo(step):
        command = [sys.executable, SCRIPT, step, "SIGKILL", "demo", "--exp", "d"]
        return subprocess.run(
            [*map(str, command)], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=300
        )

    assert demo(450).returncode == -9
    done = demo(0)
    assert done.returncode == 0, done.stderr.decode()
    assert steps(tmp_path / "d") == list(range(1, 1201))
    log = (tmp_path / "d" / "logs" / "demo" / "stdout.txt").read_text()
    assert "Resuming from step 400" in log


COLOURED = {
    "data": {"dataset": "FOLDER", "image_size": 32, "channels": 3},
    "model": {"ch": 32, "ch_mult": [1], "num_groups": 8, "num_res_blocks": 1,
              "attn_resolutions": [], "num_classes": 6},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "count", "columns"),
    [({}, 48, 8), ({"num_classes": 10}, 80, 8), ({"num_classes": 20}, 80, 4),
     ({"num_classes": 1000}, 64, 8), ({"num_classes": None}, 64, 8)],
)  # fmt: skip
def test_any_model_fits_into_a_grid(changes, count, columns):
    config = parse_config(COLOURED | {"model": COLOURED["model"] | changes}, "demo")
    found, width, classes = recipe.rows_of_classes(config, 0.5)
    assert (found, width) == (count, columns)
    labels = classes.labels(range(found))
    if classes.chosen is None:
        assert labels is None and classes.guidance == 0
    else:
        assert np.all(np.reshape(labels, (-1, columns)) == np.arange(found // columns)[:, None])


def test_coloured_classes_with_names_are_drawn(engine, tmp_path):
    data = COLOURED["data"] | {"class_names": ["an effect", "b", "c", "d", "e", "f"]}
    config = parse_config(COLOURED | {"data": data}, "demo")
    unet = engine.unet(config, fresh_weights(config, 1))
    pictures = draw(unet, config, recipe.SAMPLING, 1, tmp_path)
    assert pictures.classes == tuple(data["class_names"])
    with Image.open(pictures.grid) as grid, Image.open(pictures.animation) as moving:
        assert (grid.mode, grid.size) == ("RGB", (8 * 66 + 2, 6 * 66 + 2))
        assert moving.n_frames == recipe.SAMPLING.timesteps + 1
    assert pictures.animation.stat().st_size <= 2_000_000


def test_the_model_shown_ships():
    assert recipe.MODEL in models.MODELS


def test_the_recipe_is_a_config_with_the_digits_classes():
    config = recipe.recipe()
    assert (config.data.image_size, config.model.num_classes) == (8, 10)
