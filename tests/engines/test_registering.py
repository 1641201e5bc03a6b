"""A third engine, the toy of fake_engine.py, is used by its name without touching the package."""

import json

import numpy as np
import pytest
from fake_engine import DESCRIPTOR, FakeEngine

import jittor_ddim as jd
from jittor_ddim import engines
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.cli.main import main
from jittor_ddim.compare.plan import Plan
from jittor_ddim.errors import EngineError

SMALL = [
    "--set=model.ch=32", "--set=model.ch_mult=[1]", "--set=model.num_res_blocks=1",
    "--set=model.attn_resolutions=[]", "--set=training.batch_size=4",
    "--set=training.snapshot_freq=100", "--set=training.validation_freq=100",
]  # fmt: skip


@pytest.fixture
def registered():
    engines.register(DESCRIPTOR)
    yield
    engines.ENGINES.remove(DESCRIPTOR.name)


def test_an_engine_is_found_by_its_name(registered):
    assert engines.ENGINES == ["jittor", "pytorch", "fake"]
    assert Plan.model_fields["engines"].default_factory() == ("jittor", "pytorch", "fake")
    assert engines.describe_engine("fake").title == "Fake"
    assert isinstance(jd.load_engine("fake"), FakeEngine)
    with pytest.raises(EngineError, match="Fake compiles by itself"):
        jd.load_engine("fake", compile=True)


def test_an_unknown_engine_names_those_there_are():
    with pytest.raises(EngineError, match="one of jittor, pytorch, got 'fake'"):
        engines.describe_engine("fake")


def test_it_trains_resumes_and_samples(registered, restored_process, tmp_path, capsys):
    def ddim(command, *arguments):
        code = main([command, "--exp", str(tmp_path), "--engine", "fake", *arguments])
        assert code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    training = ["--config", "digits.yml", "--doc"]
    ddim("train", *training, "whole", *SMALL, "--set=training.n_iters=6")
    ddim("train", *training, "parts", *SMALL, "--set=training.n_iters=4")
    ddim("train", *training, "parts", *SMALL, "--set=training.n_iters=6", "--resume_training")
    whole, parts = (load_checkpoint(tmp_path / "logs" / doc) for doc in ("whole", "parts"))
    assert (whole.step, whole.engine) == (parts.step, parts.engine) == (6, "fake")
    for name, array in whole.ema_weights.items():
        assert np.array_equal(parts.ema_weights[name], array), name
    out = ddim(
        "sample", "--doc", "whole", "--fid", "--num_samples", "3", "--timesteps", "5", "-i", "s"
    )
    assert json.loads(out)
    assert len(list((tmp_path / "image_samples" / "s").glob("*.png"))) == 3


def test_the_doctor_checks_it(registered, capsys):
    main(["doctor", "--engine", "fake"])
    assert "memory: " in capsys.readouterr().out
