"""A sampler defined in the tests has its row in a sweep, by its name."""

import pytest
from comparing import found_modules  # noqa: F401
from own_sampler import calls_of_heun, heun
from sweeping import PLAN, prepare, run

import jittor_ddim as jd
from jittor_ddim.cli.sweep import _variant
from jittor_ddim.sweep.gather import gather
from jittor_ddim.sweep.plan import Grid
from jittor_ddim.sweep.report import write_report
from jittor_ddim.sweep.results import Row, Variant

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("found_modules")]

#: The engine's process registers it too.
REGISTER = """
import jittor_ddim, own_sampler
jittor_ddim.samplers.register("heun2", own_sampler.heun, own_sampler.calls_of_heun)
"""


@pytest.fixture(autouse=True)
def registered():
    jd.samplers.register("heun2", heun, calls_of_heun)
    yield
    del jd.SAMPLERS["heun2"]


def test_it_has_a_row(tmp_path):
    variant, ddim = _variant("heun2"), Variant("ddim", 0.0)
    assert variant == Variant("heun2")
    folder = prepare(tmp_path / "sweep")
    grid = Grid((6,), (), (ddim, variant), ("jittor",))
    run(folder, ["jittor", "start", 0], REGISTER, grid=grid)
    sweep = gather(PLAN, grid, folder, "digits", "ddim sweep")
    cells = [sweep.cell("jittor", Row(6, one)) for one in (ddim, variant)]
    assert [cell.calls for cell in cells] == [6, 5]
    assert cells[0].distance != cells[1].distance
    (text,) = [path.read_text() for path in write_report(sweep, folder) if path.suffix == ".md"]
    assert "| 6 | heun2 |" in text
