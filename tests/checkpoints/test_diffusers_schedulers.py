"""Schedulers of diffusers as settings of ours, and back; what either side lacks.

``tests/engines/pytorch/test_schedulers.py`` samples with them.
"""

import json
import shutil

import pytest
from oracles import GOLDEN, recipe_weights

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints import load_weights, read_weights, write_weights
from jittor_ddim.checkpoints.diffusers_schedulers import counterpart, options_of
from jittor_ddim.config import DiffusionConfig, load_config
from jittor_ddim.diffusion.samplers import SAMPLERS
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.diffusion.spacing import SPACINGS
from jittor_ddim.errors import UserError

PIPELINE = GOLDEN / "diffusers_tiny"
EPS = DiffusionConfig()
MULTISTEP = {"linspace", "trailing", "logsnr", "karras"}
#: By sampler, the spacings that diffusers has.
WRITTEN = {
    "ddim": {"uniform", "trailing"}, "ddpm_noisy": {"uniform"},
    "dpmpp_1m": MULTISTEP, "dpmpp_2m": MULTISTEP, "dpmpp_3m": MULTISTEP, "sde_dpmpp_2m": MULTISTEP,
    "unipc": MULTISTEP, "deis": {"linspace", "trailing"}, "plms": {"uniform", "trailing"},
    "heun": {"uniform", "trailing", "logsnr", "karras"}, "ipndm": set(),
}  # fmt: skip


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", WRITTEN)
def test_settings_come_back_or_are_refused_by_name(sampler, spacing):
    for order in (None, *SAMPLERS[sampler].orders):
        settings = SamplerSettings(sampler=sampler, spacing=spacing, order=order)
        if spacing in WRITTEN[sampler]:
            kind, options = options_of(settings, EPS)
            text = json.dumps({"_class_name": kind, **options}, allow_nan=False)
            usual = options_of(SamplerSettings(sampler=sampler, spacing=spacing), EPS)[1]
            said = f"`sampler` {sampler}, `spacing` {spacing}"
            said += f", `order` {order}" if options != usual else ""
            rule = (sampler, spacing) == ("ddim", "uniform")
            assert counterpart(json.loads(text), EPS) == (True, "" if rule else said)
        else:
            with pytest.raises(UserError) as refusal:
                options_of(settings, EPS)
            named = f"`spacing` {spacing}" if WRITTEN[sampler] else f"`sampler` {sampler}"
            assert str(refusal.value).startswith(f"{named}: ")
            choice = str(refusal.value).partition("choose one of ")[2].split(", ")
            assert set(choice) == (WRITTEN[sampler] or {name for name in WRITTEN if WRITTEN[name]})


def test_the_default_is_what_it_always_was():
    assert options_of(SamplerSettings(), EPS) == ("DDIMScheduler", {
        "clip_sample": False, "set_alpha_to_one": True, "steps_offset": 0, "thresholding": False,
        "timestep_spacing": "leading",
    })  # fmt: skip


@pytest.mark.parametrize(("sampler", "diffusion", "why"), [
    ("plms", DiffusionConfig(prediction="v"), "predicts eps, not v"),
    ("plms", DiffusionConfig(prediction="x0"), "predicts eps, not x0"),
    *((sampler, diffusion, "alpha_bar is 0")
      for sampler in ("dpmpp_2m", "unipc", "deis", "heun")
      for diffusion in (DiffusionConfig(prediction="v", zero_terminal_snr=True),
                        DiffusionConfig(beta_schedule="jsd"))),
])  # fmt: skip
def test_networks_with_which_diffusers_samples_otherwise(sampler, diffusion, why):
    settings = SamplerSettings(sampler=sampler, spacing="trailing")
    with pytest.raises(UserError, match=f"`sampler` {sampler}: .*{why}; choose ddim"):
        options_of(settings, diffusion)
    kind, options = options_of(settings, EPS)
    found, text = counterpart({"_class_name": kind, **options}, diffusion)
    assert not found and why in text


