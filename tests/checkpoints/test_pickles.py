"""Nothing in a file of weights is ever run, and whatever is wrong with one is one error."""

import contextlib
import hashlib
import io
import pickle
import random
import struct
import subprocess
import sys
import zipfile

import hostile
import numpy as np
import pytest
from hostile import tensor, text, torch_legacy, torch_zip
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import ENVIRONMENT
from oracles import GOLDEN

from jittor_ddim.checkpoints import load_weights
from jittor_ddim.checkpoints.numpy_pickles import NAMES, read_jittor_pickle
from jittor_ddim.checkpoints.pickles import load
from jittor_ddim.checkpoints.torch_files import NAMES as TORCH_NAMES
from jittor_ddim.checkpoints.torch_files import read_zip
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.errors import CheckpointError

PROGRAMS = list(hostile.programs(GOLDEN))


def raw(path, program):
    path.write_bytes(program)
    return path


def pipeline(path, program):
    path.mkdir()
    (path / "model_index.json").write_text("{}")
    torch_zip(path / "diffusion_pytorch_model.bin", program)
    return path


CONTAINERS = {"pkl": raw, "zip": torch_zip, "legacy": torch_legacy, "pipeline": pipeline}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_hostile_programs_are_hostile(tmp_path, name):
    """Python itself runs each of them; else the tests below would prove nothing."""
    sentinel = tmp_path / "sentinel"
    with contextlib.suppress(Exception):  # some make nothing that fits, afterwards
        pickle.loads(hostile.programs(sentinel)[name])
    assert sentinel.exists()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_code_is_refused_and_not_run(tmp_path, container, name):
    sentinel = tmp_path / "sentinel"
    path = CONTAINERS[container](tmp_path / "file", hostile.programs(sentinel)[name])
    with pytest.raises(CheckpointError, match="refused: ") as error:
        load_weights(path)
    assert not sentinel.exists()
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    if "." in name:
        module = name.split(",")[0].split(".")[1]
        assert module in message  # system, eval, exec


#: In a process of its own: what it must not do is crash, hang or take all memory.
READER = """
import resource, sys
from jittor_ddim.checkpoints import load_weights
from jittor_ddim.errors import CheckpointError
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
for path in sys.argv[1:]:
    try:
        load_weights(path)
    except CheckpointError as error:
        assert len(str(error)) < 500
        print("refused")
"""


@pytest.mark.parametrize("name", hostile.exhausting())
def test_exhausting_programs_are_refused_at_once(tmp_path, name):
    program = hostile.exhausting()[name]
    paths = [make(tmp_path / kind, program) for kind, make in CONTAINERS.items()]
    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, paths)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * len(paths)), done.stderr


@pytest.mark.parametrize("position", range(5))
def test_code_in_any_pickle_of_an_older_file_is_refused(tmp_path, position):
    sentinel = tmp_path / "sentinel"
    parts = [pickle.dumps(part, 2) for part in [*hostile.LEGACY_HEAD, {}, []]]
    if position > 0:
        parts[position] = hostile.programs(sentinel)["os.system"]
    else:
        parts.insert(1, hostile.programs(sentinel)["os.system"])
    (tmp_path / "file").write_bytes(b"".join(parts))
    with pytest.raises(CheckpointError, match=r"posix\.system"):
        load_weights(tmp_path / "file")
    assert not sentinel.exists()


IDENTITIES = {
    "no tuple": text("storage"),
    "another kind": b"(" + text("module") + b"ctorch\nFloatStorage\n" + text("0") * 2 + b"K\x04t",
    "no type": b"(" + text("storage") + text("FloatStorage") + text("0") * 2 + b"K\x04t",
    "a function as the type": b"(" + text("storage") + b"ctorch._utils\n_rebuild_tensor_v2\n"
    + text("0") * 2 + b"K\x04t",
    "an unknown type": b"(" + text("storage") + b"cos\nsystem\n" + text("0") * 2 + b"K\x04t",
    "a path as the key": b"(" + text("storage") + b"ctorch\nFloatStorage\n"
    + text("../data.pkl") + text("cpu") + b"K\x04t",
    "a negative size": b"(" + text("storage") + b"ctorch\nFloatStorage\n"
    + text("0") + text("cpu") + b"J\xff\xff\xff\xfft",
}  # fmt: skip


