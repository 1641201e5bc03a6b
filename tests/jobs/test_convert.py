"""What a conversion makes, and that training and sampling go on from it."""

import numpy as np
import pytest
from oracles import GOLDEN, golden

from jittor_ddim.checkpoints import load_weights, read_weights, save_weights
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.config import load_config
from jittor_ddim.errors import CheckpointError, MachineError, UserError, WeightsError
from jittor_ddim.jobs import convert as job
from jittor_ddim.jobs.convert import ConvertRequest, run_conversion
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.network import NetworkChoice

OFFICIAL = GOLDEN / "official_ckpt_micro.pth"
CONFIG = golden("ckpt_micro")["config"]


def convert(source, target, **options):
    return run_conversion(ConvertRequest(source, target, **options))


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_an_optimiser_that_is_not_the_configs_is_refused(exp, tmp_path):
    """The fake engine's momentum is not Adam's; its weights alone can be had."""
    run = exp / "logs" / "d"
    with pytest.raises(CheckpointError, match="optim.optimizer"):
        convert(run, tmp_path / "run.pth")
    assert not (tmp_path / "run.pth").exists()
    convert(run, tmp_path / "run.pth", ema=True)
    assert_same(load_weights(tmp_path / "run.pth"), load_weights(run))


def test_official_to_native_and_back_is_the_same_to_the_bit(tmp_path):
    convert(OFFICIAL, tmp_path / "run", format="native", config=CONFIG)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["ckpt_5", "config.yml"]
    assert load_config(tmp_path / "run" / "config.yml") == CONFIG
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.config == CONFIG and checkpoint.engine == "pytorch"
    report = convert(tmp_path / "run", tmp_path / "back.pth")
    assert (report["config"], report["source_format"], report["step"]) == ("stored", "native", 5)
    first, again = read_contents(OFFICIAL), read_contents(tmp_path / "back.pth")
    assert_same(first.weights, again.weights)
    assert first.ema_weights and again.ema_weights
    assert_same(first.ema_weights, again.ema_weights)
    assert first.training and again.training
    assert_same(first.training.optimizer, again.training.optimizer)
    assert (again.training.step, again.training.epoch) == (5, 0)


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_the_official_code_samples_from_eps_alone(tmp_path, prediction):
    diffusion = CONFIG.diffusion.model_copy(update={"prediction": prediction})
    config = CONFIG.model_copy(update={"diffusion": diffusion})
    convert(OFFICIAL, tmp_path / "run", format="native", config=config)
    for ema in (None, True):  # a whole checkpoint, and weights alone
        with pytest.raises(UserError, match=f"diffusion.prediction {prediction}: the official"):
            convert(tmp_path / "run", tmp_path / "back.pth", ema=ema)
    assert not (tmp_path / "back.pth").exists()
    convert(tmp_path / "run", tmp_path / "pipe", format="diffusers")
    assert read_weights(tmp_path / "pipe").config.diffusion == diffusion
    with pytest.raises(CheckpointError, match="trained with another config: diffusion.prediction"):
        convert(tmp_path / "run", tmp_path / "other.safetensors", config=CONFIG)


def test_native_to_diffusers_and_back_is_the_same_to_the_bit(tmp_path):
    convert(GOLDEN / "diffusers_tiny", tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "pipe", format="diffusers")
    convert(tmp_path / "pipe", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_one_set_of_weights_is_the_average_unless_asked(tmp_path):
    average, plain = load_weights(OFFICIAL), load_weights(OFFICIAL, ema=False)
    for name, ema, expected, holds in (
        ("a.safetensors", None, average, "moving average"),
        ("b.safetensors", True, average, "moving average"),
        ("c.safetensors", False, plain, "plain weights"),
        ("d.ckpt", True, average, "moving average"),
        ("e.ckpt", False, plain, "plain weights"),
    ):
        report = convert(OFFICIAL, tmp_path / name, config=CONFIG, ema=ema)
        assert report["holds"] == holds
        assert_same(load_weights(tmp_path / name), expected)
        assert read_contents(tmp_path / name).training is None
    assert read_weights(tmp_path / "a.safetensors")[1] == CONFIG


def test_nothing_that_exists_is_touched(tmp_path):
    for name in ("x.pth", "x.safetensors", "folder"):
        target = tmp_path / name
        target.mkdir() if name == "folder" else target.write_text("mine")
        with pytest.raises(UserError, match="already exists"):
            convert(OFFICIAL, target, config=CONFIG, format="native" if name == "folder" else None)
    link = tmp_path / "link.pth"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="already exists"):
        convert(OFFICIAL, link, config=CONFIG)
    assert (tmp_path / "x.pth").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "folder", "link.pth", "x.pth", "x.safetensors",
    ]  # fmt: skip


