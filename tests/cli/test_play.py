"""``ddim play`` at the terminal: what is wrong is said before an engine starts."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import requests
from playing import CONFIG, weights

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.cli.main import main
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.jobs import play as job
from jittor_ddim.play import server
from jittor_ddim.play.turns import Turns

pytestmark = pytest.mark.usefixtures("restored_process")


@pytest.fixture
def network(tmp_path):
    save_weights(tmp_path / "weights.safetensors", weights(), CONFIG)
    return ["play", "--pretrained", str(tmp_path / "weights.safetensors"), "--no_browser"]


@pytest.fixture
def served(monkeypatch):
    """What would have been served, by an engine that never starts."""
    found = []
    monkeypatch.setattr(server.Server, "run", lambda self, sockets: found.extend(sockets))
    monkeypatch.setattr(Turns, "submit", lambda self, job: job.end(done=True))
    monkeypatch.setattr(Turns, "_run", lambda self: None)
    return found


def test_it_prints_its_address(network, served, capsys):
    assert main([*network, "--port", "0"]) == 0
    address = json.loads(capsys.readouterr().out)["address"]
    assert address.startswith("http://127.0.0.1:")
    assert len(served) == 1


@pytest.mark.parametrize("end", [{"done": True}, {"error": "no compiler"}])
def test_the_address_comes_once_the_engine_is_warm(network, served, capsys, monkeypatch, end):
    jobs = []

    def submit(self, first):
        assert not capsys.readouterr().out
        jobs.append(first)
        threading.Timer(0.1, lambda: first.end(**end)).start()

    monkeypatch.setattr(Turns, "submit", submit)
    assert main([*network, "--port", "0"]) == 0
    assert "http://127.0.0.1:" in capsys.readouterr().out
    (first,) = jobs
    assert first.over
    assert (first.ask.sampler, first.ask.num_samples, first.ask.timesteps) == ("dpmpp_2m", 16, 1)


@pytest.mark.parametrize(
    ("device", "gpus", "cpu", "precision", "offered"),
    [
        ("auto", 0, False, "float32", ["float32"]),
        ("auto", 0, True, "float32", ["float32", "bfloat16"]),
        ("auto", 1, False, "bfloat16", ["bfloat16", "float32", "tf32"]),
        ("cpu", 1, False, "float32", ["float32"]),
    ],
)
def test_precisions_of_this_machine_are_offered(
    monkeypatch, device, gpus, cpu, precision, offered
):
    monkeypatch.setattr(job, "count_gpus", lambda: gpus)
    monkeypatch.setattr(job, "cpu_has_bfloat16", lambda: cpu)
    monkeypatch.setattr(job, "_installed", lambda first: [first, "other"])
    found = job._choices(EngineChoice("jittor", device, precision))
    assert [choice.precision for choice in found if choice.name == "jittor"] == offered
    assert [choice.precision for choice in found if choice.name == "other"] == offered
    assert {choice.device for choice in found} == {device}


def test_a_port_in_use_is_named(network, served, capsys):
    with server.listening("127.0.0.1", 0) as (_, address):
        port = address.rstrip("/").rpartition(":")[2]
        assert main([*network, "--port", port]) == 2
    error = capsys.readouterr().err
    assert f"--port {port}: in use" in error and "another" in error
    assert not served


def test_a_missing_extra_is_named(network, served, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "uvicorn" else find(name, *a)
    )
    assert main(network) == 2
    assert "pip install 'jittor-ddim[play]'" in capsys.readouterr().err


def test_another_host_is_warned_of(network, served, capsys):
    assert main([*network, "--port", "0"]) == 0
    assert "password" not in capsys.readouterr().err
    assert main([*network, "--port", "0", "--host", "0.0.0.0"]) == 0
    assert "--host 0.0.0.0: whoever reaches" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "host.invalid"], "--host host.invalid"),
        (["--port", "70000"], "65535"),
        (["--engine", "none"], "choose one of"),
        (["--weights", "nothing"], "choose one of"),
    ],
)
def test_wrong_options_are_named(network, served, capsys, options, message):
    assert main([*network, "--port", "0", *options]) == 2
    assert message in capsys.readouterr().err
    assert not served


@pytest.mark.slow
@pytest.mark.pytorch
def test_ctrl_c_ends_it_all(network, tmp_path):
    line = [sys.executable, "-m", "jittor_ddim", *network, "--port", "0", "--engine", "pytorch"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [*line, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert process.stdout
    address = json.loads(process.stdout.readline())["address"]
    ask = {"engine": "pytorch", "timesteps": 1000, "num_samples": 64}
    body = {"client": "one", "ask": ask}
    with requests.post(f"{address}api/run", json=body, stream=True, timeout=60) as answer:
        lines = answer.iter_lines()
        while b'"position": 2' not in next(lines):
            pass
        children = psutil.Process(process.pid).children()
        assert len(children) == 1
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < 10
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not any(child.is_running() for child in children)
    assert not list(tmp_path.glob("ddim-play-*"))
