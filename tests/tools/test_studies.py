"""The tools that prepare tiles and look for copies, on data small enough to know the answer."""

import importlib.util
import json
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

TOOLS = Path(__file__).parents[2] / "tools"
RED, BLUE, CLEAR = (255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)


def tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tile(left, right=CLEAR):
    """A picture of two halves, as the bytes of a PNG."""
    image = Image.new("RGBA", (4, 2), left)
    image.paste(right, (2, 0, 4, 2))
    file = BytesIO()
    image.save(file, "png")
    return file.getvalue()


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    archive = tmp_path / "tiles.zip"
    with zipfile.ZipFile(archive, "w") as files:
        for number in range(200):
            files.writestr(f"item/sword/{number}.png", tile((number, 9, 9, 255)))
        files.writestr("item/again.png", tile((7, 9, 9, 255)))
        files.writestr("player/base/human_m.png", tile(RED))
        files.writestr("player/base/shadow.png", tile(BLUE, BLUE))
        layers = [
            "cloak",
            "boots",
            "legs",
            "body",
            "gloves",
            "hand1",
            "hand2",
            "hair",
            "beard",
            "head",
            "transform",
            "felids",
        ]
        for layer in layers:
            files.writestr(f"player/{layer}/one.png", tile(CLEAR if layer == "cloak" else BLUE))

    def prepare(out):
        line = ["prepare_tiles.py", str(archive), str(tmp_path / out), "--players", "30"]
        monkeypatch.setattr(sys, "argv", [*line, "--background", "#010203"])
        tool("prepare_tiles").main()
        counts = json.loads(capsys.readouterr().out)
        root = tmp_path / out
        files = sorted(root.rglob("*.png"))
        return counts, {str(path.relative_to(root)): path.read_bytes() for path in files}

    return prepare


def test_tiles_become_the_same_folder_every_time(prepare):
    counts, files = prepare("a")
    assert prepare("b") == (counts, files)
    assert sum(counts.values()) == len(files)
    assert counts["train/item"] + counts["test/item"] == 200  # one came twice
    assert 3 <= counts["test/item"] <= 20
    image = Image.open(BytesIO(next(iter(files.values()))))
    assert image.mode == "RGB" and image.getpixel((3, 0)) == (1, 2, 3)


def test_players_are_layers_over_a_base(prepare):
    _, files = prepare("a")
    players = [Image.open(BytesIO(data)) for name, data in files.items() if "/player/" in name]
    found = {image.getpixel((0, 0)) for image in players}
    assert found <= {RED[:3], BLUE[:3]} and BLUE[:3] in found
    assert {image.getpixel((3, 0)) for image in players} == {(1, 2, 3)}  # no shadow


def test_the_nearest_training_images_are_those_of_brute_force():
    memory = tool("study_memory")
    draw = np.random.default_rng(0)
    rows, training = (draw.random((n, 12), np.float32) for n in (300, 500))
    distances, order = memory.nearest(rows, training)
    every = cdist(rows, training)
    assert np.array_equal(order, every.argsort(axis=1)[:, : memory.NEIGHBOURS])
    assert np.allclose(distances, np.sort(every, axis=1)[:, : memory.NEIGHBOURS], atol=1e-4)


def test_copies_are_told_from_new_images():
    memory = tool("study_memory")
    held_out = np.linspace(1, 2, 101)
    copies, new = (memory.compare(rows, held_out) for rows in (np.full(50, 0.1), held_out))
    assert (copies["nearer_than_5_percent"], copies["nearer_than_all"]) == (1, 1)
    assert (new["nearer_than_half"], new["nearer_than_all"]) == (0.495, 0)
