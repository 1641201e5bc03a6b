"""Two sides in turns: the order, every interruption, every failure."""

import json
import logging
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from comparing import CONFIG, PLAN, UNHARMED, command, found_modules, prepare  # noqa: F401
from fake_engine import FakeEngine

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.compare import side_by_side, turns
from jittor_ddim.compare.gather import gather
from jittor_ddim.compare.layout import PHASES
from jittor_ddim.compare.results import Comparison
from jittor_ddim.compare.side_by_side import is_complete, measure
from jittor_ddim.compare.turns import TrainingInTurns
from jittor_ddim.data import open_images
from jittor_ddim.data.loader import make_batch
from jittor_ddim.errors import UserError
from jittor_ddim.hardware import Meter
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.parity.contender import Contender
from jittor_ddim.parity.process import Worker
from jittor_ddim.runs.metrics_log import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("found_modules")]

KILL = "os.kill(os.getpid(), signal.SIGKILL)"
CHECKS = [
    "weights", "outputs", "gradients", "losses", "grad_norms", "images_eta0", "images_eta1",
]  # fmt: skip


def run(folder, where=UNHARMED, harm=""):
    """Measure, and return the tasks that were given, as ("A" or "B", task)."""
    record = folder.with_suffix(".record")
    record.unlink(missing_ok=True)
    try:
        measure(PLAN, folder, folder.parent, command(record, where, harm))
    finally:
        lines = record.read_text().splitlines() if record.exists() else []
        tasks = [line.split() for line in lines]
        run.tasks = [("A" if name == "jittor" else "B", task) for name, task in tasks]
    return run.tasks


def numbers(folder, name):
    records = list(read_metrics(folder / name / "metrics.jsonl"))
    return [(record["step"], record["loss"], record["grad_norm"]) for record in records]


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file}


def assert_equals(folder, unbroken):
    """All that does not depend on time is the same to the bit."""
    assert is_complete(PLAN, folder)
    for name in PLAN.engines:
        assert numbers(folder, name) == numbers(unbroken, name)
        for file in ("weights.json", "training.json"):
            assert (folder / name / file).read_bytes() == (unbroken / name / file).read_bytes()
        for path in (unbroken / name).glob("*.npz"):
            found, expected = arrays(folder / name / path.name), arrays(path)
            assert set(found) == set(expected)
            assert all(np.array_equal(found[key], expected[key]) for key in expected)
    comparison, samples = gather(PLAN, folder, "ddim")
    assert not [side.failure for side in comparison.sides if side.failure]
    assert [len(side.costs) for side in comparison.sides] == [4, 4]
    assert all(cost.peak_host_memory_mb > 10 for s in comparison.sides for cost in s.costs)
    assert len(comparison.ratios) == 4 and len(samples) == 2


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, found_modules):  # noqa: F811
    folder = prepare(tmp_path_factory.mktemp("unbroken") / "comparison")
    return folder, run(folder)


@pytest.fixture
def folder(tmp_path):
    return prepare(tmp_path / "comparison")


def test_both_work_in_turns(unbroken):
    _, tasks = unbroken
    pair = ["A", "B"]
    expected = [(side, task) for task in ("weights", "inspect") for side in pair]
    expected += [(side, "steps_done") for side in pair]
    expected += [(side, "train") for side in "ABAB"]
    expected += [(side, "phases") for side in pair]
    expected += [(side, "sample") for side in "ABAB"]
    expected += [(side, "cost") for side in "ABABABAB" * 3]  # warm-up and three rounds
    assert [task for task in tasks if task[1] != "close"] == expected
    assert tasks[-2:] == [("A", "close"), ("B", "close")]


