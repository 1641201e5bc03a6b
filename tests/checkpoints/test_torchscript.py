"""Archives of TorchScript are read as bags of tensors, whatever their pickles try."""

import struct
import zipfile

import pytest

from jittor_ddim.checkpoints.torch_files import read_zip
from jittor_ddim.errors import CheckpointError

MODULE = b"c__torch__.os\nsystem\n)\x81"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def archive(path, program: bytes):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + program + b".")
        file.writestr("a/constants.pkl", b"no pickle")
        file.writestr("a/code/x.py", "import os\n" * 99, compress_type=zipfile.ZIP_DEFLATED)
    return path


def test_code_is_neither_run_nor_read(tmp_path):
    program = MODULE + b"}" + text("training") + b"\x88sb"
    assert read_zip(archive(tmp_path / "a.pt", program)) == {}


def test_modules_in_each_other(tmp_path):
    program = MODULE + b"q\x00}" + text("self") + b"h\x00sb"
    with pytest.raises(CheckpointError, match="contain each other endlessly"):
        read_zip(archive(tmp_path / "a.pt", program))


def test_a_long_name_above_many(tmp_path):
    long = text("x" * 100_000)
    entries = b"".join(text(f"{i}") + b"K\x01" for i in range(1_000))
    program = MODULE + b"}" + long + MODULE + b"}(" + entries + b"ubsb"
    with pytest.raises(CheckpointError, match="refused"):
        read_zip(archive(tmp_path / "a.pt", program))


def test_a_module_whose_content_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="module without attributes"):
        read_zip(archive(tmp_path / "a.pt", MODULE + b"K\x01b"))


def test_other_names_stay_refused(tmp_path):
    program = b"cos\nsystem\n" + text("true") + b"\x85R"
    with pytest.raises(CheckpointError, match=r"would run 'os\.system'"):
        read_zip(archive(tmp_path / "a.pt", program))
    program = b"c__torch__.os\nsystem\n" + text("true") + b"\x85R"
    with pytest.raises(CheckpointError, match="broken pickle"):
        read_zip(archive(tmp_path / "a.pt", program))
