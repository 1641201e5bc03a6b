"""What decides about the pixels of a network's samples."""

from pathlib import Path

import numpy as np
import pytest

from jittor_ddim.config import load_config
from jittor_ddim.network import Network

WEIGHTS = {"a": np.arange(3, dtype=np.float32)}


def fingerprint(name, **keys):
    config = load_config(name, {f"diffusion.{key}": value for key, value in keys.items()})
    return Network(config, WEIGHTS, Path("x"), None).fingerprint()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cifar10.yml", "b1c43d5e6071d8a3"), ("digits.yml", "d0532906f2305b53")],
)
def test_keys_that_came_later_leave_old_fingerprints_as_they_were(name, expected):
    assert fingerprint(name) == expected


def test_other_processes_have_other_fingerprints():
    found = {
        fingerprint("cifar10.yml", **keys)
        for keys in (
            {}, {"prediction": "v"}, {"prediction": "x0"}, {"beta_schedule": "cosine"},
            {"prediction": "v", "zero_terminal_snr": True},
        )
    }  # fmt: skip
    assert len(found) == 5