def test_the_comparison_of_equals(unbroken):
    folder, _ = unbroken
    comparison, samples = gather(PLAN, folder, "ddim compare")
    assert comparison.alignment.aligned
    assert [check.name for check in comparison.alignment.checks] == CHECKS
    assert all(check.measured == 0 for check in comparison.alignment.checks)
    assert comparison.alignment.checks[0].count == len(parameter_shapes(CONFIG))
    assert comparison.alignment.outputs[-1].name == "conv_out"
    assert comparison.alignment.gradients[0].name == "conv_out.bias"
    assert (comparison.kind, comparison.device, comparison.title) == (
        "engines", "cpu", "digits.yml",
    )  # fmt: skip
    for side in comparison.sides:
        assert side.training.step == list(range(1, 13))
        assert side.training.cause[:5] == ["warmup"] * 5
        assert (side.frameworks, side.failure) == ([], None)
        assert side.cold_start_s > 0 and side.warmup == 5
        steps = json.loads((folder / side.engine / PHASES).read_text())
        assert side.phases["backward"] == np.median([step["backward"] for step in steps]) > 0
        found = [(cost.kind, cost.batch_size, cost.timing.count) for cost in side.costs]
        assert found == [("train", 4, 7), ("train", 2, 12), ("sample", 2, 12), ("sample", 4, 12)]
        assert [cost.warmup for cost in side.costs] == [5, 2, 2, 2]
        for cost in side.costs:
            assert cost.images_per_s == cost.batch_size / cost.timing.p50
    assert [(one.variant.eta, one.images[0].shape) for one in samples] == [
        (0.0, (6, 8, 8, 1)), (1.0, (6, 8, 8, 1)),
    ]  # fmt: skip
    assert samples[0].frames[0].shape == (6, 6, 8, 8, 1) and samples[1].frames is None
    assert np.array_equal(samples[0].frames[1][-1], samples[0].images[1])
    assert not np.array_equal(samples[0].images[0], samples[1].images[0])
    for ratio in comparison.ratios:
        assert ratio.low <= ratio.value <= ratio.high
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


def test_three_engines_take_turns(tmp_path, monkeypatch):
    """The same engine under three names; one of them starts from other weights."""
    plan = PLAN.model_copy(update={"engines": ("jittor", "pytorch", "numpy"), "steps": 6})
    folder, record = prepare(tmp_path / "comparison", plan), tmp_path / "record"
    departing = "self._start['conv_out.bias'][:] += 1"
    measure(plan, folder, tmp_path, command(record, ("numpy", "weights", 0), departing))
    trained = [line for line in record.read_text().splitlines() if line.endswith("train")]
    assert trained == ["jittor train", "pytorch train", "numpy train"]
    monkeypatch.setattr(
        "jittor_ddim.compare.gather.describe_engine",
        lambda name: SimpleNamespace(title=name.title(), module=name),
    )
    comparison, samples = gather(plan, folder, "ddim")
    assert [side.name for side in comparison.sides] == ["Jittor", "Pytorch", "Numpy"]
    assert [len(side.costs) for side in comparison.sides] == [4, 4, 4]
    assert [(one.side, one.batch_size) for one in comparison.ratios] == [
        (side, size) for size in (4, 2, 2, 4) for side in (1, 2)
    ]
    found = {check.name: (check.passed, check.side) for check in comparison.alignment.checks}
    assert not comparison.alignment.aligned and found["weights"] == (False, 2)
    assert found["outputs"] == found["losses"] == (False, 2)
    assert found["images_eta0"] == (True, 1)  # all sample with the first side's weights
    assert [len(one.images) for one in samples] == [3, 3]
    assert is_complete(plan, folder)


def test_where_only_the_curves_depart_rounding_is_asked_for(folder):
    """Another learning rate is no rounding, and what was found out is not asked again."""
    other = "optim = self._config.optim.model_copy(update={'lr': 1.1e-4});"
    other += "self._config = self._config.model_copy(update={'optim': optim});"
    other += "self._plan = self._plan.model_copy(update={'config': self._config})"
    tasks = run(folder, ("pytorch", "steps_done", 0), other)
    assert [side for side, task in tasks if task == "rounding"] == ["A", "B"]
    assert is_complete(PLAN, folder)
    comparison, _ = gather(PLAN, folder, "ddim")
    failed = [check for check in comparison.alignment.checks if not check.passed]
    assert [check.name for check in failed] == ["losses", "grad_norms"]
    assert [(check.first, check.rounding) for check in failed] == [("2", None), ("2", None)]
    (folder / "jittor" / "rounding.json").unlink()
    assert not is_complete(PLAN, folder)
    assert [task for task in run(folder) if task[1] == "rounding"] == [("A", "rounding")]


def test_the_turns_are_steps_of_one_training(unbroken):
    """The loss of each step is that of a training without turns."""
    folder, _ = unbroken
    images = open_images(CONFIG, "train", folder).images
    trainer = FakeEngine().trainer(CONFIG, fresh_weights(CONFIG, 7), 7)
    for step, loss, norm in numbers(folder, "pytorch"):
        batch = make_batch(images, CONFIG, 7, step)
        assert (trainer.learn(batch.x_t, batch.t, batch.target), trainer.grad_norm) == (loss, norm)


