"""The U-Net that predicts the noise: the official DDIM network in PyTorch."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import Module

from jittor_ddim.architecture import check_weights, parameter_shapes
from jittor_ddim.config import Config
from jittor_ddim.engines.pytorch.cuda_graphs import caller
from jittor_ddim.engines.pytorch.layers import (
    AttnBlock,
    Downsample,
    GroupNorm,
    ResnetBlock,
    TimestepEmbedding,
    Upsample,
    swish,
)
from jittor_ddim.engines.pytorch.layout import layout
from jittor_ddim.engines.pytorch.winograd import Conv3x3


class Model(Module):
    """eps_theta(x_t, t): the attributes spell the official parameter names."""

    def __init__(self, config: Config, precision: str) -> None:
        super().__init__()
        model = config.model
        self._config = config
        self._lower = precision == "bfloat16"
        widths = [model.ch * mult for mult in model.ch_mult]
        self._embed = TimestepEmbedding(model.ch)
        self.temb = Module()
        self.temb.dense = nn.ModuleList(
            [nn.Linear(model.ch, 4 * model.ch), nn.Linear(4 * model.ch, 4 * model.ch)]
        )
        self.conv_in = nn.Conv2d(model.in_channels, model.ch, 3, padding=1)
        self.down = nn.ModuleList([self._down(level, widths) for level in range(len(widths))])
        self.mid = Module()
        self.mid.block_1 = self._block(widths[-1], widths[-1])
        self.mid.attn_1 = AttnBlock(widths[-1], model.num_groups)
        self.mid.block_2 = self._block(widths[-1], widths[-1])
        self.up = nn.ModuleList([self._up(level, widths) for level in range(len(widths))])
        self.norm_out = GroupNorm(widths[0], model.num_groups)
        self.conv_out = nn.Conv2d(widths[0], model.out_ch, 3, padding=1)
        for name, module in self.named_modules():
            if isinstance(module, Conv3x3):
                module.layer = name  # which its kernels say if they fail

    def _block(self, in_channels: int, out_channels: int) -> ResnetBlock:
        model = self._config.model
        return ResnetBlock(
            in_channels,
            out_channels,
            4 * model.ch,
            model.num_groups,
            model.dropout,
            model.conv_shortcut,
        )

    def _attention(self, level: int, channels: int, count: int) -> nn.ModuleList:
        model = self._config.model
        if self._config.resolutions[level] not in model.attn_resolutions:
            count = 0
        return nn.ModuleList([AttnBlock(channels, model.num_groups) for _ in range(count)])

    def _down(self, level: int, widths: list[int]) -> Module:
        model, width = self._config.model, widths[level]
        first = widths[level - 1] if level else model.ch
        inputs = [first] + [width] * (model.num_res_blocks - 1)
        stage = Module()
        stage.block = nn.ModuleList([self._block(channels, width) for channels in inputs])
        stage.attn = self._attention(level, width, model.num_res_blocks)
        if level < len(widths) - 1:
            stage.downsample = Downsample(width, model.resamp_with_conv)
        return stage

    def _up(self, level: int, widths: list[int]) -> Module:
        """One block more than on the way down; each also takes one skip connection."""
        model, width = self._config.model, widths[level]
        below = widths[min(level + 1, len(widths) - 1)]
        skips = [width] * model.num_res_blocks + [widths[level - 1] if level else model.ch]
        inputs = [below] + [width] * model.num_res_blocks
        stage = Module()
        stage.block = nn.ModuleList(
            [self._block(h + skip, width) for h, skip in zip(inputs, skips, strict=True)]
        )
        stage.attn = self._attention(level, width, model.num_res_blocks + 1)
        if level > 0:
            stage.upsample = Upsample(width, model.resamp_with_conv)
        return stage

    def set_dropout(self, active: bool) -> None:
        """Turn dropout on or off."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.train(active)

    def freeze(self) -> None:
        """Expect the weights to stay as they now are: then they are laid out only once."""
        for module in self.modules():
            if isinstance(module, Conv3x3):
                module.freeze()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return eps_pred (B, C, H, W) for x_t (B, C, H, W) and float timesteps t (B,)."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._lower):
            return self._predict(x, t).float().contiguous()

    def _predict(self, x: Tensor, t: Tensor) -> Tensor:
        first, second = self.temb.dense
        temb = second(swish(first(self._embed(t))))

        skips = [self.conv_in(x)]
        for stage in self.down:
            for index, block in enumerate(stage.block):
                h = block(skips[-1], temb)
                skips.append(stage.attn[index](h) if len(stage.attn) else h)
            if hasattr(stage, "downsample"):
                skips.append(stage.downsample(skips[-1]))

        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(skips[-1], temb)), temb)

        for stage in reversed(list(self.up)):
            for index, block in enumerate(stage.block):
                h = block(torch.cat([h, skips.pop()], dim=1), temb)
                h = stage.attn[index](h) if len(stage.attn) else h
            if hasattr(stage, "upsample"):
                h = stage.upsample(h)

        return self.conv_out(self.norm_out(h, activate=True))


