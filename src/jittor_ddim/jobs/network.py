"""Find trained weights and the config that they fit."""

import logging
from dataclasses import dataclass
from pathlib import Path

from jittor_ddim.architecture import check_weights, parameter_shapes
from jittor_ddim.checkpoints import load_weights
from jittor_ddim.checkpoints.native import find_checkpoint
from jittor_ddim.config import Config, load_config
from jittor_ddim.engines.base import UNet, Weights
from jittor_ddim.errors import UserError, WeightsError
from jittor_ddim.jobs.engine_choice import EngineChoice
from jittor_ddim.runs import find_run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """Weights with the config that they fit, and where they came from."""

    config: Config
    weights: Weights
    source: Path

    def load(self, engine: EngineChoice) -> UNet:
        """Start the engine and put the weights into its network."""
        unet = engine.start().unet(self.config)
        unet.load(self.weights)
        return unet


def find_network(
    exp: Path, doc: str | None, config: Config | None, pretrained: Path | None
) -> Network:
    """Find the weights (of a run, EMA where it has one) and check that they fit the config.

    :raises UserError: if there is no such run, or no config for the pretrained weights
    :raises WeightsError: if they do not fit
    """
    if pretrained:
        if config is None:
            raise UserError(f"--pretrained {pretrained}: needs --config, the network's config")
        source = pretrained
    else:
        run = find_run(exp, doc)
        if doc is None:
            _log.info("Using the run %s", run.log_folder)
        config = config or load_config(run.config_path)
        source = find_checkpoint(run.log_folder, config.sampling.ckpt_id)
    weights = load_weights(source)
    try:
        check_weights(weights, parameter_shapes(config))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    return Network(config, weights, source)
