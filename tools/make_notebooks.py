"""Make notebooks of the pages that one learns from: ``make notebooks``.

The page is the source; a notebook has its text and its code in the same order, and no outputs. It
lies beside the site, in build/notebooks, and its links lead back into the repository.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbformat import v4
from run_page import BLOCK, ROOT

PAGES = ("tutorial.md", "tutorial-images.md", "jittor-for-pytorch-users.md")
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
TARGET = ROOT / "build" / "notebooks"
FIGURE = re.compile(r"^!\[.*?\]\(images/tutorial-.*?\)\n", re.MULTILINE)  # its cell shows it
LINK = re.compile(r"\]\((?!\w+://|#)([^)]+)\)")


def notebook(page: str, folder: str) -> nbformat.NotebookNode:
    """Return a page of a folder of the repository as a notebook.

    What a page quotes of the package stays text, since it is not run there either.
    """
    cells, end = [], 0

    def text(part: str) -> None:
        part = LINK.sub(rf"](../../{folder}/\1)", FIGURE.sub("", part)).strip()
        if part:
            cells.append(v4.new_markdown_cell(part))

    for block in BLOCK.finditer(page):
        if not block["quote"]:
            text(page[end : block.start()])
            cells.append(v4.new_code_cell(block["code"].rstrip()))
            end = block.end()
    text(page[end:])
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # the same every time
    return v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def main() -> int:
    """Write the notebooks in both languages."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for folder, suffix in (("docs", ".ipynb"), ("docs/zh", ".zh.ipynb")):
        for name in PAGES:
            page = (ROOT / folder / name).read_text(encoding="utf-8")
            path = TARGET / Path(name).with_suffix(suffix)
            nbformat.write(notebook(page, folder), path)
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
