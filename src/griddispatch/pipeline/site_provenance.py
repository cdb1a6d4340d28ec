"""Where a figure, a table or an executed notebook comes from: stage, parameters, seeds, run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from griddispatch.errors import InputError
from griddispatch.pipeline import config, sidecar, stages
from griddispatch.pipeline.stages import Stage


def read_notebook(root: Path, name: str, mend: str) -> Any:
    """Read the notebook `name` of the project.

    Raises
    ------
    InputError
        It is no notebook; `mend` says what to do.
    """
    try:
        text = (root / name).read_text(encoding="utf-8")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        line = str(error).strip().partition("\n")[0]
        raise InputError(f"{name} cannot be read as a notebook ({line}); {mend}") from error
    return notebook


@dataclass(frozen=True)
class Provenance:
    """What made the outputs of one stage."""

    stage: Stage
    """The stage, with its inputs and outputs."""
    profile: str
    """The profile in force."""
    parameters: Mapping[str, Any]
    """Every parameter of the stage: its value of that profile, or its notebook's default."""
    defaults: Mapping[str, Any]
    """The defaults of its notebook."""
    run: Mapping[str, Any] | None
    """The record of its last run on this machine."""

    @property
    def seeds(self) -> dict[str, Any]:
        """The parameters that say how many seeds there are, or which."""
        return {name: value for name, value in self.parameters.items() if "seed" in name}

    @property
    def inputs(self) -> list[str]:
        """The data and results it reads; its own code is left out."""
        code = ("src/", self.stage.target)
        return [name for name in self.stage.deps if not name.startswith(code)]

    @property
    def outputs(self) -> list[str]:
        """What it makes for readers: neither its manifest nor measured times."""
        hidden = (self.stage.manifest, "results/timings/")
        return [name for name in self.stage.outs if not name.startswith(hidden)]

    @property
    def minutes(self) -> str | None:
        """The time of that run as minutes:seconds."""
        return None if self.run is None else sidecar.clock(self.run["wall_seconds"])


@dataclass(frozen=True)
class Project:
    """The stages of a project and their parameters in the profile in force."""

    root: Path
    """The project folder."""
    stages: Mapping[str, Stage]
    """Every stage by its name, in the order of dvc.yaml."""
    profile: str
    """The profile in force."""
    provenances: Mapping[str, Provenance]
    """What made the outputs, by the name of the stage."""
    headings: Mapping[str, str]
    """The heading of each stage's notebook, or the name of a stage that has none."""

    @classmethod
    def read(cls, root: Path) -> "Project":
        """Read dvc.yaml, params.yaml and the records of runs.

        Raises
        ------
        InputError
            One of them or a notebook cannot be read, or a parameter is wrong.
        """
        content = config.read(root)
        found, profile = stages.load(root), str(content["profile"])
        made, headings = {}, dict.fromkeys(found, "")
        for name, stage in found.items():
            known = config.defaults(root, stage)
            chosen = config.resolve(content, name, profile, known)
            last = sidecar.last_run(root, name)
            made[name] = Provenance(stage, profile, {**(known or {}), **chosen}, known or {}, last)
            headings[name] = _heading(root, stage)
        return cls(root, found, profile, made, headings)

    @property
    def notebooks(self) -> list[Stage]:
        """The stages that run a notebook, in the order of the notebooks' names."""
        return sorted((s for s in self.stages.values() if s.is_notebook), key=lambda s: s.target)

    def text(self, name: str) -> str:
        """Return the text of a file of the project.

        Raises
        ------
        InputError
            It cannot be read.
        """
        try:
            return (self.root / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{name} cannot be read: {error}") from error

    def maker(self, name: str) -> Stage | None:
        """Return the stage that makes the file `name`, if one does."""
        made = (stage for stage in self.stages.values() if stages.covers(stage.outs, name))
        return next(made, None)

    def made(self, stage: Stage, folder: str, ending: str) -> list[str]:
        """Return the files of one kind that a stage makes, in the order of their names.

        Raises
        ------
        InputError
            One of them is missing.
        """
        names = sorted(n for n in stage.outs if n.startswith(f"{folder}/") and n.endswith(ending))
        for name in names:
            if not (self.root / name).is_file():
                raise InputError(f"{name} is missing; make it with: dvc repro {stage.name}")
        return names


def _heading(root: Path, stage: Stage) -> str:
    if not stage.is_notebook:
        return stage.name
    first = read_notebook(root, stage.target, "restore it with git").cells[0].source
    return str(first).partition("\n")[0].lstrip("# ").strip()
