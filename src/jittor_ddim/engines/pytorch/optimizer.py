"""The optimisers, PyTorch's own, and the moving average of the weights.

Their state has the names and shapes of every other engine's, so that a run continues in any.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from jittor_ddim.config import ModelConfig, OptimConfig
from jittor_ddim.engines.primitives import BETA2, MOMENTUM, RMSPROP_DECAY


def differentiate(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
    """Return a loss, detached, and its gradients."""
    return loss.detach(), torch.autograd.grad(loss, list(parameters))


def clip_by_norm(gradients: Sequence[Tensor], limit: float | None) -> tuple[list[Tensor], Tensor]:
    """Return gradients scaled to a global norm of at most ``limit``, and the norm before it."""
    norm = torch.sqrt(torch.stack([sum_of_squares(g) for g in gradients]).sum())
    if limit is None:
        return list(gradients), norm
    scale = torch.clamp(limit / (norm + 1e-6), max=1.0)
    return [g * scale for g in gradients], norm


def sum_of_squares(x: Tensor) -> Tensor:
    """Return the sum of all squares, first along each row of the leading axis.

    PyTorch's own norm of the million elements of a convolution's gradient is off by 1e-5 on a
    CPU, this one by 4e-8.
    """
    return (x * x).reshape(x.shape[0], -1).sum(dim=1).sum()


class Optimizer:
    """A rule of the config applied to named parameters.

    :ivar state: Tensors by kind, then by parameter name: ``exp_avg``, ``exp_avg_sq``, …
    """

    def __init__(self, config: OptimConfig, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._rule = _rule(config, list(parameters.values()))
        self.state = {
            kind: {name: torch.zeros_like(p) for name, p in parameters.items()}
            for kind in config.state_kinds
        }
        # PyTorch would make its state at the first step; it takes this one instead.
        for name, parameter in parameters.items():
            own = {kind: tensors[name] for kind, tensors in self.state.items()}
            counter = torch.zeros((), device=parameter.device)
            self._rule.state[parameter] = {"step": counter, **own}

    def resume(self, steps: int) -> None:
        """Continue as if so many steps had been taken."""
        for parameter in self._parameters.values():
            self._rule.state[parameter]["step"].fill_(steps)

    def set_rate(self, lr: float) -> None:
        """Set the learning rate."""
        for group in self._rule.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update every parameter, given its gradient in the order of the parameters."""
        for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
            parameter.grad = gradient
        self._rule.step()
        self._rule.zero_grad(set_to_none=True)


def _rule(config: OptimConfig, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    # On a GPU nothing may read the counters, or no CUDA graph could be recorded. It would also
    # repeat a learning rate that is a number of Python's.
    on_gpu = any(p.is_cuda for p in parameters)
    if varies := on_gpu and config.lr_varies:
        common["lr"] = torch.tensor(config.lr, device=parameters[0].device)
    if config.optimizer == "SGD":  # the first step takes the gradient itself
        kernels = {"fused": True} if varies else {"foreach": True}  # which reads the rate
        return torch.optim.SGD(parameters, momentum=MOMENTUM, **kernels, **common)
    common |= {"eps": config.eps, "capturable": on_gpu}
    if config.optimizer == "RMSProp":  # Tieleman & Hinton 2012, epsilon outside the root
        return torch.optim.RMSprop(parameters, alpha=RMSPROP_DECAY, foreach=True, **common)
    # Kingma & Ba 2015, algorithm 1, and Reddi et al. 2018, algorithm 2; one pass over memory.
    betas = (config.beta1, BETA2)
    return torch.optim.Adam(parameters, betas=betas, amsgrad=config.amsgrad, fused=True, **common)


class Average:
    """The exponential moving average of the weights, from step 1 on: mu s + (1 - mu) p."""

    def __init__(self, model: ModelConfig, parameters: Mapping[str, Tensor]) -> None:
        self._model = model
        self._take_in = get_ema_multi_avg_fn(model.ema_rate)  # a kernel for all of them at once
        self._parameters = parameters
        device = next(iter(parameters.values())).device
        self._updates = torch.zeros((), device=device)  # there, for a CUDA graph to count
        self.shadow = {name: p.detach().clone() for name, p in parameters.items()}

    def resume(self, steps: int) -> None:
        """Continue as if so many updates had been made."""
        self._updates.fill_(steps)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they now are."""
        shadows, parameters = list(self.shadow.values()), list(self._parameters.values())
        if not self._model.ema_warmup:
            self._take_in(shadows, parameters, None)
            return
        self._updates += 1
        # 1 - r, as in jittor_ddim.averaging.rate, but never a number of Python's, which a CUDA
        # graph would repeat at every step.
        weight = torch.clamp(9 / (10 + self._updates), min=1 - self._model.ema_rate)
        for shadow, parameter in zip(shadows, parameters, strict=True):
            shadow.lerp_(parameter, weight)
