"""DDIM (Denoising Diffusion Implicit Models, arXiv 2010.02502) in Jittor.

Importing this package imports no framework; :func:`load_engine` starts one.
"""

from jittor_ddim import metrics, models
from jittor_ddim.checkpoints import load_weights, save_weights
from jittor_ddim.config import Config, load_config
from jittor_ddim.diagnosis import diagnose
from jittor_ddim.diffusion import samplers
from jittor_ddim.diffusion.samplers import SAMPLERS
from jittor_ddim.diffusion.samplers.step import Step
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.engines import load_engine
from jittor_ddim.errors import UserError, WeightsError
from jittor_ddim.models import MODELS, load_model
from jittor_ddim.sampling import initial_noise, sample, sample_steps
from jittor_ddim.version import __version__

__all__ = [
    "MODELS",
    "SAMPLERS",
    "Config",
    "Schedule",
    "Step",
    "UserError",
    "WeightsError",
    "__version__",
    "diagnose",
    "initial_noise",
    "load_config",
    "load_engine",
    "load_model",
    "load_weights",
    "metrics",
    "models",
    "sample",
    "sample_steps",
    "samplers",
    "save_weights",
]
