"""TorchScript archives: the weights of a compiled model, without its code.

Such a zip is PyTorch's with ``code/`` and ``constants.pkl`` added, which are not read here. Its
pickle describes the modules as objects of classes that the code would define; they become inert
bags of attributes.
"""

from typing import Any

from jittor_ddim.errors import CheckpointError

#: Entries below the archive's top folder that hold no weights; the code is compressed.
IGNORED = ("code/", "constants")
_DEEPEST = 30  # nested modules
_MOST = 10_000_000  # characters of all names: one long name may stand before many others


class ScriptObject:
    """A module of a TorchScript archive."""

    def __init__(self) -> None:
        """Start without attributes; the pickle adds them afterwards."""
        self.attributes: dict[Any, Any] = {}

    def build(self, state: Any) -> None:
        """Take the attributes.

        :raises ValueError: if they are not a dictionary
        """
        if not isinstance(state, dict):
            raise ValueError("a module without attributes")
        self.attributes = state


#: What such archives name besides their classes.
FUNCTIONS = {
    f"torch.jit._pickle.{name}": lambda value, *_: value
    for name in (
        *("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist"),
        "restore_type_tag",
    )
}


def flatten(module: ScriptObject) -> dict[str, Any]:
    """Return the tensors of a module and its submodules by their dotted names.

    :raises CheckpointError: if its modules do not form a tree of a sensible size
    """
    found: dict[str, Any] = {}
    seen = 0

    def visit(module: ScriptObject, prefix: str, depth: int) -> None:
        nonlocal seen
        seen += sum(len(prefix) + len(str(name)) for name in module.attributes)
        if depth > _DEEPEST or seen > _MOST:
            raise CheckpointError("refused: its modules contain each other endlessly")
        for name, value in module.attributes.items():
            if isinstance(value, ScriptObject):
                visit(value, f"{prefix}{name}.", depth + 1)
            elif hasattr(value, "array"):
                found[f"{prefix}{name}"] = value

    visit(module, "", 0)
    return found
