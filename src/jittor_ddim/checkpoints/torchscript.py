"""TorchScript archives: the weights of a compiled model, without its code.

Such a zip is PyTorch's with more in it: ``code/`` and ``constants.pkl``, which nobody reads here.
Its pickle describes the modules as objects of classes that the code would define; they become bags
of attributes, which never do anything.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jittor_ddim.checkpoints.pickles import Admitted
from jittor_ddim.errors import CheckpointError

#: Entries below the archive's top folder that hold no weights; the code is compressed.
IGNORED = ("code/", "constants")
_CLASSES = "__torch__."
_DEEPEST = 30  # modules inside each other
_MOST = 10_000_000  # characters of all names: one long name may stand before many others


class ScriptObject:
    """A module of a TorchScript archive."""

    def __init__(self) -> None:
        """Begin without attributes; the pickle gives them afterwards."""
        self.attributes: dict[Any, Any] = {}

    def build(self, state: Any) -> None:
        """Take the attributes.

        :raises ValueError: if they are none
        """
        if not isinstance(state, dict):
            raise ValueError("a module without attributes")
        self.attributes = state


class ScriptNames(Mapping[str, Admitted]):
    """A table of names that also admits all classes of a TorchScript archive."""

    def __init__(self, names: Mapping[str, Admitted]) -> None:
        """:param names: what else is admitted"""
        lists = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
        makes = {name: _as_it_is for name in lists} | {"restore_type_tag": _without_tag}
        own = {f"torch.jit._pickle.{name}": make for name, make in makes.items()}
        self._names = {**names, **{name: Admitted(name, make) for name, make in own.items()}}

    def __getitem__(self, name: str) -> Admitted:
        """Return the function of a name.

        :raises KeyError: if it is not admitted
        """
        if name.startswith(_CLASSES):
            return Admitted(name, ScriptObject)
        return self._names[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names other than the archive's classes."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many these are."""
        return len(self._names)


def flatten(module: ScriptObject) -> dict[str, Any]:
    """Return the tensors of a module and of those inside it by their dotted names.

    :raises CheckpointError: if its modules form no tree of a sensible size
    """
    found: dict[str, Any] = {}
    seen = 0

    def visit(module: ScriptObject, prefix: str, depth: int) -> None:
        nonlocal seen
        seen += sum(len(prefix) + len(str(name)) for name in module.attributes)
        if depth > _DEEPEST or seen > _MOST:
            raise CheckpointError("refused: its modules contain each other without end")
        for name, value in module.attributes.items():
            if isinstance(value, ScriptObject):
                visit(value, f"{prefix}{name}.", depth + 1)
            elif hasattr(value, "array"):
                found[f"{prefix}{name}"] = value

    visit(module, "", 0)
    return found


def _as_it_is(items: Any) -> Any:
    return items


def _without_tag(value: Any, tag: Any) -> Any:
    return value
