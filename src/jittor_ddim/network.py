"""Find trained weights and the config that they fit."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ddim.architecture import check_shapes, parameter_shapes
from jittor_ddim.averaging import remark_on_start, with_rate
from jittor_ddim.checkpoints import read_weights
from jittor_ddim.checkpoints.inferred import infer_config
from jittor_ddim.checkpoints.native import find_checkpoint
from jittor_ddim.checkpoints.pretrained import obtain, published_weights
from jittor_ddim.checkpoints.strict import check_fits
from jittor_ddim.config import Config, ModelConfig, load_config
from jittor_ddim.console.progress import downloading
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.engines.base import UNet, Weights
from jittor_ddim.engines.choice import EngineChoice, check_options
from jittor_ddim.errors import UserError, naming
from jittor_ddim.models import path_or_model, weights_path
from jittor_ddim.runs.folder import find_run

_TABLE = "class_embedding.weight"
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

        A path does not identify weights, and weights do not show the number of norm groups.
        """
        digest = hashlib.sha256()
        diffusion = self.config.diffusion
        # Newer keys are hashed only if not at their default: older fingerprints stay valid.
        later = {"prediction": "eps", "zero_terminal_snr": False}
        unused = {key for key, rule in later.items() if getattr(diffusion, key) == rule}
        digest.update(diffusion.model_dump_json(exclude=unused).encode())
        data, groups = self.config.data, self.config.model.num_groups
        digest.update(f"{data.rescaled} {data.logit_transform}".encode())
        if groups != 32:  # all had 32 when the first sets of images were begun
            digest.update(f" {groups} groups".encode())
        for name in sorted(self.weights):
            digest.update(name.encode())
            digest.update(self.weights[name].tobytes())
        return digest.hexdigest()[:16]

    def check(self, settings: SamplerSettings) -> None:
        """Check that the network can be sampled so.

        :raises UserError: naming the setting with which it cannot
        """
        steps = settings.sequence(self.config)
        asked = len(settings.unrounded(self.config))
        if settings.integer_timesteps and len(steps) < asked:
            _log.info("Of %d timesteps %d remain once rounded", asked, len(steps))
        if settings.found_for and settings.found_for != self.fingerprint():
            _log.warning("the timesteps of `spacing` found were found for another network")

    def load(self, engine: EngineChoice) -> UNet:
        """Start the engine and put the weights into its network."""
        return engine.start().unet(self.config, self.weights)


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """Which weights a job uses: a run's, those of a file, a shipped model's, or published ones."""

    exp: Path = Path("exp")
    doc: str | None = None  # None: the experiment's only or newest run
    config: Config | None = None  # None: the one stored with the weights, or told by their shapes
    pretrained: Path | None = None  # a file or folder of any format instead of a run
    model: str | None = None  # the name of one that ships
    use_pretrained: bool = False  # the published weights of the config's data set
    weights: str | None = None  # ema, raw (a file's only set is that too); None: ema if there is

    def find_network(self) -> Network:
        """Find the weights and check that they fit the config; warn of an average that is young.

        :raises UserError: if there is no such run, model or average, if more than one is chosen,
            or if shapes do not tell the config
        :raises DownloadError: if the published weights are not here and cannot be downloaded
        :raises WeightsError: if they do not fit
        """
        check_options(("weights", self.weights or "ema", ("raw", "ema")))
        config, source = self.find_source()
        found = read_weights(source, ema=self.weights != "raw")
        if self.weights == "ema" and found.kind != "ema":
            raise UserError(
                f"{source}: has no moving average beside its weights; leave out `weights`"
            )
        if config and found.config:
            check_fits(found.config, config, source)
            config = _as_learnt(config, found.config)
        config = config or found.config or infer_config(found.weights, source)
        with naming(source):
            check_shapes(found.weights, parameter_shapes(config))
        if found.kind == "ema" and found.step is not None:
            _warn_of_start(with_rate(found.config or config), found.step, source)
        return Network(config, found.weights, source, found.kind)

    def find_source(self) -> tuple[Config | None, Path]:
        """Return where the weights are, and the config if it is not to be that stored with them.

        :raises UserError: if there is no such run or model, or if more than one is chosen
        :raises DownloadError: if the published weights are not here and cannot be downloaded
        """
        config = self.config
        if self.model is not None:
            others = ("doc", "pretrained", "use_pretrained", "weights")
            if given := [f"`{name}`" for name in others if getattr(self, name)]:
                raise UserError(
                    f"`model` {self.model}: is all there is to choose; leave out "
                    f"{' and '.join(given)}"
                )
            return config, weights_path(self.model)
        if not (self.pretrained or self.use_pretrained):
            run = find_run(self.exp, self.doc)
            if self.doc is None:
                _log.info("Using the run %s", run.log_folder)
            config = config or load_config(run.config_path)
            return config, find_checkpoint(run.log_folder, config.sampling.ckpt_id)
        source = _published(config, self.pretrained) if self.use_pretrained else self.pretrained
        assert source
        if self.doc is not None:
            # The official code demands it even here, so it cannot be an error.
            option = "use_pretrained" if self.use_pretrained else "pretrained"
            _log.warning("`doc` %s is ignored: `%s` uses no run's weights", self.doc, option)
        return config, source


def _as_learnt(config: Config, found: Config) -> Config:
    """Return a config with what training has settled: whether classes were left out.

    :param found: that of the weights; a foreign format does not say
    """
    if "class_dropout" not in found.training.model_fields_set:
        return config
    learnt = {"class_dropout": found.training.class_dropout}
    return config.model_copy(update={"training": config.training.model_copy(update=learnt)})


def starting_weights(config: Config, source: Path) -> Weights:
    """Return the weights from which a new run of a config starts.

    The average, where there is one. Weights without classes may become a network with classes:
    its embedding of classes is zero, so that it starts with the same outputs.

    :param source: a file, a run, a pipeline, or the name of a shipped model
    :raises CheckpointError: if it cannot be read, or was trained with another network, schedule or
        preprocessing
    :raises WeightsError: if the weights do not fit
    """
    found = read_weights(path_or_model(source), ema=True)
    weights, shapes = dict(found.weights), parameter_shapes(config)
    if _TABLE in shapes and _TABLE not in weights:
        weights[_TABLE] = np.zeros(shapes[_TABLE], np.float32)
    if found.config:
        classes = {"num_classes": found.config.model.num_classes or config.model.num_classes}
        model = found.config.model.model_copy(update=classes)
        check_fits(found.config.model_copy(update={"model": model}), config, source)
    with naming(source):
        check_shapes(weights, shapes)
    return weights


def _warn_of_start(model: ModelConfig, step: int, source: Path) -> None:
    if remark := remark_on_start(model, step):
        _log.warning("%s: %s; set `weights` to raw instead", source, remark)


def _published(config: Config | None, pretrained: Path | None) -> Path:
    if pretrained:
        raise UserError(f"`use_pretrained` and `pretrained` {pretrained}: leave out one of them")
    if config is None:
        raise UserError("`use_pretrained` needs `config`, for instance cifar10.yml")
    model = published_weights(config.data)
    with downloading(model.name) as received:
        return obtain(model, received)
