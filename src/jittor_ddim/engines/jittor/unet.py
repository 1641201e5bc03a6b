"""The U-Net that predicts the noise: the official DDIM network in Jittor."""

from jittor import Module, Var, nn

from jittor_ddim.config import Config
from jittor_ddim.engines.jittor.layers import (
    AttnBlock,
    ClassEmbedding,
    Conv2d,
    Downsample,
    GroupNorm,
    ResnetBlock,
    TimestepEmbedding,
    Upsample,
    swish,
)
from jittor_ddim.engines.jittor.operations import operations


class Model(Module):
    """eps_theta(x_t, t), or of a class too: the attributes spell the official parameter names."""

    def __init__(self, config: Config, precision: str) -> None:
        model = config.model
        self._config = config
        self._precision = precision
        widths = [model.ch * mult for mult in model.ch_mult]
        self._embed = TimestepEmbedding(model.ch)
        self.temb = Module()
        self.temb.dense = nn.ModuleList(
            [nn.Linear(model.ch, 4 * model.ch), nn.Linear(4 * model.ch, 4 * model.ch)]
        )
        classes = model.num_classes
        self.class_embedding = None if classes is None else ClassEmbedding(classes, 4 * model.ch)
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
        which Jittor recompiles the training step.
        """
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.is_train = active

    def execute(self, x: Var, t: Var, classes: Var | None = None) -> Var:
        """Return the output (B, C, H, W) for x_t (B, C, H, W) and float timesteps t (B,).

        :param classes: one-hot rows (B, N + 1) of a network with N classes
        """
        with operations().multiplying_in(self._precision):
            return operations().to_image(self._predict(x, t, classes))

    def _predict(self, x: Var, t: Var, classes: Var | None) -> Var:
        first, second = self.temb.dense
        temb = second(swish(first(self._embed(t))))
        if self.class_embedding:
            temb = temb + self.class_embedding(classes)

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
