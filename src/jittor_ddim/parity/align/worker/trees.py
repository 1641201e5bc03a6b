"""What modules take and return, as nested tuples, lists and dictionaries around arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PLAIN = (bool, int, float, str, type(None))


class Store:
    """A folder of arrays, each in a file named by a hash of its content."""

    def __init__(self, folder: Path) -> None:
        """:param folder: is created"""
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)

    def put(self, array: Any) -> str:
        """Keep an array and return its key; equal arrays have equal keys."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(array.reshape(-1).view(np.uint8))
        key = digest.hexdigest()
        path = self._folder / f"{key}.npy"
        if not path.exists():
            part = path.with_name(f".{key}.{os.getpid()}.tmp")
            with part.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            os.replace(part, path)
        return key

    def put_all(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Keep arrays and return their keys by the same names; None stays None."""
        return {name: None if a is None else self.put(a) for name, a in arrays.items()}

    def get(self, key: str) -> Any:
        """Return the array of a key."""
        return np.load(self._folder / f"{key}.npy", allow_pickle=False)


def encode(tree: Any, leaf: Callable[[Any], dict[str, Any] | None]) -> dict[str, Any]:
    """Describe a tree in JSON: ``tuple``, ``dict``, ``value``, what ``leaf`` says, or ``other``.

    Of an object of another class the arrays that it holds are described, so that they can be
    compared; made again it cannot be.

    :param leaf: describes an array as a dictionary, and returns None for anything else
    """
    found = leaf(tree)
    if found is not None:
        return found
    if isinstance(tree, PLAIN):
        return {"value": tree}
    if isinstance(tree, dict):
        return {"dict": {str(key): encode(value, leaf) for key, value in tree.items()}}
    if isinstance(tree, (list, tuple)):
        return {"tuple": [encode(value, leaf) for value in tree], "kind": type(tree).__name__}
    if hasattr(tree, "__dataclass_fields__"):
        values = {name: getattr(tree, name) for name in tree.__dataclass_fields__}
        return {"dict": {name: encode(value, leaf) for name, value in values.items()}}
    held = {name: leaf(value) for name, value in getattr(tree, "__dict__", {}).items()}
    arrays = {name: found for name, found in held.items() if found is not None}
    return {"other": type(tree).__name__, "dict": arrays}


def decode(code: dict[str, Any], leaf: Callable[[dict[str, Any]], Any]) -> Any:
    """Return the tree that :func:`encode` described.

    :raises ValueError: if there is something in it that is no array, number or text
    """
    if "array" in code:
        return leaf(code)
    if "other" in code:
        raise ValueError(f"a {code['other']} cannot be given to the other side")
    if "dict" in code:
        return {key: decode(value, leaf) for key, value in code["dict"].items()}
    if "tuple" in code:
        values = [decode(value, leaf) for value in code["tuple"]]
        return values if code["kind"] == "list" else tuple(values)
    return code["value"]


def leaves(code: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return the arrays of an encoded tree, in order, each with its place in it."""
    if "array" in code:
        return [(path, code)]
    inner = code.get("dict", {}).items() if "dict" in code else enumerate(code.get("tuple", []))
    return [found for key, value in inner for found in leaves(value, f"{path}[{key}]")]


def opaque(code: dict[str, Any]) -> bool:
    """Whether there is something in an encoded tree that cannot be made again."""
    inner = code.get("dict", {}).values() if "dict" in code else code.get("tuple", [])
    return "other" in code or any(map(opaque, inner))
