"""A network with classes from training to pictures, with the toy engine."""

import json

import numpy as np
import pytest
from fake_engine import TABLE

import jittor_ddim as jd
from jittor_ddim.checkpoints import save_weights
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.cli.main import main
from jittor_ddim.config import Config
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.errors import CheckpointError, DataError, UserError, WeightsError
from jittor_ddim.figures.grids import grid
from jittor_ddim.guidance import Classes
from jittor_ddim.image_files import save_image
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.jobs.reconstruct import ReconstructRequest, run_reconstruction
from jittor_ddim.jobs.sample import SampleRequest, run_sampling
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.sampling import SamplerSettings

SETTINGS = SamplerSettings(timesteps=3, seed=3)


def with_classes(config: Config, count: int = 10, **training) -> Config:
    changes = {"model": {"num_classes": count}, "training": training}
    update = {
        name: getattr(config, name).model_copy(update=keys) for name, keys in changes.items()
    }
    return config.model_copy(update=update)


@pytest.fixture
def classes(config):
    return with_classes(config)


@pytest.fixture
def trained(engine, classes, tmp_path):
    """Weights of ten classes, each of another brightness, as a file."""
    weights = fresh_weights(classes)
    weights[TABLE] += np.float32(0.1) * np.arange(11, dtype=np.float32)[:, None]
    path = tmp_path / "trained.safetensors"
    save_weights(path, weights, classes)
    return path


@pytest.fixture
def sample(tmp_path, trained):
    def sample(*modes, **options):
        options = {"settings": SETTINGS, "pretrained": trained, "verbose": "critical"} | options
        return run_sampling(SampleRequest(exp=tmp_path, modes=modes, **options))

    return sample


@pytest.fixture
def expected(engine, classes, trained):
    def expected(labels, guidance=0.0):
        unet = engine.unet(classes, jd.load_weights(trained))
        x_T = jd.initial_noise(classes, 3, range(len(labels)))
        x_0 = jd.sample(unet, classes, x_T, 3, seed=3, labels=labels, guidance=guidance)
        return to_uint8(from_network(x_0, classes.data))

    return expected


def same_picture(path, pixels, tmp_path):
    save_image(tmp_path / "expected.png", pixels)
    return path.read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_a_grid_has_a_row_for_each_class(sample, expected, tmp_path):
    [path] = sample("grid", classes=Classes((7, 2, 9), 1.0))
    pixels = expected([7] * 8 + [2] * 8 + [9] * 8, 1.0)
    assert same_picture(path, grid(pixels, 8), tmp_path)
    [path] = sample("grid", classes=Classes((7, 2)), num_samples=6)
    assert same_picture(path, grid(expected([7] * 3 + [2] * 3), 3), tmp_path)
    [path] = sample("grid", classes=Classes((7,)), num_samples=6)
    assert same_picture(path, grid(expected([7] * 6)), tmp_path)


def test_every_other_picture_is_of_its_classes(sample, engine, tmp_path):
    sample("gif", classes=Classes(tuple(range(10))))
    assert {size for size, _ in engine.calls} == {80}
    sample("sequence", "interpolation", classes=Classes((4,), 2.0))
    assert (tmp_path / "image_samples" / "sequence" / "7_2.png").exists()


def test_images_for_fid_take_turns_and_tell_it(sample, expected):
    [folder] = sample("fid", num_samples=5, classes=Classes((3, 8), 0.5))
    (folder / "2.png").unlink()
    sample("fid", num_samples=5, classes=Classes((3, 8), 0.5))
    pixels = expected([3, 8, 3, 8, 3], 0.5)
    for index in range(5):
        save_image(folder.parent / "one.png", pixels[index])
        assert (folder / f"{index}.png").read_bytes() == (folder.parent / "one.png").read_bytes()
    recipe = json.loads((folder / "sampling.json").read_text())
    assert (recipe["classes"], recipe["guidance"]) == ([3, 8], 0.5)
    with pytest.raises(UserError, match="other settings .*guidance"):
        sample("fid", num_samples=5, classes=Classes((3, 8), 1.0))
    [plain] = sample("fid", num_samples=1, image_folder="plain")
    assert not {"classes", "guidance"} & set(json.loads((plain / "sampling.json").read_text()))