def test_a_complete_comparison_starts_nothing(unbroken, monkeypatch):
    folder, _ = unbroken
    monkeypatch.setattr(side_by_side, "start_contenders", None)
    measure(PLAN, folder, folder.parent)


PARTS = ["weights", "inspect", "steps_done", "train", "phases", "sample", "cost", "close"]
HARM = [("jittor", task, 0) for task in PARTS] + [
    ("jittor", "train", 1), ("pytorch", "train", 1), ("pytorch", "sample", 1),
    ("pytorch", "cost", 11),
]  # fmt: skip
#: What leaves a file behind, by task.
FILES = {
    "weights": "weights.json", "inspect": "../layers.json", "phases": "phases.json",
    "train": "training.json",
}  # fmt: skip


@pytest.mark.parametrize("where", HARM, ids=lambda where: "-".join(map(str, where)))
def test_a_side_that_fails_leaves_the_others_results_and_is_tried_again(
    where, folder, unbroken, caplog
):
    failed, other = PLAN.engines if where[0] == "jittor" else PLAN.engines[::-1]
    logging.getLogger("jittor_ddim").propagate = True
    # Death and an exception in turn, to save time: what they do to a process is tested elsewhere.
    harm = KILL if where[2] % 2 == 0 and where[0] == "jittor" else "raise ValueError('oops')"
    run(folder, where, harm)
    assert json.loads((folder / failed / "failure.json").read_text())["task"] == where[1]
    assert not is_complete(PLAN, folder)
    comparison, samples = gather(PLAN, folder, "ddim")
    sides = {side.engine: side for side in comparison.sides}
    assert sides[failed].failure.startswith(f"{where[1]}: ")
    assert ("killed by SIGKILL" if harm == KILL else "ValueError: oops") in sides[failed].failure
    assert sides[other].failure is None
    assert numbers(folder, other) == numbers(unbroken[0], other)
    assert len(sides[other].costs) == 4 and sides[other].phases and comparison.device == "cpu"
    if comparison.alignment:  # made only of what both have
        assert comparison.alignment.aligned is not False
        names = [check.name for check in comparison.alignment.checks]
        assert names == [name for name in CHECKS if name in names]
    assert len(samples) <= 2
    Comparison.model_validate_json(comparison.model_dump_json())
    done = {task for task, file in FILES.items() if (folder / failed / file).exists()}
    again = run(folder)
    assert not {task for side, task in again if side == "AB"[failed == "pytorch"]} & done
    assert {task for side, task in again if side == "AB"[other == "pytorch"]} == {"close"}
    # Whose weights both sample with may now be the other's, which are the same.
    assert_equals(folder, unbroken[0])


def test_a_side_that_does_not_start(folder, unbroken):
    tasks = run(folder, ("jittor", "start", 0), "sys.exit('no luck')")
    assert {side for side, _ in tasks} == {"B"}
    comparison, samples = gather(PLAN, folder, "ddim")
    assert comparison.sides[0].failure == "start: its process ended (exit code 1): no luck"
    assert comparison.sides[0].environment == {} and comparison.sides[0].cold_start_s is None
    assert (comparison.device, comparison.alignment, comparison.ratios) == ("cpu", None, [])
    assert len(comparison.sides[1].costs) == 4 and samples == []
    run(folder)
    assert_equals(folder, unbroken[0])


def test_both_fail(folder, unbroken):
    run(folder, ("jittor", "inspect", 0), KILL)
    shutil.rmtree(folder / "pytorch")
    (folder / "trained.safetensors").unlink()
    run(folder, ("jittor", "start", 0), KILL)
    run(folder)
    assert_equals(folder, unbroken[0])


def test_other_devices_are_refused(folder):
    with pytest.raises(UserError, match="pytorch computes on cuda .* set `device` to cpu"):
        run(folder, ("pytorch", "start", 0),
            "session.Session.environment = lambda self: {'device': 'cuda'}")  # fmt: skip


class Stop(BaseException):
    """As Ctrl-C or SIGTERM, at a place of the test's choice."""