#: As diffusers saves them, or leaves keys out.
READ = [
    ({}, {"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": float("-inf")},
     "`sampler` dpmpp_2m, `spacing` linspace"),
    ({}, {"_class_name": "UniPCMultistepScheduler", "solver_order": 3},
     "`sampler` unipc, `spacing` linspace, `order` 3"),
    ({}, {"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True,
          "timestep_spacing": "leading", "steps_offset": 1},
     "`sampler` dpmpp_2m, `spacing` karras"),
    ({}, {"_class_name": "DPMSolverMultistepScheduler", "use_exponential_sigmas": True},
     "`sampler` dpmpp_2m, `spacing` logsnr"),
    ({}, {"_class_name": "UniPCMultistepScheduler", "use_karras_sigmas": True, "sigma_max": 10.0},
     "no counterpart here: UniPCMultistepScheduler with sigma_max 10.0 instead of None"),
    ({}, {"_class_name": "DDPMScheduler", "variance_type": "fixed_large"},
     "`sampler` ddpm_noisy, `spacing` uniform"),
    ({}, {"_class_name": "DDPMScheduler"}, "no counterpart here: DDPMScheduler with variance"),
    ({}, {"_class_name": "PNDMScheduler", "skip_prk_steps": True},
     "no counterpart here: PNDMScheduler with set_alpha_to_one False instead of True"),
    ({"beta_start": 0.00085, "beta_end": 0.012}, {"_class_name": "HeunDiscreteScheduler"},
     "no counterpart here: HeunDiscreteScheduler with timestep_spacing linspace"),
    ({}, {"_class_name": "DEISMultistepScheduler", "use_karras_sigmas": True, "solver_order": 2},
     "no counterpart here: DEISMultistepScheduler with use_karras_sigmas True"),
    ({}, {"_class_name": "EulerDiscreteScheduler"}, "no counterpart here: EulerDiscreteScheduler"),
    ({"prediction": "v", "zero_terminal_snr": True},
     {"_class_name": "UniPCMultistepScheduler", "prediction_type": "v_prediction",
      "rescale_betas_zero_snr": True}, "no counterpart here: diffusers' UniPC"),
    ({"beta_start": 0.00085, "beta_end": 0.012},
     {"_class_name": "HeunDiscreteScheduler", "timestep_spacing": "trailing"},
     "`sampler` heun, `spacing` trailing"),
    ({"beta_schedule": "quad", "beta_end": 0.03},
     {"_class_name": "DEISMultistepScheduler", "beta_schedule": "scaled_linear", "beta_end": 0.03,
      "timestep_spacing": "trailing"}, "`sampler` deis, `spacing` trailing, `order` 2"),
]  # fmt: skip


@pytest.mark.parametrize(("diffusion", "scheduler", "said"), READ)
def test_schedulers_are_read_and_told(tmp_path, caplog, diffusion, scheduler, said):
    caplog.set_level("INFO")
    folder = tmp_path / "p"
    shutil.copytree(PIPELINE, folder)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    config = read_weights(folder).config
    assert config and config.diffusion == DiffusionConfig(**diffusion)
    assert said in caplog.text
    assert ("WARNING" in caplog.text) == ("no counterpart" in said)


def test_a_written_pipeline_says_how_it_samples(tmp_path, caplog):
    caplog.set_level("INFO")
    config = load_config("digits.yml")
    weights = recipe_weights(parameter_shapes(config))
    settings = SamplerSettings(sampler="plms", spacing="trailing")
    write_weights(tmp_path / "p", weights, config, "diffusers", settings)
    index = json.loads((tmp_path / "p/model_index.json").read_text())
    assert (index["_class_name"], index["scheduler"][1]) == ("PNDMPipeline", "PNDMScheduler")
    load_weights(tmp_path / "p")
    assert "to sample as its scheduler does: `sampler` plms, `spacing` trailing" in caplog.text


def test_what_is_refused_leaves_nothing(tmp_path):
    config = load_config("digits.yml")
    weights = recipe_weights(parameter_shapes(config))
    with pytest.raises(UserError, match="`spacing` quad"):
        write_weights(
            tmp_path / "p", weights, config, "diffusers", SamplerSettings(spacing="quad")
        )
    assert list(tmp_path.iterdir()) == []
