"""``ddim spacing``, and what the samplers of its file's timesteps do at the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

import jittor_ddim as jd
from jittor_ddim.cli.main import main
from jittor_ddim.diffusion.parametrization import training_target
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.jobs import spacing as job
from jittor_ddim.jobs.spacing import SpacingRequest
from jittor_ddim.jobs.train import TrainRequest, run_training


def asked(engine):
    """The timesteps of the network calls."""
    return [t for _, t in engine.calls]


@pytest.fixture
def ddim(exp, capsys):
    def ddim(line, code=0):
        command, *options = line.split()
        capsys.readouterr()
        assert main([command, "--exp", str(exp), "--ni", *options]) == code
        out, err = capsys.readouterr()
        return json.loads(out) if code == 0 else err

    return ddim


@pytest.fixture
def spacing(exp, capsys):
    def spacing(*options, code=0):
        capsys.readouterr()
        assert main(["spacing", "--exp", str(exp), "--num_samples", "6", *options]) == code
        out, err = capsys.readouterr()
        return json.loads(out) if code == 0 else err

    return spacing


def test_the_file_lies_beside_the_weights_and_is_sampled_from(exp, engine, spacing, ddim):
    report = spacing("--calls", "3", "5")
    file = exp / "logs" / "d" / "spacing.json"
    assert report["file"] == str(file)
    # Two batches of the fine trajectories, then trials with the first one.
    assert {rows for rows, _ in engine.calls[120:]} == {4} and len(engine.calls) <= 120 + 11 * 8
    for count in (3, 5):
        timesteps = report["timesteps"][str(count)]
        assert len(timesteps) == count and timesteps == sorted(timesteps)
        assert timesteps[0] >= 0 and timesteps[-1] <= 99
    engine.calls.clear()
    ddim(f"sample --fid --num_samples 4 --spacing found:{file} --timesteps 5 --sampler ipndm")
    assert asked(engine) == pytest.approx(report["timesteps"]["5"][::-1], rel=1e-6)
    stored = json.loads((exp / "image_samples" / "images" / "sampling.json").read_text())
    assert report["timesteps"]["5"] == stored["timesteps"]


def test_the_place_is_that_of_the_weights(exp, tmp_path, spacing):
    """Of a folder inside, beside a file by its name: two networks never share one."""
    run = exp / "logs" / "d"
    assert spacing("--calls", "3", "--pretrained", str(run))["file"] == str(run / "spacing.json")
    checkpoint = run / "ckpt_1"
    report = spacing("--calls", "3", "--pretrained", str(checkpoint))
    assert report["file"] == str(run / "spacing.json")
    weights = tmp_path / "mine.safetensors"
    jd.save_weights(weights, jd.load_weights(run), jd.load_config(run / "config.yml"))
    report = spacing("--calls", "3", "--pretrained", str(weights))
    assert report["file"] == str(tmp_path / "mine.safetensors.spacing.json")


def test_where_no_signal_is_left_none_can_be_found(exp, engine, spacing, config):
    changes = {"prediction": "v", "zero_terminal_snr": True}
    diffusion = config.diffusion.model_copy(update=changes)
    config = config.model_copy(update={"diffusion": diffusion})
    run_training(TrainRequest(config, exp, "z", verbose="critical"))
    engine.starts = 0
    said = spacing("--calls", "3", "--doc", "z", code=2)
    assert "alpha_bar = 0); sample with --spacing trailing" in said
    assert engine.starts == 0


def test_another_network_is_warned_of(exp, spacing, ddim, capsys):
    file = spacing("--calls", "3", "--doc", "d", "--weights", "raw")["file"]
    ddim(f"sample --grid --spacing found:{file} --timesteps 3 --weights raw")
    assert main(
        ["sample", "--exp", str(exp), "--ni", "--grid", "--spacing", f"found:{file}",
         "--timesteps", "3", "--weights", "ema"]
    ) == 0  # fmt: skip
    assert "found for another network" in capsys.readouterr().err


def test_the_same_images_each_time(spacing):
    assert spacing("--calls", "4") == spacing("--calls", "4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--calls", "0"), "--calls must be in 1 … 60, got 0"),
        (("--calls", "61"), "--calls must be in 1 … 60, got 61"),
        (("--num_samples", "0"), "--num_samples must be at least 1, got 0"),
    ],
)
def test_wrong_input(engine, spacing, options, message):
    assert message in spacing(*options, code=2)
    assert engine.starts == 0


def test_other_counts_are_added_to_the_file(spacing):
    three = spacing("--calls", "3")["timesteps"]
    assert spacing("--calls", "4")["timesteps"]["3"] == three["3"]


def test_a_broken_network_leaves_no_file(exp, engine, spacing):
    engine.denoiser = lambda weights, x, t: x * np.nan
    assert "not finite" in spacing("--calls", "3", code=2)
    assert not (exp / "logs" / "d" / "spacing.json").exists()


def test_images_of_other_settings_are_not_mixed(exp, ddim):
    """A setting that only one of two recipes has is a difference."""
    ddim("sample --fid --num_samples 2 --timesteps 4 --sampler unipc --order 3")
    err = ddim("sample --fid --num_samples 4 --timesteps 4 --sampler unipc", code=2)
    assert "order 3 instead of None" in err


def test_a_file_of_something_else_is_kept(exp, spacing):
    file = exp / "notes.json"
    file.write_text("[]")
    assert "holds no timesteps" in spacing("--out", str(file), code=2)
    assert file.read_text() == "[]"


@pytest.mark.parametrize("sampler", [name for name in jd.SAMPLERS if name != "ddim"])
def test_every_sampler_from_the_command_line(engine, ddim, sampler):
    ddim(f"sample --grid --num_samples 2 --timesteps 8 --sampler {sampler} --spacing trailing")
    assert len(engine.calls) == (7 if sampler in ("heun",) else 8)


def test_timesteps_of_ones_own_and_rounded_ones(engine, ddim):
    ddim("sample --grid --num_samples 2 --timesteps 0 2.5 40 99")
    assert asked(engine) == [99, 40, 2.5, 0]
    engine.calls.clear()
    ddim("sample --grid --num_samples 2 --timesteps 30 --spacing logsnr --integer_timesteps")
    steps = asked(engine)
    assert steps == sorted({round(t) for t in steps}, reverse=True) and len(steps) < 30


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--timesteps 30 --spacing logsnr", "Of 30 timesteps 25 remain once rounded"),
        ("--timesteps 30", None),
        ("--timesteps 10 --sampler heun", None),  # five steps of two calls
        ("--timesteps 60 --spacing quad", None),  # it repeats some itself
    ],
)
def test_what_rounding_drops_is_told(exp, capsys, options, said):
    line = f"sample --exp {exp} --ni --grid --num_samples 2 --integer_timesteps {options}"
    assert main(line.split()) == 0
    err = capsys.readouterr().err
    assert said in err if said else "once rounded" not in err


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_reconstruction_by_either_encoder(ddim, sampler):
    report = ddim(f"reconstruct --num_samples 3 --timesteps 20 --sampler {sampler}")
    assert report["errors"][0]["timesteps"] == 20


def test_reconstruction_by_a_sampler_that_cannot(ddim):
    err = ddim("reconstruct --timesteps 20 --sampler unipc", code=2)
    assert "images are encoded by ddim and dpmpp_2m alone" in err


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_what_a_network_predicts_does_not_show(engine, config, prediction):
    """The same denoiser, asked for x0 or v, has the same local errors."""
    found = []
    for kind in ("eps", prediction):
        diffusion = config.diffusion.model_copy(update={"prediction": kind})
        config = config.model_copy(update={"diffusion": diffusion})
        schedule = Schedule.from_config(diffusion)

        def answer(weights, x, t, kind=kind, schedule=schedule):
            a = schedule.alpha_bar_at(float(t[0]))
            eps = np.sin(3 * x)
            return training_target(kind, (x - (1 - a) ** 0.5 * eps) / a**0.5, eps, a)

        engine.denoiser = answer
        request = SpacingRequest(calls=(3,), num_samples=5)
        fine = [10.0, 40.0, 60.5, 99.0]
        errors, _ = job._walk_finely(engine.unet(config), config, request, fine)
        found.append(errors)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_the_trial_is_how_far_ipndm_ends_from_the_fine_end(engine, config):
    engine.denoiser = lambda weights, x, t: np.sin(3 * x) + t.reshape(-1, 1, 1, 1) / 1000
    unet = engine.unet(config)
    fine = [0.0, 10.0, 40.0, 60.5, 99.0]
    request = SpacingRequest(calls=(3,), num_samples=5)
    _, trial = job._walk_finely(unet, config, request, fine)
    x_T = jd.initial_noise(config, seed=request.seed, indices=range(4))  # a batch
    end = jd.sample(unet, config, x_T, fine, sampler="dpmpp_2m")
    for steps in ([0.0, 99.0], [0.0, 40.0, 99.0]):
        other = jd.sample(unet, config, x_T, steps, sampler="ipndm")
        assert trial(steps) == pytest.approx(np.sqrt(np.mean((other - end) ** 2)), rel=1e-4)


def test_the_candidates_are_found_and_common_ones(config):
    i, j = np.arange(30)[:, None], np.arange(31)
    errors = np.where(j > i, (j - i) ** 2 * np.cosh((i - 15) / 10), np.inf)
    schedule, fine = Schedule.from_config(config.diffusion), [3.0 * place for place in range(30)]
    candidates = job._candidates(errors, 6, fine, schedule)
    assert {"weight 1", "weight 1.15", "uniform", "quad", "logsnr", "karras"} < {*candidates}
    assert all(len(steps) == 6 and steps == sorted(steps) for steps in candidates.values())
    assert candidates["weight 1"][-1] == 87.0 and candidates["logsnr"][-1] == 99.0
    assert "quad" not in job._candidates(errors, 30, fine, schedule)  # which repeats timesteps


def test_the_nearest_candidate_is_taken_and_equal_ones_are_tried_once():
    tried = []

    def trial(steps):
        tried.append(steps)
        return abs(sum(steps) - 5.0)

    candidates = {"a": [1.0, 2.0], "b": [2.0, 4.0], "c": [2.0, 4.0]}
    assert job._best(candidates, trial) == ("b", [2.0, 4.0], 1.0)
    assert tried == [[1.0, 2.0], [2.0, 4.0]]


def test_a_file_says_how_each_sequence_was_found(spacing):
    file = spacing("--calls", "3", "--seed", "5")["file"]
    spacing("--calls", "4")
    origins = json.loads(Path(file).read_text())["origins"]
    assert [origins[count]["seed"] for count in ("3", "4")] == [5, 1234]
    assert all(origins[count]["images"] == 6 and origins[count]["by"] for count in ("3", "4"))


def test_what_was_found_for_another_network_is_replaced_with_a_warning(spacing, capsys):
    file = spacing("--calls", "3", "--weights", "raw")["file"]
    assert main(
        ["spacing", "--exp", str(Path(file).parents[2]), "--num_samples", "6", "--calls", "4",
         "--weights", "ema"]
    ) == 0  # fmt: skip
    assert "found for another network" in capsys.readouterr().err
    assert [*json.loads(Path(file).read_text())["timesteps"]] == ["4"]
