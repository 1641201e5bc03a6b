"""A departing module on its smallest input, as two scripts that run without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jittor_ddim.parity.align.locate import Departure
from jittor_ddim.parity.align.work import Work
from jittor_ddim.parity.align.worker.trees import leaves

_TEMPLATES = Path(__file__).parent / "templates"
_NAMES = ("first", "second")


def write_scripts(work: Work, departure: Departure, train: bool, folder: Path) -> list[str]:
    """Write ``first.py``, ``second.py``, the input, and either side's weights of the module.

    :param folder: gets a folder ``reproduce``
    :return: the paths of both scripts
    """
    kinds = [side.environment["framework"].split()[0] for side in work.sides]
    code = departure.call.get("smallest", departure.call["inputs"])
    folder = folder / "reproduce"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {array["array"]: work.store.get(array["array"]) for _, array in leaves(code)}
    np.savez(folder / "input.npz", **arrays)
    paths = []
    for index, (name, side) in enumerate(zip(_NAMES, work.sides, strict=True)):
        module = (departure.call, departure.other)[index]["module"]
        inside = f"{module}." if module else ""
        weights: dict[str, list[Any]] = {}
        for entry in work.state[index].values():
            if entry["whole"].startswith(inside):
                parts = weights.setdefault(entry["whole"][len(inside) :], [])
                parts.append(work.store.get(entry["array"]))
        wholes = {n: p[0] if len(p) == 1 else np.concatenate(p) for n, p in weights.items()}
        np.savez(folder / f"{name}_weights.npz", **wholes)
        values = {
            "title": f"{module or 'The model'} of {side.path.name}, alone on the smallest input "
            "that shows the difference.",
            "side": str(side.path.resolve()), "name": name, "other": _NAMES[1 - index],
            "module": module, "train": train, "inputs": _literal(code),
        }  # fmt: skip
        parts = [(_TEMPLATES / f"{kind}.txt").read_text() for kind in (kinds[index], "end")]
        path = folder / f"{name}.py"
        path.write_text("".join(part.format(**values) for part in parts), encoding="utf-8")
        paths.append(str(path))
    return paths


def _literal(code: dict[str, Any]) -> str:
    """An encoded tree as a Python expression, its arrays by name."""
    if "array" in code:
        return f"given[{code['array']!r}]"
    if "dict" in code:
        inner = ", ".join(f"{key!r}: {_literal(value)}" for key, value in code["dict"].items())
        return f"{{{inner}}}"
    if "tuple" in code:
        inner = ", ".join(map(_literal, code["tuple"]))
        return f"[{inner}]" if code["kind"] == "list" else f"({inner}{',' if inner else ''})"
    return repr(code.get("value"))
