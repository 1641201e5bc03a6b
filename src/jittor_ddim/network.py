"""Find trained weights and the config that they fit."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from jittor_ddim.architecture import check_shapes, parameter_shapes
from jittor_ddim.averaging import remark_on_start
from jittor_ddim.checkpoints import read_weights
from jittor_ddim.checkpoints.inferred import infer_config
from jittor_ddim.checkpoints.native import find_checkpoint
from jittor_ddim.checkpoints.pretrained import obtain, published_weights
from jittor_ddim.checkpoints.strict import check_fits
from jittor_ddim.config import Config, ModelConfig, load_config
from jittor_ddim.console.progress import downloading
from jittor_ddim.engines.base import UNet, Weights
from jittor_ddim.engines.choice import EngineChoice, check_options
from jittor_ddim.errors import UserError, naming
from jittor_ddim.runs.folder import find_run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """Weights with the config that they fit, and where they came from."""

    config: Config
    weights: Weights
    source: Path
    kind: str | None  # "ema" or "raw"; None: the only set of a file that does not tell

    def fingerprint(self) -> str:
        """Return a hash of the weights, what they mean, the schedule and the preprocessing.

        Where weights lie says nothing of what they are, nor do they of the groups of norms.
        """
        digest = hashlib.sha256()
        digest.update(self.config.diffusion.model_dump_json().encode())
        data, groups = self.config.data, self.config.model.num_groups
        digest.update(f"{data.rescaled} {data.logit_transform}".encode())
        if groups != 32:  # all had 32 when the first sets of images were begun
            digest.update(f" {groups} groups".encode())
        for name in sorted(self.weights):
            digest.update(name.encode())
            digest.update(self.weights[name].tobytes())
        return digest.hexdigest()[:16]

    def load(self, engine: EngineChoice) -> UNet:
        """Start the engine and put the weights into its network."""
        return engine.start().unet(self.config, self.weights)


def find_network(
    exp: Path,
    doc: str | None,
    config: Config | None,
    pretrained: Path | None,
    use_pretrained: bool = False,
    kind: str | None = None,
) -> Network:
    """Find the weights and check that they fit the config; warn of an average that is young.

    Pretrained weights may have any format; without a config it is the one stored with them, or
    what their shapes tell.

    :param use_pretrained: the published weights of the config's data set instead of a run's
    :param kind: ``ema``, ``raw`` (a file's only set is that too), or None: EMA where there is one
    :raises UserError: if there is no such run or no average, or shapes do not tell the config
    :raises DownloadError: if the published weights are not here and cannot be downloaded
    :raises WeightsError: if they do not fit
    """
    check_options(("--weights", kind or "ema", ("raw", "ema")))
    if use_pretrained:
        source = _published(config, pretrained)
    elif pretrained:
        source = pretrained
    else:
        run = find_run(exp, doc)
        if doc is None:
            _log.info("Using the run %s", run.log_folder)
        config = config or load_config(run.config_path)
        source = find_checkpoint(run.log_folder, config.sampling.ckpt_id)
    if doc is not None and (pretrained or use_pretrained):
        # The official code demands it even here, so it cannot be an error.
        option = "--use_pretrained" if use_pretrained else "--pretrained"
        _log.warning("--doc %s has no part in this: %s takes no run's weights", doc, option)
    found = read_weights(source, ema=kind != "raw")
    if kind == "ema" and found.kind != "ema":
        raise UserError(
            f"{source}: has no moving average beside its weights; leave out --weights ema"
        )
    if config and found.config:
        check_fits(found.config, config, source)
    config = config or found.config or infer_config(found.weights, source)
    with naming(source):
        check_shapes(found.weights, parameter_shapes(config))
    if found.kind == "ema" and found.step is not None:
        _warn_of_start((found.config or config).model, found.step, source)
    return Network(config, found.weights, source, found.kind)


def _warn_of_start(model: ModelConfig, step: int, source: Path) -> None:
    if remark := remark_on_start(model, step):
        _log.warning("%s: %s; use --weights raw instead", source, remark)


def _published(config: Config | None, pretrained: Path | None) -> Path:
    if pretrained:
        raise UserError(f"--use_pretrained and --pretrained {pretrained}: leave out one of them")
    if config is None:
        raise UserError("--use_pretrained needs --config, for instance --config cifar10.yml")
    model = published_weights(config.data)
    with downloading(model.name) as received:
        return obtain(model, received)
