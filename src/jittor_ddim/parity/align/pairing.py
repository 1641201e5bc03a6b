"""Which parameter of one side is which of the other's, and which module."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from jittor_ddim.parity.align.worker.trees import leaves

_Entry = Mapping[str, Any]  # of a side's state: name, shape, trainable, …

#: How people's names differ, after lower-casing: what is looked for and what replaces it.
_RULES = (
    (r"^(module|_orig_mod|model)\.", ""),
    (r"(^|[._])(gamma|scale|kernel|w)$", r"\1weight"),
    (r"(^|[._])(beta|b)$", r"\1bias"),
    (r"moving_(mean|var)", r"running_\1"),
    (r"running_variance", "running_var"),
    (r"\.layers\.", "."),
)
#: What one framework keeps and the other does not, without a part in any result.
_UNCOUNTED = re.compile(r"num_batches_tracked$|position_ids$")
_MOST_CANDIDATES = 3


@dataclass(frozen=True)
class Pair:
    """A parameter or buffer by both names."""

    first: str
    second: str
    transposed: bool = False


@dataclass
class Pairing:
    """All pairs, and what is left on either side, each with its nearest candidates."""

    pairs: list[Pair] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)
    right: dict[str, list[str]] = field(default_factory=dict)


def pair_parameters(
    first: Sequence[_Entry],
    second: Sequence[_Entry],
    renamed: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Pairing:
    """Pair by the sides' own ``rename``, by name, by usual names, then by order and shape.

    :param renamed: each side's names as its ``rename`` writes them for the other
    """
    left = {one["name"]: one for one in first if not _UNCOUNTED.search(one["name"])}
    right = {one["name"]: one for one in second if not _UNCOUNTED.search(one["name"])}
    found: dict[str, str] = {}
    keys: list[tuple[Callable[[str], str], Callable[[str], str]]] = [
        (lambda n: renamed[0].get(n, n), lambda n: n),
        (lambda n: n, lambda n: renamed[1].get(n, n)),
        (usual, usual),
    ]
    for key, other in keys:
        free = [name for name in right if name not in found.values()]
        by_key = {other(name): name for name in free}
        for name in (name for name in left if name not in found):
            match = by_key.get(key(name))
            if match and match not in found.values() and _fit(left[name], right[match]):
                found[name] = match
    _pair_in_order(left, right, found)
    turned = {
        left[name]["owner"] for name, match in found.items()
        if shape(left[name]) != shape(right[match])
    }  # fmt: skip
    pairs = [
        Pair(n, found[n], left[n]["owner"] in turned and len(left[n]["shape"]) == 2)
        for n in left
        if n in found
    ]
    return Pairing(
        pairs,
        {n: _nearest(left[n], right) for n in left if n not in found},
        {n: _nearest(right[n], left) for n in right if n not in found.values()},
    )


def usual(name: str) -> str:
    """Return a name as most people write it."""
    name = name.lower()
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def shape(entry: _Entry) -> tuple[int, ...]:
    """Return a shape; Jittor has no arrays without dimensions, so those are of one number."""
    return tuple(entry["shape"]) or (1,)


def _fit(one: _Entry, other: _Entry) -> bool:
    a, b = shape(one), shape(other)
    return a == b or (len(a) == 2 and a == b[::-1])


def _pair_in_order(
    left: Mapping[str, _Entry], right: Mapping[str, _Entry], found: dict[str, str]
) -> None:
    for trainable in (True, False):
        ours = [n for n in left if n not in found and left[n]["trainable"] == trainable]
        theirs = [
            n for n in right if n not in found.values() and right[n]["trainable"] == trainable
        ]

        def shapes(names: list[str], of: Mapping[str, _Entry]) -> list[tuple[int, ...]]:
            return [tuple(sorted(shape(of[n]))) for n in names]

        matcher = SequenceMatcher(None, shapes(ours, left), shapes(theirs, right), autojunk=False)
        for block in matcher.get_matching_blocks():
            for k in range(block.size):
                one, other = ours[block.a + k], theirs[block.b + k]
                if _fit(left[one], right[other]):
                    found[one] = other


def _nearest(entry: _Entry, others: Mapping[str, _Entry]) -> list[str]:
    near = get_close_matches(entry["name"], list(others), n=_MOST_CANDIDATES, cutoff=0.5)
    same = [name for name in others if shape(others[name]) == shape(entry)]
    return list(dict.fromkeys([*near, *same]))[:_MOST_CANDIDATES]


def pair_modules(
    pairs: Sequence[Pair], first: Sequence[str], second: Sequence[str]
) -> dict[str, str]:
    """Return the second's modules by the first's: those of one name, then those around pairs.

    Both must hold the same parameters, or one side's list of layers would shift all around it.
    """
    found = {"": ""}
    held = _held([pair.first for pair in pairs]), _held([pair.second for pair in pairs])

    def add(one: str, other: str) -> None:
        free = one in first and other in second and one not in found
        if free and other not in found.values() and held[0].get(one) == held[1].get(other):
            found[one] = other

    for name in first:
        add(name, name)
    by_key = {usual(name): name for name in second}
    for name in first:
        add(name, by_key.get(usual(name), ""))
    for pair in pairs:
        for one in _around(pair.first):
            for other in _around(pair.second):
                add(one, other)
    return found


def _held(parameters: Sequence[str]) -> dict[str, set[int]]:
    """Return which parameters, by their numbers, lie in each module."""
    held: dict[str, set[int]] = {}
    for number, name in enumerate(parameters):
        for module in _around(name):
            held.setdefault(module, set()).add(number)
    return held


def _around(name: str) -> list[str]:
    """Return the modules around a parameter, the innermost first."""
    parts = name.split(".")[:-1]
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def pair_calls(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]], modules: Mapping[str, str]
) -> dict[int, int]:
    """Return which recorded call is which: of paired modules, then of those between them.

    A module without parameters has no name of its own in many models; if it stands in the same
    place between two paired calls, and its output has the same shape, it is the same.
    """
    places = {(call["module"], call["call"]): k for k, call in enumerate(second)}
    found = {}
    for k, call in enumerate(first):
        match = places.get((modules.get(call["module"], "\0"), call["call"]))
        if match is not None:
            found[k] = match
    for parent, other in sorted(found.items()):
        ours = [k for k, call in enumerate(first) if call["parent"] == parent]
        theirs = [k for k, call in enumerate(second) if call["parent"] == other]
        for run, run_of_other in _runs_between(ours, theirs, found):
            if len(run) == len(run_of_other):
                found.update(
                    (a, b) for a, b in zip(run, run_of_other, strict=True)
                    if _shapes(first[a]) == _shapes(second[b])
                )  # fmt: skip
    return found


def _runs_between(
    ours: list[int], theirs: list[int], found: Mapping[int, int]
) -> list[tuple[list[int], list[int]]]:
    runs: list[tuple[list[int], list[int]]] = [([], [])]
    position = 0
    for k in ours:
        if found.get(k) not in theirs[position:]:
            runs[-1][0].append(k)
            continue
        end = theirs.index(found[k], position)
        runs[-1][1].extend(theirs[position:end])
        runs.append(([], []))
        position = end + 1
    runs[-1][1].extend(theirs[position:])
    return runs


def _shapes(call: Mapping[str, Any]) -> list[list[int]]:
    return [array["shape"] for _, array in leaves(call["outputs"])]
