"""Parameters and modules of two sides, paired by name, usual names, order and shape."""

from jittor_ddim.parity.align.pairing import Pair, pair_calls, pair_modules, pair_parameters


def state(*entries):
    """Entries of (name, shape) or (name, shape, trainable)."""
    found = []
    for name, shape, *trainable in entries:
        owner = "BatchNorm" if "norm" in name else "Linear"
        found.append(
            {"name": name, "shape": list(shape), "trainable": (trainable or [True])[0],
             "owner": owner}
        )  # fmt: skip
    return found


def names(pairing):
    return {pair.first: pair.second for pair in pairing.pairs}


def test_equal_names():
    both = state(("a.weight", (2, 3)), ("a.bias", (2,)))
    pairing = pair_parameters(both, both)
    assert names(pairing) == {"a.weight": "a.weight", "a.bias": "a.bias"}
    assert not pairing.left and not pairing.right


def test_names_that_people_write():
    first = state(("norm.gamma", (4,)), ("norm.beta", (4,)), ("norm.moving_mean", (4,), False))
    second = state(
        ("module.norm.weight", (4,)), ("module.norm.bias", (4,)),
        ("module.norm.running_mean", (4,), False),
        ("module.norm.num_batches_tracked", (), False),
    )  # fmt: skip
    pairing = pair_parameters(first, second)
    assert names(pairing) == {
        "norm.gamma": "module.norm.weight",
        "norm.beta": "module.norm.bias",
        "norm.moving_mean": "module.norm.running_mean",
    }
    assert not pairing.right  # what only one framework counts is nobody's


def test_other_names_in_the_same_order():
    first = state(("enc.w1", (5, 3)), ("enc.b1", (5,)), ("dec.w1", (2, 5)))
    second = state(("layers.0.weight", (5, 3)), ("layers.0.bias", (5,)), ("top.weight", (2, 5)))
    assert len(pair_parameters(first, second).pairs) == 3


def test_transposed_weights_and_the_square_ones_among_them():
    first = state(("a.weight", (2, 3)), ("b.weight", (3, 3)))
    second = state(("a.weight", (3, 2)), ("b.weight", (3, 3)))
    assert [pair.transposed for pair in pair_parameters(first, second).pairs] == [True, True]


def test_what_is_left_has_candidates():
    first = state(("head.weight", (7, 2)), ("a.weight", (2, 2)))
    second = state(("a.weight", (2, 2)), ("heads.weight", (9, 2)))
    pairing = pair_parameters(first, second)
    assert pairing.left == {"head.weight": ["heads.weight", "a.weight"]}
    assert pairing.right == {"heads.weight": ["head.weight", "a.weight"]}


def test_a_rename_of_either_side():
    first, second = state(("x", (2,)), ("y", (2,))), state(("p", (2,)), ("q", (2,)))
    renamed = {"x": "q", "y": "p"}
    assert names(pair_parameters(first, second, (renamed, {}))) == renamed
    backwards = {"q": "x", "p": "y"}
    assert names(pair_parameters(first, second, ({}, backwards))) == renamed


def test_numbers_without_dimensions():
    pairing = pair_parameters(state(("scale", (1,))), state(("scale", ())))
    assert len(pairing.pairs) == 1


def test_modules_follow_their_parameters():
    pairing = pair_parameters(
        state(("a.one.weight", (2, 3)), ("a.two.weight", (4, 2))),
        state(("z.eins.weight", (2, 3)), ("z.zwei.weight", (4, 2))),
    )
    modules = pair_modules(
        pairing.pairs, ["", "a", "a.one", "a.two"], ["", "z", "z.eins", "z.zwei"]
    )
    assert modules == {"": "", "a": "z", "a.one": "z.eins", "a.two": "z.zwei"}


def call(module, parent, shape, number=0):
    outputs = {"array": module, "shape": shape, "dtype": "float32"}
    return {"module": module, "call": number, "parent": parent, "outputs": outputs}


def test_modules_without_parameters_are_paired_by_their_place():
    first = [call("", None, [1]), call("conv", 0, [2]), call("relu", 0, [2]), call("fc", 0, [3])]
    second = [call("", None, [1]), call("conv", 0, [2]), call("act", 0, [2]), call("fc", 0, [3])]
    modules = {"": "", "conv": "conv", "fc": "fc"}
    assert pair_calls(first, second, modules) == {0: 0, 1: 1, 2: 2, 3: 3}
    second[2]["outputs"]["shape"] = [9]
    assert pair_calls(first, second, modules) == {0: 0, 1: 1, 3: 3}


def test_a_module_that_is_called_twice():
    first = [call("", None, [1]), call("act", 0, [2]), call("act", 0, [2], 1)]
    assert pair_calls(first, first, {"": "", "act": "act"}) == {0: 0, 1: 1, 2: 2}


def test_a_list_of_layers_shifts_nothing_around_it():
    names = ["fn.0.fn1.1.weight", "fn.0.fn2.weight", "fn.1.weight"]
    others = ["fn.0.fns.0.1.weight", "fn.0.fns.1.weight", "fn.1.weight"]
    pairs = [Pair(one, other) for one, other in zip(names, others, strict=True)]
    first = ["", "fn", "fn.0", "fn.0.fn1", "fn.0.fn1.0", "fn.0.fn1.1", "fn.0.fn2", "fn.1"]
    second = ["", "fn", "fn.0", "fn.0.fns", "fn.0.fns.0", "fn.0.fns.0.0", "fn.0.fns.0.1",
              "fn.0.fns.1", "fn.1"]  # fmt: skip
    assert pair_modules(pairs, first, second) == {
        "": "", "fn": "fn", "fn.0": "fn.0", "fn.0.fn1": "fn.0.fns.0",
        "fn.0.fn1.1": "fn.0.fns.0.1", "fn.0.fn2": "fn.0.fns.1", "fn.1": "fn.1",
    }  # fmt: skip


def test_a_wrapper_of_one_side():
    pairs = [Pair("conv.weight", "net.body.first.weight"), Pair("fc.bias", "net.head.bias")]
    second = ["", "net", "net.body", "net.body.first", "net.head"]
    found = pair_modules(pairs, ["", "conv", "fc"], second)
    assert found == {"": "", "conv": "net.body.first", "fc": "net.head"}
