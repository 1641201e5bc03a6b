import json

import numpy as np
import pytest
from layouts import encoded
from PIL import Image
from typer.testing import CliRunner

from jittor_ddim.cli.data import data_app
from jittor_ddim.data.inspection import inspect, spread
from jittor_ddim.errors import UserError
from jittor_ddim.figures.grids import grid

IMAGES = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 3), np.uint8)


def test_mean_and_deviation_are_those_of_all_values():
    advanced = []
    found = inspect(IMAGES, advanced.append)
    values = IMAGES.reshape(-1, 3) / 255
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, values.std(0), rtol=1e-12)
    assert sum(advanced) == len(found.digests) == len(IMAGES)
    assert inspect(np.full((3, 8, 8, 1), 7, np.uint8), advanced.append).deviation == [0.0]


def test_equal_images_are_found_within_and_between_sets():
    images = IMAGES[:100].copy()
    images[70], images[99], images[5] = images[2], images[2], images[4]
    images[50] = images[51][:, ::-1]  # a mirror image is another one
    one, other = (inspect(part, lambda _: None) for part in (images, IMAGES[90:]))
    assert one.repeated() == {5: 4, 70: 2, 99: 2}
    assert one.also_in(other) == {row: row - 90 for row in range(90, 99)}
    assert other.repeated() == {}


def test_images_for_the_sheet_are_evenly_spaced():
    assert np.array_equal(spread(IMAGES, 3), IMAGES[[0, 50, 100]])
    assert np.array_equal(spread(IMAGES[:2], 64), IMAGES[:2])


@pytest.mark.parametrize("stream", [False, True])
def test_check_reports_and_draws_them(tmp_path, make_config, stream):
    root = tmp_path / "root"
    for name, pixels in (
        ("train/a/0.png", IMAGES[0]),
        ("train/b/1.png", IMAGES[1]),
        ("train/b/2.png", IMAGES[0]),
        ("train/b/3.png", np.zeros((20, 10), np.uint8)),
        ("test/a/4.png", IMAGES[1]),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(pixels))
    config = tmp_path / "c.yml"
    config.write_text(make_config(root=str(root), stream=stream, num_classes=2).to_yaml())
    command = ["check", "--config", str(config), "--exp", str(tmp_path / "exp"), "--sheet"]
    done = CliRunner().invoke(data_app, [*command, str(tmp_path / "sheet.png")])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    train, test = report["train"], report["test"]
    assert train["files"] == {"modes": {"RGB": 3, "L": 1}, "smallest": [8, 8], "largest": [10, 20]}
    assert (train["images"], train["classes"], train["streamed"]) == (4, 2, stream)
    assert train["repeated"] == {"images": 1, "examples": [[2, 0]]}
    assert test["also_in_train"] == {"images": 1, "examples": [[0, 1]]}
    np.testing.assert_allclose(test["mean"], IMAGES[1].reshape(-1, 3).mean(0) / 255)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    black = np.zeros((8, 8, 3), np.uint8)
    assert np.array_equal(sheet, grid(np.stack([IMAGES[0], IMAGES[1], IMAGES[0], black])))
    done = CliRunner().invoke(data_app, [*command, str(tmp_path / "sheet.jpg")])
    assert isinstance(done.exception, UserError) and "sheet.png" in str(done.exception)
