"""Every committed notebook: clean, in canonical form, with short cells and one parameters cell."""

import re
import statistics
from pathlib import Path
from typing import Any

import nbformat
import pytest

from griddispatch.pipeline import clean, config

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_lines(notebook: Any) -> list[int]:
    """Return the number of lines of each code cell, without the cell of parameters."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    cells = (cell for cell in cells if "parameters" not in cell.metadata.get("tags", ()))
    return [len(cell.source.splitlines()) for cell in cells]


def test_it_is_valid_and_clean(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    text = path.read_text(encoding="utf-8")
    assert text == clean.text(clean.cleaned(notebook)), "run: make format"


def test_its_cell_ids_are_unique_words(path: Path) -> None:
    ids = [cell.id for cell in read(path).cells]
    assert len(ids) == len(set(ids))
    odd = [name for name in ids if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name)]
    random = [name for name in ids if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", name)]
    assert not odd + random, "give these cells names that say what they do"


def test_it_opens_with_text_and_then_its_parameters(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert config.notebook_parameters(path), "the cell tagged 'parameters' defines nothing"


def test_its_cells_are_short(path: Path) -> None:
    lines = code_lines(read(path))
    assert max(lines) <= 25, "a longer cell wants to be a function in src"
    assert statistics.median(lines) <= 4


def test_it_explains_itself(path: Path) -> None:
    notebook = read(path)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    words = sum(len(text.split()) for text in texts)
    assert 5 <= words / sum(code_lines(notebook)) <= 15
