"""Run the Python of a page of documentation, in order, in one session.

``python tools/run_page.py docs/tutorial.md`` draws the page's figures into docs/images and writes
what the code prints into the ``text`` blocks that follow it, unless it says the same with numbers
that differ by less than a third, as another machine's may. With ``--check`` nothing is written and
another output than the page's is an error; ``--images`` puts the figures elsewhere.

A block after a comment ``<!-- source: FILE NAME -->`` is not run: it quotes a function of the
package, without its docstring, and is kept equal to it.
"""

import argparse
import ast
import io
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?P<quote><!-- source: (?P<file>\S+) (?P<name>\w+) -->\n)?"
    r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?",
    re.DOTALL,
)


def quoted(file: str, name: str) -> str:
    """Return a function of the package as a page quotes it, without its docstring."""
    text = (ROOT / "src" / "jittor_ddim" / file).read_text(encoding="utf-8")
    nodes = ast.walk(ast.parse(text))
    node = next(n for n in nodes if isinstance(n, ast.FunctionDef) and n.name == name)
    lines, doc = text.splitlines(keepends=True), node.body[0]
    first = node.body[1].lineno if ast.get_docstring(node) else doc.lineno
    while lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return "".join(lines[node.lineno - 1 : doc.lineno - 1] + lines[first - 1 : node.end_lineno])


def agrees(said: str, printed: str) -> bool:
    """Tell whether two outputs have the same words, and numbers that are nearly the same."""
    (words, numbers), (others, theirs) = (
        (NUMBER.sub("#", text).split(), [float(n) for n in NUMBER.findall(text)])
        for text in (said, printed)
    )
    near = (abs(a - b) <= max(abs(a), abs(b)) / 3 for a, b in zip(numbers, theirs, strict=False))
    return words == others and all(near)


def run(page: str) -> str:
    """Return a page with its quotations and the outputs of its code, run in this folder."""
    session: dict[str, object] = {"__name__": "__main__"}

    def renew(block: re.Match[str]) -> str:
        if block["quote"]:
            return f"{block['quote']}```python\n{quoted(block['file'], block['name'])}```\n"
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(block["code"], "page", "exec"), session)
        if agrees(block["output"] or "", printed.getvalue()):
            return block[0]
        output = f"\n```text\n{printed.getvalue()}```\n" if printed.getvalue() else ""
        return f"```python\n{block['code']}```\n{output}"

    return BLOCK.sub(renew, page)


def main() -> int:
    """Run the pages that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for path in [path.resolve() for path in options.pages]:
        before = path.read_text(encoding="utf-8")
        os.chdir(options.images)
        after = run(before)
        if after != before and options.check:
            stale.append(
                f"{path.name} is not what its code gives: python tools/run_page.py {path}"
            )
        elif after != before:
            path.write_text(after, encoding="utf-8")
    print("\n".join(stale), file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
