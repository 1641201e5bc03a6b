import json
import os
import re
import shutil

import numpy as np
import pytest
from oracles import GOLDEN, golden
from PIL import Image

import jittor_ddim as jd
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.checkpoints.safetensors_files import to_safetensors
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.errors import CheckpointError, UserError
from jittor_ddim.figures.animation import spread
from jittor_ddim.figures.grids import grid
from jittor_ddim.jobs.sample import MODES, SampleRequest, run_sampling
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.sampling import SamplerSettings

SETTINGS = SamplerSettings(timesteps=5, eta=0.5, seed=3)


@pytest.fixture
def request_(exp):
    def request(*modes, **options):
        return SampleRequest(
            exp=exp, modes=modes, settings=options.pop("settings", SETTINGS), **options
        )

    return request


@pytest.fixture
def sample(request_):
    """Sample and return what was made."""
    return lambda *modes, **options: run_sampling(request_(*modes, **options))


@pytest.fixture
def refused(request_, engine, exp):
    """Check that a request is refused with this message, before an engine starts or a file is."""

    def refused(message, *modes, error=UserError, **options):
        before = sorted(exp.rglob("*"))
        with pytest.raises(error, match=message):
            run_sampling(request_(*modes, **options))
        assert engine.starts == 0
        assert sorted(exp.rglob("*")) == before

    return refused


@pytest.fixture
def expected(engine, config, exp):
    """The pixels of some samples, made by the public functions from the run's average."""

    def expected(indices, settings=SETTINGS, weights=None):
        unet = engine.unet(config)
        unet.load(weights or jd.load_weights(exp / "logs" / "d"))
        x_T = jd.initial_noise(config, settings.seed, indices)
        x_0 = jd.sample(
            unet, config, x_T, settings.timesteps, settings.eta, settings.spacing,
            settings.sampler, seed=settings.seed, indices=indices,
        )  # fmt: skip
        return to_uint8(from_network(x_0, config.data))

    return expected


def with_keys(config, **sections):
    update = {
        name: getattr(config, name).model_copy(update=keys) for name, keys in sections.items()
    }
    return config.model_copy(update=update)


def pixels(path):
    with Image.open(path) as image:
        array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


def read_set(folder):
    names = {path.name for path in folder.iterdir()} - {"sampling.json"}
    assert names == {f"{i}.png" for i in range(len(names))}
    return np.stack([pixels(folder / f"{i}.png") for i in range(len(names))])


# --fid


def test_exactly_as_many_images_as_the_config_says(sample, expected, engine, exp, config):
    [folder] = sample("fid")
    assert folder == exp / "image_samples" / "images"
    assert np.array_equal(read_set(folder), expected(range(6)))
    assert {size for size, _ in engine.calls[:10]} == {4, 2}  # not floored to whole batches


def test_num_samples_and_the_folder_can_be_chosen(sample, expected, exp):
    [folder] = sample("fid", num_samples=3, image_folder="three")
    assert folder == exp / "image_samples" / "three"
    assert np.array_equal(read_set(folder), expected(range(3)))


def test_the_batch_size_changes_no_pixel(sample, config):
    [four], [five] = (
        sample(
            "fid", image_folder=str(size),
            config=with_keys(config, sampling={"batch_size": size}),
        )
        for size in (4, 5)
    )  # fmt: skip
    assert np.array_equal(read_set(four), read_set(five))


def test_a_partial_set_is_completed_without_repeating(sample, expected, engine):
    [folder] = sample("fid")
    whole = (folder / "3.png").read_bytes()
    (folder / "1.png").unlink()
    (folder / "3.png").write_bytes(whole[:-5])  # a disk that was full, say
    (folder / "5.png").write_bytes(b"")
    kept = {name: (folder / name).stat().st_mtime_ns for name in ("0.png", "2.png", "4.png")}
    engine.calls.clear()
    sample("fid")
    assert sum(size for size, _ in engine.calls) == 3 * SETTINGS.timesteps
    assert np.array_equal(read_set(folder), expected(range(6)))
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept


def test_a_set_can_grow_but_not_shrink(sample, expected):
    [folder] = sample("fid", num_samples=3)
    sample("fid", num_samples=5)
    assert np.array_equal(read_set(folder), expected(range(5)))
    with pytest.raises(UserError, match="holds more than 4 images; ask for at least 5"):
        sample("fid", num_samples=4)
    assert np.array_equal(read_set(folder), expected(range(5)))


