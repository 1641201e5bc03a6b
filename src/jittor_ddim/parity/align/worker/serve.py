"""The loop of a side's process: one line in per task, one line out per answer."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from jittor_ddim.parity.align.worker.frameworks import (
    SideError,
    find_framework,
    loaded_frameworks,
)
from jittor_ddim.parity.align.worker.session import NEEDED, Session


def serve(path: Path, arrays: Path, own: Path, prepare: Callable[[], Any] = lambda: None) -> None:
    """Serve on the standard streams, hidden from the side, until the input ends.

    :param path: the side's file
    :param arrays: the folder of arrays that both sides share
    :param own: a folder for this side
    :param prepare: what comes before the side's file
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    tasks = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a side that asks is told of no answer
    sys.stdout = sys.stderr
    sys.argv = [str(path)]  # options of ours are none of the side's

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        prepare()
        session = Session(load_side(path), find_framework(imported(path)), arrays, own)
        answer(result=session.environment(), frameworks=only_one(session.framework))
        for line in tasks:
            task = json.loads(line)
            result = getattr(session, task.pop("task"))(**task)
            answer(result=result, frameworks=only_one(session.framework))
    except MemoryError:
        answer(error="ran out of memory", user=True)
    except SideError as error:
        answer(error=str(error), user=True)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        answer(error=f"{describe(error, path)}", user=True)


def only_one(own: str) -> list[str]:
    """Return the frameworks that are loaded, which is the side's own.

    :raises SideError: if there is another, naming a file that imports it
    """
    loaded = loaded_frameworks()
    for other in (name for name in loaded if name != own):
        places = [file for file in _files_of_the_port() if other in imported(file)]
        named = f", {other} in {places[0]}" if places else ""
        raise SideError(f"loads both frameworks{named}; a side uses one")
    return loaded


def _files_of_the_port() -> Iterator[Path]:
    """The files of all loaded modules that are not installed with this Python."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        installed = file.startswith((sys.prefix, sys.base_prefix))
        # A framework's module may name a file that is nowhere.
        if file.endswith(".py") and not installed and Path(file).is_file():
            yield Path(file)


def imported(path: Path) -> list[str]:
    """Return which frameworks a file's import statements name.

    :raises SideError: if it is no Python
    """
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise SideError(f"line {error.lineno}: {error.msg}") from None
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    return sorted(names & {"jittor", "torch"})


def load_side(path: Path) -> ModuleType:
    """Run a side's file; modules beside it can be imported.

    :raises SideError: if a function is missing, or the file is called like what it may import
    """
    same = importlib.util.find_spec(path.stem) if path.stem.isidentifier() else None
    if same and same.origin and Path(same.origin).resolve() != path:
        raise SideError(f"is called like the module {path.stem}, which it hides; rename it")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    missing = [name for name in NEEDED if not callable(getattr(module, name, None))]
    if missing:
        raise SideError(f"has no function {missing[0]}")
    return module


def describe(error: BaseException, path: Path) -> str:
    """Return an error in one line, with the line of the side's file where there is one."""
    text = " ".join(str(error).split())[:300]
    if "out of memory" in text.lower() or "bad_alloc" in text:
        return f"ran out of memory: {text[:120]}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text}{where}"
