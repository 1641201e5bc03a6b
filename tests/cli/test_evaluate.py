"""`ddim evaluate` as it is typed: what it prints where, and how it ends."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.cli.main import main

DIGITS = "--config digits.yml --features small"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, restored_process):
    """A dozen grey images in ./images, and a clean cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{index}.png")
    return tmp_path


def ddim(line: str) -> int:
    return main(["evaluate", *line.split()])


def test_json_on_stdout_and_chatter_on_stderr(folder, capsys):
    assert ddim(f"images {DIGITS} --metrics fid,pr") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert set(result["metrics"]) == {"FD-small", "precision-small", "recall-small"}
    assert result["images"]["count"] == 12 and "FD-small is not FID" in err
    assert json.loads(Path(result["file"]).read_text())["metrics"] == result["metrics"]


def test_results_have_names_of_their_own(folder):
    (folder / "images").rename(folder / "x_eta0.5")
    assert ddim(f"x_eta0.5 {DIGITS} --reference train") == 0
    [file] = (folder / "exp/evaluations").iterdir()
    assert "x_eta0.5-small-against-train-" in file.name
    assert ddim(f"x_eta0.5 {DIGITS} --out here/it.json") == 0
    assert (folder / "here/it.json").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("missing --features small --reference train", "missing: no such file or folder"),
        ("images --features small", "--reference both is part of a data set; give --config"),
        (f"images {DIGITS} --metrics best", "--metrics best: choose from fid, kid, is, pr"),
        (f"images {DIGITS} --inception w.pth", "--inception w.pth: --features small does not"),
        (f"images {DIGITS} --doc d", "leave out one of them"),
        (f"{DIGITS}", "IMAGES is missing"),
        ("images --config digits.yml --inception w.pth", "--inception w.pth: no such file"),
        (f"images {DIGITS} --num_samples 1", "num_samples"),
    ],
)
def test_wrong_input_is_exit_code_2_and_writes_nothing(folder, line, message, capsys):
    assert ddim(line) == 2
    out, err = capsys.readouterr()
    assert message in err and not out and "Traceback" not in err
    assert not (folder / "exp").exists()


def test_one_image_and_known_statistics_of_other_weights(folder, capsys, monkeypatch):
    (folder / "one").mkdir()
    (folder / "images/0.png").rename(folder / "one/0.png")
    assert ddim(f"one {DIGITS}") == 2
    assert "one: 1 image; a distance needs at least 2 images" in capsys.readouterr().err
    np.savez(folder / "cifar10-32x32.npz", mu=np.zeros(64), sigma=np.eye(64))
    monkeypatch.setenv("JITTOR_DDIM_STATISTICS", str(folder))
    assert ddim("images --features small --reference edm_cifar10") == 2
    assert "features inception instead of small-digits" in capsys.readouterr().err
    np.savez(folder / "wide.npz", mu=np.zeros(65), sigma=np.eye(65))
    assert ddim("images --features small --reference wide.npz") == 2
    assert "statistics of 65 features, small-digits has 64" in capsys.readouterr().err


def test_damaged_features_in_the_cache_are_computed_again(folder, capsys):
    assert ddim(f"images {DIGITS}") == 0
    first = json.loads(capsys.readouterr().out)["metrics"]
    for path in (folder / "cache" / "features").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert ddim(f"images {DIGITS}") == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == first
