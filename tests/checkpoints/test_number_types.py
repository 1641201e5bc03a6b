"""Every type of number that weight files have: read exactly, or refused by name."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from oracles import GOLDEN

from jittor_ddim.checkpoints import load_weights
from jittor_ddim.checkpoints.number_types import OWN, numbers
from jittor_ddim.checkpoints.torch_files import read_legacy, read_zip
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.errors import CheckpointError

NAN, INF = float("nan"), float("inf")
ALL_CODES = np.arange(256, dtype=np.uint8)
NAME = "conv_in.weight"


def write_one(path, dtype, data, shape):
    """A safetensors file with one tensor, whatever its type."""
    header = {NAME: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(
    "dtype, values",
    [
        ("float8_e4m3fn", {0x00: 0, 0x01: 2**-9, 0x38: 1, 0x39: 1.125, 0x7E: 448, 0x7F: NAN,
                           0x80: -0.0, 0xB8: -1, 0xFE: -448, 0xFF: NAN}),
        ("float8_e5m2", {0x01: 2**-16, 0x3C: 1, 0x3D: 1.25, 0x7B: 57344, 0x7C: INF, 0x7D: NAN,
                         0xBC: -1, 0xFC: -INF, 0xFF: NAN}),
        ("float8_e4m3fnuz", {0x01: 2**-10, 0x40: 1, 0x7F: 240, 0x80: NAN, 0xC0: -1}),
        ("float8_e5m2fnuz", {0x01: 2**-17, 0x40: 1, 0x7F: 57344, 0x80: NAN, 0xFF: -57344}),
    ],
)  # fmt: skip
def test_codes_of_eight_bits_have_the_values_of_their_standard(dtype, values):
    table = numbers(ALL_CODES.tobytes(), dtype)
    assert table.dtype == np.float32
    for code, value in values.items():
        np.testing.assert_equal(table[code], value, err_msg=hex(code))


def test_bfloat16_is_the_upper_half_of_float32():
    assert list(numbers(b"\x80\x3f\x49\xc0", "bfloat16")) == [1.0, -3.140625]
    assert list(numbers(b"\x3f\x80\xc0\x49", "bfloat16", ">")) == [1.0, -3.140625]


@pytest.mark.parametrize(
    "dtype, data, expected",
    [
        ("F64", struct.pack("<2d", 1.5, -2), [1.5, -2]),
        ("F32", struct.pack("<2f", 1.5, -2), [1.5, -2]),
        ("F16", struct.pack("<2e", 1.5, -2), [1.5, -2]),
        ("BF16", b"\xc0\x3f\x00\xc0", [1.5, -2]),
        ("F8_E4M3", b"\x3c\xc0", [1.5, -2]),
        ("F8_E5M2", b"\x3e\xc0", [1.5, -2]),
    ],
)
def test_safetensors_floats_are_read_exactly(tmp_path, dtype, data, expected):
    found = load_weights(write_one(tmp_path / "x", dtype, data, [2]))[NAME]
    assert found.dtype == np.float32 and list(found) == expected


def test_tensors_come_in_the_same_order_every_time(tmp_path):
    arrays = {f"layer{i:02}.weight": np.ones(2, np.float32) for i in range(30)}
    safetensors.numpy.save_file(arrays, tmp_path / "x")
    for _ in range(3):
        assert list(load_weights(tmp_path / "x")) == list(arrays)


@pytest.mark.parametrize(
    "dtype, bits",
    [
        ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("F8_E8M0", 8), ("C64", 64),
        ("I8", 8), ("U8", 8), ("I16", 16), ("U16", 16), ("I32", 32), ("U32", 32), ("I64", 64),
        ("U64", 64), ("BOOL", 8),
    ],
)  # fmt: skip
def test_what_are_no_weights_by_themselves_is_refused_by_name(tmp_path, dtype, bits):
    """Quantised values without their scales would be weights of another size."""
    path = write_one(tmp_path / "x.safetensors", dtype, b"\1" * bits, [8])
    with pytest.raises(CheckpointError) as refusal:
        load_weights(path)
    message = str(refusal.value)
    named = {"BOOL": "bool"}.get(dtype, dtype)
    if dtype[0] in "IU":
        named = f"{'u' * (dtype[0] == 'U')}int{bits}"
    assert str(path) in message and NAME in message and named in message
    assert "\n" not in message


def test_a_type_that_the_library_does_not_know_is_refused_in_one_line(tmp_path):
    path = write_one(tmp_path / "x.safetensors", "F2", b"\1" * 8, [8])
    with pytest.raises(CheckpointError, match="F2") as refusal:
        load_weights(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.bool_])
def test_integers_of_pytorch_are_no_weights_either(tmp_path, dtype):
    tree = {name: array for name, array in load_weights(GOLDEN / "pesser_micro.ckpt").items()}
    tree["mid.block_1.conv1.weight"] = tree["mid.block_1.conv1.weight"].astype(dtype)
    write_torch(tmp_path / "x.pth", tree)
    with pytest.raises(CheckpointError, match=r"mid\.block_1\.conv1\.weight: .* u?(int|bool)"):
        load_weights(tmp_path / "x.pth")


@pytest.mark.pytorch
@pytest.mark.parametrize("dtype", OWN)
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_reads_the_same_values(tmp_path, dtype, zipped):
    """All codes, of a file and of the table; PyTorch is the oracle."""
    import torch

    codes = torch.arange(256, dtype=torch.uint8)
    whole = codes.view(getattr(torch, dtype)).reshape(4, -1)
    np.testing.assert_array_equal(
        numbers(ALL_CODES.tobytes(), dtype), whole.float().numpy().ravel()
    )
    torch.save({"whole": whole, "part": whole[1:3, ::2], "turned": whole.t()}, tmp_path / "x.pt",
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    found = (
        read_zip(tmp_path / "x.pt") if zipped else read_legacy((tmp_path / "x.pt").read_bytes())
    )
    for name, tensor in (("whole", whole), ("part", whole[1:3, ::2]), ("turned", whole.t())):
        np.testing.assert_array_equal(found[name].array(), tensor.float().numpy())


@pytest.mark.pytorch
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_pytorchs_younger_integers_are_read(tmp_path, dtype):
    import torch

    torch.save({"n": torch.tensor([1, 40000]).to(getattr(torch, dtype))}, tmp_path / "x.pt")
    found = read_zip(tmp_path / "x.pt")["n"].array()
    assert found.dtype == dtype and list(found) == [1, 40000]


@pytest.mark.pytorch
@pytest.mark.filterwarnings("ignore")
def test_pytorchs_other_numbers_are_refused_by_name(tmp_path):
    import torch

    tensors = {
        "ComplexFloatStorage": torch.ones(2, dtype=torch.complex64),
        "QInt8Storage": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "float8_e8m0fnu": torch.ones(2).to(torch.float8_e8m0fnu),
    }
    for name, tensor in tensors.items():
        torch.save({NAME: tensor}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=f"refused: .* {name}; save the weights as"):
            load_weights(tmp_path / "x.pt")


@pytest.mark.pytorch
@pytest.mark.parametrize("dtype", OWN)
def test_safetensors_of_pytorch_are_read(tmp_path, dtype):
    import safetensors.torch
    import torch

    right = torch.randn(3, 4).to(getattr(torch, dtype))
    safetensors.torch.save_file({NAME: right}, tmp_path / "x")
    np.testing.assert_array_equal(load_weights(tmp_path / "x")[NAME], right.float().numpy())
