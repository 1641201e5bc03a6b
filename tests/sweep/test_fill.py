"""A sweep in turns: every cell once, every interruption, every failure."""

import dataclasses
import json
import logging
import shutil

import numpy as np
import pytest
from comparing import UNHARMED, found_modules  # noqa: F401
from fake_engine import FakeEngine
from sweeping import ETA_0, GRID, PLAN, SIGMA_HAT, prepare, run

from jittor_ddim.errors import UserError
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.metrics.frechet import frechet_distance
from jittor_ddim.metrics.moments import MomentsAccumulator
from jittor_ddim.parity.process import Worker
from jittor_ddim.sampling import sample_images
from jittor_ddim.sweep import fill as module
from jittor_ddim.sweep.fill import work
from jittor_ddim.sweep.gather import gather
from jittor_ddim.sweep.layout import load_reference
from jittor_ddim.sweep.plan import Grid
from jittor_ddim.sweep.results import Row

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("found_modules")]

KILL = "os.kill(os.getpid(), signal.SIGKILL)"
FULL, TIMED = ["begin", "batch", "batch", "batch", "finish"], ["begin", "batch", "finish"]


def is_complete(folder):
    total, done = work(PLAN, GRID, folder)
    return done == total


def found(folder):
    return gather(PLAN, GRID, folder, "digits", "ddim sweep")


def numbers(folder):
    """All that does not depend on time."""
    sweep = found(folder)
    assert not sweep.failures
    cells = [
        (cell.engine, cell.timesteps, cell.eta, cell.calls, cell.images, cell.distance)
        for cell in sweep.cells
    ]
    assert all(len(cell.batch_seconds) == -(-cell.images // 8) for cell in sweep.cells)
    return cells, sweep.pairs, sweep.reference, sweep.extractor


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, found_modules):  # noqa: F811
    folder = prepare(tmp_path_factory.mktemp("unbroken") / "sweep")
    return folder, run(folder)


@pytest.fixture
def folder(tmp_path):
    return prepare(tmp_path / "sweep")


def test_every_cell_is_done_once_and_the_engines_alternate(unbroken):
    folder, tasks = unbroken
    expected = [(side, task) for _ in range(4) for side in "AB" for task in FULL]
    expected += [(side, task) for _ in range(2) for side in "AB" for task in TIMED]
    assert tasks == expected
    assert is_complete(folder)
    assert run(folder) == []


def test_the_cells(unbroken):
    sweep = found(unbroken[0])
    rows = [Row(S, variant) for S in (3, 5, 8) for variant in (ETA_0, SIGMA_HAT)]
    assert sweep.rows() == rows
    for cell in sweep.cells:
        assert cell.images == (8 if cell.timesteps == 8 else 20)
        assert (cell.distance is None) == (cell.timesteps == 8)
        assert cell.seconds_per_image == sum(cell.batch_seconds) / cell.images > 0
        assert (cell.device, cell.calls) == ("cpu", cell.timesteps)
        assert (cell.versions["fake"], cell.frameworks) == ("1", [])
    assert [pair.row for pair in sweep.pairs] == rows[:4]
    for pair in sweep.pairs:
        first, second = (sweep.cell(name, pair.row).distance for name in sweep.engines)
        assert pair.difference == pytest.approx(first - second, abs=1e-6)
        assert pair.difference != 0
    assert sweep.distance_name == "FD-small" and sweep.reference_images > 1000


def test_the_distance_is_that_of_the_shared_noise(unbroken):
    """All images at once, in another batch size, measured by hand."""
    from jittor_ddim.engines.choice import EngineChoice
    from jittor_ddim.evaluation.extractor import ExtractorChoice

    unet = FakeEngine().unet(PLAN.config, fresh_weights(PLAN.config, 7))
    row = Row(5, SIGMA_HAT)
    images = list(sample_images(unet, PLAN.config, PLAN.settings(row), range(20), 20))
    extractor = ExtractorChoice("small").load(EngineChoice(), (8, 8))
    moments = MomentsAccumulator()
    moments.add(extractor.features(extractor.prepare(np.repeat(np.stack(images), 3, axis=-1)))[0])
    expected = frechet_distance(moments.moments(), load_reference(unbroken[0]).moments)
    cell = found(unbroken[0]).cell("jittor", row)
    assert cell.distance == pytest.approx(expected, rel=1e-6)


def test_nothing_large_is_left(unbroken):
    names = {path.name for path in unbroken[0].rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".npy", ".safetensors"))]


def test_the_work_is_counted_in_network_calls(unbroken, folder):
    total = 2 * (2 * 20 * (5 + 3) + 2 * 8 * 8)
    assert work(PLAN, GRID, folder) == (total, 0)
    assert work(PLAN, GRID, unbroken[0]) == (total, total)
    assert work(PLAN, dataclasses.replace(GRID, timesteps=(5, 3, 6)), unbroken[0]) == (
        total + 2 * 2 * 120, total,
    )  # fmt: skip


class Stop(BaseException):
    """As Ctrl-C or SIGTERM, at a place of the test's choice."""


def stopping(monkeypatch, at):
    """Let the parent stop after its call number `at`."""
    calls = []

    def call(self, task, real=Worker.call, **arguments):
        result = real(self, task, **arguments)
        calls.append(task)
        if len(calls) == at:
            raise Stop
        return result

    monkeypatch.setattr(Worker, "call", call)


