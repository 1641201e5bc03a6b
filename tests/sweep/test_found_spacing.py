"""A sweep over timesteps that `ddim spacing` found."""

import pytest

from jittor_ddim.config import load_config
from jittor_ddim.diffusion.found_spacing import Found
from jittor_ddim.errors import UserError
from jittor_ddim.sweep.plan import Plan
from jittor_ddim.sweep.results import Row, Variant

FEW, MORE = [3.5, 700.25], [1, 2.5, 30, 400, 900]


@pytest.fixture
def plan():
    made = Plan(
        config=load_config("digits.yml"), network="x", images=100, seed=1, skip="found",
        batch_size=4, reference="train", features="small", mode="clean", device="cpu",
        precision="float32", found=Found("x", {2: FEW, 5: MORE}),
    )  # fmt: skip
    return Plan.model_validate_json(made.model_dump_json())  # as the engines' processes read it


def test_a_cell_takes_the_timesteps_found_for_its_calls(plan):
    config = plan.config
    row = Row(5, Variant("ipndm"))
    assert plan.settings(row).sequence(config) == MORE and plan.calls(row) == 5
    assert plan.settings(row, 3).sequence(config) == MORE[:3]
    heun = Row(3, Variant("heun"))  # two calls a step, one in the last
    assert plan.settings(heun).sequence(config) == FEW and plan.calls(heun) == 3
    assert plan.settings(row).found_for == "x"
    fourth = plan.settings(Row(5, Variant("ipndm", order=4)))
    assert fourth.order == 4 and fourth.sequence(config) == MORE


def test_a_number_of_calls_without_timesteps_is_named(plan):
    with pytest.raises(UserError, match="`spacing` found: has timesteps for 2, 5 network calls"):
        plan.calls(Row(4, Variant("ddim", 0.0)))