def stopping(monkeypatch, at):
    """Let the parent stop after its call number `at`; return how many it has made."""
    calls = []

    def call(self, task, real=Worker.call, **arguments):
        result = real(self, task, **arguments)
        calls.append(task)
        if len(calls) == at:
            raise Stop
        return result

    monkeypatch.setattr(Worker, "call", call)
    return calls


def test_a_comparison_that_is_stopped_after_every_call_ends_as_an_unbroken_one(
    folder, unbroken, monkeypatch
):
    """Each run makes one call more than the one before it, until nothing is left to do."""
    monkeypatch.setattr("jittor_ddim.compare.side_by_side._ROUNDS", 1)
    stops, at = 0, 1
    while not is_complete(PLAN, folder):
        with monkeypatch.context() as patch:
            stopping(patch, at)
            before = {path for path in folder.rglob("*.*") if path.name in FILES.values()}
            times = {path: path.stat().st_mtime_ns for path in before}
            try:
                run(folder)
            except Stop:
                stops += 1
            # A unit that was done is not done again.
            assert all(path.stat().st_mtime_ns == times[path] for path in before)
        at = at + 1 if at < 6 else 1 + stops % 7
        assert stops < 60
    assert stops > 4
    # With one round instead of three only the costs differ.
    for name in PLAN.engines:
        assert numbers(folder, name) == numbers(unbroken[0], name)
        for eta in (0, 1):
            file = f"{name}/samples_eta{eta}.npz"
            found, expected = arrays(folder / file), arrays(unbroken[0] / file)
            assert np.array_equal(found["images"], expected["images"])


def test_the_side_behind_goes_first(folder, unbroken, monkeypatch):
    """And the side with a checkpoint goes on from it, to the bit."""
    often = "from jittor_ddim.compare import turns; turns._SAVE_SECONDS = 0.0"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        calls = stopping(patch, 7)
        run(folder, ("jittor", "start", 0), often)
    assert calls[-1] == "train" and (folder / "jittor" / "ckpt_10").is_dir()
    assert [side for side, task in run(folder) if task == "train"] == ["B", "A", "B"]
    assert_equals(folder, unbroken[0])


def test_killed_between_the_last_step_and_the_note_of_it(folder, unbroken, monkeypatch):
    """The checkpoint is there, and the memory of every turn too."""
    monkeypatch.setattr(side_by_side, "_tidy", lambda plan, folder: None)
    run(folder)
    for name in PLAN.engines:
        (folder / name / "training.json").unlink()
    tasks = run(folder)
    assert [task for task in tasks if task[1] == "train"] == []
    assert_equals(folder, unbroken[0])


def test_a_checkpoint_between_two_turns_is_a_pause_of_the_next_step(tmp_path, monkeypatch):
    readings = []

    class CountingMeter(Meter):
        def read(self):
            readings.append(None)
            return super().read()

    monkeypatch.setattr(turns, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(
        turns, "save_checkpoint", lambda *a, real=turns.save_checkpoint, **k: time.sleep(0.2)
    )
    images = open_images(CONFIG, "train", tmp_path)
    engine = FakeEngine()
    training = TrainingInTurns(
        engine, PLAN, images, fresh_weights(CONFIG, 7), tmp_path, CountingMeter("cpu", lambda: 0)
    )
    try:
        training.save()  # nothing to save yet
        training.take(1, 3)
        assert len(readings) == 4  # the first is no step's: its interval was the other engine's
        training.save()
        training.take(4, 5)
        with pytest.raises(RuntimeError, match="is at step 5, not at 8"):
            training.take(9, 10)
    finally:
        training.close()
    pauses = [record["pause_time_s"] for record in list(read_metrics(tmp_path / "metrics.jsonl"))]
    assert pauses[:3] == [0, 0, 0] and pauses[3] >= 0.2 and pauses[4] == 0


def test_what_the_user_could_mend_in_a_task_is_a_failure_too(tmp_path):
    class Refusing:
        engine, frameworks = "jittor", []

        def call(self, task, **arguments):
            raise UserError("the checkpoint is damaged")

    (tmp_path / "jittor").mkdir()
    contender = Contender(Refusing(), Path(tmp_path / "jittor"))
    assert contender.call("train") is None and not contender.alive
    assert json.loads((tmp_path / "jittor" / "failure.json").read_text()) == {
        "task": "train", "error": "the checkpoint is damaged",
    }  # fmt: skip
