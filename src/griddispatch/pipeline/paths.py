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
"""

import os
from pathlib import Path, PurePosixPath

from griddispatch.errors import InputError
from griddispatch.pipeline import stages

RUN = "GRIDDISPATCH_RUN"  # name of the running stage; unset when a notebook is run by hand
ROOT = "GRIDDISPATCH_ROOT"  # project folder, for the rare case that it is not above the current one

SCRATCH = "scratch"
STAGING = "build/staging"


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
    return base / name


def write(name: str) -> Path:
    """Return the path at which to write the file `name`, and make its folder.

    Raises
    ------
    InputError
        The running stage does not declare `name` among its outs in dvc.yaml.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def figures(name: str) -> Path:
    """Return the path at which to write the figure `name`: ``write("figures/" + name)``."""
    return write(f"figures/{name}")


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
