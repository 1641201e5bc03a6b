"""How far arrays are apart, and what a worker needs of Python."""

import ast
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jittor_ddim import stopwatch
from jittor_ddim.parity.align import worker
from jittor_ddim.parity.align.drawing import drawn_apart
from jittor_ddim.parity.align.measures import (
    distance,
    kept,
    precision_of,
    relative,
    tree_distance,
)
from jittor_ddim.parity.align.network_checks import _drawn_apart
from jittor_ddim.parity.align.rounding import gradient_gaps
from jittor_ddim.parity.align.worker import serve
from jittor_ddim.parity.align.worker.frameworks import SideError, _Jittor
from jittor_ddim.parity.align.worker.packed import join, split
from jittor_ddim.parity.align.worker.trees import Store, decode, encode, leaves, opaque

ONE = np.array([3.0, 4.0], np.float32)


def test_distances():
    assert distance(ONE, ONE) == 0.0
    assert distance(ONE, ONE * 1.1) == pytest.approx(0.1, rel=1e-5)
    assert distance(ONE, ONE[:1]) == math.inf
    assert distance(ONE, np.array([3.0, np.nan])) == math.inf
    assert distance(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == 0.0
    assert distance(np.array([1, 2]), np.array([1, 3])) == math.inf
    assert distance(np.float32(2), np.ones(1, np.float32) * 2) == 0.0
    assert distance(ONE * 1e-9, ONE * 2e-9, least=1.0) < 1e-8
    assert distance(np.zeros(2), np.array([0.0, np.inf])) == math.inf


def test_relative():
    assert relative(2.0, 2.2) == pytest.approx(0.1)
    assert relative(0.0, 0.0) == 0.0 and relative(1.0, math.nan) == math.inf
    assert relative(math.nan, math.nan) == relative(math.inf, math.inf) == math.inf


def test_complex_numbers_have_two_parts():
    assert distance(ONE + 1j, ONE - 1j) == pytest.approx(math.sqrt(8 / 27), rel=1e-5)
    assert distance(ONE + 1j, ONE + 1j) == 0.0


def test_a_gradient_that_is_no_number_is_infinitely_far():
    one = {"a": ONE, "b": ONE, "c": ONE}
    other = {"a": ONE * 1.5, "b": ONE * np.nan, "c": ONE}
    assert gradient_gaps(one, other) == {"a": 0.5, "b": math.inf, "c": 0.0}


def test_fresh_weights_of_one_distribution_are_never_apart_by_chance():
    random = np.random.default_rng(0)
    for size in (400, 1000, 5000):
        for draw in (random.standard_normal, random.random):
            assert all(_drawn_apart(draw(size), draw(size))[0] < 1 for _ in range(300))
    bound = math.sqrt(3)  # of a uniform distribution with the same spread
    assert _drawn_apart(random.standard_normal(2000), random.uniform(-bound, bound, 2000))[0] > 1


def test_weights_that_jittor_names_twice_count_once():
    shared, own = object(), object()
    model = SimpleNamespace(
        named_parameters=lambda: [("a.weight", shared), ("b.weight", own), ("c.weight", shared)]
    )
    assert list(_Jittor(None).state(model)) == ["a.weight", "b.weight"]


def test_attention_in_one_parameter_is_told_as_three():
    arrays = {
        "in_proj_weight": np.arange(12.0).reshape(6, 2),
        "a.in_proj_bias": np.arange(3.0),
        "scale": np.array(1.0),
        "b.in_proj_bias": None,
        "b.in_proj_weight": np.ones((4, 2)),  # of something else
    }
    parts = split(arrays)
    assert list(parts) == [
        "q_proj.weight", "k_proj.weight", "v_proj.weight", "a.q_proj.bias", "a.k_proj.bias",
        "a.v_proj.bias", "scale", "b.q_proj.bias", "b.k_proj.bias", "b.v_proj.bias",
        "b.in_proj_weight",
    ]  # fmt: skip
    assert parts["k_proj.weight"].tolist() == [[4, 5], [6, 7]]
    known = {name: array for name, array in arrays.items() if array is not None}
    again = join({"k_proj.weight": -parts["k_proj.weight"]}, known)
    assert again["in_proj_weight"].tolist() == [
        [0, 1],
        [2, 3],
        [-4, -5],
        [-6, -7],
        [8, 9],
        [10, 11],
    ]
    assert again["scale"] == 1.0 and again["a.in_proj_bias"].tolist() == [0, 1, 2]


def test_what_dropout_keeps():
    x = np.arange(1.0, 101.0)
    y = np.where(np.arange(100) < 25, 0.0, x / 0.75)
    assert kept(x, y) == (0.25, pytest.approx(4 / 3))
    share, scale = kept(x, np.where(y == 0, 0.0, np.sqrt(x)))  # zeros, but no dropout
    assert share == 0.0 and math.isnan(scale)


@pytest.mark.parametrize("drawn", [(4, 8, 5, 5), (4, 8, 1, 1), (4, 1, 1, 1), (1, 1, 1, 1)])
def test_two_draws_of_one_dropout_are_never_apart_by_chance(drawn):
    """Of elements, of channels, of whole images as in stochastic depth, of which all may go."""
    random = np.random.default_rng(0)
    x = np.maximum(random.normal(size=(4, 8, 5, 5)), 0)

    def dropped(rate, scale=None):
        return x, x * (random.random(drawn) > rate) * (scale or 1 / (1 - rate))

    assert all(drawn_apart(dropped(0.5), dropped(0.5)) < 1e-6 for _ in range(100))
    if drawn[1] > 1:
        assert drawn_apart(dropped(0.1), dropped(0.9)) > 0.1
        assert drawn_apart(dropped(0.5), dropped(0.5, scale=1.0)) == pytest.approx(1.0)
    assert drawn_apart(dropped(0.0), (x, x + random.normal(size=x.shape))) == math.inf


def test_the_roughest_type():
    assert precision_of(["float32", "bfloat16", "int32"]) == "bfloat16"
    assert precision_of([]) == "float32"


def test_trees(tmp_path):
    store = Store(tmp_path)

    def leaf(thing):
        if isinstance(thing, np.ndarray):
            return {"array": store.put(thing), "dtype": str(thing.dtype),
                    "shape": list(thing.shape)}  # fmt: skip
        return None

    tree = ((ONE, None), {"a": [1, "b", ONE * 2]})
    code = encode(tree, leaf)
    again = decode(code, lambda one: store.get(one["array"]))
    assert again[0][1] is None and again[1]["a"][:2] == [1, "b"]
    assert np.array_equal(again[1]["a"][2], ONE * 2)
    assert [place for place, _ in leaves(code)] == ["[0][0]", "[1][a][2]"]
    assert store.put(ONE) == store.put(ONE.copy()) != store.put(ONE.astype(np.float64))
    held = encode(SimpleNamespace(one=ONE, other=3), leaf)
    assert [place for place, _ in leaves(held)] == ["[one]"]
    assert opaque(encode([SimpleNamespace(one=ONE)], leaf)) and not opaque(code)
    with pytest.raises(ValueError, match="a SimpleNamespace cannot"):
        decode(held, lambda one: one)
    pair = [encode(tree, leaf) for tree in ((ONE, None), (ONE * 2, ONE))]
    assert tree_distance(store, *pair) == math.inf
    assert tree_distance(store, *pair, partly=True) == 1.0
    with pytest.raises(ValueError, match="a object cannot"):
        decode(encode([object()], leaf), lambda one: one)


def test_the_file_that_imports_the_other_framework_is_named(tmp_path, monkeypatch):
    file = tmp_path / "parts.py"
    file.write_text("def late():\n    from torch.hub import load\n")
    # Other tests' modules may import it as well.
    loaded = {"parts": SimpleNamespace(__file__=str(file)), "torch": None}
    python = SimpleNamespace(modules=loaded, prefix=sys.prefix, base_prefix=sys.base_prefix)
    monkeypatch.setattr(serve, "sys", python)
    monkeypatch.setattr(serve, "loaded_frameworks", lambda: ["jittor", "torch"])
    with pytest.raises(SideError, match=r"both frameworks, torch in .*parts\.py; a side uses one"):
        serve.only_one("jittor")
    monkeypatch.setattr(serve, "loaded_frameworks", lambda: ["jittor"])
    assert serve.only_one("jittor") == ["jittor"]


def test_a_side_that_hides_what_it_imports_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    text = "build = batch = loss = print"
    for name in ("json", "torch", "numpy"):
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(SideError, match=f"called like the module {name}, which it hides"):
            serve.load_side(tmp_path / f"{name}.py")
    for name in ("seite 一", "a.b"):
        (tmp_path / f"{name}.py").write_text(text)
        assert serve.load_side(tmp_path / f"{name}.py").build is print


def test_a_side_can_run_under_an_older_python():
    """What runs there is Python 3.8, and imports nothing but itself, stopwatch and NumPy."""
    own = "jittor_ddim.parity.align.worker"
    files = [*Path(worker.__file__).parent.glob("*.py"), Path(stopwatch.__file__)]
    for path in files:
        if path.name == "own.py":  # which is for this Python
            continue
        tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jittor_ddim"):
                assert node.module.startswith(own) or node.module == "jittor_ddim.stopwatch"


def test_it_could_live_by_itself():
    """It knows no diffusion, and of this package only what any program has."""
    folder = Path(worker.__file__).parents[1]
    texts = {
        path: path.read_text("utf-8") for path in folder.rglob("*.*") if path.suffix != ".pyc"
    }
    for path, text in texts.items():
        assert not re.search(r"diffusion|denois|timestep|\bunet\b", text, re.IGNORECASE), path
    used = set(re.findall(r"from jittor_ddim\.(\w+)", "".join(texts.values())))
    assert used <= {"atomic", "engines", "errors", "figures", "pages", "parity", "stopwatch"}
    users = [path.name for path, text in texts.items() if "from jittor_ddim.engines" in text]
    assert users == ["own.py"]  # which starts a framework as an engine does
