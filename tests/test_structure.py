"""The house is built as it says: who imports whom, and that everything public explains itself."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import jittor_ddim

PACKAGE = Path(jittor_ddim.__file__).parent
MODULES = {
    str(path.relative_to(PACKAGE.parent).with_suffix("")).replace("/", "."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}
MOST_LINES_OF_A_FILE = 300
MOST_LINES_OF_A_FUNCTION = 50  # without the signature and the docstring


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports(module: str) -> Iterator[str]:
    """The modules that a module names in its import statements, wherever they stand."""
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def ours(*names: str) -> list[str]:
    return [f"jittor_ddim.{name}" for name in names]


def test_all_modules_are_seen():
    assert len(MODULES) > 60
    assert {"jittor_ddim", "jittor_ddim.config", "jittor_ddim.engines.jittor.unet"} <= set(MODULES)


@pytest.mark.parametrize("module", [m for m in MODULES if not inside(m, *ours("engines"))])
def test_only_engines_import_a_framework(module):
    frameworks = {"jittor", "jittor_utils", "torch", "torchvision"}
    assert not {name.partition(".")[0] for name in imports(module)} & frameworks


#: Who may spell a framework's name: formats of files, published figures, where Jittor's own copy
#: of CIFAR-10 lies, what runs in the process of a side that is no engine of ours, and torchrun.
SPELLING = ("checkpoints", "evaluation.published", "data.cifar10", "parity.align.worker", "ranks")
#: Ways to resize, named after the programs that resize so.
PROGRAMS = ("legacy_pytorch", "pytorch_fid")


def literals(module: str) -> Iterator[str]:
    """The strings of a module that are no docstrings, without the project's own name."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(parsed(module))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield re.sub(r"jittor[_-]ddim", "", node.value, flags=re.IGNORECASE)


@pytest.mark.parametrize("module", [m for m in MODULES if not inside(m, *ours("engines"))])
def test_only_engines_and_formats_spell_a_frameworks_name(module):
    if inside(module, *ours(*SPELLING)):
        return
    for text in literals(module):
        for program in PROGRAMS:
            text = text.replace(program, "")
        assert not re.search("jittor|torch", text, re.IGNORECASE), f"{module}: {text!r}"


#: The house from the ground up. A room imports what stands before it, never what comes after;
#: rooms of one line are neighbours that do not know each other.
FLOORS = (
    "errors version stopwatch",
    "arguments atomic locks ranks signals",
    "user_cache yaml_files hardware console config_values gathering workers",
    "decoding config_errors downloads doctor",
    "image_files config_sections",
    "config",
    "architecture diffusion metrics averaging learning_rate",
    "initialization checkpoints figures",
    "data runs engines pages",
    "guidance models",
    "sampling network parity validation",
    "training evaluation",
    "sweep compare diagnosis play demo",
    "jobs",
    "cli",
    "__main__",
)


def floor(module: str) -> int:
    room = (module.split(".") + [""])[1]
    found = [n for n, rooms in enumerate(FLOORS) if room in rooms.split()]
    assert found, f"{module} stands on no floor"
    return found[0]


@pytest.mark.parametrize("module", [m for m in MODULES if m != "jittor_ddim"])
def test_imports_run_one_way(module):
    room = module.split(".")[1]
    for name in imports(module):
        elsewhere = name in MODULES and name not in ("jittor_ddim", *ours(room))
        if elsewhere and not inside(name, *ours(room)):
            assert floor(name) < floor(module), f"{module} imports {name}"


def test_a_report_knows_results_alone():
    for subject in ("compare", "sweep", "demo"):
        for module in (m for m in MODULES if inside(m, *ours(f"{subject}.report"))):
            own = {n for n in imports(module) if inside(n, *ours(subject)) and n in MODULES}
            allowed = ours(f"{subject}.results", f"{subject}.report")
            assert all(inside(name, *allowed) for name in own), f"{module}: {own}"


def test_engines_import_nothing_of_each_other():
    for module in MODULES:
        for one, other in (("jittor", "pytorch"), ("pytorch", "jittor")):
            if inside(module, *ours(f"engines.{one}")):
                assert not any(inside(n, *ours(f"engines.{other}")) for n in imports(module))


def test_there_is_no_drawer_for_odds_and_ends():
    names = {path.stem for path in MODULES.values()}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Functions, classes and methods by dotted name; not what is defined inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.If, ast.Try)):
            yield from definitions(node, prefix)


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module):
    tree = parsed(module)
    assert ast.get_docstring(tree), f"{module} has no docstring"
    for name, node in definitions(tree):
        # A setter's property is explained where it is read.
        setter = any(ast.unparse(one).endswith(".setter") for one in node.decorator_list)
        if not setter and not any(part.startswith("_") for part in name.split(".")):
            assert ast.get_docstring(node), f"{module}.{name} has no docstring"


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_A_FILE
    for name, node in definitions(parsed(module)):
        if not isinstance(node, ast.ClassDef):
            first = node.body[ast.get_docstring(node) is not None :][:1]
            lines = node.end_lineno - first[0].lineno + 1 if first else 0
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{module}.{name} has {lines} lines"


@pytest.mark.parametrize("module", MODULES)
def test_every_all_lists_what_there_is(module):
    for node in parsed(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            assert names == sorted(names, key=names.index) and len(set(names)) == len(names)
            defined = {alias.asname or alias.name.partition(".")[0]
                       for statement in ast.walk(parsed(module))
                       if isinstance(statement, (ast.Import, ast.ImportFrom))
                       for alias in statement.names}  # fmt: skip
            defined |= {name for name, _ in definitions(parsed(module))}
            assert set(names) <= defined
