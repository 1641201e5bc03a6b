"""The U-Net that predicts the noise: the official DDIM network in Jittor."""

from collections.abc import Mapping
from typing import Any

import jittor as jt
import numpy as np
from jittor import Module, Var, nn
from numpy.typing import NDArray

from jittor_ddim.architecture import check_weights, parameter_shapes
from jittor_ddim.config import Config
from jittor_ddim.engines.jittor.layers import (
    AttnBlock,
    Conv2d,
    Downsample,
    GroupNorm,
    ResnetBlock,
    Upsample,
    swish,
    timestep_embedding,
)
from jittor_ddim.engines.jittor.operations import operations
from jittor_ddim.engines.jittor.operations.failures import check_kernels


class Model(Module):
    """eps_theta(x_t, t): the attributes spell the official parameter names."""

    def __init__(self, config: Config, precision: str) -> None:
        model = config.model
        self._config = config
        self._precision = precision
        widths = [model.ch * mult for mult in model.ch_mult]
        self.temb = Module()
        self.temb.dense = nn.ModuleList(
            [nn.Linear(model.ch, 4 * model.ch), nn.Linear(4 * model.ch, 4 * model.ch)]
        )
        self.conv_in = Conv2d(model.in_channels, model.ch, 3)
        self.down = nn.ModuleList([self._down(level, widths) for level in range(len(widths))])
        self.mid = Module()
        self.mid.block_1 = self._block(widths[-1], widths[-1])
        self.mid.attn_1 = AttnBlock(widths[-1], model.num_groups)
        self.mid.block_2 = self._block(widths[-1], widths[-1])
        self.up = nn.ModuleList([self._up(level, widths) for level in range(len(widths))])
        self.norm_out = GroupNorm(widths[0], model.num_groups)
        self.conv_out = Conv2d(widths[0], model.out_ch, 3)
        for name, module in self.named_modules():
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
        """Turn dropout on or off.

        Not by ``train()`` and ``eval()``: they switch the gradients of the parameters too, after
        which Jittor compiles the training step anew.
        """
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.is_train = active

    def freeze(self) -> None:
        """Expect the weights to stay as they now are: then they are laid out only once."""
        for module in self.modules():
            if isinstance(module, Conv2d):
                module.freeze()

    def execute(self, x: Var, t: Var) -> Var:
        """Return eps_pred (B, C, H, W) for x_t (B, C, H, W) and float timesteps t (B,)."""
        with operations().multiplying_in(self._precision):
            return operations().to_image(self._predict(x, t))

    def _predict(self, x: Var, t: Var) -> Var:
        first, second = self.temb.dense
        temb = second(swish(first(timestep_embedding(t, self._config.model.ch))))

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
                h = block(operations().concatenate(h, skips.pop()), temb)
                h = stage.attn[index](h) if len(stage.attn) else h
            if hasattr(stage, "upsample"):
                h = stage.upsample(h)

        return self.conv_out(self.norm_out(h, activate=True))


class UNet:
    """The network in evaluation mode; see :class:`jittor_ddim.engines.base.UNet`."""

    def __init__(
        self, config: Config, weights: Mapping[str, NDArray[np.float32]], precision: str
    ) -> None:
        self._shapes = parameter_shapes(config)
        self._model = Model(config, precision)
        self._parameters = named_parameters(self._model, config)
        self.load(weights)
        self._model.set_dropout(False)

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Take these weights.

        :raises WeightsError: naming what is missing, unknown or of the wrong shape
        """
        check_weights(weights, self._shapes)
        assign(self._parameters, weights)
        self._model.freeze()

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters by their official names, in the official order."""
        return to_numpy(self._parameters)

    def predict(self, x_t: NDArray[np.float32], t: NDArray[Any]) -> NDArray[np.float32]:
        """Return eps_pred (B, C, H, W) for x_t (B, C, H, W) at timesteps t (B,), int or float."""
        with jt.no_grad():
            t = np.asarray(t, np.float32)
            eps = self.to_host(self._model(self.to_device(x_t), self.to_device(t)))
            check_kernels()
            return eps

    def to_device(self, array: NDArray[np.float32]) -> Var:
        """Return the array as a Var without gradients.

        With them Jittor would keep every state of a sampler alive for as long as x_T lives.
        """
        return jt.array(np.ascontiguousarray(array, np.float32)).stop_grad()

    def to_host(self, array: Var) -> NDArray[np.float32]:
        """Return a Var as a NumPy array."""
        return array.numpy()

    def predict_on_device(self, x_t: Var, t: int) -> Var:
        """Return eps_pred for a batch at one timestep, computed.

        Jittor is lazy: without the sync the graph of all sampling steps would pile up unexecuted.
        """
        with jt.no_grad():
            eps = self._model(x_t, jt.array(np.full(x_t.shape[0], t, np.float32)))
            eps.sync()
            check_kernels()
            return eps


def find_module(model: Model, name: str) -> Module:
    """Return a part of the model by its official name, such as ``down.0.block.1.conv1``."""
    return dict(model.named_modules())[name]


def named_parameters(model: Model, config: Config) -> dict[str, Var]:
    """Return the model's parameters in the official order of the architecture."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name] for name in parameter_shapes(config)}


def assign(parameters: Mapping[str, Var], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Overwrite Vars by arrays of the same names.

    They are materialised at once: left lazy, an array of one element (the bias of a grey image's
    last convolution) is fused into its first use as a constant, in code that does not compile.
    """
    for name, parameter in parameters.items():
        parameter.update(jt.array(np.ascontiguousarray(arrays[name], np.float32)))
    jt.sync(list(parameters.values()))


def to_numpy(parameters: Mapping[str, Var]) -> dict[str, NDArray[np.float32]]:
    """Copy Vars to the host."""
    return {name: parameter.numpy().copy() for name, parameter in parameters.items()}
