"""`ddim evaluate` on features that need no engine; the Inception network has its own tests."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.linalg import sqrtm

import jittor_ddim as jd
from jittor_ddim import engines
from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.source import hold_out
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.evaluation import extractor as extractor_module
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.jobs.evaluate import EvaluateRequest, _question, run_evaluation
from jittor_ddim.metrics.small import load_small
from jittor_ddim.sampling import SamplerSettings

SMALL = ExtractorChoice("small")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def images(tmp_path):
    """A hundred noisy digits as grey PNG files, and their pixels."""
    digits, _ = load_digits()
    noise = np.random.default_rng(0).normal(0, 60, (100, 8, 8))
    pixels = np.clip(digits[:100] + noise, 0, 255).astype(np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index}.png")
    (folder / "sampling.json").write_text("{}")
    return folder, pixels


@pytest.fixture
def evaluate(engine, tmp_path, config):
    def evaluate(images, **options):
        given = {"exp": tmp_path / "exp", "config": config, "extractor": SMALL} | options
        return run_evaluation(EvaluateRequest(images=images, verbose="critical", **given))

    return evaluate


def features(pixels):
    network = load_small(8, 8)
    return network.features(network.prepare(np.repeat(pixels[..., None], 3, axis=3)))[0]


def frechet(a, b):
    """The textbook's formula, by SciPy's matrix root."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(first @ second).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)


def test_the_numbers_are_those_of_the_features(evaluate, images, tmp_path, engine):
    folder, pixels = images
    result = evaluate(folder)
    digits, _ = load_digits()
    both = np.concatenate([digits[hold_out(len(digits), s, "d")] for s in ("train", "test")])
    metrics = result["metrics"]
    real, generated = features(both), features(pixels)
    assert metrics["FD-small"] == pytest.approx(frechet(real, generated), rel=1e-4)
    mean, std = jd.metrics.kid(real, generated)
    assert metrics["KID-small"] == pytest.approx(mean, rel=1e-5)
    assert metrics["KID_std-small"] == pytest.approx(std, rel=1e-5)
    assert metrics["KID_subset_size-small"] == 100
    precision, recall = jd.metrics.precision_recall(real, generated)
    assert (metrics["precision-small"], metrics["recall-small"]) == (precision, recall)
    assert metrics["IS-small"] > 1
    assert result["images"] == {
        "source": str(folder), "count": 100, "size": (8, 8), "grey": 100, "other_files": 1,
    }  # fmt: skip
    assert result["reference"]["count"] == 1797
    assert (result["features"], result["engine"]) == ("small-digits", "numpy")
    assert any("FD-small is not FID" in remark for remark in result["remarks"])
    assert any("100 grey images were made RGB" in remark for remark in result["remarks"])
    assert not any("FID" in name for name in metrics) and engine.starts == 0
    [file] = (tmp_path / "exp" / "evaluations").iterdir()
    assert json.loads(file.read_text())["metrics"] == metrics and result["file"] == str(file)
    assert f"{tmp_path.name}-images-small-" in file.name


def test_statistics_are_cached_by_content(evaluate, images, cache, monkeypatch, tmp_path):
    folder, _ = images
    first = evaluate(folder, reference="train")
    stored = sorted((cache / "features").iterdir())
    assert len(stored) == 2  # the moments, and the features that KID needs

    def never(*given, **options):
        raise AssertionError("the reference was computed again")

    from jittor_ddim.evaluation import reference as reference_module

    monkeypatch.setattr(reference_module, "extract", never)
    assert evaluate(folder, reference="train")["metrics"] == first["metrics"]
    with pytest.raises(AssertionError):
        evaluate(folder, reference="test")
    assert evaluate(folder, reference=str(stored[-1]), metrics=("fid",))["metrics"] == {
        "FD-small": first["metrics"]["FD-small"]
    }


def test_a_statistics_file_has_no_images_for_kid(evaluate, images, cache):
    folder, _ = images
    evaluate(folder, reference="train", metrics=("fid",))
    (stored,) = (cache / "features").iterdir()
    result = evaluate(folder, reference=str(stored))
    assert set(result["metrics"]) == {"FD-small", "IS-small", "IS_std-small"}
    assert result["metrics"]["FD-small"] > 0
    assert any("statistics alone allow no KID" in remark for remark in result["remarks"])


