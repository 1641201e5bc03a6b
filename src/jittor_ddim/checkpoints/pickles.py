"""A reader of pickles that runs nothing: it knows containers, numbers, text and a list of names.

A pickle is a program for a small stack machine, and Python's own machine calls whatever the
program names. This one executes the instructions that build data; a name is looked up in the
caller's table, whose functions build data too, and any other name is refused. No attribute is ever
set, and only text, bytes and integers become keys.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from jittor_ddim.errors import CheckpointError, why

_MARK = "MARK"
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_WITHOUT_EFFECT = {"PROTO", "FRAME", "STOP"}
#: AttributeError and TypeError: an instruction met something else than it expects.
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Admitted:
    """A name that a pickle may use.

    :ivar name: ``module.name``
    :ivar make: what is called in its place; None if it is only mentioned, as a type is. If the
        pickle gives an object its content afterwards, its method ``build`` takes that, and raises
        ValueError if it is wrong
    """

    name: str
    make: Callable[..., Any] | None = None


Names = Mapping[str, Admitted]


def admit(functions: Mapping[str, Callable[..., Any] | None]) -> dict[str, Admitted]:
    """Return a table of what stands in for ``module.name``; None is only mentioned."""
    return {name: Admitted(name, make) for name, make in functions.items()}


def load(file: BinaryIO, names: Names, persistent: Callable[[Any], Any] | None = None) -> Any:
    """Read one pickle, up to and including its last byte.

    :param file: in memory, so that a length in the pickle cannot exceed what is there
    :param names: what it may mention or call
    :param persistent: what to make of its persistent ids; None refuses them
    :raises CheckpointError: naming what it would run, or saying that it is damaged
    """
    here = file.tell()
    machine = _Machine(names, persistent, file.seek(0, io.SEEK_END) - here)
    file.seek(here)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.execute(opcode.name, argument)
        return machine.result()
    except _BROKEN as error:
        raise CheckpointError(f"damaged: a broken pickle ({why(error, 80)})") from None


class _Machine:
    """The state of the stack machine; a mark lays the stack aside until its items are taken."""

    def __init__(self, names: Names, persistent: Callable[[Any], Any] | None, most: int) -> None:
        """:param most: how many characters and entries calls may work on, all together"""
        self._left = most
        self._names = names
        self._persistent = persistent
        self._stack: list[Any] = []
        self._aside: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """Return what the program left."""
        (value,) = self._stack
        return value

    def execute(self, name: str, argument: Any) -> None:
        """Execute one instruction, by the names of :mod:`pickletools`."""
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif not (
            name in _WITHOUT_EFFECT
            or self._move(name, argument)
            or self._contain(name)
            or self._name(name, argument)
        ):
            raise CheckpointError(f"refused: the pickle instruction {name} is not for data")

    def _move(self, name: str, argument: Any) -> bool:
        """Memory and the order of the stack."""
        stack = self._stack
        if name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name == _MARK:
            self._aside.append(stack)
            self._stack = []
        elif name == "POP_MARK":
            self._marked()
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            return False
        return True

    def _contain(self, name: str) -> bool:
        """Lists, tuples and dictionaries."""
        if name == "EMPTY_LIST":
            self._stack.append([])
        elif name == "EMPTY_DICT":
            self._stack.append({})
        elif name in ("LIST", "TUPLE"):
            items = self._marked()
            self._stack.append(items if name == "LIST" else tuple(items))
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "DICT":
            items = self._marked()
            self._stack.append({})
            self._set(items)
        elif name in ("APPEND", "APPENDS"):
            items = self._pop(1) if name == "APPEND" else self._marked()
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            self._set(self._pop(2) if name == "SETITEM" else self._marked())
        else:
            return False
        return True

    def _name(self, name: str, argument: Any) -> bool:
        """Names, what is made of them, and persistent ids."""
        if name == "GLOBAL":
            self._stack.append(self._find(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            self._stack.append(self._find(*self._pop(2)))
        elif name in ("REDUCE", "NEWOBJ"):
            callee, arguments = self._pop(2)
            self._count(arguments)
            self._stack.append(_call(callee, arguments))
        elif name == "BUILD":
            (state,) = self._pop(1)
            target = self._stack[-1]
            if not isinstance(target, dict):  # the attributes of an OrderedDict mean nothing
                self._build(target, state)
        elif name in ("PERSID", "BINPERSID"):
            identity = argument if name == "PERSID" else self._pop(1)[0]
            if self._persistent is None:
                raise CheckpointError("refused: a persistent id, which only PyTorch's files have")
            self._stack.append(self._persistent(identity))
        else:
            return False
        return True

    def _find(self, module: Any, name: Any) -> Admitted:
        if type(module) is not str or type(name) is not str:
            raise ValueError("a name that is not text")  # printing it might never end
        full = f"{module}.{name}"
        try:
            return self._names[full]
        except KeyError:
            raise CheckpointError(
                f"refused: it would run {full[:80]!r}; only arrays, numbers, strings and "
                "containers are safe"
            ) from None

    def _count(self, arguments: Any) -> None:
        """Refuse to work on more than the file holds: one large argument, used again and again."""
        if isinstance(arguments, tuple):
            sized = (a for a in arguments if isinstance(a, (str, bytes, list, tuple)))
            self._left -= sum(map(len, sized))
        if self._left < 0:
            raise CheckpointError("refused: it works on more than the file holds")

    def _build(self, target: Any, state: Any) -> None:
        build = getattr(type(target), "build", None)
        if build is None:
            raise CheckpointError(
                f"refused: it would change the inside of a {type(target).__name__}"
            )
        build(target, state)

    def _set(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise ValueError(f"a {type(self._stack[-1]).__name__} instead of a {kind.__name__}")
        return self._stack[-1]

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("the stack is empty")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _marked(self) -> list[Any]:
        items = self._stack
        self._stack = self._aside.pop()
        return items


def checked_key(key: Any) -> str | bytes | int:
    """Return a key of a dictionary.

    :raises ValueError: if it is not text, bytes or an integer: hashing a deeply nested tuple
        overflows the C stack
    """
    if type(key) not in (str, bytes, int):
        raise ValueError(f"a {type(key).__name__} as a key")
    return key


def _call(callee: Any, arguments: Any) -> Any:
    if not isinstance(callee, Admitted) or callee.make is None:
        what = callee.name if isinstance(callee, Admitted) else f"a {type(callee).__name__}"
        raise CheckpointError(f"refused: it would call {what}, which does not build data")
    if not isinstance(arguments, tuple):
        raise ValueError("arguments that are not a tuple")
    return callee.make(*arguments)
