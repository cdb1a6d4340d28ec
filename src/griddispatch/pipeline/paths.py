"""Where files live: one root and two verbs.

    paths.read("data/processed/feeder_34.csv")   the file to read; an error if there is none
    paths.write("results/train_td3.json")        the place to write; its folder exists
    paths.root()                                 the project folder

A name is relative to the project folder and has forward slashes: ``data/raw/...``,
``data/processed/...``, ``data/models/...``, ``results/...``, ``results/timings/...`` (measured
times), ``figures/...``, ``paper/tables/...``. The same notebook works in two situations:

- Run by hand (JupyterLab, a Python shell): ``write`` leads into ``scratch/``, so that a trial never
  replaces a published result; ``read`` prefers a file of ``scratch/`` and says so.
- Run as a stage of the pipeline (the runner sets ``GRIDDISPATCH_RUN`` to the name of the stage):
  ``write`` leads into a staging folder that is published when the stage has succeeded. Both verbs
  refuse a file that the stage does not declare in dvc.yaml, so no dependency can be forgotten.

A disk that is full or read-only is told in one sentence: see :func:`writing`.
"""

import errno
import functools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from griddispatch.errors import InputError
from griddispatch.pipeline import stages

RUN = "GRIDDISPATCH_RUN"  # name of the running stage; unset when a notebook is run by hand
ROOT = "GRIDDISPATCH_ROOT"  # project folder, for the rare case that it is not above the current one

SCRATCH = "scratch"
STAGING = "build/staging"

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def root() -> Path:
    """Return the project folder: the nearest folder upwards that holds dvc.yaml and the package.

    Raises
    ------
    InputError
        There is no such folder, or ``GRIDDISPATCH_ROOT`` names none.
    """
    named = os.environ.get(ROOT)
    if named:
        if not Path(named).is_dir():
            raise InputError(f"{ROOT} is {named!r}, which is no folder; correct or unset it")
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "src/griddispatch").is_dir():
            return folder
    raise InputError(
        f"{here} is not inside a griddispatch project (no dvc.yaml beside src/griddispatch in it "
        f"or above it); change into the project folder or set {ROOT} to it"
    )


def read(name: str) -> Path:
    """Return the path of an existing file or folder `name`.

    Raises
    ------
    InputError
        It does not exist, or the running stage does not declare it in dvc.yaml.
    """
    base = root()
    name = _checked(name)
    stage = _running(base)
    own = _overlay(base) / name
    if own.exists():
        if stage is None:
            print(f"reading {SCRATCH}/{name} (delete it to read the published {name})")
        return own
    if stage is not None and not stages.covers((*stage.deps, *stage.outs), name):
        raise InputError(
            f"stage {stage.name} reads {name}, which it does not declare; "
            f"add it to the deps of {stage.name} in dvc.yaml"
        )
    if not (base / name).exists():
        raise InputError(f"{name} does not exist; {_remedy(base, name)}")
    _check_data(base, name)
    return base / name


def write(name: str) -> Path:
    """Return the path at which to write the file `name`, and make its folder.

    Raises
    ------
    InputError
        The running stage does not declare `name` among its outs in dvc.yaml, or its folder cannot
        be made.
    """
    base = root()
    name = _checked(name)
    stage = _running(base)
    if stage is not None and not stages.covers(stage.outs, name):
        raise InputError(
            f"stage {stage.name} writes {name}, which it does not declare; "
            f"add it to the outs of {stage.name} in dvc.yaml"
        )
    path = _overlay(base) / name
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def figures(name: str) -> Path:
    """Return the path at which to write the figure `name`: ``write("figures/" + name)``."""
    return write(f"figures/{name}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Do the writing of `path` in this block, so that a failing disk is told in one sentence.

    Raises
    ------
    InputError
        The disk is full, or the folder cannot be written. Any other error passes unchanged.
    """
    try:
        yield
    except OSError as error:
        if not is_disk_error(error):
            raise
        raise InputError(disk_error(error, path)) from error


def is_disk_error(error: OSError) -> bool:
    """Return whether the disk is full, or closed to this user."""
    return error.errno in (*_FULL, *_CLOSED)


def disk_error(error: OSError, path: Path) -> str:
    """Say that `path` cannot be written: where, how much room there is, and what to do."""
    folder = next((above for above in path.parents if above.is_dir()), path)
    if error.errno in _FULL:
        free = shutil.disk_usage(folder).free / 1e6
        return (
            f"the disk of {folder} is full ({free:.1f} MB free), so {path.name} is not written; "
            "free some space and run it again: finished stages and cells are kept"
        )
    return (
        f"{folder} cannot be written ({error.strerror}), so {path.name} is not; make the folder "
        "writable, or work in a copy of the project elsewhere"
    )


def is_damaged(base: Path, out: str, stage: stages.Stage) -> bool:
    """Return whether an output is there and is not what its stage wrote, as its manifest says."""
    if not (base / out).exists():
        return False
    try:
        manifest = json.loads((base / stage.manifest).read_text(encoding="utf-8"))
        wanted = manifest["outputs"].get(out)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # the stage has not finished, or DVC makes a new manifest
    return wanted is not None and wanted != stages.digest(base / out)


def _check_data(base: Path, name: str) -> None:
    """Refuse a damaged file of data/.

    Files of results/ may be edited for a trial; those of data/ hold arrays and agents, and a
    damaged one ends in an error of some library that does not name it.
    """
    if not name.startswith("data/"):
        return
    made = ((out, stage) for stage in stages.load(base).values() for out in stage.outs)
    for out, stage in made:
        if not stages.covers([out], name):
            continue
        if _is_damaged(base, out, stage, (*_state(base / out), *_state(base / stage.manifest))):
            raise InputError(
                f"{out} is damaged or was edited: it is not what the stage {stage.name} wrote; "
                "make it again with: make reproduce"
            )


@functools.lru_cache(maxsize=256)
def _is_damaged(base: Path, out: str, stage: stages.Stage, state: tuple[int, ...]) -> bool:
    """Look at an output once for each `state` of its files and its manifest."""
    return is_damaged(base, out, stage)


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file, or a file of a folder, is written."""
    found = [path] if path.is_file() else sorted(stages.files(path))
    return tuple(n for file in found for n in (file.stat().st_size, file.stat().st_mtime_ns))


def _checked(name: str) -> str:
    """Return `name` in its plain form; refuse names that lead out of the project."""
    plain = PurePosixPath(name)
    if plain.is_absolute() or ".." in plain.parts or plain == PurePosixPath("."):
        raise InputError(
            f"{name!r} is no name inside the project; write it relative to the project folder, "
            "as in 'results/train_td3.json'"
        )
    return str(plain)


def _running(base: Path) -> stages.Stage | None:
    """Return the stage that this process is part of, if any."""
    name = os.environ.get(RUN)
    if not name:
        return None
    found = stages.load(base)
    if name not in found:
        raise InputError(f"{RUN} is {name!r}, which is no stage of dvc.yaml; unset it")
    return found[name]


def _overlay(base: Path) -> Path:
    """Return the folder that receives what is written."""
    name = os.environ.get(RUN)
    return base / STAGING / name if name else base / SCRATCH


def _remedy(base: Path, name: str) -> str:
    """Say how a missing file comes to be."""
    for stage in stages.load(base).values():
        if stages.covers(stage.outs, name):
            return f"make it with: dvc repro {stage.name}"
    return "no stage of dvc.yaml makes it; check its name"
