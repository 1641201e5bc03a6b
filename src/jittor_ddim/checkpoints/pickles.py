"""A pickle reader that runs nothing: it knows containers, numbers, text and a list of names.

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
    """Return a table of names, ``module.name``, and what to call for each; None: not callable."""
    return {name: Admitted(name, make) for name, make in functions.items()}


def load(file: BinaryIO, names: Names, persistent: Callable[[Any], Any] | None = None) -> Any:
    """Read one pickle, up to and including its last byte.

    :param file: in memory, so that a length in the pickle cannot exceed what is there
    :param names: what it may mention or call
    :param persistent: makes an object of a persistent id; None refuses such ids
    :raises CheckpointError: naming what it would run, or saying that it is damaged
    """
    here = file.tell()
    machine = _Machine(names, persistent, file.seek(0, io.SEEK_END) - here)
    file.seek(here)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name not in _INSTRUCTIONS:
                raise CheckpointError(
                    f"refused: data does not need the pickle instruction {opcode.name}"
                )
            _INSTRUCTIONS[opcode.name](machine, argument)
        (value,) = machine.stack
        return value
    except _BROKEN as error:
        raise CheckpointError(f"damaged: a broken pickle ({why(error, 80)})") from None


class _Machine:
    """The state of the stack machine; a mark puts the stack aside until its items are taken."""

    def __init__(self, names: Names, persistent: Callable[[Any], Any] | None, most: int) -> None:
        """:param most: how many characters and entries all calls together may work on"""
        self._left = most
        self._names = names
        self._persistent = persistent
        self._aside: list[list[Any]] = []
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def mark(self) -> None:
        self._aside.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """Take the items after the last mark."""
        items, self.stack = self.stack, self._aside.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def update(self, items: list[Any], new: bool = False) -> None:
        """Put keys and values, alternately, into the dictionary on top, or into a new one."""
        if new:
            self.push({})
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def find(self, module: Any, name: Any) -> None:
        """Push what a name stands for."""
        if type(module) is not str or type(name) is not str:
            raise ValueError("a name that is not text")  # printing it might never end
        full = f"{module}.{name}"
        try:
            self.push(self._names[full])
        except KeyError:
            raise _unsafe(full) from None

    def call(self, callee: Any, arguments: Any) -> None:
        """Push what a function of the table makes of its arguments.

        All calls together may work on no more than the file holds: else one large argument could
        be used again and again.
        """
        if isinstance(arguments, tuple):
            sized = (a for a in arguments if isinstance(a, (str, bytes, list, tuple)))
            self._left -= sum(map(len, sized))
        if self._left < 0:
            raise CheckpointError("refused: it processes more data than the file holds")
        if not isinstance(callee, Admitted):
            raise CheckpointError(f"refused: it would call {_kind(callee)}")
        if callee.make is None:
            raise _unsafe(callee.name)
        if not isinstance(arguments, tuple):
            raise ValueError("arguments that are not a tuple")
        self.push(callee.make(*arguments))

    def build(self, state: Any) -> None:
        """Give the object on top its content."""
        target = self.stack[-1]
        build = getattr(type(target), "build", None)
        if isinstance(target, dict):  # the attributes of an OrderedDict mean nothing
            return
        if build is None:
            raise CheckpointError(f"refused: it would set attributes of {_kind(target)}")
        build(target, state)

    def persist(self, identity: Any) -> None:
        """Push what a persistent id stands for."""
        if self._persistent is None:
            raise CheckpointError("refused: a persistent id, which belongs in PyTorch files only")
        self.push(self._persistent(identity))

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"{_kind(self.stack[-1])} instead of a {kind.__name__}")
        return self.stack[-1]


def checked_key(key: Any) -> str | bytes | int:
    """Return a dictionary key if its type is safe.

    :raises ValueError: if it is not text, bytes or an integer: hashing a deeply nested tuple
        overflows the C stack
    """
    if type(key) not in (str, bytes, int):
        raise ValueError(f"{_kind(key)} as a key")
    return key


def _unsafe(name: str) -> CheckpointError:
    return CheckpointError(
        f"refused: it would run {name[:80]!r}, but only arrays, numbers, strings and containers "
        "are safe; save the state dict alone"
    )


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


_Instruction = Callable[[_Machine, Any], Any]


def _same(names: str, execute: _Instruction) -> dict[str, _Instruction]:
    return dict.fromkeys(names.split(), execute)


#: What the instructions do, by the names of :mod:`pickletools`; all others are refused.
_INSTRUCTIONS: dict[str, _Instruction] = {
    **_same("PROTO FRAME STOP", lambda m, _: None),
    **_same("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT", _Machine.push),
    **_same("STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE", _Machine.push),
    **_same("SHORT_BINUNICODE BINUNICODE8", _Machine.push),
    **_same("BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8", _Machine.push),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    **_same("GET BINGET LONG_BINGET", lambda m, place: m.push(m.memo[place])),
    **_same("PUT BINPUT LONG_BINPUT", _Machine.remember),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "MARK": lambda m, _: m.mark(),
    "POP_MARK": lambda m, _: m.marked(),
    "POP": lambda m, _: m.pop(1),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "TUPLE1": lambda m, _: m.push(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop(3))),
    "TUPLE": lambda m, _: m.push(tuple(m.marked())),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "LIST": lambda m, _: m.push(m.marked()),
    "APPEND": lambda m, _: m.extend(m.pop(1)),
    "APPENDS": lambda m, _: m.extend(m.marked()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "DICT": lambda m, _: m.update(m.marked(), new=True),
    "SETITEM": lambda m, _: m.update(m.pop(2)),
    "SETITEMS": lambda m, _: m.update(m.marked()),
    "GLOBAL": lambda m, name: m.find(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.find(*m.pop(2)),
    **_same("REDUCE NEWOBJ", lambda m, _: m.call(*m.pop(2))),
    "BUILD": lambda m, _: m.build(*m.pop(1)),
    "PERSID": _Machine.persist,
    "BINPERSID": lambda m, _: m.persist(*m.pop(1)),
}
