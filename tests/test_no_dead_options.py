"""Every config key, every option of a command and every field of a request has a reader."""

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

import jittor_ddim
from jittor_ddim.cli import options, original, sampling_options
from jittor_ddim.cli.main import app
from jittor_ddim.compare.plan import Plan
from jittor_ddim.config import Config
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.jobs.align import AlignLogsRequest, AlignRequest
from jittor_ddim.jobs.compare import CompareRequest
from jittor_ddim.jobs.convert import ConvertRequest
from jittor_ddim.jobs.demo import DemoRequest
from jittor_ddim.jobs.diagnose import DiagnoseRequest
from jittor_ddim.jobs.evaluate import EvaluateRequest
from jittor_ddim.jobs.play import PlayRequest
from jittor_ddim.jobs.reconstruct import ReconstructRequest
from jittor_ddim.jobs.sample import MODES, SampleRequest
from jittor_ddim.jobs.sample_set import SampleSet
from jittor_ddim.jobs.spacing import SpacingRequest
from jittor_ddim.jobs.sweep import SweepRequest
from jittor_ddim.jobs.train import TrainRequest
from jittor_ddim.network import NetworkChoice
from jittor_ddim.sampling import SamplerSettings
from jittor_ddim.sweep.plan import Grid
from jittor_ddim.sweep.plan import Plan as SweepPlan

PACKAGE = Path(jittor_ddim.__file__).parent
SECTIONS = {name: field.annotation for name, field in Config.model_fields.items()}
KEYS = [(section, key) for section, model in SECTIONS.items() for key in model.model_fields]
#: As in the official code; Config.remarks() says so to the user.
WITHOUT_EFFECT = {("model", "var_type"), ("sampling", "last_only")}


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Every `owner.name` that is read, the owner's last name without a leading underscore."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            if isinstance(owner, ast.Attribute):
                yield owner.attr.lstrip("_"), node.attr
            elif isinstance(owner, ast.Name):
                yield owner.id.lstrip("_"), node.attr


def keys_read() -> set[tuple[str, str]]:
    """The (section, key) that are read as config.section.key, or from a variable of a section."""
    sections = {model.__name__: section for section, model in SECTIONS.items()}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "config.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        owners = {section: section for section in SECTIONS}
        for node in ast.walk(tree):  # def f(config: DiffusionConfig)
            if isinstance(node, ast.arg) and node.annotation:
                section = sections.get(ast.unparse(node.annotation))
                owners |= {node.arg: section} if section else {}
        found |= {(owners[owner], key) for owner, key in attributes(tree) if owner in owners}
    return found


KEYS_READ = keys_read()


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_config_key_has_a_reader(section, key):
    allowed = typing.get_args(SECTIONS[section].model_fields[key].annotation)
    if len(allowed) == 1 and isinstance(allowed[0], str):
        return  # its one value, such as model.type "simple", tells nothing
    read = (section, key) in KEYS_READ
    assert read == ((section, key) not in WITHOUT_EFFECT)


def test_keys_without_effect_are_named_to_the_user():
    config = Config.model_validate(
        {"data": {"dataset": "CIFAR10", "image_size": 32}}
        | {section: {key: "true"} for section, key in WITHOUT_EFFECT}
    )
    (remark,) = config.remarks()
    assert all(f"{section}.{key}" in remark for section, key in WITHOUT_EFFECT)


def commands(application: typer.Typer, prefix: str = "") -> dict[str, Callable]:
    found = {}
    for command in application.registered_commands:
        assert command.callback
        found[f"{prefix}{command.name or command.callback.__name__}"] = command.callback
    for group in application.registered_groups:
        found |= commands(group.typer_instance, f"{prefix}{group.name} ")
    return found


COMMANDS = commands(app) | {"main.py": original.original}


def test_all_commands_are_seen():
    assert set(COMMANDS) == {
        "train", "sample", "gif", "reconstruct", "spacing", "evaluate", "compare", "align",
        "sweep", "diagnose", "convert", "play", "plot", "models", "describe", "doctor", "demo",
        "images pack", "images unpack",
        "data check", "data prepare", "main.py",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_used(name):
    function = COMMANDS[name]
    definition = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    assert isinstance(definition, ast.FunctionDef)
    used = {
        node.id
        for statement in definition.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert set(inspect.signature(inspect.unwrap(function)).parameters) <= used


GROUPS = [
    kind
    for kind in (vars(options) | vars(sampling_options)).values()
    if getattr(kind, "__name__", "").endswith("Options")
]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_option_of_a_group_is_used(group):
    """By its methods or by a command; the modes by their names."""
    found = set(MODES)
    for path in (PACKAGE / "cli").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= {name for _, name in attributes(ast.parse(text))}
        found |= set(re.findall(r'"(\w+)"', text))
    assert {field.name for field in dataclasses.fields(group)} <= found


def parameters(command, path: str) -> Iterator[tuple[str, typing.Any]]:
    for parameter in command.params:
        yield path, parameter
    for name, inner in getattr(command, "commands", {}).items():
        yield from parameters(inner, f"{path} {name}")


def test_every_option_explains_itself():
    for application, path in ((app, "ddim"), (original.app, "main.py")):
        for where, parameter in parameters(typer.main.get_command(application), path):
            assert parameter.help, f"{where}: {parameter.name} has no help"


REQUESTS = [
    NetworkChoice,
    TrainRequest,
    SampleRequest,
    ReconstructRequest,
    SpacingRequest,
    PlayRequest,
    ConvertRequest,
    EngineChoice,
    SampleSet,
    CompareRequest,
    AlignRequest,
    AlignLogsRequest,
    DiagnoseRequest,
    DemoRequest,
    EvaluateRequest,
    ExtractorChoice,
    SweepRequest,
]


@pytest.mark.parametrize("kind", [*REQUESTS, SamplerSettings])
def test_every_field_of_a_request_is_read(kind):
    tree = ast.parse(Path(inspect.getfile(kind)).read_text(encoding="utf-8"))
    read = {key for owner, key in attributes(tree) if owner in ("request", "settings", "self")}
    inherited = {field.name for field in dataclasses.fields(NetworkChoice)}
    inherited = (
        inherited if kind is not NetworkChoice and issubclass(kind, NetworkChoice) else set()
    )
    assert {field.name for field in dataclasses.fields(kind)} - inherited <= read


def fields_read(owners: set[str], *places: str) -> set[str]:
    return {
        key
        for place in places
        for path in PACKAGE.glob(place)
        for owner, key in attributes(ast.parse(path.read_text(encoding="utf-8")))
        if owner in owners
    }


def test_every_field_of_a_comparisons_plan_is_read():
    assert set(Plan.model_fields) <= fields_read({"plan", "self"}, "compare/*.py")


def test_every_field_of_a_sweeps_plan_and_grid_is_read():
    assert set(SweepPlan.model_fields) <= fields_read({"plan", "self"}, "sweep/*.py")
    fields = {field.name for field in dataclasses.fields(Grid)}
    assert fields <= fields_read({"grid", "self"}, "sweep/*.py")