def test_a_sweep_that_is_stopped_anywhere_ends_as_an_unbroken_one(folder, unbroken, monkeypatch):
    stops = 0
    for at in [*range(1, 11), *[5] * 10]:
        with monkeypatch.context() as patch:
            stopping(patch, at)
            before = {path: path.read_bytes() for path in folder.glob("*/*_*.json")}
            try:
                run(folder)
            except Stop:
                stops += 1
            assert all(path.read_bytes() == content for path, content in before.items())
        if is_complete(folder):
            break
    assert stops > 8 and is_complete(folder)
    run(folder)
    assert numbers(folder) == numbers(unbroken[0])


@pytest.mark.parametrize(
    "where",
    [
        ("jittor", "start", 0), ("pytorch", "start", 0), ("jittor", "begin", 0),
        ("jittor", "batch", 4), ("jittor", "finish", 1), ("pytorch", "finish", 0),
        ("pytorch", "begin", 5),
    ],
    ids=lambda where: "-".join(map(str, where)),
)  # fmt: skip
def test_an_engine_that_fails_leaves_the_others_cells_and_is_tried_again(
    where, folder, unbroken, caplog
):
    logging.getLogger("jittor_ddim").propagate = True
    harm = KILL if where[2] % 2 == 0 else "raise ValueError('oops')"
    run(folder, where, harm)
    failed, other = GRID.engines if where[0] == "jittor" else GRID.engines[::-1]
    sweep = found(folder)
    assert list(sweep.failures) == [failed]
    assert sweep.failures[failed].startswith(f"{where[1]}: ")
    whole = [cell for cell in found(unbroken[0]).cells if cell.engine == other]
    kept = [cell for cell in sweep.cells if cell.engine == other]
    assert [cell.distance for cell in kept] == [cell.distance for cell in whole]
    done = [cell for cell in sweep.cells if cell.engine == failed]
    again = run(folder)
    assert not {side for side, _ in again} & {"AB"[other == "pytorch"]}
    assert len([task for _, task in again if task == "begin"]) == 6 - len(done)
    assert numbers(folder) == numbers(unbroken[0])


def test_killed_between_the_last_cell_and_its_pair(folder, unbroken, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "_pair", lambda *given: None)
        run(folder)
    assert len(list(folder.glob("*/features_*.npy"))) == 8 and found(folder).pairs == []
    assert run(folder) == []
    assert numbers(folder) == numbers(unbroken[0])
    test_nothing_large_is_left((folder, []))


def test_one_engine_alone_and_the_other_later(folder, unbroken, caplog):
    """What the first did without keeping its features has no paired difference."""
    alone = Grid((3,), (), (ETA_0,), ("jittor",))
    assert [side for side, _ in run(folder, grid=alone)] == ["A"] * 5
    sweep = found(folder)
    assert sweep.engines == ["jittor"] and len(sweep.cells) == 1 and sweep.pairs == []
    assert not list(folder.glob("*/*.npy"))
    prepare(folder)
    logging.getLogger("jittor_ddim").propagate = True
    with caplog.at_level(logging.INFO):
        run(folder)
    assert "S=3 eta=0.0: jittor and pytorch did not measure this cell in one run" in caplog.text
    cells, pairs, *_ = numbers(folder)
    assert cells == numbers(unbroken[0])[0]
    assert pairs == numbers(unbroken[0])[1][1:]


def test_a_later_command_adds_to_the_table(folder):
    small = Grid((3,), (8,), (ETA_0,), ("jittor",))
    run(folder, grid=small)
    prepare(folder)
    tasks = run(folder, grid=Grid((8,), (3,), (ETA_0,), ("jittor",)))
    assert [task for _, task in tasks] == FULL  # S = 3 has its time already
    sweep = found(folder)
    assert [(cell.timesteps, cell.images) for cell in sweep.cells] == [(3, 20), (8, 20)]


def test_other_devices_are_refused(folder):
    with pytest.raises(UserError, match="pytorch computes on cuda .* set `device` to cpu"):
        run(folder, ("pytorch", "start", 0),
            "session.Session.environment = lambda self: {'device': 'cuda'}")  # fmt: skip


def test_a_device_that_is_not_the_one_it_began_with_is_refused(folder):
    run(folder, grid=Grid((3,), (), (ETA_0,), ("jittor",)))
    prepare(folder)
    with pytest.raises(UserError, match="were computed on cpu, and now it would be cuda"):
        run(folder, ("jittor", "start", 0),
            "session.Session.environment = lambda self: {'device': 'cuda'}",
            grid=Grid((5,), (), (ETA_0,), ("jittor",)))  # fmt: skip


def test_other_features_than_the_references_are_a_failure(folder):
    run(folder, grid=Grid((3,), (), (ETA_0,), ("jittor",)))
    path = folder / "reference.npz"
    with np.load(path) as file:
        arrays = dict(file)
    origin = json.loads(str(arrays["origin"]))
    origin["identity"]["weights_sha256"] = "another"
    np.savez(path, **arrays | {"origin": np.array(json.dumps(origin))})
    prepare(folder)
    run(folder, UNHARMED, grid=Grid((5,), (), (ETA_0,), ("jittor",)))
    assert "made with other features (weights_sha256 another" in found(folder).failures["jittor"]


def test_pairs_of_older_versions_belong_to_the_second_engine(unbroken, tmp_path):
    """They lay in the sweep's folder; without that engine's they are left out."""
    folder = tmp_path / "older"
    shutil.copytree(unbroken[0], folder)
    moved = sorted((folder / "pytorch").glob("pair_*.json"))
    for path in moved:
        pair = json.loads(path.read_text())
        del pair["engine"]
        (folder / path.name).write_text(json.dumps(pair))
        path.unlink()
    assert moved and len(found(folder).pairs) == len(moved)
    assert {pair.engine for pair in found(folder).pairs} == {"pytorch"}
    assert run(folder) == []
    shutil.rmtree(folder / "pytorch")
    assert found(folder).pairs == []