def test_a_complete_set_costs_nothing(sample, engine):
    sample("fid")
    engine.calls.clear()
    sample("fid")
    assert engine.calls == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"timesteps": 6}, "timesteps 5 instead of 6"),
        ({"eta": 0.0}, "eta 0.5 instead of 0.0"),
        ({"spacing": "quad"}, "skip uniform instead of quad"),
        ({"sampler": "ddpm_noisy"}, "variance ddim instead of ddpm_noisy"),
        ({"seed": 4}, "seed 3 instead of 4"),
    ],
)
def test_other_settings_are_not_mixed_into_a_set(sample, refused, engine, change, message):
    sample("fid")
    engine.starts = 0
    refused(message, "fid", settings=SamplerSettings(**{**vars(SETTINGS), **change}))


def test_a_folder_without_images_takes_other_settings(sample):
    """What was refused before its first image, for instance because ranks differed, leaves one."""
    [folder] = sample("fid")
    for image in folder.glob("*.png"):
        image.unlink()
    sample("fid", settings=SamplerSettings(**{**vars(SETTINGS), "timesteps": 6}))
    assert json.loads((folder / "sampling.json").read_text())["timesteps"] == 6
    assert len(list(folder.glob("*.png"))) == 6


def test_nor_are_other_weights(sample, refused, engine, exp, config):
    sample("fid")
    engine.starts = 0
    first = with_keys(config, sampling={"ckpt_id": 1})
    refused(r"network [0-9a-f]+ instead of [0-9a-f]+", "fid", config=first)


def test_images_of_unknown_making_are_left_alone(refused, exp):
    folder = exp / "image_samples" / "images"
    folder.mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "0.png")
    refused(r"unknown origin \(no sampling.json\)", "fid")
    (folder / "sampling.json").write_text("{")
    refused("sampling.json: damaged, not", "fid")


def test_packed_into_one_file(sample, expected, refused, engine, exp):
    [path] = sample("fid", npz=True)
    assert path == exp / "image_samples" / "images.npz"
    with np.load(path) as file:
        assert np.array_equal(file["images"], expected(range(6)))
    assert not path.with_suffix("").exists()
    engine.starts = 0
    refused("already exists", "fid", npz=True)
    refused("`npz` packs the images of `fid`", "grid", npz=True)


def test_ddpm_noisy_and_quad(sample, expected):
    for name, settings in {
        "noisy": SamplerSettings(timesteps=5, sampler="ddpm_noisy", seed=3),
        "quad": SamplerSettings(timesteps=5, spacing="quad", seed=3),
    }.items():
        [folder] = sample("fid", settings=settings, image_folder=name)
        assert np.array_equal(read_set(folder), expected(range(6), settings))


# The modes to look at


def test_a_grid_of_64(sample, expected, exp):
    [path] = sample("grid")
    assert path == exp / "image_samples" / "grid" / "grid.png"
    assert np.array_equal(pixels(path), grid(expected(range(64)), columns=8))
    [path] = sample("grid", num_samples=5)
    assert np.array_equal(pixels(path), grid(expected(range(5))))


def test_a_sequence_has_the_official_names(sample, expected, exp):
    [path] = sample("sequence")
    folder = path.parent
    names = {f"{s}_{step}.png" for s in range(8) for step in range(SETTINGS.timesteps)}
    assert {p.name for p in folder.iterdir()} == names | {"sequence.png"}
    assert pixels(path).shape == (8 * 66 + 2, 5 * 66 + 2, 1)
    # The last step's prediction is x_0 itself.
    last = np.stack([pixels(folder / f"{s}_4.png") for s in range(8)])
    assert np.abs(last.astype(int) - expected(range(8))).max() <= 1
    sample("sequence", settings=SamplerSettings(timesteps=2, seed=3))
    assert len(list(folder.iterdir())) == 8 * 2 + 1  # none of the longer one is left


def test_an_interpolation(sample, expected):
    [path] = sample("interpolation")
    assert {p.name for p in path.parent.iterdir()} == {
        "interpolation.png", *(f"{i}.png" for i in range(11))
    }  # fmt: skip
    assert pixels(path).shape == (68, 11 * 66 + 2, 1)
    first = expected(range(1), SETTINGS)[0].astype(int)
    assert np.abs(pixels(path.parent / "0.png") - first).max() <= 1


@pytest.mark.parametrize(("mode", "name"), [("sequence", "0_1.png"), ("interpolation", "0.png")])
def test_numbered_pictures_are_not_replaced_without_a_question(sample, exp, mode, name):
    kept = exp / "image_samples" / "mine" / name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"a picture of the user's")
    with pytest.raises(UserError, match=f"{name}: kept; choose another `image_folder`"):
        sample(mode, image_folder="mine", ask=lambda question: False)
    assert kept.read_bytes() == b"a picture of the user's"
    sample(mode, image_folder="mine", ask=lambda question: name in question)
    assert kept.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("webp", [False, True])
