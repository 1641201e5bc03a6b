"""The optimisers, with PyTorch's exact rules, and the moving average of the weights.

Jittor's own Adam folds the bias correction into the step size, which changes its effective
epsilon, and it lacks amsgrad; clipping and averaging would each be one more pass.
"""

from collections.abc import Mapping, Sequence

import jittor as jt
from jittor import Var

from jittor_ddim.averaging import rate
from jittor_ddim.config import ModelConfig, OptimConfig
from jittor_ddim.engines.jittor.operations import updates, updates_together
from jittor_ddim.engines.primitives import BETA2, MOMENTUM, RMSPROP_DECAY


def differentiate(loss: Var, parameters: Sequence[Var]) -> tuple[Var, list[Var]]:
    """Return a loss and its gradients, lazy."""
    return loss, jt.grad(loss, list(parameters))


def clip_by_norm(gradients: Sequence[Var], limit: float | None) -> tuple[list[Var], Var]:
    """Return gradients scaled to a global norm of at most ``limit``, and the norm before it."""
    norm = jt.sqrt(sum((sum_of_squares(g) for g in gradients), start=jt.zeros(1)))
    if limit is None:
        return list(gradients), norm
    scale = jt.minimum(limit / (norm + 1e-6), jt.ones(1))
    return [g * scale.broadcast(g.shape) for g in gradients], norm


def sum_of_squares(x: Var) -> Var:
    """Return the sum of all squares, first along each row of the leading axis.

    Jittor adds one element after the other in float32: the sum over the million elements of a
    convolution's gradient is then off by 6e-4, over rows and then over their sums by 2e-7.
    """
    return (x * x).reshape(x.shape[0], -1).sum(dim=1).sum()


class Optimizer:
    """A rule of the config applied to named parameters.

    :ivar state: Vars by kind, then by parameter name: ``exp_avg``, ``exp_avg_sq``, …
    """

    def __init__(self, config: OptimConfig, parameters: Mapping[str, Var]) -> None:
        self._config = config
        self._parameters = parameters
        self._rule = {"Adam": self._adam, "RMSProp": self._rmsprop, "SGD": self._sgd}[
            config.optimizer
        ]
        self.state = {
            kind: {name: jt.zeros_like(p).stop_grad() for name, p in parameters.items()}
            for kind in config.state_kinds
        }
        self._steps, self._lr = 0, config.lr

    def set_rate(self, lr: float) -> None:
        """Set the learning rate.

        Kernels read numbers as data and are not compiled for each of them, but for 0 there are
        others: 1e-37 serves, which moves no weight either.
        """
        self._lr = max(lr, 1e-37)

    def resume(self, steps: int) -> None:
        """Continue as if so many steps had been taken."""
        self._steps = steps

    def step(self, gradients: Sequence[Var]) -> None:
        """Update every parameter, given its gradient in the order of the parameters."""
        self._steps += 1
        if self._config.optimizer == "Adam" and updates_together():
            self._adam_together(gradients)
            return
        for (name, parameter), gradient in zip(self._parameters.items(), gradients, strict=True):
            if self._config.weight_decay:
                gradient = gradient + self._config.weight_decay * parameter
            state = {kind: variables[name] for kind, variables in self.state.items()}
            parameter.update(self._rule(parameter, gradient, state))

    def _adam(self, parameter: Var, gradient: Var, state: dict[str, Var]) -> Var:
        """Adam (Kingma & Ba 2015, algorithm 1), and AMSGrad (Reddi et al. 2018, algorithm 2)."""
        config, n = self._config, self._steps
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.update(config.beta1 * mean + (1 - config.beta1) * gradient)
        square.update(BETA2 * square + (1 - BETA2) * gradient * gradient)
        if config.amsgrad:
            largest = state["max_exp_avg_sq"]
            largest.update(jt.maximum(largest, square))
            square = largest
        denominator = jt.sqrt(square) / (1 - BETA2**n) ** 0.5 + config.eps
        return parameter - self._lr / (1 - config.beta1**n) * (mean / denominator)

    def _adam_together(self, gradients: Sequence[Var]) -> None:
        """:meth:`_adam` of all parameters, by a GPU's kernel."""
        config, n = self._config, self._steps
        kinds = [list(variables.values()) for variables in self.state.values()]
        parameters = list(self._parameters.values())
        numbers = {
            "beta1": config.beta1, "rest1": 1 - config.beta1, "beta2": BETA2, "rest2": 1 - BETA2,
            "rate": self._lr / (1 - config.beta1**n), "root": (1 - BETA2**n) ** 0.5,
            "epsilon": config.eps, "decay": config.weight_decay,
        }  # fmt: skip
        new = updates.adam([parameters, gradients, *kinds], numbers)
        for old, values in zip((parameters, *kinds), new, strict=True):
            for one, value in zip(old, values, strict=True):
                one.update(value)

    def _rmsprop(self, parameter: Var, gradient: Var, state: dict[str, Var]) -> Var:
        """RMSProp (Tieleman & Hinton 2012), epsilon outside the root as in PyTorch."""
        square = state["square_avg"]
        square.update(RMSPROP_DECAY * square + (1 - RMSPROP_DECAY) * gradient * gradient)
        return parameter - self._lr * (gradient / (jt.sqrt(square) + self._config.eps))

    def _sgd(self, parameter: Var, gradient: Var, state: dict[str, Var]) -> Var:
        """SGD with momentum 0.9; the first step takes the gradient itself, as in PyTorch."""
        momentum = state["momentum_buffer"]
        momentum.update(MOMENTUM * momentum + gradient)
        return parameter - self._lr * momentum


class Average:
    """The exponential moving average of the weights, from step 1 on: mu s + (1 - mu) p."""

    def __init__(self, model: ModelConfig, parameters: Mapping[str, Var]) -> None:
        self._model = model
        self._parameters = parameters
        self._updates = 0
        self.shadow = {name: p.clone().stop_grad() for name, p in parameters.items()}

    def resume(self, steps: int) -> None:
        """Continue as if so many updates had been made."""
        self._updates = steps

    def update(self) -> None:
        """Take in the parameters as they now are."""
        self._updates += 1
        mu = rate(self._model, self._updates)
        if updates_together():
            shadows = list(self.shadow.values())
            new = updates.mix(shadows, list(self._parameters.values()), mu)
            for shadow, value in zip(shadows, new, strict=True):
                shadow.update(value)
            return
        for name, parameter in self._parameters.items():
            shadow = self.shadow[name]
            shadow.update(mu * shadow + (1 - mu) * parameter)
