"""Notebooks as they are committed: no outputs, no counts, no traces of the editor.

JupyterLab calls `strip` before each save (see ``make lab``), so that looking at a notebook or
running it never changes the file on which a stage depends. ``python -m griddispatch.pipeline.clean
notebooks/*.ipynb`` does the same for notebooks written elsewhere.
"""

import sys
from pathlib import Path
from typing import Any

import nbformat


def strip(*, model: dict[str, Any], **_: Any) -> None:
    """Clean a notebook that JupyterLab is about to save (a pre-save hook of its server)."""
    if model.get("type") == "notebook" and model.get("content"):
        model["content"] = cleaned(nbformat.from_dict(model["content"]))


def cleaned(notebook: Any) -> Any:
    """Return `notebook` with nothing but its texts, the ids and the tags of its cells."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def text(notebook: Any) -> str:
    """Return a notebook in the one form that nbformat and JupyterLab write, too."""
    return str(nbformat.writes(notebook, version=4)) + "\n"


def main(arguments: list[str]) -> int:
    """Clean the notebooks whose paths are given."""
    for name in arguments:
        before = Path(name).read_text(encoding="utf-8")
        after = text(cleaned(nbformat.reads(before, as_version=4)))
        if after != before:
            Path(name).write_text(after, encoding="utf-8")
            print(f"cleaned {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
