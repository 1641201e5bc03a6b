"""The tasks of a side: everything that is ever asked of a model."""

from __future__ import annotations

import gc
import random
import resource
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jittor_ddim.parity.align.worker.frameworks import Framework, SideError
from jittor_ddim.parity.align.worker.packed import join, split
from jittor_ddim.parity.align.worker.recording import Recorder
from jittor_ddim.parity.align.worker.training import Trainer
from jittor_ddim.parity.align.worker.trees import Store, encode, leaves
from jittor_ddim.parity.align.worker.weights import Weights

NEEDED = ("build", "batch", "loss")


class Session:
    """One side at work."""

    def __init__(self, side: ModuleType, framework: Framework, arrays: Path, own: Path) -> None:
        """:param side: the user's file; :param arrays: the folder that both sides share"""
        self._side, self._framework, self._own = side, framework, own
        self.framework = framework.name
        self._store = Store(arrays)
        self._recorder = Recorder(framework, self._store)
        self._model: Any = None
        self._initial: dict[str, Any] = {}
        self._trainable: list[str] = []
        self._trainer: Trainer | None = None
        self._fed: list[dict[str, Any]] = []

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on, and which of the optional functions there are."""
        optional = [n for n in ("optimizer", "sample", "rename") if hasattr(self._side, n)]
        return {"environment": self._framework.environment(), "optional": optional}

    def build(self, weights: dict[str, str] | None = None, seed: int = 0) -> dict[str, Any]:
        """Build the model and describe its state.

        :param weights: the other side's, as keys of the store; None: it draws its own
        """
        self.seed(seed)
        given = None
        if weights is not None:
            given = Weights({name: self._store.get(key) for name, key in weights.items()})
        self._model = self._side.build(given)
        if not hasattr(self._model, "named_modules"):
            kind = type(self._model).__name__
            raise SideError(f"build returned {kind}, not a module of {self._framework.name}")
        trainable = self._framework.trainable(self._model)
        if not trainable:
            raise SideError("the model has no parameters to train")
        self._trainable = trainable
        self._keep()
        owners = {name: type(module).__name__ for name, module in self.modules()}
        tensors = self._framework.state(self._model)
        state = [
            {
                "name": part,
                "whole": name,
                "shape": list(array.shape),
                "dtype": str(tensors[name].dtype).replace("torch.", ""),
                "array": self._store.put(array),
                "trainable": name in trainable,
                "owner": owners.get(name.rpartition(".")[0], ""),
            }
            for name, whole in self._initial.items()
            for part, array in split({name: whole}).items()
        ]
        rename = getattr(self._side, "rename", lambda name: name)
        return {
            "state": state,
            "renamed": {one["name"]: rename(one["name"]) for one in state},
            "weights": {rename(n): self._store.put(a) for n, a in self._initial.items()},
            "modules": list(owners),
            "read": bool(given is not None and given.used),
        }

    def modules(self) -> list[tuple[str, Any]]:
        """Return the model's modules by name."""
        return self._framework.modules(self._model)

    def load(self, weights: dict[str, str]) -> dict[str, Any]:
        """Set parameters by this side's names and keep them as those to start from."""
        parts = {name: self._store.get(key) for name, key in weights.items()}
        self._set(join(parts, self._initial), train=False)
        self._keep()
        return {}

    def batch(self, step: int) -> dict[str, Any]:
        """Return the batch of a step."""
        if self._fed:
            return self._fed[step % len(self._fed)]
        self.seed(1000 + step)
        batch = self._side.batch(step)
        code = encode(batch, self._plain_leaf)
        if not leaves(code):
            kind = type(batch).__name__
            raise SideError(f"batch returned {kind}; NumPy arrays, or a dict or tuple of them")
        return code

    def feed(self, batches: list[dict[str, Any]]) -> dict[str, Any]:
        """Use the other side's batches from now on."""
        self._fed = batches
        return {}

    def forward(self, train: bool, seed: int, still: list[str]) -> dict[str, Any]:
        """Compute the loss of batch 0 from the initial weights, and record all calls of modules.

        :param still: modules that stay in evaluation mode
        """
        self._restore(train, still)
        batch = self._batch(0)
        self.seed(seed)
        with self._framework.no_gradients():
            with self._recorder.listening(self._model):
                loss = self._side.loss(self._model, batch)
            value = self._scalar(loss)
        return {"loss": value, "calls": self._recorder.calls, "state": self.state()}

    def replay(
        self, calls: list[dict[str, Any]], train: bool, still: list[str], seed: int
    ) -> list[dict[str, Any]]:
        """Call single modules with given inputs, each from the initial weights.

        What ``forced`` names within a call returns given outputs: so only the module's own code
        is at work. Modules in ``copied`` are given copies, which they may change. Of a module that
        cannot be called so, the answer tells the error.
        """
        named = dict(self.modules())
        answers = []
        for call in calls:
            self._restore(train, still)
            self.seed(seed)
            try:
                args, kwargs = self._recorder.revive(call["inputs"], self._model)
                listening = self._recorder.listening(
                    self._model, call.get("forced"), call.get("copied", ())
                )
                with self._framework.no_gradients(), listening:
                    outputs = named[call["module"]](*args, **kwargs)
                    answer: dict[str, Any] = {"outputs": self._recorder.describe(outputs)}
                answer["calls"] = [one for one in self._recorder.calls if one["parent"] == 0]
                if call.get("state"):
                    answer["state"] = self.state()
            except MemoryError:
                raise
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
            answers.append(answer)
        return answers

    def gradients(
        self, train: bool, still: list[str], seed: int, off: float = 0.0, draw: int = 0
    ) -> dict[str, Any]:
        """Return loss and gradients of batch 0 at the initial weights.

        :param off: by which share these are changed at random, as with ``draw``
        """
        self._restore(train, still, off, draw)
        batch = self._batch(0)
        self.seed(seed)
        loss = self._side.loss(self._model, batch)
        tensors = self._framework.state(self._model)
        found = self._framework.gradients(loss, [tensors[n] for n in self._trainable])
        plain = self._framework.plain
        gradients = {
            name: None if g is None else plain(g)
            for name, g in zip(self._trainable, found)  # noqa: B905
        }
        return {"loss": self._scalar(loss), "gradients": self._store.put_all(split(gradients))}

    def train(
        self, first: int, count: int, still: list[str], off: float = 0.0, draw: int = 0
    ) -> list[dict[str, Any]]:
        """Do training steps; the first begins with the initial weights and a new optimiser.

        :param off: by which share these are changed at random, as with ``draw``
        """
        start: dict[str, Any] = {}
        if first == 0:
            self._restore(True, still, off, draw)
            start = {"start": self.state()} if off else {}
            self._trainer = Trainer(self._side, self._framework, self._model, self._store)
        assert self._trainer
        if first < 2:
            self._trainer.watch = self._trainable
        records = []
        for step in range(first, first + count):
            batch = self._batch(step)
            self.seed(step)
            records.append(self._trainer.step(batch, self._scalar, detailed=step < 2))
            if step < 2:
                records[-1]["state"] = self.state()
        records[0].update(start)
        return records

    def sample(self, seed: int) -> dict[str, Any]:
        """Return what the side samples from the initial weights."""
        self._restore(False, [])
        self.seed(seed)
        with self._framework.no_gradients():
            samples = self._side.sample(self._model, seed)
        code = self._recorder.describe(samples)
        if not leaves(code):
            raise SideError(f"sample returned {type(samples).__name__}, not tensors or arrays")
        return code

    def reload(self) -> dict[str, Any]:
        """Save the trained model, load it into a new one, and return both losses and states."""
        path = self._own / "state"
        self._framework.save(self._model, path)
        before = self.state()
        with self._framework.no_gradients():
            self._set_mode(False, [])
            first = self._scalar(self._side.loss(self._model, self._batch(0)))
            self._model = self._side.build(None)
            self._framework.load(self._model, path)
            self._set_mode(False, [])
            again = self._scalar(self._side.loss(self._model, self._batch(0)))
        for file in self._own.glob("state*"):
            file.unlink()
        return {"losses": [first, again], "before": before, "after": self.state()}

    def memory(self) -> dict[str, float]:
        """Return the largest resident memory of this process so far, in MiB."""
        gc.collect()
        return {"peak_host_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    def state(self) -> dict[str, str]:
        """Return all parameters and buffers as keys of the store."""
        tensors = self._framework.state(self._model)
        arrays = {name: self._framework.plain(tensor) for name, tensor in tensors.items()}
        return self._store.put_all(split(arrays))

    def seed(self, number: int) -> None:
        """Seed everything that draws."""
        random.seed(number)
        np.random.seed(number)
        self._framework.seed(number)

    def _keep(self) -> None:
        tensors = self._framework.state(self._model)
        self._initial = {name: self._framework.plain(t) for name, t in tensors.items()}

    def _restore(self, train: bool, still: list[str], off: float = 0.0, draw: int = 0) -> None:
        self._set_mode(train, still)
        arrays = dict(self._initial)
        if off:
            random = np.random.default_rng(draw)
            for name in self._trainable:
                array = arrays[name]
                change = array * (off * random.normal(size=array.shape))
                arrays[name] = (array + change).astype(array.dtype)
        self._set(arrays, train)

    def _set(self, arrays: dict[str, Any], train: bool = True) -> None:
        tensors = self._framework.state(self._model)
        for name, tensor in tensors.items():
            if name in arrays:
                self._framework.assign(tensor, arrays[name])
                # Jittor forgets with an assignment that a parameter is trained.
                if train and hasattr(tensor, "start_grad") and name in self._trainable:
                    tensor.start_grad()

    def _set_mode(self, train: bool, still: list[str]) -> None:
        self._model.train() if train else self._model.eval()
        named = dict(self.modules())
        for name in still:
            named[name].eval()

    def _batch(self, step: int) -> Any:
        return self._recorder.revive(self.batch(step), self._model)

    def _plain_leaf(self, thing: Any) -> dict[str, Any] | None:
        if self._framework.is_tensor(thing):
            raise SideError("batch returned a tensor; return NumPy arrays, which both sides share")
        if not isinstance(thing, (np.ndarray, np.generic)):
            return None
        if thing.dtype.kind not in "biufc":
            raise SideError(f"batch returned an array of {thing.dtype}; only numbers can be fed")
        array = np.asarray(thing)
        key = self._store.put(array)
        return {"array": key, "dtype": str(array.dtype), "shape": list(array.shape)}

    def _scalar(self, loss: Any) -> float:
        if not self._framework.is_tensor(loss):
            raise SideError(f"loss returned {type(loss).__name__}, not a tensor of one number")
        array = self._framework.plain(loss)
        if array.size != 1:
            raise SideError(f"loss returned a tensor of shape {list(array.shape)}, not one number")
        return float(array.reshape(-1)[0])
