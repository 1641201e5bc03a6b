"""The peer: diffusers' UNet2DModel of the same architecture, with its DDIM scheduler and EMA."""

import os
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # idle contenders must not spin beside others

import diffusers
import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel

from benchmarks.contenders import Contender


class Peer:
    """Samples and trains as a careful user of diffusers would."""

    def __init__(self, contender: Contender, batch: int, device: str) -> None:
        """Make the network with fresh weights."""
        on_gpu = device != "cpu" and torch.cuda.is_available()
        self._device, self._batch = "cuda" if on_gpu else "cpu", batch
        self._model = UNet2DModel(
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
        ).to(self._device)
        self._network = torch.compile(self._model) if contender.compiled else self._model
        self._scheduler = DDIMScheduler(clip_sample=False)
        self._adam: torch.optim.Optimizer | None = None

    def environment(self) -> dict[str, Any]:
        """Return versions and device."""
        versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
        parameters = sum(p.numel() for p in self._model.parameters())
        return {"device": self._device, "parameters": parameters, **versions}

    @torch.no_grad()
    def sample(self, calls: int) -> None:
        """Sample a batch with so many network calls, as DDIMPipeline does."""
        self._model.eval()
        self._scheduler.set_timesteps(calls)
        x = torch.randn(self._batch, 3, 32, 32, device=self._device)
        for t in self._scheduler.timesteps:
            x = self._scheduler.step(self._network(x, t).sample, int(t), x).prev_sample
        x.cpu()

    def train(self) -> None:
        """Take a training step: loss, gradients, clipping, Adam, moving average."""
        if self._adam is None:
            self._model.train()
            self._adam = torch.optim.Adam(self._model.parameters(), lr=2e-4)
            self._ema = EMAModel(self._model.parameters(), decay=0.9999)
        x0, eps = (torch.randn(self._batch, 3, 32, 32, device=self._device) for _ in range(2))
        t = torch.randint(0, 1000, (self._batch,), device=self._device)
        eps_pred = self._network(self._scheduler.add_noise(x0, eps, t), t).sample
        loss = (eps - eps_pred).square().sum(dim=(1, 2, 3)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._adam.step()
        self._adam.zero_grad()
        self._ema.step(self._model.parameters())
        loss.item()
