"""Which format a file or a folder has, by its content, and what it holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jittor_ddim.checkpoints import diffusers
from jittor_ddim.checkpoints.contents import Contents, is_state_dict
from jittor_ddim.checkpoints.diffusers_names import are_diffusers, from_diffusers
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.checkpoints.numpy_pickles import read_jittor_pickle
from jittor_ddim.checkpoints.official import understand
from jittor_ddim.checkpoints.safetensors_files import SUFFIX, read_safetensors
from jittor_ddim.checkpoints.shards import check_whole, read_index
from jittor_ddim.checkpoints.torch_files import LEGACY_MAGIC, ZIP_MAGIC, read_legacy, read_zip
from jittor_ddim.checkpoints.wrappers import some
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, WeightsError

#: The metadata entry that makes a file of weights self-contained.
CONFIG_KEY = "config"
_SAFETENSORS = "safetensors"
_PICKLE = b"\x80"  # protocol 2 or later
_HEAD = 16  # bytes that tell a format


def read_contents(path: Path) -> Contents:
    """Read all that a file or folder of weights holds, whatever its format is.

    :raises CheckpointError: if it is missing, damaged, of an unknown format, or would run code
    :raises WeightsError: if its names are not those of this U-Net, or a value is not finite
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    if not path.is_dir():
        return _read_file(path)
    if not diffusers.is_pipeline(path):
        return Contents.of(load_checkpoint(path))
    contents = _read_file(diffusers.weights_file(path))
    average = diffusers.average_file(path)
    if average is None:
        return contents
    return replace(contents, ema_weights=_read_file(average).weights)


def _read_file(path: Path) -> Contents:
    with _naming(path):
        contents = _read_known(path)
        if not are_diffusers(contents.weights):
            return contents
        sets = (contents.weights, contents.ema_weights)
        weights, average = (None if one is None else from_diffusers(one) for one in sets)
        contents = Contents("diffusers", weights or {}, average)
    config = diffusers.config_beside(path)
    if config is None:
        return contents
    with _naming(path):
        return diffusers.in_official_order(replace(contents, config=config))


def _read_known(path: Path) -> Contents:
    with path.open("rb") as file:
        whole = not file.read(_HEAD).lstrip().startswith(b"{")
    if whole:
        check_whole(path)
        tree, container, metadata = _read_tree(path)
        size = path.stat().st_size
    else:
        tree, size = _read_parts(path)
        container, metadata = _SAFETENSORS, {}
    contents = understand(tree, size, container)
    if (text := metadata.get(CONFIG_KEY)) is None:
        return contents
    try:
        config = Config.model_validate_json(text)
    except ValueError:
        raise CheckpointError("the config in its metadata is wrong") from None
    return replace(contents, format="native", config=config)


def _read_tree(path: Path) -> tuple[Any, str, dict[str, str]]:
    """What a file holds, as containers and records of tensors; its container, and metadata."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(ZIP_MAGIC):
        return read_zip(path), "pytorch", {}
    # Eight bytes of length, which may look like the beginning of a pickle, then a JSON object.
    if head[4:9] == b"\0\0\0\0{":
        return _of_safetensors(path)
    if head.startswith(LEGACY_MAGIC[:_HEAD]):
        return read_legacy(path.read_bytes()), "pytorch", {}
    if head.startswith(_PICKLE):
        return read_jittor_pickle(path.read_bytes()), "jittor", {}
    if path.suffix == SUFFIX:
        return _of_safetensors(path)  # which says what is wrong with it
    raise CheckpointError(
        "format not recognised; give a run folder, a ckpt_N folder, a diffusers pipeline, or a "
        "file of PyTorch, Jittor or safetensors"
    )


def _of_safetensors(path: Path) -> tuple[Any, str, dict[str, str]]:
    tensors, metadata = read_safetensors(path)
    return tensors, _SAFETENSORS, metadata


def _read_parts(index: Path) -> tuple[dict[str, Any], int]:
    """The tensors of the files that an index names, and the size of these files."""
    tensors: dict[str, Any] = {}
    parts = read_index(index)
    for part, names in parts.items():
        with _naming(part):
            tree, *_ = _read_tree(part)
            absent = [name for name in names if not is_state_dict(tree) or name not in tree]
            if absent:
                raise CheckpointError(f"lacks {some(absent)}, which {index.name} says is in it")
        tensors |= {name: tree[name] for name in names}
    return tensors, sum(part.stat().st_size for part in parts)


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
