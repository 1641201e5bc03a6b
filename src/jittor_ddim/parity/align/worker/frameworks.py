"""The two frameworks from outside, for models that nobody here has written.

A side's file imports its framework itself; this finds it among the loaded modules.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np


class SideError(Exception):
    """What is wrong with a side's file, in one line."""


class Framework:
    """What both have in common; a tensor is either one's."""

    name = ""
    method = ""  #: the one of a module that computes

    def __init__(self, package: Any) -> None:
        """:param package: the framework's own module"""
        self.package = package

    def plain(self, tensor: Any) -> Any:
        """Return a copy as a NumPy array."""
        raise NotImplementedError

    def of_input(self, array: Any, model: Any, dtype: str = "") -> Any:
        """Return an array as a tensor where the model lies.

        :param dtype: ``bfloat16`` of what NumPy has no type for; others are the array's own
        """
        raise NotImplementedError

    def is_tensor(self, thing: Any) -> bool:
        """Whether it is an array of this framework."""
        raise NotImplementedError

    def state(self, model: Any) -> dict[str, Any]:
        """Return all parameters and buffers by name, in order."""
        raise NotImplementedError

    def trainable(self, model: Any) -> list[str]:
        """Return the names of what is trained, as the model was built."""
        raise NotImplementedError

    def assign(self, tensor: Any, array: Any) -> None:
        """Set a parameter."""
        raise NotImplementedError

    def gradients(self, loss: Any, tensors: list[Any]) -> list[Any]:
        """Return the gradients, None where the loss does not depend on a tensor."""
        raise NotImplementedError

    def no_gradients(self) -> AbstractContextManager[Any]:
        """Compute without recording for a backward pass."""
        return self.package.no_grad()

    def optimizer(self, model: Any) -> Any:
        """Return plain gradient descent at the rate 0.01."""
        raise NotImplementedError

    def step(self, optimizer: Any, loss: Any) -> None:
        """Do a step as people do with this framework."""
        raise NotImplementedError

    def used_gradients(self, optimizer: Any, tensors: list[Any]) -> list[Any]:
        """Return the gradients of the last step as the optimiser saw them, where they are kept."""
        raise NotImplementedError

    def seed(self, number: int) -> None:
        """Seed all random numbers."""
        raise NotImplementedError

    def wait(self) -> None:
        """Wait until all that was asked for is computed."""

    def save(self, model: Any, path: Path) -> None:
        """Save a model's state as people do with this framework."""
        raise NotImplementedError

    def load(self, model: Any, path: Path) -> None:
        """Load it again."""
        raise NotImplementedError

    def modules(self, model: Any) -> list[tuple[str, Any]]:
        """Return every module once, by name; the model itself is ``""``."""
        seen: set[int] = set()
        found = []
        for name, module in model.named_modules():
            if id(module) not in seen:
                seen.add(id(module))
                found.append((name, module))
        return found

    def environment(self) -> dict[str, str]:
        """Return what numbers may depend on."""
        python = ".".join(map(str, sys.version_info[:3]))
        version = str(getattr(self.package, "__version__", "?"))
        return {"framework": f"{self.name} {version}", "python": python, "numpy": np.__version__}


