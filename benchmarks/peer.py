"""The peer: diffusers' UNet2DModel of the same architecture, with its DDIM scheduler and EMA."""

import os
from contextlib import AbstractContextManager
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # idle entrants must not spin beside others

import diffusers
import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel

from benchmarks.entrants import CIFAR10, Entrant


class Peer:
    """Samples and trains as a careful user of diffusers would.

    Lower precisions and compiling are those of its documentation: sampling with a network in
    bfloat16, training with autocast; compiled networks with channels last, and on a GPU replayed.
    """

    def __init__(self, entrant: Entrant, device: str) -> None:
        """Make the network with fresh weights."""
        on_gpu = device != "cpu" and torch.cuda.is_available()
        self._device, self._entrant = "cuda" if on_gpu else "cpu", entrant
        torch.backends.cudnn.allow_tf32 = entrant.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = entrant.precision == "tf32"
        self._scheduler = DDIMScheduler(clip_sample=False)
        self.release()

    def environment(self) -> dict[str, Any]:
        """Return versions and device."""
        versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
        parameters = sum(p.numel() for p in _network().parameters())
        return {"device": self._device, "parameters": parameters, **versions}

    @torch.no_grad()
    def sample(self, batch: int, calls: int, eta: float, config: str) -> None:
        """Sample a batch with so many network calls, as DDIMPipeline does."""
        _check(config)
        if self._sampler is None:
            low = torch.bfloat16 if self._entrant.precision == "bfloat16" else torch.float32
            self._sampler = self._prepare(_network().eval().to(low), "reduce-overhead")
            self._dtype = low
        self._scheduler.set_timesteps(calls)
        x = torch.randn(batch, 3, 32, 32, device=self._device, dtype=self._dtype)
        for t in self._scheduler.timesteps:
            eps = self._sampler(x, t.to(self._device)).sample
            x = self._scheduler.step(eps, int(t), x, eta=eta).prev_sample
        x.float().cpu()

    def make_batch(self, batch: int, config: str) -> tuple[Any, ...]:
        """Return x0, t and eps."""
        _check(config)
        x0, eps = (torch.randn(batch, 3, 32, 32) for _ in range(2))
        return x0, torch.randint(0, 1000, (batch,)), eps

    def train(self, x0: Any, t: Any, eps: Any, config: str) -> None:
        """Take a training step: loss, gradients, clipping, Adam, moving average."""
        _check(config)
        if self._adam is None:
            self._model = _network().train().to(self._device)
            self._trained = self._prepare(self._model, "default")
            self._adam = torch.optim.Adam(self._model.parameters(), lr=2e-4)
            self._ema = EMAModel(self._model.parameters(), decay=0.9999)
        x0, t, eps = (given.to(self._device) for given in (x0, t, eps))
        with self._autocast():
            eps_pred = self._trained(self._scheduler.add_noise(x0, eps, t), t).sample
        loss = (eps - eps_pred.float()).square().sum(dim=(1, 2, 3)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._adam.step()
        self._adam.zero_grad()
        self._ema.step(self._model.parameters())
        loss.item()

    def release(self) -> None:
        """Forget the networks, and give back the device's memory."""
        self._sampler: Any = None
        self._adam: torch.optim.Optimizer | None = None
        self._model = self._trained = self._ema = None
        if self._device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def device_memory(self) -> int | None:
        """Return the most bytes of the device's memory since the last release."""
        return torch.cuda.max_memory_reserved() if self._device == "cuda" else None

    def _prepare(self, network: UNet2DModel, mode: str) -> Any:
        network = network.to(self._device)
        if not self._entrant.compiled:
            return network
        network = network.to(memory_format=torch.channels_last)
        return torch.compile(network, mode=mode if self._device == "cuda" else "default")

    def _autocast(self) -> AbstractContextManager[Any]:
        low = self._entrant.precision == "bfloat16"
        return torch.autocast(self._device, torch.bfloat16, enabled=low)


def _check(config: str) -> None:
    if config != CIFAR10:
        raise ValueError(f"diffusers has the network of {CIFAR10} only, not of {config}")


def _network() -> UNet2DModel:
    """The architecture of configs/cifar10.yml, with fresh weights."""
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0,
        norm_eps=1e-6,
        flip_sin_to_cos=False,
        freq_shift=1,
        attention_head_dim=None,
        dropout=0.1,
    )
