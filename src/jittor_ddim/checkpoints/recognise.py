"""Which format a file or a folder has, by its content, and what it holds."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray

from jittor_ddim.checkpoints import diffusers
from jittor_ddim.checkpoints.contents import Contents
from jittor_ddim.checkpoints.diffusers_names import are_diffusers, from_diffusers
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.checkpoints.numpy_pickles import read_jittor_pickle
from jittor_ddim.checkpoints.official import understand
from jittor_ddim.checkpoints.torch_files import LEGACY_MAGIC, ZIP_MAGIC, read_legacy, read_zip
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, WeightsError

#: The metadata entry that makes a file of weights self-contained.
CONFIG_KEY = "config"
_SAFETENSORS = ".safetensors"
_PICKLE = b"\x80"  # protocol 2 or later
_HEAD = 16  # bytes that tell a format
_BFLOAT16 = "BF16"


def read_contents(path: Path) -> Contents:
    """Read all that a file or folder of weights holds, whatever its format is.

    :raises CheckpointError: if it is missing, damaged, of an unknown format, or would run code
    :raises WeightsError: if its names are not those of this U-Net
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    if not path.is_dir():
        return _read_file(path)
    if diffusers.is_pipeline(path):
        return _read_file(diffusers.weights_file(path))
    return Contents.of(load_checkpoint(path))


def _read_file(path: Path) -> Contents:
    with _naming(path):
        contents = _read_known(path)
        if not are_diffusers(contents.weights):
            return contents
        contents = Contents("diffusers", from_diffusers(contents.weights))
    config = diffusers.config_beside(path)
    if config is None:
        return contents
    with _naming(path):
        return diffusers.in_official_order(replace(contents, config=config))


def _read_known(path: Path) -> Contents:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    size = path.stat().st_size
    if head.startswith(ZIP_MAGIC):
        return understand(read_zip(path), size, "pytorch")
    # Eight bytes of length, which may look like the beginning of a pickle, then a JSON object.
    if head[4:9] == b"\0\0\0\0{":
        return _read_safetensors(path)
    if head.startswith(LEGACY_MAGIC[:_HEAD]):
        return understand(read_legacy(path.read_bytes()), size, "pytorch")
    if head.startswith(_PICKLE):
        return understand(read_jittor_pickle(path.read_bytes()), size, "jittor")
    if path.suffix == _SAFETENSORS:
        return _read_safetensors(path)  # which says what is wrong with it
    raise CheckpointError(
        "format not recognised; give a run folder, a ckpt_N folder, a diffusers pipeline, or a "
        "file of PyTorch, Jittor or safetensors"
    )


def _read_safetensors(path: Path) -> Contents:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            wide = [n for n in names if file.get_slice(n).get_dtype() == _BFLOAT16]
            weights = {name: file.get_tensor(name) for name in names if name not in wide}
            weights |= _read_bfloat16(path, wide)
            metadata = file.metadata() or {}
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(
            f"not a readable {_SAFETENSORS} file ({line[:120]}); get it anew"
        ) from None
    text = metadata.get(CONFIG_KEY)
    try:
        config = None if text is None else Config.model_validate_json(text)
    except ValueError:
        raise CheckpointError("the config in its metadata is wrong") from None
    weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    return Contents("native" if config else "safetensors", weights, config=config)


def _read_bfloat16(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Read tensors of a type that NumPy, and so the library, lacks: the upper half of float32.

    :param path: a file that the library has found whole
    """
    if not names:
        return {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        arrays = {}
        for name in names:
            begin, end = header[name]["data_offsets"]
            file.seek(8 + length + begin)
            halves = np.frombuffer(file.read(end - begin), "<u2")
            floats = (halves.astype(np.uint32) << 16).view(np.float32)
            arrays[name] = floats.reshape(header[name]["shape"])
    return arrays


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Begin errors with the file's name."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read, {error.strerror}") from None
    except MemoryError:
        raise CheckpointError(f"{path}: does not fit into this machine's memory") from None
