"""`python main.py` with the official flags makes the same requests as the commands."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from jittor_ddim.cli import evaluate as evaluate_command
from jittor_ddim.cli import original
from jittor_ddim.cli import sample as sample_command
from jittor_ddim.cli import train as train_command
from jittor_ddim.cli.main import main, run
from jittor_ddim.jobs.sample import SampleRequest
from jittor_ddim.jobs.train import TrainRequest

BASE = "--config digits.yml --exp exp"


@pytest.fixture
def requests(monkeypatch, tmp_path, restored_process):
    """What the jobs are asked for, instead of doing it."""
    caught = []

    def train(request):
        caught.append(request)
        return Path("ckpt")

    def sample(request):
        caught.append(request)
        return [Path("grid.png")]

    def evaluate(request):
        caught.append(request)
        return {}

    monkeypatch.chdir(tmp_path)
    for name in ("images", "there"):
        (tmp_path / "exp" / "image_samples" / name).mkdir(parents=True)
    monkeypatch.setattr(evaluate_command, "run_evaluation", evaluate)
    monkeypatch.setattr(train_command, "run_training", train)
    monkeypatch.setattr(sample_command, "run_sampling", sample)
    return caught


def main_py(line: str) -> int:
    return run(original.app, line.split())


def ddim(line: str) -> int:
    return main(line.split())


def comparable(request) -> dict:
    """A request by field; of the question only whether it would be asked."""
    values = {field.name: getattr(request, field.name) for field in fields(request)}
    return values | {"ask": values.get("ask") is not None}


SAME = {
    f"{BASE} --doc c10": f"train {BASE} --doc c10",
    f"{BASE} --doc c10 --ni --seed 7 --comment words --verbose debug": (
        f"train {BASE} --doc c10 --ni --seed 7 --comment words --verbose debug"
    ),
    f"{BASE} --doc c10 --resume_training --engine jittor --device cpu --precision float32": (
        f"train {BASE} --doc c10 --resume_training --device cpu"
    ),
    f"{BASE} --doc c10 --set training.n_iters=5": (
        f"train {BASE} --doc c10 --set training.n_iters=5"
    ),
    f"{BASE} --sample --fid": f"sample {BASE} --fid --timesteps 1000",
    f"{BASE} --doc c10 --sample --fid --timesteps 100 --eta 0.5 --ni": (
        f"sample {BASE} --doc c10 --fid --timesteps 100 --eta 0.5 --ni"
    ),
    f"{BASE} --sample --fid --num_samples 5 --npz --seed 3": (
        f"sample {BASE} --fid --num_samples 5 --npz --seed 3 --timesteps 1000"
    ),
    f"{BASE} --sample --sequence --timesteps 10 --skip_type quad --sample_type ddpm_noisy": (
        f"sample {BASE} --sequence --timesteps 10 --skip_type quad --sample_type ddpm_noisy"
    ),
    f"{BASE} --sample --interpolation --timesteps 10 -i there": (
        f"sample {BASE} --interpolation --timesteps 10 --image_folder there"
    ),
    f"{BASE} --sample --gif --gif_seconds 3 --webp --timesteps 10": (
        f"gif {BASE} --gif_seconds 3 --webp --timesteps 10"
    ),
    f"{BASE} --sample --grid --sequence --pretrained weights --device cpu --verbose error": (
        f"sample {BASE} --grid --sequence --pretrained weights --device cpu --timesteps 1000"
        " --verbose error"
    ),
    f"{BASE} --sample --grid --weights raw": (
        f"sample {BASE} --grid --weights raw --timesteps 1000"
    ),
    f"{BASE} --sample --gif --weights raw": f"gif {BASE} --weights raw --timesteps 1000",
    f"{BASE} --sample --fid --use_pretrained --ni": (
        f"sample {BASE} --fid --use_pretrained --ni --timesteps 1000"
    ),
    f"{BASE} --test --features small": (
        f"evaluate exp/image_samples/images {BASE} --features small"
    ),
    f"{BASE} --test -i there --reference train --mode tf1 --inception w.pth --device cpu": (
        f"evaluate exp/image_samples/there {BASE} --reference train --mode tf1 --inception w.pth "
        "--device cpu"
    ),
    f"{BASE} --sample --grid --class 7 --guidance 1.5": (
        f"sample {BASE} --grid --class 7 --guidance 1.5 --timesteps 1000"
    ),
    f"{BASE} --sample --grid --classes 0 1 2": (
        f"sample {BASE} --grid --classes 0 1 2 --timesteps 1000"
    ),
    f"{BASE} --sample --grid --set sampling.batch_size=3 --sample_type generalized": (
        f"sample {BASE} --grid --set sampling.batch_size=3 --timesteps 1000"
    ),
}


@pytest.mark.parametrize("flags", SAME)
def test_the_same_request_as_by_the_command(flags, requests, capsys):
    assert main_py(flags) == ddim(SAME[flags]) == 0, capsys.readouterr().err
    theirs, ours = requests
    assert type(theirs) is type(ours)
    assert comparable(theirs) == comparable(ours)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[1]  # JSON on stdout


def test_evaluation_needs_images(requests, capsys):
    assert main_py(f"{BASE} --test -i nowhere") == 2
    assert "exp/image_samples/nowhere: no such folder; make the images" in capsys.readouterr().err
    assert main_py(f"{BASE} --test --sample --fid") == 2
    assert "--sample and --test: two steps" in capsys.readouterr().err


def test_a_packed_set_is_evaluated_too(requests, tmp_path):
    (tmp_path / "exp" / "image_samples" / "images").rmdir()
    (tmp_path / "exp" / "image_samples" / "images.npz").touch()
    assert main_py(f"{BASE} --test") == 0
    assert requests[0].images == Path("exp/image_samples/images.npz")


def test_training_ignores_classes_by_the_names_of_their_flags(requests, capsys):
    assert main_py(f"{BASE} --doc c10 --class 7 --guidance 1") == 0
    assert "--class, --guidance are ignored: it trains" in capsys.readouterr().err


def test_defaults(requests):
    assert main_py(f"{BASE} --doc c10") == 0
    assert main_py(f"{BASE} --sample --fid") == 0
    training, sampling = requests
    assert isinstance(training, TrainRequest) and isinstance(sampling, SampleRequest)
    assert (training.seed, training.resume, training.verbose) == (None, False, "info")
    assert training.ask is not None  # without --ni
    settings = sampling.settings
    assert (settings.timesteps, settings.eta, settings.seed) == (1000, 0.0, 1234)
    assert (settings.spacing, settings.sampler) == (None, "ddim")  # the usual spacing
    assert (sampling.modes, sampling.doc, sampling.image_folder) == (("fid",), None, None)


#: The flags of the official main.py that this version has, and those that issue 1 adds.
FLAGS = {
    "training": (
        "--config digits.yml --exp e --doc d --ni --seed 3 --comment c --verbose info"
        " --resume_training --engine jittor --device cpu --precision float32"
    ),
    "sampling": (
        "--config digits.yml --exp e --doc d --ni --seed 3 --comment c --verbose info --sample"
        " --fid --interpolation --sequence --gif --grid --timesteps 10 --eta 1"
        " --sample_type ddpm_noisy --skip_type quad --num_samples 9 --gif_seconds 5"
        " --engine jittor --device cpu --precision float32"
    ),
    "folder": "--config digits.yml --sample --fid --image_folder f --pretrained weights",
    "folder in short": "--config digits.yml --sample --fid -i f",
    "published weights": "--config cifar10.yml --exp e --sample --fid --use_pretrained",
}


@pytest.mark.parametrize("kind", FLAGS)
def test_every_official_flag_is_accepted(kind, requests, capsys):
    assert main_py(FLAGS[kind]) == 0, capsys.readouterr().err
    (request,) = requests
    assert isinstance(request, TrainRequest if kind == "training" else SampleRequest)
    if kind == "sampling":
        assert request.modes == ("fid", "grid", "sequence", "interpolation", "gif")
        assert (request.settings.sampler, request.settings.spacing) == ("ddpm_noisy", "quad")
        assert (request.settings.eta, request.settings.timesteps) == (1.0, 10)
        assert (request.num_samples, request.gif_seconds, request.ask) == (9, 5.0, None)
    assert getattr(request, "use_pretrained", False) == (kind == "published weights")
    if kind.startswith("folder"):
        assert request.image_folder == "f"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--exp exp --doc c10", "--config is missing"),
        ("--config digits.yml", "--doc is missing"),
        (f"{BASE} --doc c10 --fid", "--fid: belongs to sampling; add --sample"),
        (f"{BASE} --gif --sequence", "--sequence and --gif: belongs to sampling"),
        (f"{BASE} --doc d --use_pretrained", "--use_pretrained: belongs to sampling"),
        (f"{BASE} --doc d --pretrained weights", "--pretrained: belongs to sampling"),
        (f"{BASE} --doc d --weights raw", "--weights: belongs to sampling"),
        (f"{BASE} --test --compile", "--compile: belongs to training and sampling"),
        (f"{BASE} --sample --sample_type euler --fid", "sampler must be one of"),
        ("--config nope.yml --doc c10", "nope.yml: no such file"),
        (f"{BASE} --doc c10 --set model.chh=1", "did you mean model.ch?"),
        (f"{BASE} --sample --fid --set model.chh=1", "did you mean model.ch?"),
        (f"{BASE} --samples", "No such option: --samples"),
    ],
)
def test_wrong_flags_ask_for_nothing(flags, message, requests, capsys):
    assert main_py(flags) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""
    assert requests == []


def test_sample_without_a_mode_lists_the_modes(requests, capsys, monkeypatch):
    monkeypatch.undo()  # the job itself
    assert main_py(f"{BASE} --sample") == 2
    err = capsys.readouterr().err
    assert "--fid, --grid, --sequence, --interpolation, --gif" in err and err.count("\n") == 1


def test_main_py_runs_from_a_checkout_anywhere(tmp_path):
    script = Path(__file__).parents[2] / "main.py"
    done = subprocess.run(
        [sys.executable, "-I", str(script), "--config", "nope.yml", "--doc", "c10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nope.yml: no such file")
    assert list(tmp_path.iterdir()) == []
