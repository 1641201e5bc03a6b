"""Networks inside what training programs wrap around them.

A wrapper adds to the names (DataParallel ``module.``, torch.compile ``_orig_mod.``, a class the
name of its attribute), and it lays state dicts into dictionaries, beside a step and an optimiser:
``{"state_dict": {"model.unet.conv_in.weight": …}, "ema": {…}}``. No list of
prefixes is kept: a network is where its first layer is, and what stands before that name is a
wrapper. Whether it is the network that it should be, names and shapes decide afterwards, as
strictly as ever.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jittor_ddim.errors import CheckpointError

#: The first layer by the official names and by diffusers'; that of Inception by its two names.
_FIRST = ("conv_in.weight", "Conv2d_1a_3x3.conv.weight", "layers.conv.weight")
#: What a wrapper puts between the parts of a name, wherever it is wrapped.
_BETWEEN = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_AVERAGE = re.compile(r"(?<![A-Za-z])(ema|swa)(?![a-z])|Ema|EMA|averag|shadow")
#: What a message says of the names that are wanted.
DDIM_NAMES = (
    "conv_in.weight, temb.dense.0.weight, … (diffusers: time_embedding.linear_1.weight, …)"
)
_DEEPEST = 6  # dictionaries inside each other
_MOST_NETWORKS = 10  # of which one can be told from the others
_SHOWN, _SHOWN_KEYS = 3, 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The tensors of a network, without what is wrapped around it.

    :ivar place: the keys and the prefix that lead to it
    """

    place: str
    tensors: dict[str, Any]

    @property
    def is_average(self) -> bool:
        """Whether its place says that it is a moving average."""
        return _AVERAGE.search(self.place) is not None


def find_networks(tree: Any) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
    """Return the tensors of the one network in a tree, and of its moving average if it has one.

    :param tree: containers, and what has ``array()``
    :returns: None if there is none
    :raises CheckpointError: if there are several, or something that belongs to none
    """
    found = list(_walk(tree, (), set()))
    averages = [one for one in found if one.is_average]
    plain = [one for one in found if not one.is_average]
    for several in (plain, averages):
        if len(several) > 1:
            places = ", ".join(one.place or "the top" for one in several)
            raise CheckpointError(
                f"holds {len(several)} networks, at {places[:200]}; save the one that is meant, "
                "its state dict alone"
            )
    if plain:
        average = averages[0].tensors if averages else _nameless(tree, plain[0].tensors)
        return plain[0].tensors, average
    return (averages[0].tensors, None) if averages else None


