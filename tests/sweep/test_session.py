"""What an engine does for one cell, and which of it counts as time."""

import time

import numpy as np
import pytest
from fake_engine import FakeEngine, affine
from sweeping import PLAN, prepare

from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.evaluation.extractor import Extractor, ExtractorChoice
from jittor_ddim.evaluation.identity import Identity
from jittor_ddim.evaluation.statistics_files import write_statistics
from jittor_ddim.metrics.moments import moments
from jittor_ddim.sweep.layout import REFERENCE
from jittor_ddim.sweep.results import Cell
from jittor_ddim.sweep.session import Session

PAUSE = 0.2
IDENTITY = Identity("test", None, "ab", False)
SHAPES = []


def prepare_images(images):
    SHAPES.append((images.shape, images.dtype))
    return images.reshape(len(images), -1)[:, :6].astype(np.float32)


def slow_features(prepared):
    """The first pixels as features, and no logits."""
    time.sleep(PAUSE)
    return prepared, prepared[:, :0]


EXTRACTOR = Extractor(prepare_images, slow_features, IDENTITY, 8, 6, "test", {})


def compiling():
    """A network that is slow once for each batch size, as if it were compiled."""
    seen = set()

    def denoiser(weights, x_t, t):
        if len(x_t) not in seen:
            seen.add(len(x_t))
            time.sleep(PAUSE)
        return affine(weights, x_t, t)

    return denoiser


@pytest.fixture
def stage(tmp_path, monkeypatch):
    folder = prepare(tmp_path / "sweep")
    (folder / "jittor").mkdir()
    engine = FakeEngine(name="jittor", denoiser=compiling())
    real = np.random.default_rng(0).random((50, 6))
    write_statistics(folder / REFERENCE, moments(real), IDENTITY, "noise", ["as made"])
    monkeypatch.setattr(engine_choice, "load_engine", lambda *given: engine)
    monkeypatch.setattr(ExtractorChoice, "load", lambda *given: EXTRACTOR)
    return folder, engine, Session("jittor", PLAN, folder, tmp_path, None)


def test_compiling_and_features_do_not_count(stage):
    folder, engine, session = stage
    assert session.begin(5, 0.0, distance=True, keep_features=True) == [8, 8, 4]
    # 5 steps of 1000, walked from the last
    assert engine.calls == [(size, t) for size in (4, 8) for t in (800, 600, 400, 200, 0)]
    engine.calls.clear()
    for _ in range(3):
        session.batch()
    assert engine.calls == [(size, t) for size in (8, 8, 4) for t in (800, 600, 400, 200, 0)]
    assert not list(folder.glob("jittor/*"))  # nothing is there before all is
    session.finish()
    cell = Cell.model_validate_json((folder / "jittor" / "cell_S5_eta0.0.json").read_bytes())
    assert len(cell.batch_seconds) == 3 and max(cell.batch_seconds) < PAUSE
    assert cell.seconds_per_image == pytest.approx(sum(cell.batch_seconds) / 20)
    features = np.load(folder / "jittor" / "features_S5_eta0.0.npy", allow_pickle=False)
    assert features.shape == (20, 6) and features.dtype == np.float32
    assert (cell.images, cell.calls, cell.batch_size) == (20, 5, 8)


def test_grey_images_are_measured_in_colour(stage):
    _, _, session = stage
    session.begin(3, 1.0, distance=True, keep_features=False)
    session.batch()
    assert SHAPES[-1] == ((8, 8, 8, 3), np.uint8)


def test_a_cell_that_is_only_timed_needs_no_features(stage, monkeypatch):
    folder, _, session = stage
    monkeypatch.setattr(ExtractorChoice, "load", None)
    assert session.begin(5, "ddpm_noisy", distance=False, keep_features=False) == [8]
    session.batch()
    session.finish()
    (path,) = folder.glob("jittor/*")
    assert path.name == "time_S5_ddpm_noisy.json"
    assert Cell.model_validate_json(path.read_bytes()).distance is None


def test_a_short_walk_is_warmed_up_by_itself(stage):
    _, engine, session = stage
    session.begin(2, 0.0, distance=False, keep_features=False)
    assert engine.calls == [(8, 500), (8, 0)]
