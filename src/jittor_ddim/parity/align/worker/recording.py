"""Every call of every module of a model: what went in, what came out, copied at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jittor_ddim.parity.align.worker.frameworks import Framework
from jittor_ddim.parity.align.worker.trees import Store, decode, encode, leaves


class Recorder:
    """Records calls by standing in for the computing method of each module.

    Not by the frameworks' hooks: they see keyword arguments only in some versions, and Jittor has
    one hook per module, which may be taken.
    """

    def __init__(self, framework: Framework, store: Store) -> None:
        """:param store: gets all arrays"""
        self._framework, self._store = framework, store
        self.calls: list[dict[str, Any]] = []
        self._forced: list[dict[str, Any]] = []
        self._open: list[int] = []
        self._time = 0

    def describe(self, tree: Any) -> dict[str, Any]:
        """Return a tree in JSON, its arrays kept in the store."""
        return encode(tree, self._leaf)

    def revive(self, code: dict[str, Any], model: Any) -> Any:
        """Return the tree again, with tensors.

        :raises ValueError: if it holds what is no array, number or text
        """

        def leaf(array: dict[str, Any]) -> Any:
            return self._framework.of_input(self._store.get(array["array"]), model, array["dtype"])

        return decode(code, leaf)

    @contextmanager
    def listening(
        self, model: Any, forced: list[dict[str, Any]] | None = None, copied: Sequence[str] = ()
    ) -> Iterator[None]:
        """Record the calls of all modules of a model, which is left as it was.

        :param forced: of modules called directly by the first one, what they return without
            computing: ``module`` and ``outputs``, those of one module in the order of its calls
        :param copied: modules that are given copies of what they would be given
        """
        self.calls, self._open, self._time = [], [], 0
        self._forced, self._copied, self._model = list(forced or ()), copied, model
        method, counts = self._framework.method, {}
        replaced = []
        try:
            for name, module in self._framework.modules(model):
                original = getattr(module, method, None)
                if original is None or method in vars(module):
                    continue
                object.__setattr__(module, method, self._watch(name, module, original, counts))
                replaced.append(module)
            yield
        finally:
            for module in replaced:
                vars(module).pop(method, None)

    def _watch(
        self, name: str, module: Any, original: Callable[..., Any], counts: dict[str, int]
    ) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            call = counts[name] = counts.get(name, -1) + 1
            record: dict[str, Any] = {
                "module": name,
                "call": call,
                "type": type(module).__name__,
                "arguments": arguments_of(module),
                "parent": self._open[-1] if self._open else None,
                "enter": self._tick(),
                "inputs": self.describe((args, kwargs)),
            }
            self._open.append(len(self.calls))
            self.calls.append(record)
            if name in self._copied:
                args, kwargs = self.revive(record["inputs"], self._model)
            try:
                outputs = self._compute(name, original, args, kwargs)
            finally:
                self._open.pop()
            record["outputs"] = self.describe(outputs)
            record["exit"] = self._tick()
            after = self.describe((args, kwargs))
            if after != record["inputs"]:  # it, or something in it, works in place
                record["altered"] = [p for p, a in leaves(after) if a not in _arrays(record)]
            return outputs

        return watched

    def _compute(
        self, name: str, original: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        # By name: the other side may call independent modules in another order.
        given = [one for one in self._forced if one["module"] == name]
        if len(self._open) == 2 and given:
            self._forced.remove(given[0])
            return self.revive(given[0]["outputs"], self._model)
        return original(*args, **kwargs)

    def _tick(self) -> int:
        self._time += 1
        return self._time

    def _leaf(self, thing: Any) -> dict[str, Any] | None:
        if self._framework.is_tensor(thing):
            array = self._framework.plain(thing)
            dtype = str(thing.dtype).replace("torch.", "")
        elif hasattr(thing, "__array__") and hasattr(thing, "shape") and hasattr(thing, "dtype"):
            array, dtype = thing, str(thing.dtype)
        else:
            return None
        return {"array": self._store.put(array), "dtype": dtype, "shape": list(array.shape)}


def _arrays(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [array for _, array in leaves(record["inputs"])]


def arguments_of(module: Any) -> dict[str, Any]:
    """Return the numbers and texts with which a module was made, as far as it keeps them.

    Of private ones only numbers, without the underscores: frameworks keep more there.
    """
    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if name.startswith("_"):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found.setdefault(name.strip("_"), value)
            continue
        if isinstance(value, (bool, int, float, str)):
            found[name] = value
            continue
        numbers = isinstance(value, (tuple, list)) and len(value) < 8
        if numbers and all(isinstance(v, (int, float)) for v in value):
            found[name] = list(value)
    return found