class _Torch(Framework):
    """PyTorch."""

    name, method = "torch", "forward"

    def is_tensor(self, thing: Any) -> bool:
        return isinstance(thing, self.package.Tensor)

    def plain(self, tensor: Any) -> Any:
        tensor = tensor.detach()
        if getattr(tensor, "is_conj", bool)():  # not in old versions
            tensor = tensor.resolve_conj()
        if tensor.dtype == self.package.bfloat16:
            tensor = tensor.float()
        return np.array(tensor.cpu().numpy(), copy=True)

    def of_input(self, array: Any, model: Any, dtype: str = "") -> Any:
        device = next((p.device for p in self.state(model).values()), "cpu")
        tensor = self.package.from_numpy(np.array(array, copy=True)).to(device)
        return tensor.bfloat16() if dtype == "bfloat16" else tensor

    def state(self, model: Any) -> dict[str, Any]:
        found = dict(model.named_parameters())
        found.update(model.named_buffers())
        kept = {name: found.pop(name) for name in list(model.state_dict()) if name in found}
        kept.update(found)  # buffers that are not saved
        return kept

    def trainable(self, model: Any) -> list[str]:
        return [name for name, p in model.named_parameters() if p.requires_grad]

    def assign(self, tensor: Any, array: Any) -> None:
        with self.package.no_grad():
            tensor.copy_(self.package.from_numpy(np.array(array)).reshape(tensor.shape))

    def gradients(self, loss: Any, tensors: list[Any]) -> list[Any]:
        return self.package.autograd.grad(loss, tensors, allow_unused=True)

    def optimizer(self, model: Any) -> Any:
        return self.package.optim.SGD(model.parameters(), lr=0.01)

    def step(self, optimizer: Any, loss: Any) -> None:
        if not isinstance(optimizer, self.package.optim.Optimizer):
            return optimizer.step(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def used_gradients(self, optimizer: Any, tensors: list[Any]) -> list[Any]:
        return [None if t.grad is None else self.plain(t.grad) for t in tensors]

    def seed(self, number: int) -> None:
        self.package.manual_seed(number)

    def wait(self) -> None:
        if self.package.cuda.is_available():
            self.package.cuda.synchronize()

    def save(self, model: Any, path: Path) -> None:
        self.package.save(model.state_dict(), str(path))

    def load(self, model: Any, path: Path) -> None:
        model.load_state_dict(self.package.load(str(path)))


class _Jittor(Framework):
    """Jittor."""

    name, method = "jittor", "execute"

    def is_tensor(self, thing: Any) -> bool:
        return isinstance(thing, self.package.Var)

    def plain(self, tensor: Any) -> Any:
        if str(tensor.dtype) == "bfloat16":
            tensor = tensor.float32()
        return np.array(tensor.numpy(), copy=True)

    def of_input(self, array: Any, model: Any, dtype: str = "") -> Any:
        tensor = self.package.array(np.array(array, copy=True))
        return tensor.cast("bfloat16") if dtype == "bfloat16" else tensor

    def state(self, model: Any) -> dict[str, Any]:
        found = dict(model.named_parameters())
        # Weights that two modules share have both their names here, and one in PyTorch.
        first = {id(tensor): name for name, tensor in reversed(found.items())}
        return {name: tensor for name, tensor in found.items() if first[id(tensor)] == name}

    def trainable(self, model: Any) -> list[str]:
        # In evaluation mode nothing is; the state from before is kept on the model.
        model.train()
        return [name for name, p in self.state(model).items() if not p.is_stop_grad()]

    def assign(self, tensor: Any, array: Any) -> None:
        array = np.asarray(array).reshape(tuple(tensor.shape))
        tensor.update(self.package.array(array).cast(tensor.dtype).stop_grad())
        if array.size == 1:  # fused as a constant into its first use, it may not compile
            tensor.sync()

    def gradients(self, loss: Any, tensors: list[Any]) -> list[Any]:
        return self.package.grad(loss, tensors)

    def optimizer(self, model: Any) -> Any:
        return self.package.optim.SGD(model.parameters(), 0.01)

    def step(self, optimizer: Any, loss: Any) -> None:
        optimizer.step(loss)

    def used_gradients(self, optimizer: Any, tensors: list[Any]) -> list[Any]:
        seen = {}
        for group in getattr(optimizer, "param_groups", []):
            for p, g in zip(group["params"], group.get("grads", [])):  # noqa: B905
                seen[id(p)] = self.plain(g)
        return [seen.get(id(tensor)) for tensor in tensors]

    def seed(self, number: int) -> None:
        self.package.set_global_seed(number)

    def wait(self) -> None:
        self.package.sync_all(True)

    def save(self, model: Any, path: Path) -> None:
        model.save(f"{path}.pkl")

    def load(self, model: Any, path: Path) -> None:
        model.load(f"{path}.pkl")


_KINDS: dict[str, Callable[[Any], Framework]] = {"jittor": _Jittor, "torch": _Torch}


def loaded_frameworks() -> list[str]:
    """Return which frameworks this process has loaded."""
    return sorted(name for name in _KINDS if name in sys.modules)


def find_framework(imported: list[str]) -> Framework:
    """Return the framework that a side's file has imported.

    :param imported: of the frameworks, those that the file itself names
    :raises SideError: if it is none or both
    """
    found = imported or loaded_frameworks()
    if len(found) != 1:
        both = "both frameworks" if found else "neither framework"
        raise SideError(f"imports {both}; a side uses one of {', '.join(sorted(_KINDS))}")
    return _KINDS[found[0]](importlib.import_module(found[0]))
