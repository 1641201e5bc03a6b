"""The networks of the engines read alike: after framework words hardly a line differs."""

import difflib
import re
from pathlib import Path

import pytest

import jittor_ddim
from jittor_ddim.engines import ENGINES, describe_engine

FOLDER = Path(jittor_ddim.__file__).parent / "engines"
MOST_DIFFERING_LINES = {"unet.py": 13, "layers.py": 21}
#: What means the same in each framework, and its common name.
WORDS = {
    r"\b(Var|Tensor)\b": "Array",
    r"\b(execute|forward)\b": "call",
    r"\bjt\.": "framework.",
    r"\btorch\.": "framework.",
    r"\boperations\(\)": "operations",
    r"\bnn\.Parameter\(([^()]*\([^()]*\))\)": r"\1",
    r"\bframework\.cat\b": "framework.concat",
}
#: Lines without a counterpart: imports of frameworks, and what PyTorch's modules ask for.
LEFT_OUT = r"\s*|\s*super\(\).__init__\(\)|(import|from) (jittor|torch)\b.*"


def lines(engine: str, name: str) -> list[str]:
    text = (FOLDER / engine / name).read_text()
    text = "\n".join(line for line in text.splitlines() if not re.fullmatch(LEFT_OUT, line))
    words = {rf"\bengines\.{engine}\b": "engines.NAME", describe_engine(engine).title: "NAME"}
    for pattern, common in (WORDS | words).items():
        text = re.sub(pattern, common, text)
    return text.splitlines()


def differing(name: str) -> list[str]:
    first, second = (lines(engine, name) for engine in ENGINES)
    return [line for line in difflib.ndiff(first, second) if line[:2] in ("- ", "+ ")]


@pytest.mark.parametrize("name", MOST_DIFFERING_LINES)
def test_framework_words_are_nearly_all_that_differs(name):
    found = differing(name)
    assert len(found) <= MOST_DIFFERING_LINES[name], "\n".join(found)


@pytest.mark.parametrize("name", MOST_DIFFERING_LINES)
def test_names_order_and_signatures_are_the_same(name):
    """Classes, functions and their arguments; a method may be without a counterpart."""

    def signatures(engine):
        text = "\n".join(lines(engine, name))
        return re.findall(r"^ *(?:class|def) (?:[^()]*)\((?:[^)]*)\)", text, re.MULTILINE)

    first, second = (signatures(engine) for engine in ENGINES)
    assert first == second


def test_a_difference_is_seen():
    assert lines("jittor", "unet.py") != lines("jittor", "layers.py")
    assert all("NAME" in "\n".join(lines(engine, "unet.py")) for engine in ENGINES)
