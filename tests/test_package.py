"""What a user installs: light to import, whole as a wheel, usable from anywhere."""

import inspect
import os
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import jittor_ddim as jd

ROOT = Path(__file__).parents[1]
HEAVY = (
    "jittor",
    "jittor_utils",
    "torch",
    "matplotlib",
    "sklearn",
    "scipy",
    "requests",
    "tensorboard",
)


def python(*arguments: str, cwd: Path, path: str = "") -> str:
    """Run Python without the checkout on its path unless it is installed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment | ({"PYTHONPATH": path} if path else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["jittor_ddim", "jittor_ddim.cli.main"])
def test_importing_it_imports_nothing_heavy(module, tmp_path):
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    imported = python("-W", "error", "-c", code, cwd=tmp_path).split()
    assert imported == []


def test_loading_a_config_and_its_mathematics_need_no_framework(tmp_path):
    code = """
import sys, jittor_ddim as jd
config = jd.load_config("cifar10.yml", overrides={"model.ch": 64})
assert jd.initial_noise(config, seed=1, indices=range(2)).shape == (2, 3, 32, 32)
print(jd.Schedule.from_config(config.diffusion).num_timesteps, *sorted(sys.modules))
"""
    steps, *modules = python("-c", code, cwd=tmp_path).split()
    assert steps == "1000"
    assert not set(modules) & {"jittor", "torch"}


def signature(function) -> dict[str, object]:
    """The parameters with their defaults, `...` where there is none."""
    return {
        name: ... if parameter.default is parameter.empty else parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
    }


SAMPLING = {
    "unet": ...,
    "config": ...,
    "x_T": ...,
    "timesteps": 50,
    "eta": 0.0,
    "spacing": None,  # the network's usual one: uniform, but after zero terminal SNR
    "sampler": "ddim",
    "noise": None,
    "seed": 1234,
    "indices": None,
    "order": None,
    "labels": None,
    "guidance": None,
}


def test_the_public_functions_are_those_of_the_design():
    assert signature(jd.load_config) == {"source": ..., "overrides": None}
    assert signature(jd.load_engine) == {
        "name": ...,
        "device": "auto",
        "precision": "float32",
        "compile": False,
    }
    assert signature(jd.load_model) == {
        "name": ...,
        "engine": "jittor",
        "device": "auto",
        "precision": "float32",
        "compile": False,
    }
    assert signature(jd.initial_noise) == {"config": ..., "seed": 1234, "indices": range(64)}
    assert signature(jd.sample) == signature(jd.sample_steps) == SAMPLING
    assert {"ddim", "ddpm_noisy"} <= set(jd.SAMPLERS)
    assert signature(jd.samplers.walk) == {
        "sampler": ...,
        "predict": ...,
        "x_T": ...,
        "timesteps": ...,
        "schedule": ...,
        "order": None,
        "eta": 0.0,
        "prediction": "eps",
        "noise": None,
    }
    assert signature(jd.samplers.register) == {
        "name": ...,
        "generator": ...,
        "calls": len,
        "orders": (),
    }
    assert signature(jd.load_weights) == {"path": ..., "ema": True}
    assert signature(jd.save_weights) == {
        "path": ...,
        "weights": ...,
        "config": ...,
        "format": "native",
    }
    assert list(inspect.signature(jd.Step).parameters) == ["t", "t_next", "x_t", "x0"]
    assert issubclass(jd.WeightsError, jd.UserError)


def test_what_the_package_offers_is_there():
    assert all(hasattr(jd, name) for name in jd.__all__)
    assert jd.__version__ == version("jittor-ddim")


@pytest.mark.parametrize("name", ["pytorch3d", "", "Jittor"])
def test_an_unknown_engine_is_refused(name):
    with pytest.raises(jd.UserError, match="engine must be one of"):
        jd.load_engine(name)


def test_the_command_is_installed(tmp_path):
    (script,) = entry_points(group="console_scripts", name="ddim")
    assert script.value == "jittor_ddim.cli:main"
    command = Path(sys.executable).with_name("ddim")
    done = subprocess.run(
        [command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"ddim {jd.__version__}\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT), cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_configs_and_the_types(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    configs = {f"jittor_ddim/configs/{path.name}" for path in (ROOT / "configs").glob("*.yml")}
    modules = {
        f"jittor_ddim/{path.relative_to(ROOT / 'src' / 'jittor_ddim').as_posix()}"
        for path in (ROOT / "src" / "jittor_ddim").rglob("*.py")
    }
    assert len(configs) >= 7
    shipped = {
        f"jittor_ddim/models/{name}{suffix}"
        for name in jd.MODELS
        for suffix in (".safetensors", ".md")
    }
    assert configs | modules | shipped | {"jittor_ddim/py.typed"} <= names
    others = {name for name in names if not name.startswith("jittor_ddim")}
    assert others == set()  # no tests, no caches


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(wheel, tmp_path):
    target = tmp_path / "site"
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target))
    python(*install, str(wheel), cwd=tmp_path)
    # Editable installs add the checkout to the path when Python starts; PYTHONPATH goes before.
    code = f"""
import sys
sys.path[:] = [entry for entry in sys.path if not entry.startswith({str(ROOT / "src")!r})]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
import jittor_ddim as jd
from jittor_ddim.cli import main
from jittor_ddim.config import CONFIG_FOLDERS, config_names
assert jd.__file__.startswith({str(target)!r}), jd.__file__
assert [folder.is_dir() for folder in CONFIG_FOLDERS] == [True, False], CONFIG_FOLDERS
print(jd.load_config("cifar10.yml").model.ch, *config_names())
raise SystemExit(main(["describe", "--config", "cifar10.yml", "--json"]))
"""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    first, *rest = python("-c", code, cwd=elsewhere, path=str(target)).splitlines()
    assert first.split() == ["128", *sorted(path.name for path in (ROOT / "configs").glob("*"))]
    assert '"parameters": 35746307' in "".join(rest)
    assert list(elsewhere.iterdir()) == []
