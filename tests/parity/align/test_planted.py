"""Bugs planted on one side, one for each known cause, and pairs without any."""

import pytest
from starting import needs

from jittor_ddim.parity.align.measures import BOUNDS
from parity.align.planted import ALIGNED, PLANTED, SIDES, run

pytestmark = [pytest.mark.jittor, pytest.mark.slow]


@pytest.fixture(autouse=True)
def both_frameworks():
    needs("jittor", "pytorch")


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found_and_named(bug, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGN_BUG", bug)
    network, check, module, cause = PLANTED[bug]
    result = run(tmp_path, f"jittor_{network}.py", f"torch_{network}.py")
    assert not result.aligned
    first = result.findings[0]
    assert first.check == check
    assert module is None or first.module == module
    assert first.cause and first.cause.name == cause
    assert len(result.findings) == 1  # consequences are not told


@pytest.mark.parametrize(("first", "second"), ALIGNED)
def test_no_false_alarm(first, second, tmp_path, monkeypatch):
    monkeypatch.delenv("ALIGN_BUG", raising=False)
    result = run(tmp_path, first, second)
    wrong = [check for check in result.checks if check.status == "departs"]
    assert not wrong and not result.findings


#: Adam at a rate at which rounding grows a thousandfold in a few steps.
FAST = """
import sys

sys.path.insert(0, {folder!r})
import {framework}
from {framework}_ours import batch, build, loss


def optimizer(model):
    return {framework}.optim.Adam(model.parameters(), lr={rate})
"""


@pytest.mark.parametrize(("other", "aligned"), [(0.05, True), (0.0501, False)])
def test_rounding_that_grows_is_no_departure_and_another_rate_is(other, aligned, tmp_path):
    for framework, rate in (("jittor", 0.05), ("torch", other)):
        text = FAST.format(folder=str(SIDES), framework=framework, rate=rate)
        (tmp_path / f"{framework}_fast.py").write_text(text)
    first, second = tmp_path / "jittor_fast.py", tmp_path / "torch_fast.py"
    result = run(tmp_path / "out", str(first), str(second), steps=20)
    checks = {check.name: check for check in result.checks}
    assert result.aligned == aligned
    assert (checks["losses"].bound > BOUNDS["float32"].losses) == aligned
    assert (checks["rate"].status == "departs") != aligned