def test_an_animation(sample, webp):
    [path] = sample("gif", gif_seconds=2.0, webp=webp)
    assert path.name == ("sampling.webp" if webp else "sampling.gif")
    with Image.open(path) as animation:
        states = SETTINGS.timesteps + 1  # x_T is one of them
        assert animation.n_frames <= states if webp else animation.n_frames == states
        assert animation.size == (8 * 66 + 2, 8 * 66 + 2)
        durations = []
        for frame in range(animation.n_frames):
            animation.seek(frame)
            animation.load()
            durations.append(animation.info["duration"])
    assert sum(durations) == pytest.approx(2000, abs=20)
    assert durations[-1] >= 400 + durations[0]  # the hold; WebP merges frames that are alike


def test_a_long_trajectory_is_thinned_evenly(sample):
    [path] = sample("gif", settings=SamplerSettings(timesteps=100), gif_seconds=1.0)
    with Image.open(path) as animation:
        assert animation.n_frames == len(spread(101, 40))  # 50 a second, but for the hold


def test_all_at_once_by_one_start(sample, engine, exp):
    made = sample(*MODES)
    assert engine.starts == 1
    assert all(path.exists() for path in made)
    assert {path.name for path in (exp / "image_samples").iterdir()} == {
        ".images.lock", "images", "grid", "sequence", "interpolation", "gif"
    }  # fmt: skip


def test_nothing_is_overwritten_that_the_user_keeps(sample, refused, engine):
    [path] = sample("grid")
    path.write_bytes(b"mine")
    engine.starts = 0
    refused("kept", "grid", ask=lambda question: str(path) not in question)
    sample("grid", ask=lambda question: True)
    assert path.read_bytes() != b"mine"


def test_no_other_files_in_a_fid_folder(sample, refused, engine):
    sample("fid", image_folder="mine")
    engine.starts = 0
    for mode in MODES[1:]:
        refused("images for FID, which must not mix with other files", mode, image_folder="mine")
    refused("a folder of their own", "fid", "grid", image_folder="other")


# Which network


def test_the_only_run_is_the_default_and_the_newest_of_several(
    sample, exp, config, capsys, expected
):
    sample("grid")
    assert f"Using the run {exp / 'logs' / 'd'}" in capsys.readouterr().err
    run_training(TrainRequest(config, exp, "later", seed=77, verbose="critical"))
    os.utime(exp / "logs" / "d" / "metrics.jsonl", (1, 1))
    os.utime(exp / "logs" / "d" / "config.yml", (1, 1))
    [path] = sample("grid", image_folder="second")
    assert f"Using the run {exp / 'logs' / 'later'}" in capsys.readouterr().err
    weights = jd.load_weights(exp / "logs" / "later")
    assert np.array_equal(pixels(path), grid(expected(range(64), weights=weights)))
    sample("grid", doc="d", image_folder="third")
    log = capsys.readouterr().err
    assert "Using the run" not in log
    assert f"Weights: {exp / 'logs' / 'd' / 'ckpt_2'}" in log


def test_the_average_is_used_and_the_weights_where_there_is_none(sample, exp, config, expected):
    [path] = sample("grid")
    assert np.array_equal(pixels(path), grid(expected(range(64))))
    plain = with_keys(config, model={"ema": False})
    run_training(TrainRequest(plain, exp, "plain", verbose="critical"))
    weights = load_checkpoint(exp / "logs" / "plain").weights
    [path] = sample("grid", doc="plain")
    assert np.array_equal(pixels(path), grid(expected(range(64), weights=weights)))


def test_the_weights_themselves_where_the_average_is_young(sample, exp, capsys, expected):
    """Of two steps at a rate of 0.9999; the average is the default, and warned of."""
    run = exp / "logs" / "d"
    for kind, ema in ((None, True), ("ema", True), ("raw", False)):
        [path] = sample("grid", weights=kind)
        weights = jd.load_weights(run, ema=ema)
        assert np.array_equal(pixels(path), grid(expected(range(64), weights=weights)))
        warned = capsys.readouterr().err.count("of the random start")
        assert warned == (kind != "raw")
    assert not all(np.array_equal(weights[n], a) for n, a in jd.load_weights(run).items())
    sample("grid")
    [line] = [s for s in capsys.readouterr().err.splitlines() if "random start" in s]
    assert f"{run / 'ckpt_2'}: the moving average still holds 100% of the random start" in line
    assert "after 2 steps" in line and line.endswith("set --weights to raw instead")


def test_a_warmed_up_average_is_not_warned_of(sample, exp, config, capsys):
    warm = with_keys(config, model={"ema_warmup": True}, training={"n_iters": 9})
    run_training(TrainRequest(warm, exp, "warm", verbose="critical"))
    sample("grid", doc="warm")
    assert "random start" not in capsys.readouterr().err