@pytest.mark.parametrize(
    ("modes", "options", "message"),
    [
        (["grid"], {"classes": Classes((10,))}, "class 10: the network has the classes 0 … 9"),
        (["grid"], {"classes": Classes(None, 1.0)}, "guidance 1 is towards a class"),
        (["grid"], {"classes": Classes((1, 2)), "num_samples": 5}, "needs a multiple of 2"),
        (["interpolation"], {"classes": Classes((1, 2))}, "`interpolation` .*use `class`"),
    ],
)
def test_what_cannot_be_drawn_is_named_before_an_engine_starts(
    sample, engine, modes, options, message
):
    with pytest.raises(UserError, match=message):
        sample(*modes, **options)
    assert engine.starts == 0


@pytest.mark.parametrize("classes", [Classes((1,)), Classes(None, 1.0)])
def test_a_network_without_classes_draws_none(exp, engine, classes):
    request = SampleRequest(exp=exp, modes=("grid",), settings=SETTINGS, classes=classes)
    with pytest.raises(UserError, match="the network has no classes"):
        run_sampling(request)
    assert engine.starts == 0


def test_the_options_of_the_command(tmp_path, trained, engine, capsys):
    line = ["sample", "--exp", str(tmp_path), "--pretrained", str(trained), "--timesteps", "3"]
    assert main([*line, "--grid", "--classes", "0", "1", "2", "--guidance", "1"]) == 0
    assert {size for size, _ in engine.calls} == {48}
    assert main([*line, "--grid", "--class", "7", "--ni", "--num_samples", "2"]) == 0
    capsys.readouterr()
    assert main([*line, "--grid", "--class", "7", "--classes", "1", "2"]) == 2
    assert "--class and --classes: give one of them" in capsys.readouterr().err
    assert main([*line, "--grid", "--class", "12"]) == 2
    assert "class 12" in capsys.readouterr().err


def test_what_a_run_has_not_learnt_no_config_can_ask_for(engine, classes, tmp_path):
    """Without dropped classes there is no guidance, whatever is said of training afterwards."""
    run(with_classes(classes, class_dropout=0.0), tmp_path, "n")
    for asked in (None, with_classes(classes, class_dropout=0.5)):
        request = SampleRequest(
            exp=tmp_path, doc="n", config=asked, modes=("grid",), settings=SETTINGS,
            classes=Classes((3,), 1.0),
        )  # fmt: skip
        engine.starts = 0
        with pytest.raises(UserError, match="guidance 1: the network has learnt images with"):
            run_sampling(request)
        assert engine.starts == 0


def test_a_run_that_is_never_shown_a_class_draws_and_measures_without(engine, classes, tmp_path):
    run(with_classes(classes, class_dropout=1.0), tmp_path, "n")  # and draws previews
    line = ["--exp", str(tmp_path), "--ni", "--verbose", "critical"]
    assert main(["sample", *line, "--fid", "--num_samples", "2", "--timesteps", "2"]) == 0
    assert main(["sample", *line, "--grid", "--class", "3", "--timesteps", "2"]) == 2


def test_nor_can_its_images_be_encoded(engine, classes, tmp_path):
    run(with_classes(classes, class_dropout=0.0), tmp_path, "n")
    engine.starts = 0
    request = ReconstructRequest(exp=tmp_path, doc="n", settings=(SETTINGS,), count=2)
    with pytest.raises(UserError, match=r"encoded without a class, .*class_dropout above 0"):
        run_reconstruction(request)
    assert engine.starts == 0


# Training


def run(config, tmp_path, doc="c", **options):
    return run_training(TrainRequest(config, tmp_path, doc, verbose="critical", **options))


def test_a_resumed_run_equals_an_unbroken_one(engine, classes, tmp_path):
    run(with_classes(classes, n_iters=4), tmp_path, "whole")
    run(classes, tmp_path, "parts")
    run(with_classes(classes, n_iters=4), tmp_path, "parts", resume=True)
    whole, parts = (
        load_checkpoint(tmp_path / "logs" / doc / "ckpt_4") for doc in ("whole", "parts")
    )
    assert TABLE in whole.weights and f"momentum_buffer/{TABLE}" not in whole.optimizer
    for name, array in whole.weights.items():
        assert np.array_equal(array, parts.weights[name])