@pytest.mark.parametrize("name", IDENTITIES)
def test_wrong_persistent_ids_are_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match="refused|damaged"):
        read_zip(torch_zip(tmp_path / "f", b"\x80\x02" + IDENTITIES[name] + b"Q."))
    with pytest.raises(CheckpointError, match="persistent id"):
        read_jittor_pickle(b"\x80\x02" + text("storage") + b"Q.")


TENSORS = {
    "expanded": tensor(shape=(10**6, 10**6), strides=(0, 0)),
    "beyond the end": tensor(shape=(2, 2), strides=(3, 1)),
    "an offset beyond the end": tensor(offset=1),
    "a negative stride": tensor(strides=(-1,)),
    "a negative offset": tensor(offset=-1),
    "a negative size": tensor(shape=(-4,)),
    "more strides than sizes": tensor(strides=(1, 1)),
    "another size than the file's": tensor(count=2**40, shape=(2**40,)),
    "no storage of the file": tensor(key="1"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_outside_their_storage_are_refused(tmp_path, name):
    program = b"\x80\x02}" + text("conv_in.weight") + TENSORS[name] + b"s."
    with pytest.raises(CheckpointError, match="refused|damaged"):
        load_weights(torch_zip(tmp_path / "f", program))


def test_the_tensor_of_these_tests_is_well_made(tmp_path):
    path = torch_zip(tmp_path / "f", b"\x80\x02}" + text("w") + tensor() + b"s.")
    np.testing.assert_array_equal(read_zip(path)["w"].array(), np.zeros(4))


def test_a_zip_bomb_is_refused(tmp_path):
    """A kilobyte that unpacks to megabytes, entries that claim more, and shared numbers."""
    bomb = b"\x80\x02" + b"N0" * 10**6 + b"N."
    path = torch_zip(tmp_path / "f", bomb, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**4
    with pytest.raises(CheckpointError, match="compressed"):
        load_weights(path)

    data = bytearray(torch_zip(tmp_path / "f", b"\x80\x02}.").read_bytes())
    for place in [i for i in range(len(data)) if data[i : i + 4] == b"PK\x01\x02"]:
        struct.pack_into("<II", data, place + 20, 2**31, 2**31)
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(CheckpointError, match="larger than the file"):
        load_weights(tmp_path / "f")

    views = b"".join(text(f"w{i}") + tensor() + b"s" for i in range(20000))
    memo = b"\x80\x02}" + text("w") + tensor() + b"q\x00s"
    shared = b"".join(text(f"{i}") + b"h\x00s" for i in range(20000))
    for program in (b"\x80\x02}" + views + b".", memo + shared + b"."):
        path = torch_zip(tmp_path / "f", program)
        before = path.stat().st_size
        try:  # either is right: refused, or no larger than its file
            assert sum(a.nbytes for a in load_weights(path).values()) < 4 * before
        except CheckpointError as error:
            assert "larger than the file" in str(error)


def test_numbers_shared_by_many_names_are_refused(tmp_path):
    """10,000 names of one array of 64 KiB: 640 MB in a file of 200 KB."""
    array = np.zeros(16384, np.float32)
    program = pickle.dumps({f"w{i}": array for i in range(10000)}, 4)
    (tmp_path / "f").write_bytes(program)
    with pytest.raises(CheckpointError, match="larger than the file"):
        load_weights(tmp_path / "f")


BOMBS = {
    "a huge place in memory": b"\x80\x02Nr\xff\xff\xff\xff.",
    "text that claims gigabytes": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc.",
    "bytes that claim gigabytes": b"\x80\x04\x8e" + b"\xff" * 6 + b"\x00\x00abc.",
    "a frame that claims gigabytes": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7fN.",
    "a hundred thousand nested tuples": b"\x80\x02}N" + b"\x85" * 100000 + b"Ns.",
    "a hundred thousand nested lists": b"\x80\x02" + b"]" * 100000 + b"a" * 99999 + b".",
    "lists that contain themselves": b"\x80\x02]q\x00" + b"(h\x00h\x00h\x00e" * 100 + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_would_fill_the_memory_do_not(tmp_path, name):
    (tmp_path / "f").write_bytes(BOMBS[name])
    with pytest.raises(CheckpointError):
        load_weights(tmp_path / "f")


WRONG = {
    "instruction": b"\x80\x02]\x8f.",
    "extension": b"\x80\x02\x82\x01.",
    "NEWOBJ_EX": b"\x80\x04cnumpy\ndtype\n)}\x92.",
    "two values": b"\x80\x02NN.",
    "no value": b"\x80\x02.",
    "no end": b"\x80\x02N",
    "no mark": b"\x80\x02Nt.",
    "no memory": b"\x80\x02h\x05.",
    "append to a tuple": b"\x80\x02)Na.",
    "a key that is a tuple": b"\x80\x02})Ns.",
    "half a pair": b"\x80\x02}(Nu.",
    "a call without arguments": b"\x80\x02ccollections\nOrderedDict\nNR.",
    "a call of a type": b"\x80\x02cnumpy\nndarray\n)R.",
    "a call of data": b"\x80\x02])R.",
    "the inside of a type": b"\x80\x02cnumpy\nndarray\n}b.",
    "an array of objects": b"\x80\x02cnumpy\ndtype\n" + text("O8") + b"\x85R.",
    "a structure": b"\x80\x02cnumpy\ndtype\n" + text("f4,f4") + b"\x85R.",
    "an array without content": b"\x80\x02}" + text("w")
    + b"cnumpy.core.multiarray\n_reconstruct\n)Rs.",
    "an array with too little content": pickle.dumps(np.zeros(4), 4).replace(
        struct.pack("<d", 0) * 4, struct.pack("<d", 0) * 4, 1
    ).replace(b"K\x04\x85", b"K\x05\x85"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_pickles_are_refused(tmp_path, name):
    (tmp_path / "f").write_bytes(WRONG[name])
    with pytest.raises(CheckpointError):
        load_weights(tmp_path / "f")


@pytest.mark.parametrize("key", [")", "N" + "\x85" * 100000, "]", "N", "cnumpy\nndarray\n"])
def test_only_text_bytes_and_integers_become_keys(key):
    """Hashing a deeply nested tuple would overflow the C stack."""
    with pytest.raises(CheckpointError, match="as a key"):
        load(io.BytesIO(b"\x80\x02}" + key.encode("latin-1") + b"Ns."), NAMES)


def test_bytes_are_not_made_of_a_number():
    """Python's own would fill the memory."""
    with pytest.raises(CheckpointError, match="damaged"):
        load(io.BytesIO(b"\x80\x02c__builtin__\nbytes\n(I40\ntR."), NAMES)
    assert load(io.BytesIO(b"\x80\x02c__builtin__\nbytes\n)R."), NAMES) == b""


@pytest.mark.parametrize("name", ["hub.load", "load", "nn.modules.linear.Linear", "_C._jit_pass"])
@pytest.mark.parametrize("instructions", [")R.", ")\x81.", "}b."])
def test_names_of_pytorch_may_be_mentioned_and_nothing_more(name, instructions):
    module, _, attribute = f"torch.{name}".rpartition(".")
    program = f"\x80\x02c{module}\n{attribute}\n"
    found = load(io.BytesIO(f"{program}.".encode("latin-1")), TORCH_NAMES)
    assert (found.name, found.make) == (f"torch.{name}", None)
    with pytest.raises(CheckpointError, match=f"refused: .*({name}|attributes of a Admitted)"):
        load(io.BytesIO(f"{program}{instructions}".encode("latin-1")), TORCH_NAMES)


def test_a_flipped_bit_in_a_file_of_jittors_is_found(tmp_path):
    """Jittor appends SHA-1 and a mark; a damaged mark leaves bytes after the pickle."""
    array = np.arange(6, dtype=np.float32)
    data = pickle.dumps({"w": array}, 4)
    good = data + hashlib.sha1(data).digest() + b"HCAJSLHD"
    path = tmp_path / "f.pkl"
    path.write_bytes(good)
    np.testing.assert_array_equal(load_weights(path)["w"], array)
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        path.write_bytes(bad)
        with pytest.raises(CheckpointError):
            load_weights(path)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary(max_size=300),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(TREES, st.integers(0, 5))
def test_data_come_back_as_python_itself_reads_them(tree, protocol):
    data = pickle.dumps(tree, protocol)
    assert load(io.BytesIO(data), NAMES) == pickle.loads(data)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f2", "f8", "i8", "u1", "?"])
def test_arrays_come_back_as_python_itself_reads_them(protocol, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for one in (array, array.T, array[:, 1], np.array(3).astype(dtype), array[:0]):
        data = pickle.dumps({"a": one, "again": one}, protocol)
        found = load(io.BytesIO(data), NAMES)
        for name in ("a", "again"):
            np.testing.assert_array_equal(found[name].array(), one)
            assert found[name].array().dtype == one.dtype
    scalar = array[1, 1, 1]
    assert load(io.BytesIO(pickle.dumps(scalar, protocol)), NAMES) == scalar


@given(st.binary(max_size=200))
@settings(max_examples=500)
@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_noise_is_refused(data):
    try:
        load(io.BytesIO(data), NAMES)
    except CheckpointError as error:
        assert "\n" not in str(error)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_many_flipped_bytes_give_nothing_but_the_error():
    """Pickles with all that PyTorch's and Jittor's have, damaged at several places."""
    array = np.arange(6, dtype=np.float32)
    sources = [pickle.dumps([{"w": array, "n": [1, 2.5, "x"]}, 7], p) for p in (0, 2, 4)]
    chance = random.Random(0)
    for i in range(6000):
        data = bytearray(sources[i % 3])
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            load(io.BytesIO(data), NAMES)
        except CheckpointError as error:
            assert "\n" not in str(error)


@pytest.fixture
def small(tmp_path):
    """A PyTorch file, and what is in it."""
    arrays = {"w": np.arange(5, dtype=np.float32), "b": np.ones((2, 2), np.float32)}
    write_torch(tmp_path / "small.pth", arrays)
    return tmp_path / "small.pth", arrays


def test_a_flipped_bit_in_a_zip_never_gives_other_numbers(small):
    path, arrays = small
    good = path.read_bytes()
    found = 0
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        path.write_bytes(bad)
        try:
            read = load_weights(path)
        except CheckpointError:
            found += 1
            continue
        assert read.keys() == arrays.keys(), position
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array, err_msg=f"{position}")
    assert found > len(good) / 4  # padding and dates are the rest


@pytest.mark.parametrize(
    "name", ["official_ckpt_micro.pth", "pesser_micro.ckpt", "pesser_micro_legacy.ckpt"]
)
def test_a_file_cut_short_anywhere_is_refused(tmp_path, name):
    data = (GOLDEN / name).read_bytes()
    cuts = [*range(0, 200, 3), *range(200, len(data), len(data) // 30), len(data) - 1]
    for cut in cuts:
        (tmp_path / name).write_bytes(data[:cut])
        with pytest.raises(CheckpointError):
            load_weights(tmp_path / name)


def test_a_flipped_bit_in_an_older_file_gives_nothing_but_the_error(tmp_path):
    """It has no checksum: numbers may change, but nothing else may happen."""
    data = (GOLDEN / "pesser_micro_legacy.ckpt").read_bytes()
    path = tmp_path / "f"
    refused = 0
    for position in range(0, 13000, 97):
        bad = bytearray(data)
        bad[position] ^= 1 << position % 8
        path.write_bytes(bad)
        try:
            load_weights(path)
        except CheckpointError:
            refused += 1
    assert refused > 30
    path.write_bytes(data + b"\0")
    with pytest.raises(CheckpointError, match="extra data"):
        load_weights(path)
