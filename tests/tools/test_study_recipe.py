"""The comparison of recipes, with an engine in NumPy."""

import json
import sys
from pathlib import Path

from fake_engine import FakeEngine

from jittor_ddim.config import load_config
from jittor_ddim.demo.recipe import CHANGES
from jittor_ddim.engines import choice as engine_choice

sys.path.append(str(Path(__file__).parents[2] / "tools"))

import study_recipe  # noqa: E402


def test_every_recipe_is_a_config_and_the_demos_is_among_them():
    configs = [load_config("digits.yml", changes) for changes in study_recipe.RECIPES.values()]
    assert len({config.to_yaml() for config in configs}) == len(configs)
    own = {key: value for key, value in CHANGES.items() if key.partition(".")[0] != "training"}
    assert own == study_recipe.RECIPES["v-decay"] | {"model.num_classes": 10}


def test_it_goes_on_with_what_is_missing(monkeypatch, tmp_path, capsys, restored_logging):
    engine, trained = FakeEngine(), []
    monkeypatch.setattr(engine_choice, "load_engine", lambda *choice: engine)
    monkeypatch.setattr(study_recipe, "RECIPES", {"v": {"diffusion.prediction": "v"}, "eps": {}})
    arguments = ["", "--steps", "2", "--num_samples", "20", "--exp", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    study_recipe.main()
    first = capsys.readouterr().out
    rows = [json.loads(line) for line in first.splitlines()]
    assert [row["recipe"] for row in rows] == ["v", "eps"]
    assert rows[0]["ema"].keys() == rows[0]["raw"].keys() == {"read", "surely", "fd_small"}
    next(tmp_path.glob("eps-*.json")).unlink()
    run = study_recipe.train
    monkeypatch.setattr(study_recipe, "train", lambda *a: trained.append(a[0]) or run(*a))
    study_recipe.main()
    assert trained == ["eps-2-jittor"] and capsys.readouterr().out == first
