"""Finds networks inside whatever training programs wrap around them.

A wrapper adds to the names (DataParallel ``module.``, torch.compile ``_orig_mod.``, a class the
name of its attribute), and it puts state dicts into dictionaries, beside a step and an optimiser:
``{"state_dict": {"model.unet.conv_in.weight": …}, "ema": {…}}``. There is no list of prefixes: a
network is where its first layer is, and what precedes that layer's name is a wrapper. Names and
shapes decide afterwards whether it is the wanted network.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jittor_ddim.checkpoints.contents import some
from jittor_ddim.errors import CheckpointError

#: The first layer by the official names and by diffusers'; that of Inception by its two names.
_FIRST = ("conv_in.weight", "Conv2d_1a_3x3.conv.weight", "layers.conv.weight")
#: What a wrapper puts between the parts of a name, wherever it is wrapped.
_BETWEEN = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_AVERAGE = re.compile(r"(?<![A-Za-z])(ema|swa)(?![a-z])|Ema|EMA|averag|shadow")
_DEEPEST = 6  # nested dictionaries
_MOST_NETWORKS = 10  # more in one state dict are refused without a look
_log = logging.getLogger(__name__)

#: By name; a tensor is what has ``array()``.
Tensors = dict[str, Any]


def find_networks(tree: Any) -> tuple[Tensors, Tensors | None] | None:
    """Return the one network in a tree, and its moving average if it has one.

    :returns: None if there is none
    :raises CheckpointError: if there are several, or tensors that belong to none
    """
    found = list(_walk(tree, (), set()))
    plain = [one for one in found if not _AVERAGE.search(one[0])]
    averages = [one for one in found if _AVERAGE.search(one[0])]
    for several in (plain, averages):
        if len(several) > 1:
            places = ", ".join(place or "the top level" for place, _ in several)
            raise CheckpointError(
                f"holds {len(several)} networks, at {places[:200]}; save only the state dict of "
                "the one you want"
            )
    average = averages[0][1] if averages else None
    if plain:
        network = plain[0][1]
        return network, average or _nameless(tree, network)
    return (average, None) if average else None


def unwrapped(tensors: Tensors) -> Tensors:
    """Return a state dict without the wrappers in its names."""
    found = list(_networks(tensors, ()))
    if len(found) == 1:
        return found[0][1]
    while tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _walk(tree: Any, place: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, Tensors]]:
    """Yield the networks in a tree, each after the keys and the prefix that lead to it."""
    if len(place) > _DEEPEST or id(tree) in seen:  # a pickle may share its parts endlessly
        return
    seen.add(id(tree))
    items = list(_items(tree))
    if isinstance(tree, dict):
        tensors = {k: v for k, v in items if isinstance(k, str) and hasattr(v, "array")}
        yield from _networks(tensors, place)
    for key, value in items:
        yield from _walk(value, (*place, str(key)), seen)


def _items(tree: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(tree, dict):
        return tree.items()
    return enumerate(tree) if isinstance(tree, (list, tuple)) else ()


def _networks(tensors: Tensors, place: tuple[str, ...]) -> Iterator[tuple[str, Tensors]]:
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
        raise CheckpointError(f"holds {len(prefixes)} networks; save only the one you want")
    own: dict[str, Tensors] = {prefix: {} for prefix in prefixes}
    beside: Tensors = {}
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
        yield " ".join([*place, wrapper]).strip(), inside


def _take_undotted(beside: Tensors, prefix: str, own: Tensors) -> dict[str, Tensors]:
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
    """Accept single numbers and a wrapper's vectors, such as its betas, beside a network.

    :raises CheckpointError: for anything else, which may be a part of it
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
            f"holds, besides a network ({inside[:80]}), {len(others)} tensors that are not part "
            f"of it ({some(others)}); save only the network's state dict"
        )
    if beside:
        _log.info("Not part of the network and not used: %s", some(beside))


def _is_counter(tensor: Any) -> bool:
    array = tensor.array()
    return array.size == 1 and array.dtype.kind in "iub"


def _nameless(tree: Any, network: Tensors) -> Tensors | None:
    """The moving average as a list in the parameters' order, as some programs keep it."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        for inner, listed in _items(value):
            named = isinstance(listed, list) and _AVERAGE.search(f"{key} {inner}")
            if named and listed and all(hasattr(one, "array") for one in listed):
                shapes = [tensor.array().shape for tensor in network.values()]
                if shapes != [one.array().shape for one in listed]:
                    raise CheckpointError(
                        f"its moving average at {key} {inner} has no names, and its shapes do "
                        "not match the network's"
                    )
                return dict(zip(network, listed, strict=True))
    return None
