"""Which source files a piece of code needs, read from its import statements.

The static answer serves two ends: a finished cell of a long stage is valid as long as these files
stay the same, and a test checks that dvc.yaml declares them for each stage.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = "griddispatch"


def closure(sources: Iterable[str], folder: Path) -> frozenset[Path]:
    """Return the files of griddispatch that Python sources import, directly or through others.

    Parameters
    ----------
    sources
        Texts of Python code.
    folder
        The folder that holds the package (``src``).

    Returns
    -------
    files
        Modules, and those ``__init__.py`` on the way to them that import something themselves.
    """
    found: set[Path] = set()
    open_names = [name for source in sources for name in _imported(source, "")]
    while open_names:
        name = open_names.pop()
        for module in _with_parents(name):
            file = _file(module, folder)
            if file is None or file in found:
                continue
            found.add(file)
            package = module if file.name == "__init__.py" else module.rpartition(".")[0]
            open_names.extend(_imported(file.read_text(encoding="utf-8"), package))
    return frozenset(file for file in found if file.name != "__init__.py" or _does_import(file))


def notebook_code(notebook: Path) -> list[str]:
    """Return the code cells of a notebook, without IPython's own commands (%magic, !shell)."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return ["\n".join(ln for ln in text.splitlines() if ln[:1] not in "%!") for text in texts]


def digest(files: Iterable[Path]) -> str:
    """Return one sha256 of the names and contents of source files."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.parent.name}/{file.name}\0".encode() + file.read_bytes() + b"\0")
    return total.hexdigest()


def _imported(source: str, package: str) -> Iterator[str]:
    """Yield the full names under `PACKAGE` that a source imports; `package` resolves the dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE)


def _with_parents(name: str) -> Iterator[str]:
    """Yield ``a``, ``a.b``, ``a.b.c`` for ``a.b.c``: importing a module runs its packages, too."""
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _file(module: str, folder: Path) -> Path | None:
    """Return the file of a module or a package; None for a name inside a module."""
    path = folder.joinpath(*module.split("."))
    candidates = (path.with_name(path.name + ".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _does_import(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree))