def test_other_statistics_are_refused(evaluate, images, tmp_path):
    folder, _ = images
    np.savez(tmp_path / "inception.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(UserError, match="2048.*64|64.*2048"):
        evaluate(folder, reference=str(tmp_path / "inception.npz"))
    assert not (tmp_path / "exp").exists()


def test_samples_straight_from_a_network(evaluate, exp, config, engine):
    settings = SamplerSettings(timesteps=5, eta=0.5, seed=3)
    result = evaluate(
        None, exp=exp, doc="d", config=None, reference="train", settings=settings, num_samples=5
    )
    unet = engine.unet(config)
    unet.load(jd.load_weights(exp / "logs" / "d"))
    x_0 = jd.sample(unet, config, jd.initial_noise(config, 3, range(5)), 5, 0.5, seed=3)
    pixels = to_uint8(from_network(x_0, config.data))[..., 0]
    digits, _ = load_digits()
    real = features(digits[hold_out(len(digits), "train", "digits")])
    expected = jd.metrics.fid(real, features(pixels))
    assert result["metrics"]["FD-small"] == pytest.approx(expected, rel=1e-4)
    assert result["images"]["count"] == 5 and result["images"]["grey"] == 5
    assert "IS-small" not in result["metrics"]
    assert any("5 images are too few for the inception score" in r for r in result["remarks"])
    assert any("N = 5 is less than the 64 features" in remark for remark in result["remarks"])


def test_a_network_that_computes_no_numbers_is_not_measured(evaluate, exp, engine):
    engine.denoiser = lambda weights, x_t, t: x_t * np.nan
    with pytest.raises(UserError, match="not finite at timestep"):
        evaluate(None, exp=exp, doc="d", config=None, reference="train", num_samples=5)
    assert not (exp / "evaluations").exists()


def test_the_result_says_which_weights_and_has_a_name_of_its_own(evaluate, images, exp):
    of_run = {"exp": exp, "doc": "d", "config": None, "reference": "train", "num_samples": 5}
    found = {
        kind: evaluate(None, settings=SamplerSettings(timesteps=2), weights=kind, **of_run)
        for kind in (None, "raw")
    }
    assert found[None]["images"]["weights"] == "ema"
    assert found["raw"]["images"]["weights"] == "raw"
    assert found[None]["file"] != found["raw"]["file"]
    assert found[None]["images"]["network"] != found["raw"]["images"]["network"]
    with pytest.raises(UserError, match="leave out one of them"):
        evaluate(images[0], weights="raw")


def test_jpeg_references_are_warned_of(evaluate, images, tmp_path):
    folder, pixels = images
    (tmp_path / "jpeg").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "jpeg" / f"{index}.jpg")
    remarks = evaluate(folder, reference=str(tmp_path / "jpeg"))["remarks"]
    assert any("100 of the 100 reference images are JPEG" in remark for remark in remarks)


def test_what_was_done_to_images_is_told_of_both_sides(evaluate, images, tmp_path):
    folder, pixels = images
    shutil.copytree(folder, tmp_path / "other")
    for side, count in ((folder, 3), (tmp_path / "other", 2)):
        for index in range(count):
            Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(side / f"{index}.png")
    (folder / "photo.heic").write_bytes(b"")
    said = "transparent pixels composited onto white"
    for _ in range(2):  # the second time the reference is cached
        result = evaluate(folder, reference=str(tmp_path / "other"))
        assert result["images"]["changed"] == {said: 3}
        assert f"3 images: {said}" in result["remarks"]
        assert f"2 images of the reference: {said}" in result["remarks"]
        assert any("1 .heic such as photo.heic" in remark for remark in result["remarks"])


def test_what_else_a_reference_holds_is_told_from_the_cache_too(evaluate, images, tmp_path):
    folder, pixels = images
    (tmp_path / "real").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "real" / f"{index}.png")
    for others in ("1 other files", "2 other files"):
        (tmp_path / "real" / f"{others[0]}.txt").write_text("no image")
        remarks = evaluate(folder, reference=str(tmp_path / "real"))["remarks"]
        assert f"{others} of the reference were ignored" in remarks
        assert "100 grey images of the reference were made RGB" in remarks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("fid", "fd")}, "`metrics` fd: choose from fid, kid, is, pr"),
        ({"metrics": ()}, "`metrics`"),
        ({"reference": "nowhere"}, "`reference` nowhere: no such file or folder; give a path, tr"),
        ({"config": None}, "`reference` both is part of a data set; give `config`"),
        ({"extractor": ExtractorChoice("large")}, "`features` large: choose one of inception, s"),
        ({"extractor": ExtractorChoice("small", "best")}, "`mode` best: choose one of clean, "),
        (
            {"extractor": ExtractorChoice("small", "tf1")},
            "`mode` tf1: `features` small resizes no",
        ),
    ],
)
def test_wrong_requests(evaluate, images, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        evaluate(images[0], **options)
    assert not (tmp_path / "exp").exists()


def test_a_reference_of_another_size_is_refused(evaluate, images, tmp_path):
    (tmp_path / "large").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "large" / "0.png")
    with pytest.raises(UserError, match="its images are 32x32, those to evaluate 8x8"):
        evaluate(images[0], reference=str(tmp_path / "large"))