def test_what_goes_wrong_leaves_nothing(tmp_path, monkeypatch):
    def fail(folder, checkpoint, keep_last):
        (folder / "half").write_text("written")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "save_checkpoint", fail)
    with pytest.raises(MachineError, match="free some space"):
        convert(OFFICIAL, tmp_path / "run", format="native", config=CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_weights_alone_are_no_run(tmp_path):
    for source in (GOLDEN / "pesser_micro.ckpt", GOLDEN / "diffusers_tiny"):
        with pytest.raises(UserError, match="only weights"):
            convert(source, tmp_path / "run", format="native")
        with pytest.raises(UserError, match="no moving average"):
            convert(source, tmp_path / "x.safetensors", ema=True)
    assert list(tmp_path.iterdir()) == []


def test_another_config_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="do not fit"):
        convert(OFFICIAL, tmp_path / "x.pth", config=load_config("cifar10.yml"))
    with pytest.raises(CheckpointError, match="another config"):
        convert(GOLDEN / "diffusers_tiny", tmp_path / "x.pth", config=load_config("cifar10.yml"))
    sgd = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update={"optimizer": "SGD"})})
    with pytest.raises(CheckpointError, match="official_ckpt_micro.pth: its optimiser keeps exp"):
        convert(OFFICIAL, tmp_path / "run", format="native", config=sgd)


def test_weights_that_are_not_finite_are_not_converted(tmp_path):
    weights = {name: array.copy() for name, array in load_weights(OFFICIAL).items()}
    weights["conv_out.bias"][1] = np.nan
    write_torch(tmp_path / "bad.pth", weights)
    before = list(tmp_path.iterdir())
    for target, format in (("x.safetensors", None), ("y.pth", None), ("pipe", "diffusers")):
        with pytest.raises(WeightsError, match=r"bad\.pth: conv_out\.bias is not finite"):
            convert(tmp_path / "bad.pth", tmp_path / target, config=CONFIG, format=format)
    assert list(tmp_path.iterdir()) == before


def test_an_average_that_the_config_has_off_is_left_out(tmp_path):
    config = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"ema": False})})
    convert(OFFICIAL, tmp_path / "run", format="native", config=config)
    assert load_checkpoint(tmp_path / "run").ema_weights is None
    convert(tmp_path / "run", tmp_path / "four.pth")
    with pytest.raises(UserError, match="no moving average; set model.ema to false"):
        convert(tmp_path / "four.pth", tmp_path / "again", format="native", config=CONFIG)


def test_pretrained_weights_of_any_format_are_found(tmp_path, caplog):
    right = load_weights(OFFICIAL)
    for name in ("official_ckpt_micro.pth", "pesser_micro.ckpt", "pesser_micro_legacy.ckpt"):
        network = NetworkChoice(config=CONFIG, pretrained=GOLDEN / name).find_network()
        assert network.config == CONFIG
        assert_same(dict(network.weights), right)
    inferred = NetworkChoice(config=None, pretrained=GOLDEN / "pesser_micro.ckpt").find_network()
    assert inferred.config.model.ch == 32 and "16x16" in caplog.text
    pipeline = NetworkChoice(config=None, pretrained=GOLDEN / "diffusers_tiny").find_network()
    assert pipeline.config.data.image_size == 16
    with pytest.raises(CheckpointError, match="data.image_size"):
        NetworkChoice(config=CONFIG, pretrained=GOLDEN / "diffusers_tiny").find_network()


def test_training_takes_up_a_converted_run(exp, config, tmp_path, monkeypatch):
    """The position, the config and the weights; the fake engine has an optimiser of its own."""
    convert(OFFICIAL, exp / "logs" / "m", format="native", config=CONFIG)
    with pytest.raises(UserError, match="finished at step 5; raise training.n_iters"):
        run_training(
            TrainRequest(
                CONFIG.model_copy(
                    update={"training": CONFIG.training.model_copy(update={"n_iters": 5})}
                ),
                exp, "m", resume=True, verbose="critical",
            )
        )  # fmt: skip


def test_half_precision_is_half_the_size_and_reads_as_float32(exp, tmp_path):
    run = exp / "logs" / "d"
    convert(run, tmp_path / "whole.safetensors", ema=True)
    convert(run, tmp_path / "half.safetensors", ema=True, dtype="float16")
    whole, half = (load_weights(tmp_path / f"{name}.safetensors") for name in ("whole", "half"))
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    assert 0.4 < sizes[1] / sizes[0] < 0.6
    for name, array in whole.items():
        assert half[name].dtype == np.float32
        assert np.array_equal(half[name], array.astype(np.float16).astype(np.float32))
    assert read_weights(tmp_path / "half.safetensors").config == load_checkpoint(run).config


def test_half_precision_that_cannot_be_is_refused(exp, config, tmp_path):
    run = exp / "logs" / "d"
    for target in ("a.pth", "folder"):
        with pytest.raises(UserError, match="`dtype` float16: only of a .safetensors file"):
            convert(run, tmp_path / target, format=None if "." in target else "native",
                    dtype="float16")  # fmt: skip
    with pytest.raises(UserError, match="`dtype` int8: choose one of float32, float16"):
        convert(run, tmp_path / "a.safetensors", dtype="int8")
    weights = load_weights(run)
    weights["conv_in.weight"][0, 0, 0, 0] = 1e5
    save_weights(tmp_path / "large.safetensors", weights, config)
    with pytest.raises(WeightsError, match="conv_in.weight.*as float16"):
        convert(tmp_path / "large.safetensors", tmp_path / "a.safetensors", dtype="float16")
    assert not (tmp_path / "a.safetensors").exists()
