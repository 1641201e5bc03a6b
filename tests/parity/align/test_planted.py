"""Bugs planted on one side, one for each known cause, and pairs without any."""

import pytest
from starting import needs

from parity.align.planted import ALIGNED, PLANTED, run

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
