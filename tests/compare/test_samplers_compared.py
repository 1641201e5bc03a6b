"""A comparison of images of more samplers, one of which the package does not have."""

import pytest
from comparing import PLAN, command, found_modules, prepare  # noqa: F401

from jittor_ddim import SAMPLERS
from jittor_ddim.compare import report
from jittor_ddim.compare.gather import gather
from jittor_ddim.compare.side_by_side import is_complete, measure

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("found_modules")]


def test_images_of_each_sampler(tmp_path):
    samplers = ("dpmpp_2m", "heun2", "ipndm:1")  # heun2: registered by the tests' workers
    assert "heun2" not in SAMPLERS
    plan = PLAN.model_copy(update={"samplers": samplers, "steps": 2, "batch_sizes": (4,)})
    folder = prepare(tmp_path / "comparison", plan)
    measure(plan, folder, tmp_path, command(tmp_path / "record"))
    assert is_complete(plan, folder)
    comparison, samples = gather(plan, folder, "ddim compare")
    assert comparison.alignment.aligned
    checks = {check.name: check for check in comparison.alignment.checks}
    files = [f"images_{name}".replace(":", "-") for name in samplers]
    assert [checks[name].measured for name in files] == [0, 0, 0]
    assert [one.variant for one in samples] == [
        ("ddim", 0.0, None), ("ddim", 1.0, None), ("dpmpp_2m", None, None), ("heun2", None, None),
        ("ipndm", None, 1),
    ]  # fmt: skip
    assert abs(samples[4].images[0].astype(int) - samples[0].images[0]).max() <= 1  # DDIM's steps
    assert not (samples[0].images[0] == samples[2].images[0]).all()
    page = report.write_report(comparison, samples, folder, "en").read_text(encoding="utf-8")
    assert "images by heun2" in page and "dpmpp_2m, 5 steps, 6 images" in page
    assert (folder / "images" / "heun2_first.png").exists()