def test_previews_and_validation_know_the_classes(engine, classes, tmp_path, monkeypatch):
    given = []

    def predict(weights, x_t, t, rows):
        given.append(rows.argmax(axis=1).tolist())
        return x_t

    monkeypatch.setattr(engine, "denoiser", predict)
    run(classes, tmp_path)
    assert given[0] == [*range(10), *range(6)]


@pytest.mark.parametrize(
    ("count", "dataset", "message"),
    [(5, "DIGITS", "has the class 9, but model.num_classes 5"), (5, "FOLDER", "in no folder of")],
)
def test_wrong_classes_end_a_run_before_it_starts(
    engine, config, tmp_path, count, dataset, message
):
    for name in ("a/0", "a/1", "b/2", "3"):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(path, np.zeros((8, 8, 1), np.uint8))
    data = config.data.model_copy(update={"dataset": dataset, "root": str(tmp_path / "images")})
    with pytest.raises(DataError, match=message):
        run(with_classes(config.model_copy(update={"data": data}), count), tmp_path)
    assert engine.starts == 0
    assert not (tmp_path / "logs" / "c").exists()


def test_a_run_may_start_from_a_network_without_classes(exp, engine, config, classes):
    plain = jd.load_weights(exp / "logs" / "d")
    run(with_classes(config, n_iters=1), exp, "e", init=exp / "logs" / "d")
    first = load_checkpoint(exp / "logs" / "e" / "ckpt_1")
    assert not first.weights[TABLE].any()
    assert np.array_equal(first.weights["conv_in.weight"], plain["conv_in.weight"])
    assert not np.array_equal(first.weights["norm_out.weight"], plain["norm_out.weight"])
    assert np.abs(first.weights["norm_out.weight"] - plain["norm_out.weight"]).max() < 0.1
    assert not any(np.abs(array).max() > 100 for array in first.optimizer.values())
    run(with_classes(config, n_iters=1), exp, "f", init=exp / "logs" / "e")  # of one with them


def test_a_start_that_does_not_fit_is_refused(exp, engine, config, classes, trained):
    other = config.model_copy(update={"data": config.data.model_copy(update={"rescaled": False})})
    for one, init, error, message in (
        (other, exp / "logs" / "d", CheckpointError, "data.rescaled"),
        (config, trained, CheckpointError, "model.num_classes"),
        (with_classes(config, 4), trained, CheckpointError, "model.num_classes"),
        (classes, exp / "nowhere", CheckpointError, "no such file"),
    ):
        with pytest.raises(error, match=message):
            run(one, exp, "g", init=init)
    with pytest.raises(UserError, match="`init` starts a new run"):
        run(config, exp, "d", init=exp / "logs" / "d", resume=True)
    bare = exp / "bare.safetensors"
    wider = config.model_copy(update={"model": config.model.model_copy(update={"ch": 64})})
    save_weights(bare, fresh_weights(wider), wider)
    with pytest.raises((CheckpointError, WeightsError), match="model.ch"):
        run(classes, exp, "g", init=bare)
    assert engine.starts == 0


def test_other_commands_let_the_classes_take_turns(engine, trained, tmp_path, monkeypatch):
    given = []

    def predict(weights, x_t, t, rows):
        given.append(rows.argmax(axis=1).tolist())
        return x_t

    monkeypatch.setattr(engine, "denoiser", predict)
    line = ["evaluate", "--exp", str(tmp_path), "--checkpoint", str(trained), "--timesteps", "2",
            "--num_samples", "12", "--features", "small", "--reference", "test"]  # fmt: skip
    assert main([*line, "--verbose", "critical"]) == 0
    assert given[::2] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    given.clear()
    line = ["reconstruct", "--exp", str(tmp_path), "--pretrained", str(trained), "--timesteps"]
    assert main([*line, "2", "--num_samples", "2", "--verbose", "critical"]) == 0
    assert given[0] == [10, 10]  # no class
