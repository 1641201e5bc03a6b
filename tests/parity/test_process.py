"""A worker's process that does well, fails, dies, talks nonsense, or loses its parent."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from comparing import command, found_modules, prepare  # noqa: F401
from killing import ENVIRONMENT

from jittor_ddim.errors import UserError
from jittor_ddim.parity.process import Worker, WorkerFailed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("found_modules")]

KILL = "os.kill(os.getpid(), signal.SIGKILL)"
#: As a compiler's worker: a child that has what its parent had open.
ORPHAN = "\n".join(
    [
        "if os.fork() == 0:",
        "    time.sleep(300)",
        "    os._exit(0)",
        KILL,
    ]
)


@pytest.fixture
def folder(tmp_path):
    return prepare(tmp_path / "comparison")


@pytest.fixture
def start(folder, tmp_path):
    def start(task="", harm="", count=0, script=None):
        line = command(tmp_path / "record", ("jittor", task, count), harm)
        whole = script or [*line, "jittor", str(folder), str(tmp_path)]
        return Worker("jittor", folder / "jittor", whole)

    return start


def group(worker):
    """The living processes of a worker."""
    pid = worker._process.pid
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def has_ended(worker):
    """Whether nothing is left of a worker; what was killed needs a moment to die."""
    assert worker._process.returncode is not None
    return not psutil.wait_procs(group(worker), 10)[1]


def test_a_worker_does_its_tasks_and_ends(start, folder):
    with start() as worker:
        environment, seconds = worker.wait_until_ready()
        assert environment["device"] == "cpu" and environment["environment"]["fake"] == "1"
        assert 0 < seconds < 60
        assert worker.frameworks == []
        assert len(worker.call("weights")["conv_in.weight"]) == 64
        assert worker.call("steps_done") == 0
        assert worker.call("train", first=1, last=10) == {}
        assert worker.call("train", first=11, last=12) == {}
        phases = worker.call("phases", count=2)
        assert [set(step) for step in phases] == [{"forward", "backward", "optimizer"}] * 2
        assert all(seconds > 0 for step in phases for seconds in step.values())
        assert worker.call("close") == {}
    assert worker._process.returncode == 0 and has_ended(worker)
    turns = json.loads((folder / "jittor" / "turns.json").read_text())
    assert len(turns) == 2 and all(turn["peak_host_memory_mb"] > 10 for turn in turns)


@pytest.mark.parametrize("task", ["start", "weights", "inspect", "steps_done", "train", "close"])
def test_a_killed_worker(start, task):
    arguments = {"train": {"first": 1, "last": 2}}.get(task, {})
    with start(task, KILL) as worker, pytest.raises(WorkerFailed, match="killed by SIGKILL"):
        worker.wait_until_ready()
        worker.call(task, **arguments)
    assert has_ended(worker)


def test_a_worker_that_is_killed_between_two_tasks(start):
    with start() as worker:
        worker.wait_until_ready()
        os.kill(worker._process.pid, signal.SIGKILL)
        time.sleep(0.5)
        for _ in range(2):
            with pytest.raises(WorkerFailed, match="killed by SIGKILL"):
                worker.call("weights", nonsense="x" * 100_000)
    assert has_ended(worker)


def test_children_of_a_killed_worker_hold_nobody_up(start):
    begun = time.monotonic()
    with start("inspect", ORPHAN) as worker:
        worker.wait_until_ready()
        with pytest.raises(WorkerFailed, match="killed by SIGKILL"):
            worker.call("inspect")
        assert has_ended(worker)
    assert time.monotonic() - begun < 60


def test_children_that_outlive_a_worker_are_ended(start):
    with start("inspect", "if os.fork() == 0: time.sleep(300)") as worker:
        worker.wait_until_ready()
        worker.call("inspect")
        assert len(group(worker)) == 2
    assert has_ended(worker)


def test_an_exception_is_told_and_its_place_kept(start, folder):
    with start("train", "raise ValueError('one\\ntwo')") as worker:
        worker.wait_until_ready()
        with pytest.raises(WorkerFailed, match="^ValueError: one two$"):
            worker.call("train", first=1, last=2)
    assert worker._process.returncode == 0
    assert "Traceback" in (folder / "jittor" / "stderr.txt").read_text()


def test_what_the_user_can_mend_is_a_users_error(start):
    harm = "from jittor_ddim.errors import UserError; raise UserError('mend it')"
    with start("inspect", harm) as worker:
        worker.wait_until_ready()
        with pytest.raises(UserError, match="^mend it$"):
            worker.call("inspect")


def test_what_a_framework_prints_is_no_answer(start, folder):
    noise = "print('a'); os.write(1, b'b\\n'); os.system('echo c')"
    with start("inspect", noise) as worker:
        worker.wait_until_ready()
        assert worker.call("inspect") == {}
        assert worker.call("steps_done") == 0
    printed = (folder / "jittor" / "stderr.txt").read_text().split()
    assert sorted(printed) == ["a", "b", "c"]


@pytest.mark.parametrize("line", ["garbage", "[]", "{}", "null", "7", '{"result": 1}', ""])
def test_garbage_on_the_output(start, line):
    script = [sys.executable, "-c", f"print({line!r}, flush=True); input()"]
    with start(script=script) as worker, pytest.raises(WorkerFailed, match="not a result"):
        worker.wait_until_ready()
    assert has_ended(worker)


def test_a_process_that_ends_at_once(start):
    script = [sys.executable, "-c", "import sys; sys.exit('no\\nluck today')"]
    with start(script=script) as worker, pytest.raises(WorkerFailed) as error:
        worker.wait_until_ready()
    assert str(error.value) == "its process ended (exit code 1): no / luck today"


def test_a_worker_that_hangs_is_ended_with_an_interrupted_parent(start):
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), start("inspect", "time.sleep(300)") as worker:
        worker.wait_until_ready()
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(1)
        worker.call("inspect")
    assert time.monotonic() - begun < 60 and has_ended(worker)


def test_two_processes_do_not_work_on_one_comparison(start):
    with start() as worker:
        worker.wait_until_ready()
        with start() as second, pytest.raises(UserError, match="another process is working"):
            second.wait_until_ready()
        assert worker.call("steps_done") == 0
    with start() as worker:
        worker.wait_until_ready()


PARENT = """
import sys
from pathlib import Path
from jittor_ddim.parity.process import Worker
with Worker("jittor", Path(sys.argv[1]) / "jittor", sys.argv[2:]) as worker:
    worker.wait_until_ready()
    print(worker._process.pid, flush=True)
    worker.call("train", first=1, last=10)
    input()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_worker_ends_with_its_parent(number, folder, tmp_path):
    """Killed, the parent can do nothing for it. A Ctrl-C reaches the parent alone."""
    line = [sys.executable, "-c", PARENT, str(folder), *command(tmp_path / "record")]
    with subprocess.Popen(
        [*line, "jittor", str(folder), str(tmp_path)], env=ENVIRONMENT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as parent:  # fmt: skip
        worker = psutil.Process(int(parent.stdout.readline()))
        record = tmp_path / "record"
        while not (record.exists() and "train" in record.read_text()):
            time.sleep(0.05)
        os.killpg(parent.pid, number)
        parent.wait(30)
    gone, alive = psutil.wait_procs([worker], 30)
    assert gone and not alive
    assert "KeyboardInterrupt" not in (folder / "jittor" / "stderr.txt").read_text()
