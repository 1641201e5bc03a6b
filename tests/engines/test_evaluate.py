"""A whole evaluation with the Inception network, from images on the disk to the result."""

import numpy as np
import pytest
from oracles import inception_recipe_weights
from safetensors.numpy import save_file

import jittor_ddim as jd
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.image_files import write_png
from jittor_ddim.jobs.evaluate import EvaluateRequest, run_evaluation


@pytest.mark.slow
@pytest.mark.usefixtures("restored_logging")
def test_an_evaluation(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(engine_choice, "load_engine", lambda *given: engine)
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "recipe.safetensors"
    save_file(inception_recipe_weights(), weights)
    random = np.random.default_rng(0)
    sets = {name: random.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8) for name in ("a", "b")}
    for name, images in sets.items():
        for index, image in enumerate(images):
            write_png(tmp_path / name, index, image)
    result = run_evaluation(
        EvaluateRequest(
            images=tmp_path / "a",
            reference=str(tmp_path / "b"),
            metrics=("fid", "pr"),
            extractor=ExtractorChoice(weights=weights),
            exp=tmp_path / "exp",
            verbose="critical",
            engine=engine_choice.EngineChoice(engine.name),
        )
    )
    network = engine.inception(weights, resize="clean")
    features = {name: network(images)["2048"] for name, images in sets.items()}
    expected = jd.metrics.fid(features["b"], features["a"])
    assert result["metrics"]["FD-inception"] == pytest.approx(expected, rel=1e-4)
    assert (result["engine"], result["mode"], result["published"]) == (engine.name, "clean", False)
    assert engine.versions().items() <= result["versions"].items()
    assert any("not the published weights" in remark for remark in result["remarks"])
    assert any("N = 5 is less than the 2048 features" in remark for remark in result["remarks"])
