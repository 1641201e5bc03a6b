"""Recognises the format of a file or folder by its content, and reads it.

Weights may be split into several files, as Hugging Face's libraries do: then
``NAME.safetensors.index.json`` has a ``weight_map`` from tensors to the files beside it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jittor_ddim.architecture import check_shapes, parameter_shapes
from jittor_ddim.checkpoints import diffusers
from jittor_ddim.checkpoints.contents import Contents, is_state_dict, some
from jittor_ddim.checkpoints.diffusers_names import are_diffusers, from_diffusers
from jittor_ddim.checkpoints.native import load_checkpoint, read_json
from jittor_ddim.checkpoints.numpy_pickles import read_jittor_pickle
from jittor_ddim.checkpoints.official import understand
from jittor_ddim.checkpoints.safetensors_files import SUFFIX, read_safetensors
from jittor_ddim.checkpoints.torch_files import LEGACY_MAGIC, ZIP_MAGIC, read_legacy, read_zip
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, naming

#: The metadata entry that makes a file of weights self-contained.
CONFIG_KEY = "config"
_SAFETENSORS = "safetensors"
_PICKLE = b"\x80"  # protocol 2 or later
_HEAD = 16  # bytes that tell a format
_PART = re.compile(r"-\d+-of-0*(\d+)\b")


def read_contents(path: Path) -> Contents:
    """Read everything a file or folder of weights holds, whatever its format.

    :raises CheckpointError: if it is missing, damaged, of an unknown format, or would run code
    :raises WeightsError: if its names are not those of this U-Net, or a value is not finite
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    if not path.is_dir():
        return _read_file(path)
    if not diffusers.is_pipeline(path):
        found = load_checkpoint(path)
        return Contents("native", found.weights, found.ema_weights, found.config, found)
    contents = _read_file(diffusers.weights_file(path))
    average = diffusers.average_file(path)
    return replace(contents, ema_weights=_read_file(average).weights) if average else contents


def _read_file(path: Path) -> Contents:
    with _reading(path):
        contents = _read_known(path)
        if not are_diffusers(contents.weights):
            return contents
        sets = (contents.weights, contents.ema_weights)
        weights, average = (None if one is None else from_diffusers(one) for one in sets)
    config = diffusers.config_beside(path)
    if config and weights:
        with naming(path):
            check_shapes(weights, shapes := parameter_shapes(config))
        weights = {name: weights[name] for name in shapes}
    return Contents("diffusers", weights or {}, average, config)


def _read_known(path: Path) -> Contents:
    with path.open("rb") as file:
        is_index = file.read(_HEAD).lstrip().startswith(b"{")
    if is_index:
        tree, size = _read_parts(path)
        container, metadata = _SAFETENSORS, {}
    else:
        _check_whole(path)
        tree, container, metadata = _read_tree(path)
        size = path.stat().st_size
    contents = understand(tree, size, container)
    if (text := metadata.get(CONFIG_KEY)) is None:
        return contents
    try:
        config = Config.model_validate_json(text)
    except ValueError:
        raise CheckpointError("the config in its metadata is not valid") from None
    return replace(contents, format="native", config=config)


def _read_tree(path: Path) -> tuple[Any, str, dict[str, str]]:
    """What a file holds, as containers and records of tensors; its container, and metadata."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(ZIP_MAGIC):
        return read_zip(path), "pytorch", {}
    # Eight bytes of length, which may look like the beginning of a pickle, then a JSON object.
    is_safetensors = head[4:9] == b"\0\0\0\0{"
    if head.startswith(LEGACY_MAGIC[:_HEAD]) and not is_safetensors:
        return read_legacy(path.read_bytes()), "pytorch", {}
    if head.startswith(_PICKLE) and not is_safetensors:
        return read_jittor_pickle(path.read_bytes()), "jittor", {}
    if is_safetensors or path.suffix == SUFFIX:  # else the reader says what is wrong with it
        tensors, metadata = read_safetensors(path)
        return tensors, _SAFETENSORS, metadata
    raise CheckpointError(
        "format not recognised; give a run folder, a ckpt_N folder, a diffusers pipeline, or a "
        "PyTorch, Jittor or safetensors file"
    )


def _read_parts(index: Path) -> tuple[dict[str, Any], int]:
    """The tensors of the files that an index names, and the size of these files."""
    tensors: dict[str, Any] = {}
    parts = _read_index(index)
    for part, names in parts.items():
        with _reading(part):
            tree, *_ = _read_tree(part)
            absent = [name for name in names if not is_state_dict(tree) or name not in tree]
            if absent:
                raise CheckpointError(f"lacks {some(absent)}, which {index.name} says it holds")
        tensors |= {name: tree[name] for name in names}
    return tensors, sum(part.stat().st_size for part in parts)


def _read_index(path: Path) -> dict[Path, list[str]]:
    """The names of the tensors in each file beside an index."""
    names = read_json(path).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise CheckpointError("not a weights file: JSON without a weight_map")
    parts: dict[Path, list[str]] = defaultdict(list)
    for name, file in names.items():
        if not isinstance(file, str) or file in ("", ".", "..") or re.search(r"[/\\\0]", file):
            raise CheckpointError(
                f"refused: it says {name[:80]} is in {str(file)[:80]!r}, outside its own folder"
            )
        parts[path.parent / file].append(name)
    if missing := [part.name for part in parts if not part.is_file()]:
        raise CheckpointError(
            f"{len(missing)} of its {len(parts)} files are missing ({some(missing)}); get them too"
        )
    return parts


def _check_whole(path: Path) -> None:
    """Refuse a file that is one part of several, by its name and an index beside it."""
    is_indexed = next(path.parent.glob("*.index*.json"), None) is not None
    if is_indexed and (match := _PART.search(path.name)) and int(match[1]) > 1:
        raise CheckpointError(
            f"only one of the {match[1]} files of these weights; give their folder, or the file "
            "that ends in .index.json"
        )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Begin errors with the file's name."""
    with naming(path):
        try:
            yield
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror})") from None
        except MemoryError:
            raise CheckpointError("does not fit into this machine's memory") from None
