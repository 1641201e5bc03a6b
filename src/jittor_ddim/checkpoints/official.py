"""The official code's checkpoints: the list ``[model, optimizer, epoch, step, ema]``.

The model's names begin with ``module.``, the average's do not (and it is missing if EMA is off),
and the optimiser numbers the parameters in the order in which the model defines them. The
pretrained files are such a model's state dict alone.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints.contents import (
    DDIM_NAMES,
    Arrays,
    Checkpoint,
    Contents,
    Training,
    as_float32,
    describe,
    is_state_dict,
)
from jittor_ddim.checkpoints.wrappers import find_networks, unwrapped
from jittor_ddim.config import Config, OptimConfig
from jittor_ddim.errors import CheckpointError, UserError
from jittor_ddim.version import versions

_PREFIX = "module."
_STEP = "step"
_log = logging.getLogger(__name__)


def understand(tree: Any, file_size: int, container: str) -> Contents:
    """Interpret what a file holds.

    :param container: the format of a state dict, ``pytorch``, ``jittor`` or ``safetensors``
    :raises CheckpointError: if it holds no state dict
    """
    average = None
    if official := _is_checkpoint(tree):
        plain = unwrapped(tree[0])
        average = unwrapped(tree[4]) if len(tree) == 5 else None
    elif found := find_networks(tree):
        plain, average = found
    elif is_state_dict(tree):  # of another network, which the caller checks
        plain = unwrapped(tree)
    else:
        raise CheckpointError(
            "holds neither a state dict nor the official list [model, optimizer, epoch, step, "
            f"ema], but {describe(tree)[:400]}; expected a network with {DDIM_NAMES}"
        )
    weights = as_float32(plain, file_size)
    ema = None if average is None else as_float32(average, file_size)
    if not official:
        return Contents(container, weights, ema)
    optimizer, epoch, step = tree[1:4]
    training = _training(weights, optimizer, epoch, step, file_size)
    return Contents("official", weights, ema, training=training)


def check_optimizer(optimizer: Arrays, config: Config) -> None:
    """Check that an optimiser's state fits the config.

    :raises CheckpointError: naming what it holds and what the config needs
    """
    found = {name.partition("/")[0] for name in optimizer}
    wanted = set(config.optim.state_kinds)
    if found != wanted:
        raise CheckpointError(
            f"its optimiser keeps {', '.join(sorted(found)) or 'nothing'}, but "
            f"optim.optimizer {config.optim.optimizer} with optim.amsgrad "
            f"{str(config.optim.amsgrad).lower()} needs {', '.join(sorted(wanted))}; "
            "use the config it was trained with"
        )


def check_writable(config: Config) -> None:
    """Check that the official code has such a network and can sample from it.

    :raises UserError: naming the key
    """
    if config.model.num_classes is not None:
        raise UserError(
            f"model.num_classes {config.model.num_classes}: the official code has no classes; "
            "give `format` native or diffusers"
        )
    diffusion, unknown = config.diffusion, ""
    if diffusion.prediction != "eps":
        unknown = f"diffusion.prediction {diffusion.prediction}"
    elif diffusion.beta_schedule == "cosine":
        unknown = "diffusion.beta_schedule cosine"
    elif diffusion.zero_terminal_snr:
        unknown = "diffusion.zero_terminal_snr"
    if unknown:
        raise UserError(
            f"{unknown}: the official code does not have it; give `format` native or diffusers"
        )


def to_list(checkpoint: Checkpoint) -> list[Any]:
    """Return a checkpoint as the list that the official code resumes from.

    :raises CheckpointError: if its optimiser is not that of its config
    :raises UserError: if the official code has no such network
    """
    check_writable(checkpoint.config)
    check_optimizer(checkpoint.optimizer, checkpoint.config)
    optim = checkpoint.config.optim
    names = list(parameter_shapes(checkpoint.config))  # the arrays come in any order
    state: dict[int, dict[str, Any]] = {}
    for number, name in enumerate(names):
        state[number] = {
            kind: checkpoint.optimizer[f"{kind}/{name}"] for kind in optim.state_kinds
        }
        if optim.optimizer != "SGD":  # PyTorch's SGD does not count
            state[number] = {_STEP: np.array(checkpoint.step, np.float32), **state[number]}
    group = {**_settings(optim), "params": list(range(len(state)))}
    ema = checkpoint.ema_weights
    average = [] if ema is None else [{name: ema[name] for name in names}]
    return [
        {f"{_PREFIX}{name}": checkpoint.weights[name] for name in names},
        {"state": state, "param_groups": [group]},
        checkpoint.epoch,
        checkpoint.step,
        *average,
    ]


def _is_checkpoint(tree: Any) -> bool:
    return (
        isinstance(tree, (list, tuple))
        and len(tree) in (4, 5)
        and is_state_dict(tree[0])
        and isinstance(tree[1], dict)
        and all(type(number) is int and number >= 0 for number in tree[2:4])
        and (len(tree) == 4 or is_state_dict(tree[4]))
    )


def _training(
    weights: Arrays, optimizer: dict[Any, Any], epoch: int, step: int, file_size: int
) -> Training | None:
    """The state of the optimiser by name; None, with a warning, if it is not PyTorch's."""
    try:
        arrays, counted = _by_name(optimizer, list(weights), file_size)
    except (KeyError, TypeError, AttributeError, ValueError):
        _log.warning("The optimiser's state is not in PyTorch's format: only the weights are used")
        return None
    for name, array in arrays.items():
        if array.shape != weights[name.partition("/")[2]].shape:
            raise CheckpointError(f"damaged: {name[:80]} has a wrong shape, {array.shape}")
    if counted - {step}:
        _log.warning("The optimiser counted %s steps, the checkpoint %d", counted, step)
    return Training(step=step, epoch=epoch, optimizer=arrays, versions=versions())


def _by_name(
    optimizer: Mapping[str, Any], names: list[str], file_size: int
) -> tuple[Arrays, set[int]]:
    """Return the arrays by ``kind/name``, and how many steps were counted.

    :raises KeyError: or a similar error, if it is not one of PyTorch's state dicts
    """
    numbers = [number for group in optimizer["param_groups"] for number in group["params"]]
    records: dict[str, Any] = {}
    counted: set[int] = set()
    for number, name in zip(numbers, names, strict=True):
        for kind, value in optimizer["state"][number].items():
            if kind == _STEP:  # an integer before PyTorch 1.12, then a tensor
                count = value.array() if hasattr(value, "array") else value
                counted.add(int(count))
            elif value is not None:
                records[f"{kind}/{name}"] = value
    by_kind = sorted(records, key=lambda name: name.partition("/")[0])  # stable: else as defined
    return as_float32({name: records[name] for name in by_kind}, file_size), counted


def _settings(optim: OptimConfig) -> dict[str, Any]:
    """The options of PyTorch's optimisers, as the official code sets them."""
    shared = {
        "lr": optim.lr,
        "weight_decay": optim.weight_decay,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
    }
    if optim.optimizer == "SGD":
        return {**shared, "momentum": 0.9, "dampening": 0, "nesterov": False, "fused": None}
    if optim.optimizer == "RMSProp":
        decay = {"alpha": 0.99, "momentum": 0, "centered": False}
        return {**shared, **decay, "eps": optim.eps, "capturable": False}
    return {
        **shared,
        "betas": (optim.beta1, 0.999),
        "eps": optim.eps,
        "amsgrad": optim.amsgrad,
        "capturable": False,
        "fused": None,
    }
