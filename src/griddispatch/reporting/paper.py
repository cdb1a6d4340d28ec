"""Compile the paper: paper/main.typ and the numbers in results/ give paper/paper.pdf.

    python -m griddispatch.reporting.paper

Typst (bundled in the `typst` wheel) reads JSON, CSV and SVG files itself, so there is no step
between a result and the page. Only Typst's own fonts are used and the document has no date: the
same inputs give the same bytes on every machine.
"""

import hashlib
import re
import sys
from pathlib import Path
from typing import NamedTuple

import typst

from griddispatch.errors import InputError
from griddispatch.pipeline import paths

SOURCE = "paper/main.typ"
TARGET = "paper/paper.pdf"
PANIC = "panicked with: "  # Typst's words before those of main.typ


class Paper(NamedTuple):
    """A compiled paper."""

    path: Path
    pages: int
    sha256: str


def compile_paper(root: Path) -> Paper:
    """Compile the paper of the project folder `root`.

    After an error there is no PDF, not even an earlier one: it would show other numbers.

    Raises
    ------
    InputError
        A file or a number that the paper prints is missing, or the source is wrong.
    """
    target = root / TARGET
    target.unlink(missing_ok=True)
    partial = target.with_suffix(".part")
    try:
        compiler = typst.Compiler(
            str(root / SOURCE), root=str(root), font_paths=[], ignore_system_fonts=True
        )
        compiler.compile(output=str(partial), format="pdf")
        pages = int(compiler.query("<page-count>", field="value", one=True))
        partial.replace(target)
    except typst.TypstError as error:
        raise InputError(_explain(error, root)) from error
    finally:
        partial.unlink(missing_ok=True)
    return Paper(target, pages, hashlib.sha256(target.read_bytes()).hexdigest())


def _explain(error: typst.TypstError, root: Path) -> str:
    """Say in one sentence what stopped Typst and what to do about it."""
    message = str(error)
    if missing := re.fullmatch(r"file not found \(searched at (.*)\)", message):
        name = Path(missing[1]).relative_to(root).as_posix()
        return f"{SOURCE} needs {name}, which does not exist; make it with: dvc repro"
    if message.startswith(PANIC):
        return (
            f"{SOURCE} cannot be compiled: {message.removeprefix(PANIC)}; "
            "let the stage that writes this file provide it, and run: dvc repro"
        )
    place = re.search(r"\S+\.typ:\d+:\d+", error.diagnostic)
    return f"{place[0] if place else SOURCE}: {message}; correct the source"


def main() -> int:
    """Compile the paper of the current project; return 0, or 1 after one line on stderr."""
    try:
        paper = compile_paper(paths.root())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{TARGET}: {paper.pages} pages, sha256 {paper.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
