"""A small network as a side, and a second one that differs by what is added at its end."""

import json
import sys
from textwrap import dedent

from jittor_ddim.parity.align.align import Plan, align
from jittor_ddim.parity.align.results import Alignment
from jittor_ddim.parity.align.sides import SideFile
from jittor_ddim.parity.align.worker.frameworks import find_framework
from jittor_ddim.parity.align.worker.serve import load_side
from jittor_ddim.parity.align.worker.session import Session

GOOD = """
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.act = nn.ReLU()
        self.again = nn.Linear(4, 4)

    def forward(self, x):
        return self.again(self.act(self.fc(self.act(x))))

def build(weights):
    return Net()

def batch(step):
    return np.random.default_rng(step).normal(size=(3, 4)).astype("float32")

def loss(model, batch):
    return (model(batch) ** 2).mean()
"""


def pair(folder, end="", good=GOOD):
    """Two sides, the second with something at its end."""
    files = []
    for name, text in (("first", good), ("second", f"{good}{dedent(end)}\n")):
        path = folder / f"{name}.py"
        path.write_text(text)
        files.append(SideFile(path))
    return files[0], files[1]


def run(folder, end="", **plan) -> Alignment:
    return align(Plan(pair(folder, end), **{"steps": 2, **plan}), folder / "out")


class SideHere:
    """A side without a process of its own, which takes seconds to start."""

    def __init__(self, path, name, work):
        self.path, self.name = path, name
        sys.modules.pop(path.stem, None)  # of an earlier test
        before = sys.path[:]
        try:
            side = load_side(path.resolve())
        finally:
            sys.path[:] = before
        (work / name).mkdir(parents=True, exist_ok=True)
        self._session = Session(side, find_framework(["torch"]), work / "arrays", work / name)
        told = self._session.environment()
        self.environment, self.optional = told["environment"], told["optional"]

    def call(self, task, **arguments):
        sent = json.loads(json.dumps(arguments))
        return json.loads(json.dumps(getattr(self._session, task)(**sent)))


def start_sides_here(stack, files, work, limit):
    """In the place of ``start_sides``: both in this process, for sides of one framework."""
    return tuple(SideHere(file.path, file.path.stem, work) for file in files)
