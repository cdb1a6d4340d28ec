"""The stages of the pipeline as dvc.yaml declares them, and digests of the files they name."""

import hashlib
import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from griddispatch.errors import InputError

# Folders that tools drop beside sources; no result depends on them (see .dvcignore).
_BYPRODUCTS = frozenset({"__pycache__", ".ipynb_checkpoints"})


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml; all paths are relative to the project folder."""

    name: str
    """Name of the stage; its section of params.yaml has the same name."""
    target: str
    """What it runs, the last word of its command: a notebook's path or a module's name."""
    deps: tuple[str, ...]
    """Files and folders that it reads."""
    outs: tuple[str, ...]
    """Files and folders that it writes, its manifest among them."""
    params: tuple[str, ...] = ()
    """Entries of params.yaml on whose values its results depend."""
    minutes: float = 0.0
    """About how long it takes with one worker; a run begins what is on the longest way first."""

    @property
    def manifest(self) -> str:
        """Path of the small file that lists the digests of all other outputs.

        It is cached by DVC and kept out of git. A fresh clone, where the committed results are
        present and this file is not, therefore runs the stage.
        """
        return f"build/stages/{self.name}.json"

    @property
    def is_notebook(self) -> bool:
        """Whether the stage runs a notebook rather than a module."""
        return self.target.endswith(".ipynb")


def load(root: Path) -> dict[str, Stage]:
    """Read the stages of ``dvc.yaml``, in its order.

    Raises
    ------
    InputError
        The file cannot be read or is no DVC pipeline.
    """
    file = root / "dvc.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    entries = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise InputError(f"{file} has no section 'stages'; write one")
    return {name: _stage(file, name, entry) for name, entry in entries.items()}


def find(root: Path, target: str) -> Stage:
    """Return the stage that runs the notebook or the module `target`.

    Raises
    ------
    InputError
        No stage of dvc.yaml runs it.
    """
    for stage in load(root).values():
        if stage.target == target:
            return stage
    raise InputError(f"no stage of dvc.yaml runs {target}; add a stage whose cmd ends with it")


def covers(listed: Iterable[str], name: str) -> bool:
    """Return whether `name` is one of the `listed` paths or lies in a listed folder."""
    return any(name == path or name.startswith(path.rstrip("/") + "/") for path in listed)


def digest(path: Path) -> str | None:
    """Return the sha256 of a file, or of a folder's file names and contents; None if missing."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if not path.is_dir():
        return None
    total = hashlib.sha256()
    for file in sorted(files(path)):
        total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()


def files(folder: Path) -> Iterator[Path]:
    """Yield every file below `folder`, without what tools leave behind."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _BYPRODUCTS]
        yield from (Path(parent, name) for name in names if not name.endswith(".pyc"))


def _stage(file: Path, name: str, entry: Any) -> Stage:
    command = entry.get("cmd") if isinstance(entry, dict) else None
    if not isinstance(command, str) or not command.strip():
        raise InputError(f"{file}: stage {name} has no cmd of one line; write one")
    written = [path for key in ("outs", "metrics", "plots") for path in _paths(entry.get(key))]
    target = shlex.split(command)[-1]
    reads, params = tuple(_paths(entry.get("deps"))), tuple(_paths(entry.get("params")))
    minutes = (entry.get("meta") or {}).get("minutes", 0)
    if not isinstance(minutes, int | float):
        raise InputError(f"{file}: stage {name} has meta.minutes {minutes!r}; write a number")
    return Stage(name, target, reads, tuple(written), params, float(minutes))


def _paths(entries: Any) -> Iterator[str]:
    """Yield the paths of a list whose items are ``path`` or ``{path: options}``."""
    for entry in entries or ():
        yield from entry if isinstance(entry, dict) else (str(entry),)