def test_weights_of_one_kind_alone(sample, refused, exp, config, engine, tmp_path):
    plain = with_keys(config, model={"ema": False})
    run_training(TrainRequest(plain, exp, "plain", verbose="critical"))
    path = tmp_path / "one.safetensors"
    jd.save_weights(path, jd.load_weights(exp / "logs" / "plain"), config)
    sample("grid", doc="plain", weights="raw", image_folder="a")
    sample("grid", pretrained=path, weights="raw", image_folder="b")
    engine.starts = 0
    message = "has no moving average beside its weights; leave out `weights`"
    refused(f"plain/ckpt_2: {message}", "grid", doc="plain", weights="ema")
    refused(f"one.safetensors: {message}", "grid", pretrained=path, weights="ema")
    refused("`weights` both: choose one of raw, ema", "grid", weights="both")


def test_an_official_checkpoint_tells_its_steps(sample, capsys):
    """Five of them; the published weights tell none, and are not doubted."""
    micro = golden("ckpt_micro")["config"]
    for name, warned in (("official_ckpt_micro.pth", True), ("pesser_micro.ckpt", False)):
        sample("grid", num_samples=1, pretrained=GOLDEN / name, config=micro)
        assert ("random start after 5 steps" in capsys.readouterr().err) == warned


def test_a_checkpoint_by_its_number(sample, refused, exp, config, expected):
    [path] = sample("grid", config=with_keys(config, sampling={"ckpt_id": 1}))
    weights = jd.load_weights(exp / "logs" / "d" / "ckpt_1")
    assert np.array_equal(pixels(path), grid(expected(range(64), weights=weights)))


def test_a_checkpoint_that_is_not_there(refused, config):
    refused("no ckpt_9, only 1, 2", "grid", config=with_keys(config, sampling={"ckpt_id": 9}))


def test_weights_that_come_from_no_run(sample, exp, config, expected, tmp_path_factory):
    path = tmp_path_factory.mktemp("w") / "mine.safetensors"
    weights = {n: np.full(s, 0.01, np.float32) for n, s in parameter_shapes(config).items()}
    jd.save_weights(path, weights, config)
    shutil.rmtree(exp / "logs")
    [found] = sample("grid", pretrained=path, config=config)
    assert np.array_equal(pixels(found), grid(expected(range(64), weights=weights)))


def test_pretrained_weights_bring_their_config_or_need_one(sample, refused, engine, exp, tmp_path):
    checkpoint = exp / "logs" / "d" / "ckpt_2"
    [with_config] = sample("grid", pretrained=checkpoint, image_folder="a")
    [of_the_run] = sample("grid", image_folder="b")
    assert with_config.read_bytes() == of_the_run.read_bytes()
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(to_safetensors(jd.load_weights(checkpoint)))
    engine.starts = 0
    refused("has no config, and .*; (add|give) .?.?config", "grid", pretrained=bare)


def test_a_config_of_another_network(refused, config, exp):
    wider = with_keys(config, model={"ch": 64})
    refused(
        rf"{exp}/logs/d/ckpt_2: trained with another config: model.ch ", "grid",
        config=wider, error=CheckpointError,
    )  # fmt: skip


def test_no_such_run(refused, exp):
    refused("other", "grid", doc="other")


@pytest.mark.parametrize(
    "modes, options, message",
    [
        ((), {}, "nothing to make; .*`fid`, `grid`, `sequence`, `interpolation`, `gif`"),
        (("fid",), {"num_samples": 0}, "`num_samples` must be at least 1"),
        (("grid",), {"settings": SamplerSettings(timesteps=101)}, r"1 … 100, got 101"),
        (("grid",), {"image_folder": "../../x"}, "`image_folder`"),
        (("gif",), {"gif_seconds": 0.0}, "second"),
    ],
)
def test_wrong_requests(refused, modes, options, message):
    refused(message, *modes, **options)


def test_the_recipe_is_readable(sample, exp):
    [folder] = sample("fid")
    recipe = json.loads((folder / "sampling.json").read_text())
    assert recipe == {
        "network": recipe["network"], "timesteps": 5, "eta": 0.5,
        "skip": "uniform", "variance": "ddim", "seed": 3, "engine": "jittor",
        "precision": "float32",
    }  # fmt: skip
    assert re.fullmatch("[0-9a-f]{16}", recipe["network"])


@pytest.mark.parametrize("mode", MODES)
def test_a_network_that_computes_no_numbers_leaves_no_picture(sample, engine, exp, mode):
    engine.denoiser = lambda weights, x_t, t: x_t * np.nan
    with pytest.raises(UserError, match="not finite at timestep 80, first for sample 0"):
        sample(mode)
    assert not [path for path in exp.rglob("*") if path.suffix in (".png", ".gif", ".npz")]
