"""Every wrong command line ends with one or two lines and the right code, and changes nothing."""

import io
import os
import shutil
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from jittor_ddim import __version__
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints import save_weights
from jittor_ddim.checkpoints.native import Checkpoint, save_checkpoint
from jittor_ddim.cli import original
from jittor_ddim.cli import train as train_command
from jittor_ddim.cli.main import main, run
from jittor_ddim.config import load_config
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.errors import DivergedError, EngineError, Interrupted, MachineError
from jittor_ddim.image_files import write_png
from jittor_ddim.runs.folder import Run

TINY = {
    "model.ch": 32,
    "model.ch_mult": [1],
    "model.num_res_blocks": 1,
    "model.attn_resolutions": [],
    "training.n_iters": 5,
}


def make_run(exp, doc, **overrides):
    """A run that has reached its last step, 5, with weights that are all zero."""
    config = load_config("digits.yml", TINY | overrides)
    weights = {name: np.zeros(s, np.float32) for name, s in parameter_shapes(config).items()}
    made = Run.at(exp, doc)
    made.create(config, resume=False)
    checkpoint = Checkpoint(step=5, epoch=0, config=config, weights=weights, ema_weights=None,
                            optimizer=weights)  # fmt: skip
    save_checkpoint(made.log_folder, checkpoint, keep_last=3)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an experiment of each kind."""
    place = tmp_path_factory.mktemp("place")
    exp = place / "exp"
    make_run(exp, "c10")
    jsd = make_run(place / "jsd", "c10", **{"diffusion.beta_schedule": "jsd"})
    os.utime(jsd.config_path)
    damaged = make_run(exp, "damaged")
    weights = damaged.log_folder / "ckpt_5" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    empty = Run.at(exp, "empty")
    empty.create(load_config("digits.yml", TINY), resume=False)
    (exp / "logs" / "foreign").mkdir()
    (exp / "logs" / "foreign" / "thesis.txt").write_text("years of work")
    write_png(exp / "image_samples" / "mine", 0, np.zeros((8, 8, 1), np.uint8))
    (place / "broken.yml").write_text("data: [")
    (place / "weights.pth").write_bytes(b"no weights")
    (place / "weights.safetensors").write_bytes(b"no weights")
    (place / "no-images").mkdir()
    wide = load_config("digits.yml", TINY | {"model.ch": 64})
    shapes = parameter_shapes(wide).items()
    save_weights(place / "wide.safetensors", {n: np.zeros(s, np.float32) for n, s in shapes}, wide)
    os.utime(Run.at(exp, "c10").config_path, (2e9, 2e9))  # the newest
    return place


def alarm(*arguments, **options):
    raise AssertionError("an engine was started")


@pytest.fixture(autouse=True)
def stage(place, monkeypatch, restored_process):
    monkeypatch.chdir(place)
    monkeypatch.setattr(engine_choice, "load_engine", alarm)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


def everything(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.endswith(".lock")
    }


def ddim(line: str) -> int:
    return main(line.split())


def errors(capsys) -> list[str]:
    """The lines on stderr that are no chatter; nothing else was printed."""
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    lines = [line for line in err.splitlines() if line and not line.startswith("INFO - ")]
    assert 1 <= len(lines) <= 2, err
    return lines


BAD = {
    # the command line itself
    "trian": "No such command 'trian'",
    "train --dok x": "No such option: --dok",
    "sample --timesteps ten": "Invalid value for '--timesteps'",
    "train extra": "unexpected extra argument",
    "train --doc": "requires an argument",
    "describe": "--config is missing: a file",
    "images pack": "Missing argument",
    # configs
    "train --doc x": "--config is missing",
    "train --config digits.yml": "--doc is missing",
    "train --doc x --config nope.yml": "nope.yml: no such file",
    "train --doc x --config broken.yml": "broken.yml: not plain YAML",
    "train --doc x --config exp": "exp: is a folder",
    "train --doc x --config digits.yml --set model.chh=64": "did you mean model.ch?",
    "train --doc x --config digits.yml --set model.ch": "write it as SECTION.KEY=VALUE",
    "train --doc x --config digits.yml --set ch=64": "write it as SECTION.KEY=VALUE",
    "train --doc x --config digits.yml --set model.ch=[": "'[' is no YAML value",
    "train --doc x --config digits.yml --set model.ch=wide": "model.ch: Input should be",
    "train --doc x --config digits.yml --set model.ch=60": "multiples of 8",
    "train --doc x --config digits.yml --set diffusion.beta_start=0.5": "must not exceed",
    "train --doc x --config digits.yml --set data.logit_transform=true": "exclude each other",
    "train --doc x --config digits.yml --set optim.lr=.nan": "finite",
    "sample --grid --set model.chh=64": "did you mean model.ch?",
    "describe --config nope.yml": "nope.yml: no such file",
    "data check --config nope.yml": "nope.yml: no such file",
    # engines and other words
    "train --doc x --config digits.yml --engine tensorflow": "--engine tensorflow: choose one of",
    "train --doc x --config digits.yml --device tpu": "--device tpu: choose one of auto, cpu",
    "train --doc x --config digits.yml --precision int8": "--precision int8: choose one of",
    "train --doc x --config digits.yml --verbose loud": "--verbose loud: unknown level",
    "train --doc x --config digits.yml --seed -1": "--seed",
    "train --doc x --config digits.yml --seed 1.5": "--seed",
    "sample --grid --engine tensorflow": "--engine tensorflow",
    "sample --grid --device tpu": "--device tpu",
    "sample --grid --precision int8": "--precision int8",
    "sample --grid --compile": "--compile: Jittor compiles by itself",
    "sample --grid --verbose loud": "--verbose loud",
    "reconstruct --engine tensorflow": "--engine tensorflow",
    "demo --engine tensorflow": "--engine tensorflow",
    # experiment folders
    "train --doc ../x --config digits.yml": "--doc '../x'",
    "train --doc /tmp/x --config digits.yml --ni": "--doc '/tmp/x'",
    "train --doc foreign --config digits.yml": "not a run of jittor-ddim",
    "train --doc foreign --config digits.yml --ni": "not a run of jittor-ddim",
    "train --doc c10 --config digits.yml": "kept; choose another --doc",
    "train --doc x --config digits.yml --resume_training": "nothing to resume",
    "train --doc x --resume_training": "x: no such run",
    "train --doc empty --resume_training": "nothing to resume",
    "train --doc c10 --resume_training": "finished at step 5; raise training.n_iters",
    "train --doc damaged --resume_training": "model.safetensors",
    "train --doc c10 --config digits.yml --resume_training": "trained with another config",
    # images
    "train --doc x --config folder.yml": "data.root",
    "train --doc x --config folder.yml --set data.root=nowhere": "nowhere",
    "train --doc x --config folder.yml --set data.root=no-images": "no-images",
    # networks
    "sample --grid --exp nowhere": "no run here",
    "sample --grid --doc x": "x: no such run",
    "sample --grid --doc ../x": "--doc '../x'",
    "sample --grid --doc empty": "no checkpoint",
    "sample --grid --doc damaged": "model.safetensors",
    "sample --grid --doc c10 --config digits.yml": "trained with another config",
    "sample --grid --doc c10 --set sampling.ckpt_id=4": "no ckpt_4, only 5",
    "sample --grid --pretrained weights.pth": "format not recognised",
    "sample --grid --pretrained weights.pth --set model.ch=32": "needs --config",
    "sample --grid --pretrained nowhere.pth --config digits.yml": "nowhere.pth: no such file",
    "sample --grid --pretrained weights.pth --config digits.yml": "format not recognised",
    "sample --grid --pretrained weights.safetensors --config digits.yml": "not a readable",
    "sample --grid --pretrained wide.safetensors --config digits.yml": "another config: model.ch",
    "sample --grid --use_pretrained": "--use_pretrained needs --config",
    "sample --grid --use_pretrained --config celeba.yml": "no weights are published for CELEBA",
    "gif --use_pretrained --config cifar10.yml --pretrained weights.pth": "leave out one of them",
    "reconstruct --use_pretrained --set model.ch=32": "needs --config",
    "reconstruct --doc x": "x: no such run",
    # sampling
    "sample": "one or more of --fid, --grid, --sequence, --interpolation, --gif",
    "sample --grid --timesteps 0": "timesteps must be in 1 … 1000, got 0",
    "sample --grid --timesteps 2000": "timesteps must be in 1 … 1000, got 2000",
    "sample --grid --timesteps 1000 --exp jsd": "timestep 999 keeps nothing of the image",
    "sample --grid --eta -0.5": "eta must be a number >= 0",
    "sample --grid --eta nan": "eta must be a number >= 0",
    "sample --grid --skip_type quadratic": "spacing must be one of uniform, quad",
    "sample --grid --sample_type euler": "sampler must be one of ddim, ddpm_noisy",
    "sample --grid --sampler dpmpp_2m --eta 1": "eta 1: the sampler dpmpp_2m takes none; use 0",
    "sample --grid --sampler unipc --order 9": "order 9: the order of the sampler unipc is one of",
    "sample --grid --order 2": "order 2: the order of the sampler ddim is fixed; leave it out",
    "sample --grid --timesteps -1 5": "timesteps: -1 … 5 leaves the range 0 … 999",
    "sample --grid --timesteps 9 5": "the sequence must be strictly ascending",
    "sample --grid --timesteps 5 9 --spacing quad": "--timesteps 5 9: they need no --spacing quad",
    "sample --fid --num_samples 0": "--num_samples must be at least 1",
    "sample --grid --num_samples -5": "--num_samples must be at least 1",
    "sample --grid --npz": "--npz packs the images of --fid",
    "sample --grid --image_folder ../x": "--image_folder",
    "sample --fid --grid -i both": "images for FID need a folder of their own",
    "sample --fid -i mine": "images of unknown origin",
    "sample --gif --gif_seconds 0": "0.1 to 600 seconds",
    "sample --gif --gif_seconds nan": "0.1 to 600 seconds",
    "gif --gif_seconds 1e6": "0.1 to 600 seconds",
    "gif --timesteps 0": "timesteps must be in 1 … 1000",
    "reconstruct --timesteps 0": "timesteps must be in 1 … 1000",
    "reconstruct --timesteps 10 --timesteps 2000": "timesteps must be in 1 … 1000, got 2000",
    "reconstruct --timesteps 1000 --exp jsd": "timestep 999 keeps nothing",
    "reconstruct --num_samples 0": "--num_samples",
    "reconstruct nowhere": "nowhere",
    "reconstruct no-images": "no-images",
    "reconstruct -i ../x": "--image_folder",
    # files to look at
    "plot nowhere": "nowhere",
    "plot exp/logs/empty": "metrics.jsonl",
    "describe --config digits.yml --out unet.jpg": "unet.jpg",
    "images pack nowhere set.npz": "nowhere",
    "images unpack nowhere.npz folder": "nowhere.npz",
}


@pytest.mark.parametrize("line", BAD)
def test_wrong_input_ends_with_code_2_and_changes_nothing(line, place, capsys):
    before = everything(place)
    assert ddim(line) == 2
    assert BAD[line] in errors(capsys)[-1]
    assert everything(place) == before


def test_an_unknown_command_line_points_to_the_help(capsys):
    assert main(["train", "--dok", "x"]) == 2
    assert "--help" in errors(capsys)[-1]


@pytest.mark.parametrize("line", ["", "images", "data"])
def test_no_command_shows_the_help(line, capsys):
    assert ddim(line) == 2
    out, err = capsys.readouterr()
    assert "Commands" in out
    assert err.startswith("error: a command is missing") and err.count("\n") == 1


def test_a_run_in_use_names_its_user(capsys):
    with Run.at(Path("exp"), "c10").lock():
        assert ddim("train --doc c10 --resume_training") == 2
    assert "in use by" in errors(capsys)[-1]


def test_the_answer_no_keeps_the_run(place, capsys, monkeypatch):
    before = everything(place)
    for answer in ("n\n", "\n", "", "nope\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        assert ddim("train --doc c10 --config digits.yml") == 2
        (line,) = errors(capsys)
        assert "already exists. Overwrite? (y/n)" in line
    assert everything(place) == before


def test_the_answer_no_keeps_a_picture(place, capsys):
    grid = place / "exp" / "image_samples" / "grid" / "grid.png"
    grid.parent.mkdir(parents=True)
    grid.write_bytes(b"precious")
    before = everything(place)
    assert ddim("sample --grid") == 2
    assert "Overwrite? (y/n)" in errors(capsys)[-1]
    assert everything(place) == before
    shutil.rmtree(grid.parent)


GOOD = [
    "train --doc new --config digits.yml",
    "train --doc c10 --config digits.yml --ni",
    "train --doc c10 --resume_training --set training.n_iters=6",
    "sample --grid --gif --sequence --interpolation",
    "sample --fid --num_samples 3 --npz --eta 1 --skip_type quad --sample_type ddpm_noisy",
    "gif --webp --gif_seconds 2",
    "reconstruct --timesteps 10",
]


@pytest.mark.parametrize("line", GOOD)
def test_an_engine_that_cannot_start_destroys_nothing(line, place, capsys, monkeypatch):
    """It also shows that the alarm of the other tests would ring."""
    before = everything(place)
    assert ddim(line) == 1
    assert "AssertionError: an engine was started" in capsys.readouterr().err

    def missing(*arguments, **options):
        raise EngineError("--device cuda: no GPU here")

    monkeypatch.setattr(engine_choice, "load_engine", missing)
    assert ddim(line) == 2
    assert capsys.readouterr().err.endswith("error: --device cuda: no GPU here\n")
    assert everything(place) == before


def raising(error):
    def job(request):
        raise error

    return job


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted(signal.SIGINT, "stopped at step 3, saved x"), 130, "stopped at step 3"),
        (Interrupted(signal.SIGTERM, "stopped at step 3, saved x"), 143, "stopped at step 3"),
        (MachineError("exp: no space left on device; free some space"), 1, "free some space"),
        (DivergedError("the loss became nan at step 7"), 1, "nan at step 7"),
        (OSError(5, "Input/output error", "exp/logs"), 1, "exp/logs: Input/output error"),
    ],
)
def test_how_a_command_may_end(error, code, message, capsys, monkeypatch):
    monkeypatch.setattr(train_command, "run_training", raising(error))
    assert ddim("train --doc x --config digits.yml") == code
    assert message in " ".join(errors(capsys))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals(number, code, capsys, monkeypatch):
    def job(request):
        os.kill(os.getpid(), number)
        signal.pause()

    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(train_command, "run_training", job)
    assert ddim("train --doc x --config digits.yml") == code
    assert errors(capsys)[-1] in ("terminated", "interrupted")


def test_a_fault_of_ours_shows_where_it_is(capsys, monkeypatch):
    monkeypatch.setattr(train_command, "run_training", raising(ZeroDivisionError("oops")))
    assert ddim("train --doc x --config digits.yml") == 1
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" in err and err.endswith("ZeroDivisionError: oops\n")


def test_a_key_without_effect_is_one_line_of_the_log(capsys):
    line = "train --doc x --config digits.yml --set model.var_type=fixedsmall --engine tensorflow"
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert ddim(line) == 2
    warning, error = errors(capsys)
    assert warning.startswith("WARNING - ")
    assert warning.endswith("digits.yml: model.var_type: accepted, without effect")
    assert error.startswith("error: --engine tensorflow")


COMMANDS = (
    "train", "sample", "gif", "reconstruct", "compare", "plot", "describe", "doctor", "demo",
    "images pack", "images unpack", "data check", "data prepare",
)  # fmt: skip


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_an_example(command, flag, capsys):
    assert main([*command.split(), flag]) == 0
    out, err = capsys.readouterr()
    assert f"Example: ddim {command}" in out and err == ""


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_of_main_py_shows_an_example(flag, capsys):
    assert run(original.app, [flag]) == 0
    out, err = capsys.readouterr()
    assert "Example: python main.py --config cifar10.yml" in out and err == ""


def test_the_list_of_commands(capsys):
    assert main(["-h"]) == 0
    out = capsys.readouterr().out
    assert all(command.split()[0] in out for command in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ddim {__version__}\n"
