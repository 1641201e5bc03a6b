"""Pickles that would run code, for every way of running it that Python's own machine has."""

import builtins
import os
import pickle
import struct
import zipfile
from pathlib import Path

LEGACY_HEAD = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def programs(sentinel: Path) -> dict[str, bytes]:
    """Whole pickles by name; each makes the sentinel file when Python itself loads it."""
    shell, code = f"touch {sentinel}", f"__import__('os').system('touch {sentinel}')"
    touch = Call(os.system, shell)
    made = {
        "os.system": pickle.dumps(touch, 2),
        "os.system, protocol 0": b"\x80\x00" + pickle.dumps(touch, 0),
        "os.system, protocol 4": pickle.dumps(touch, 4),
        "builtins.eval": pickle.dumps(Call(builtins.eval, code), 2),
        "builtins.exec, deep inside": pickle.dumps(
            [{"conv_in.weight": ({"a": [Call(builtins.exec, code)]},)}, 1], 2
        ),
        "nested reduce": pickle.dumps(Call(list, Call(map, os.system, [shell])), 2),
        "getattr": b"\x80\x02cbuiltins\ngetattr\nc__builtin__\n__import__\n"
        + text("os") + b"\x85R" + text("system") + b"\x86R" + text(shell) + b"\x85R.",
        "INST": b"\x80\x02(" + text(shell) + b"ios\nsystem\n.",
        "OBJ": b"\x80\x02(cos\nsystem\n" + text(shell) + b"o.",
        "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93"
        + text(shell) + b"\x85R.",
        "an admitted name misused": b"\x80\x02ccollections\nOrderedDict\n(cos\nsystem\n"
        + text(shell) + b"\x85RtR.",
    }  # fmt: skip
    return made


def exhausting() -> dict[str, bytes]:
    """Programs that run nothing, but would crash, hang or fill the machine."""
    deep = b")" + b"\x85" * 200_000
    wide = b")" + b"2\x86" * 60
    many = text("x" * 10_000) + b"q\x010" + (
        b"c_codecs\nencode\nh\x01" + text("latin1") + b"\x86R0"
    ) * 2_000  # fmt: skip
    pairs = b"](" + b"K\x01K\x02\x86" * 5_000 + b"eq\x020"
    dictionaries = pairs + b"ccollections\nOrderedDict\nh\x02\x85R0" * 20_000
    return {
        "a deep key of an OrderedDict": b"\x80\x02ccollections\nOrderedDict\n](("
        + deep + b"K\x01te\x85R.",
        "a deep name": b"\x80\x04" + deep + text("a") + b"\x93.",
        "a wide name": b"\x80\x04" + wide + text("a") + b"\x93.",
        "a wide dtype": b"\x80\x02cnumpy\ndtype\n" + wide + b"\x85R.",
        "bytes, again and again": b"\x80\x02" + many + b"N.",
        "a dictionary, again and again": b"\x80\x02" + dictionaries + b"N.",
    }  # fmt: skip


def torch_zip(path: Path, program: bytes, **options: int) -> Path:
    """Write a program as the main pickle of a PyTorch file."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", b"\0" * 16)
        archive.writestr("archive/version", "3\n")
    return path


def torch_legacy(path: Path, program: bytes) -> Path:
    """Write a program as the main pickle of a PyTorch file before 1.6."""
    head = b"".join(pickle.dumps(part, 2) for part in LEGACY_HEAD)
    path.write_bytes(head + program + pickle.dumps([], 2))
    return path


def tensor(storage: bytes = b"torch\nFloatStorage", count: int = 4, *, shape=(4,), strides=(1,),
           offset=0, key="0") -> bytes:  # fmt: skip
    """The middle of a pickle: a tensor as PyTorch writes it, whatever its numbers say."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"c" + storage + b"\n"
        + text(key) + text("cpu") + number(count) + b"tQ" + number(offset)
        + b"(" + b"".join(map(number, shape)) + b"t(" + b"".join(map(number, strides))
        + b"t\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def number(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data