def test_one_image_is_too_few(evaluate, images, tmp_path):
    (tmp_path / "one").mkdir()
    (images[0] / "0.png").rename(tmp_path / "one" / "0.png")
    with pytest.raises(UserError, match="at least 2|2 images"):
        evaluate(tmp_path / "one")
    assert not (tmp_path / "exp" / "evaluations").exists()


def test_neither_images_nor_network(evaluate):
    with pytest.raises(UserError, match="IMAGES is missing"):
        evaluate(None)


def test_images_and_a_network(evaluate, images, tmp_path):
    with pytest.raises(UserError, match="leave out one of them"):
        evaluate(images[0], pretrained=tmp_path)


def test_weights_are_looked_for_before_an_engine_starts(evaluate, images, monkeypatch, engine):
    def missing(path, progress):
        raise UserError("the Inception weights are not here")

    monkeypatch.setattr(extractor_module, "obtain_inception", missing)
    with pytest.raises(UserError, match="are not here"):
        evaluate(images[0], extractor=ExtractorChoice())
    assert engine.starts == 0


def test_small_features_of_files_need_no_framework(images, tmp_path, config, monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    given = {"exp": tmp_path / "exp", "config": config, "verbose": "critical"}
    run_evaluation(EvaluateRequest(images=images[0], extractor=SMALL, **given))
    with pytest.raises(UserError, match="not installed"):
        run_evaluation(EvaluateRequest(images=images[0], **given))


def test_no_result_replaces_another(evaluate, images, tmp_path, exp, engine):
    folder, pixels = images
    (tmp_path / "B").mkdir()
    shutil.copytree(folder, tmp_path / "B" / "images")
    files = [evaluate(folder)["file"], evaluate(tmp_path / "B" / "images")["file"]]
    files += [evaluate(folder, metrics=("fid",))["file"]]
    files += [evaluate(folder, reference="train")["file"]]
    for options in ({}, {"num_samples": 12}, {"settings": SamplerSettings(5, seed=7)}):
        options = {"settings": SamplerSettings(5), "num_samples": 11} | options
        files.append(evaluate(None, exp=exp, doc="d", **options)["file"])
    assert len(set(files)) == 7
    stored = json.loads(Path(files[0]).read_text())
    stored["remarks"] = ["as another version words them"]
    Path(files[0]).write_text(json.dumps(stored))
    assert evaluate(folder)["file"] == files[0]  # the same answer
    Image.fromarray(pixels[0]).save(folder / f"{len(pixels)}.png")  # one image more
    again = evaluate(folder)["file"]
    assert again == files[0].replace(".json", "-2.json")  # another answer to the same question
    assert evaluate(folder)["file"] == again


def test_a_file_that_is_named_is_replaced_by_the_same_question_alone(evaluate, images, tmp_path):
    folder, _ = images
    mine, other = tmp_path / "mine.json", tmp_path / "other.txt"
    for _ in range(2):
        assert evaluate(folder, out=mine)["file"] == str(mine)
    other.write_text("notes")
    sampled = {"exp": mine.parent / "none", "num_samples": 8}
    questions = [
        {**sampled, "settings": SamplerSettings(5)}, {**sampled, "settings": SamplerSettings(6)},
        {**sampled, "settings": SamplerSettings(5, seed=7)}, {**sampled, "num_samples": 9},
        {**sampled, "weights": "raw"}, {**sampled, "engine": EngineChoice("pytorch")},
        {**sampled, "extractor": ExtractorChoice(weights=other)},
    ]  # fmt: skip
    asked = [
        _question(EvaluateRequest(**{"images": None, **q}), None).as_dict() for q in questions
    ]
    assert all(asked.count(question) == 1 for question in asked)
    for out, options in ((mine, {"metrics": ("fid",)}), (other, {})):
        before = out.read_bytes()
        with pytest.raises(UserError, match=f"{out.name}: exists and holds something else"):
            evaluate(folder, out=out, **options)
        assert out.read_bytes() == before


def test_results_of_weights_of_one_name(evaluate, tmp_path, exp):
    files = []
    for place in ("m1", "m2"):
        shutil.copytree(exp / "logs" / "d" / "ckpt_2", tmp_path / place / "ckpt_2")
        source = tmp_path / place / "ckpt_2"
        settings = SamplerSettings(2)
        files.append(evaluate(None, pretrained=source, settings=settings, num_samples=11)["file"])
    assert "m1-ckpt_2-S2-eta0-seed1234-N11-small-" in files[0] and files[0] != files[1]