class UNet:
    """The network in evaluation mode; see :class:`jittor_ddim.engines.base.UNet`."""

    def __init__(
        self,
        config: Config,
        weights: Mapping[str, NDArray[np.float32]],
        device: str,
        precision: str,
        compile: bool,
    ) -> None:
        self._shapes = parameter_shapes(config)
        self._device, self._precision, self._compile = device, precision, compile
        self._model = build(config, device, precision)
        self._parameters = named_parameters(self._model, config)
        self._model.set_dropout(False)
        self.load(weights)

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Take these weights.

        :raises WeightsError: naming what is missing, unknown or of the wrong shape
        """
        check_weights(weights, self._shapes)
        assign(self._parameters, weights)
        self._model.freeze()
        network = lowered(self._model) if self._precision == "bfloat16" else self._model
        # Frozen weights become constants of the compiled code, packed for its convolutions.
        frozen = {"freezing": True}
        compiled = torch.compile(network, options=frozen) if self._compile else network
        self._network = lambda x_t, t: [compiled(x_t, t)]
        self._call = caller(self._device)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters by their official names, in the official order."""
        return to_numpy(self._parameters)

    def predict(self, x_t: NDArray[np.float32], t: NDArray[Any]) -> NDArray[np.float32]:
        """Return eps_pred (B, C, H, W) for x_t (B, C, H, W) at timesteps t (B,), int or float."""
        with torch.no_grad():
            t = np.asarray(t, np.float32)
            [eps] = self._call(self._network, self.to_device(x_t), self.to_device(t))
            return self.to_host(eps)

    def to_device(self, array: NDArray[np.float32]) -> Tensor:
        """Return the array as a Tensor."""
        return from_numpy(array, self._device)

    def to_host(self, array: Tensor) -> NDArray[np.float32]:
        """Return a Tensor as a NumPy array."""
        return array.cpu().numpy()

    def predict_on_device(self, x_t: Tensor, t: int) -> Tensor:
        """Return eps_pred for a batch at one timestep, computed."""
        with torch.no_grad():
            steps = torch.full((x_t.shape[0],), float(t), device=self._device)
            [eps] = self._call(self._network, x_t, steps)
            synchronize(self._device)
            return eps


def build(config: Config, device: str, precision: str) -> Model:
    """Return the network on a device, with fresh weights in float32.

    :param precision: in which convolutions and products are computed
    """
    return Model(config, precision).to(device).to(memory_format=layout(device, precision))


def lowered(model: Model) -> Model:
    """Return a copy whose convolutions and linear layers have weights in bfloat16.

    Autocast then has no weight to convert at every call.
    """
    copied = deepcopy(model)
    for module in copied.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(torch.bfloat16)
    return copied


def find_module(model: Model, name: str) -> Module:
    """Return a part of the model by its official name, such as ``down.0.block.1.conv1``."""
    return model.get_submodule(name)


def named_parameters(model: Model, config: Config) -> dict[str, Tensor]:
    """Return the model's parameters in the official order of the architecture."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name] for name in parameter_shapes(config)}


def assign(parameters: Mapping[str, Tensor], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Overwrite Tensors by arrays of the same names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(from_numpy(arrays[name], "cpu"))


def to_numpy(parameters: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """Copy Tensors to the host."""
    return {
        name: parameter.detach().cpu().numpy().copy() for name, parameter in parameters.items()
    }


def from_numpy(array: NDArray[Any], device: str) -> Tensor:
    """Return an array as a contiguous float32 Tensor; on a CPU it may share the memory."""
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"])).to(device)


def synchronize(device: str) -> None:
    """Let the device finish: a GPU computes while Python goes on."""
    if device == "cuda":
        torch.cuda.synchronize()