def unwrapped(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict without what is wrapped around its names."""
    found = list(_networks(tensors, ()))
    if len(found) == 1:
        return found[0].tensors
    while tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def describe(tree: Any, depth: int = 4) -> str:
    """Return what a tree holds, in a few words, for a message.

    :param depth: of the dictionaries whose keys are told
    """
    if not isinstance(tree, dict) or not depth:
        kind = type(tree).__name__
        return f"a {kind} of {len(tree)}" if isinstance(tree, (list, tuple, dict)) else f"a {kind}"
    tensors = [str(key) for key, value in tree.items() if hasattr(value, "array")]
    others = [
        f"{str(key)[:40]} ({describe(value, depth - 1)})"
        if isinstance(value, dict)
        else str(key)[:40]
        for key, value in list(tree.items())[:_SHOWN_KEYS]
        if not hasattr(value, "array")
    ]
    parts = [f"{len(tensors)} tensors ({some(tensors)})"] if tensors else []
    return ", ".join(parts + ([f"the keys {', '.join(others)}"] if others else [])) or "nothing"


def some(names: Iterable[str]) -> str:
    """Return the first of some names, for a message."""
    listed = list(names)
    shown = ", ".join(name[:60] for name in listed[:_SHOWN])
    return f"{shown}, …" if len(listed) > _SHOWN else shown


def _walk(tree: Any, place: tuple[str, ...], seen: set[int]) -> Iterator[Found]:
    if len(place) > _DEEPEST or id(tree) in seen:  # a pickle may share its parts without end
        return
    seen.add(id(tree))
    if isinstance(tree, dict):
        tensors = {
            key: value
            for key, value in tree.items()
            if isinstance(key, str) and hasattr(value, "array")
        }
        yield from _networks(tensors, place)
    for key, value in _items(tree):
        yield from _walk(value, (*place, str(key)), seen)


def _items(tree: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(tree, dict):
        return tree.items()
    return enumerate(tree) if isinstance(tree, (list, tuple)) else ()


def _networks(tensors: dict[str, Any], place: tuple[str, ...]) -> Iterator[Found]:
    """Yield the networks of a state dict: one for each prefix that a first layer has."""
    short = {
        ".".join(part for part in name.split(".") if part not in _BETWEEN): tensor
        for name, tensor in tensors.items()
    }
    tensors = short if len(short) == len(tensors) else tensors
    first = "|".join(map(re.escape, _FIRST))
    matches = [re.fullmatch(rf"(.*\.|)({first})", name) for name in tensors]
    prefixes = sorted({match[1] for match in matches if match}, key=len, reverse=True)
    if len(prefixes) > _MOST_NETWORKS:
        raise CheckpointError(f"holds {len(prefixes)} networks; save the one that is meant alone")
    own: dict[str, dict[str, Any]] = {prefix: {} for prefix in prefixes}
    beside: dict[str, Any] = {}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if prefix is None:
            beside[name] = tensor
        elif not _is_counter(tensor):
            own[prefix][name.removeprefix(prefix)] = tensor
    found = {prefix.rstrip("."): own[prefix] for prefix in sorted(prefixes)}
    for prefix in prefixes:
        found |= _take_undotted(beside, prefix, own[prefix])
    if prefixes:
        _check_beside(beside, prefixes)
    for wrapper, inside in found.items():
        yield Found(" ".join([*place, wrapper]).strip(), inside)


def _take_undotted(
    beside: dict[str, Any], prefix: str, own: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Take out the average of latent diffusion's code, whose names have lost their dots.

    ``model_ema.diffusion_modelconv_inweight`` is that of ``model.diffusion_model.conv_in.weight``.
    """
    parts = prefix.split(".")
    for wrapper in sorted({name.rpartition(".")[0] for name in beside}):
        for start in range(len(parts)):
            inner = f"{wrapper}.{''.join(parts[start:])}"
            if all(inner + name.replace(".", "") in beside for name in own):
                return {wrapper: {n: beside.pop(inner + n.replace(".", "")) for n in own}}
    return {}


def _check_beside(beside: Mapping[str, Any], prefixes: list[str]) -> None:
    """Let single numbers and a wrapper's vectors, such as its betas, stand beside a network.

    :raises CheckpointError: if something else does, which may be a part of it
    """
    others = []
    for name, tensor in beside.items():
        wrapper = name[: name.rfind(".") + 1]
        size = tensor.array().ndim
        vector = size == 1 and any(prefix.startswith(wrapper) for prefix in prefixes)
        if size and not vector and not _is_counter(tensor):
            others.append(name)
    if others:
        inside = ", ".join(f"{prefix}…" for prefix in prefixes)
        raise CheckpointError(
            f"beside a network ({inside[:80]}) it holds {len(others)} tensors that are no part of "
            f"it ({some(others)}); save the network's state dict alone"
        )
    if beside:
        _log.info("Not used, beside the network: %s", some(beside))


def _is_counter(tensor: Any) -> bool:
    array = tensor.array()
    return array.size == 1 and array.dtype.kind in "iub"


def _nameless(tree: Any, tensors: dict[str, Any]) -> dict[str, Any] | None:
    """The moving average that is a list in the parameters' order, as some programs keep it."""
    if not isinstance(tree, dict):
        return None
    for key, value in tree.items():
        for inner, listed in _items(value):
            named = isinstance(listed, list) and _AVERAGE.search(f"{key} {inner}")
            if named and listed and all(hasattr(one, "array") for one in listed):
                ours = [tensor.array().shape for tensor in tensors.values()]
                if ours != [one.array().shape for one in listed]:
                    raise CheckpointError(
                        f"its moving average at {key} {inner} has no names, and its shapes are "
                        "not those of the network"
                    )
                return dict(zip(tensors, listed, strict=True))
    return None
