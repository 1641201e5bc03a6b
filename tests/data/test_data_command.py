import json

import pytest
from typer.testing import CliRunner

from jittor_ddim.cli.data import data_app
from jittor_ddim.errors import DataError


@pytest.fixture
def config_file(tmp_path, make_config, write_images):
    write_images(tmp_path / "root" / "train", 4)
    write_images(tmp_path / "root" / "test", 2)
    (tmp_path / "root" / "train" / "bad.png").write_bytes(b"no image")
    (tmp_path / "root" / "notes.txt").write_text("")
    path = tmp_path / "c.yml"
    path.write_text(make_config(root=str(tmp_path / "root")).to_yaml())
    return path


def run(command, config_file, exp):
    result = CliRunner().invoke(data_app, [command, "--config", str(config_file), "--exp", exp])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout), result.stderr


def test_check_reports_both_splits(tmp_path, config_file):
    report, _ = run("check", config_file, str(tmp_path / "exp"))
    train, test = report["train"], report["test"]
    assert (train["images"], test["images"]) == (4, 2)
    assert train["shape"] == [8, 8, 3] and train["ignored"] == 1
    assert train["skipped"] == ["train/bad.png"] and test["skipped"] == []
    assert str(tmp_path / "root") in train["name"]
    assert train["cache"].startswith(str(tmp_path / "exp" / "datasets" / ".cache"))


def test_prepare_says_whether_it_decoded(tmp_path, config_file):
    report, chatter = run("prepare", config_file, str(tmp_path / "exp"))
    assert report["train"]["decoded_now"] and "4 images, decoded into" in chatter
    report, chatter = run("prepare", config_file, str(tmp_path / "exp"))
    assert not report["train"]["decoded_now"] and "already decoded" in chatter


def test_digits_need_no_cache(tmp_path, make_config):
    path = tmp_path / "d.yml"
    path.write_text(make_config(dataset="DIGITS").to_yaml())
    report, chatter = run("prepare", path, str(tmp_path))
    assert report["test"] == {"images": 89, "cache": None, "decoded_now": False}
    assert "nothing to prepare" in chatter


def test_errors_reach_the_command_line_as_they_are(tmp_path, make_config):
    path = tmp_path / "c.yml"
    path.write_text(make_config(root="nowhere").to_yaml())
    with pytest.raises(DataError, match="nowhere"):
        run("check", path, str(tmp_path))


@pytest.mark.parametrize("command", ["check", "prepare"])
def test_help_shows_an_example(command):
    result = CliRunner().invoke(data_app, [command, "--help"])
    assert result.exit_code == 0 and f"ddim data {command} --config" in result.stdout
