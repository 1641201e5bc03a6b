"""Sides that raise, hang, print, return something else: each one line that names side and task."""

import json
import sys
from textwrap import dedent

import pytest
from starting import needs

from jittor_ddim.cli.main import main
from jittor_ddim.errors import UserError
from jittor_ddim.parity.align.align import Plan, align
from jittor_ddim.parity.align.sides import SideFile
from parity.align.planted import SIDES
from parity.align.small_sides import GOOD, pair, run

pytestmark = [pytest.mark.pytorch, pytest.mark.slow]

#: What is added at the end of a good side, and the line that must follow.
HARM = {
    "raises": ("def loss(m, b): raise ValueError('no\\nluck')", "ValueError: no luck (line"),
    "raises at once": ("1 / 0", "in import: ZeroDivisionError"),
    "no module": ("def build(weights): return 7", "in build: build returned int, not a module"),
    "no parameters": ("def build(weights): return nn.ReLU()", "the model has no parameters"),
    "a tensor as batch": ("def batch(step): return torch.ones(2)", "batch returned a tensor"),
    "no batch": ("def batch(step): return None", "batch returned NoneType"),
    "a loss of many": ("def loss(model, batch): return model(batch)", "a tensor of shape [3, 4]"),
    "no loss": ("def loss(model, batch): return None", "loss returned NoneType, not a tensor"),
    "dies": ("import os\ndef batch(step): os._exit(3)", "its process ended (exit code 3)"),
    "killed": ("import os\ndef batch(step): os.kill(os.getpid(), 9)", "probably ran out of"),
    "memory": ("def batch(step): raise MemoryError", "in batch: ran out of memory"),
    "hangs": ("import time\ndef batch(step): time.sleep(300)", "in batch: no answer in 40 s"),
    "no function": ("del loss", "in import: has no function loss"),
    "no framework": ("", "in import: imports neither framework"),
    "both frameworks": (
        "import sys\nsys.modules['jittor'] = sys",
        "in import: loads both frameworks; a side uses one",
    ),
    "no samples": ("def sample(model, seed): pass", "in sample: sample returned NoneType"),
    "asks": ("input('Which? ')", "in import: EOFError"),
    "has options": (
        "import argparse\nargparse.ArgumentParser().parse_args()\n1 / 0", "ZeroDivisionError",
    ),
    "no Python": ("def", "in import: line 24: "),
}  # fmt: skip


@pytest.fixture(autouse=True)
def framework():
    needs("pytorch")


@pytest.mark.parametrize("harm", HARM)
def test_a_bad_side_is_one_line(harm, tmp_path):
    end, message = HARM[harm]
    files = pair(tmp_path, end)
    if harm == "no samples":
        files[0].path.write_text(
            files[1].path.read_text().replace("pass", "return model.fc.weight")
        )
    if harm == "no framework":
        files[1].path.write_text("def build(weights): pass\nbatch = loss = build\n")
    with pytest.raises(UserError) as error:
        align(Plan(files, 2, limit=40.0), tmp_path / "out")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(f"{files[1].path} (second)")


def test_what_a_side_prints_is_no_answer(tmp_path):
    noise = """
    import os
    print("hello")
    os.write(1, b"hello")
    def loss(model, batch):
        os.system("echo again")
        return (model(batch) ** 2).mean()
    """
    assert run(tmp_path, noise).aligned
    assert "again" in (tmp_path / "out" / "second" / "stderr.txt").read_text()


def test_a_module_called_twice_and_optional_functions(tmp_path):
    more = """
    def sample(model, seed):
        return [model(torch.ones(1, 4)), None, {"a": (torch.zeros(1),)}]
    """
    result = align(Plan(pair(tmp_path, "", GOOD + dedent(more)), 3), tmp_path / "out")
    checks = {check.name: check for check in result.checks}
    assert result.aligned and checks["samples"].status == "agrees"
    assert checks["eval"].compared == 5  # the model, two layers, and the activation twice


def test_a_side_that_is_not_deterministic_is_said_first(tmp_path):
    end = """
    class Random(Net):
        def forward(self, x):
            return self.again(self.act(self.fc(x + torch.rand(1))))
    def build(weights): return Random()
    """
    first = run(tmp_path, end).findings[0]
    assert (first.check, first.type) == ("determinism", "Random")
    assert first.where == "second, evaluation mode"


def test_a_side_that_loads_weights_itself(tmp_path):
    end = """
    def build(weights):
        net = Net()
        if weights:
            net.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        return net
    """
    result = run(tmp_path, end)
    assert result.aligned and "set its weights itself" in result.checks[0].notes[0]


def test_unpaired_parameters_are_listed(tmp_path):
    end = """
    class More(Net):
        def __init__(self):
            super().__init__()
            self.extra = nn.Linear(4, 2)
    def build(weights): return More()
    """
    check = run(tmp_path, end).checks[0]
    assert check.status == "departs" and "extra.weight (≈ " in check.notes[0]


def test_nothing_in_common(tmp_path):
    with pytest.raises(UserError, match="no parameter of one name or shape"):
        run(tmp_path, "def build(weights): return nn.Conv2d(1, 9, 7)")


def test_another_python(tmp_path):
    files = pair(tmp_path)
    files = (files[0], SideFile(files[1].path, sys.executable))
    assert align(Plan(files, 2), tmp_path / "out").aligned
    wrong = (files[0], SideFile(files[1].path, str(tmp_path / "python")))
    with pytest.raises(UserError, match="name a Python"):
        align(Plan(wrong, 2), tmp_path / "out")


def test_the_command(tmp_path, capsys, monkeypatch, restored_process):
    monkeypatch.setenv("ALIGN_BUG", "layernorm_epsilon")
    sides = [str(SIDES / "torch_transformer.py")] * 2
    out = tmp_path / "out"
    options = ["--steps", "2", "--out", str(out), "--lang", "zh"]
    assert main(["align", *sides, *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["aligned"] and "已对齐" in (out / "summary.md").read_text("utf-8")
    assert not (out / "arrays").exists()
    files = pair(tmp_path, "def loss(model, batch): return (model(batch) ** 2).sum()")
    files = [str(file.path) for file in files]
    assert main(["align", *files, *options]) == 3
    assert json.loads(capsys.readouterr().out)["findings"][0]["cause"] == "loss_reduction"
    assert main(["align", files[0], str(tmp_path / "missing.py"), *options]) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_scripts_show_the_difference(tmp_path):
    import subprocess

    end = """
    class Other(Net):
        def forward(self, x):
            return self.again(torch.sigmoid(self.fc(self.act(x))))
    def build(weights): return Other()
    """
    finding = run(tmp_path, end).findings[0]
    assert finding.scripts and finding.smallest == ["float32 [1, 4]"]
    said = [
        subprocess.run([sys.executable, path], capture_output=True, text=True, check=True).stdout
        for path in finding.scripts
    ]
    assert "Now run second.py" in said[0] and "largest difference: 0." in said[1]
