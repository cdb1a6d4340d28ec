"""dvc.yaml declares everything that its stages read and write, so that no edit is missed."""

from pathlib import Path

import pytest
import yaml

from griddispatch.pipeline import imports, stages

ROOT = Path(__file__).resolve().parents[1]
STAGES = stages.load(ROOT)
ENTRIES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

each_stage = pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)


def sources(root: Path, stage: stages.Stage) -> list[str]:
    """Return the code that a stage starts with: its notebook's cells or an import of its module."""
    if stage.is_notebook:
        return imports.notebook_code(root / stage.target)
    return [f"import {stage.target}"]


@each_stage
def test_deps_cover_every_imported_module(stage: stages.Stage) -> None:
    files = imports.closure(sources(ROOT, stage), ROOT / "src")
    names = sorted(file.relative_to(ROOT).as_posix() for file in files)
    missing = [name for name in names if not stages.covers(stage.deps, name)]
    assert not missing, f"add to the deps of {stage.name} in dvc.yaml"


@each_stage
def test_deps_are_there_or_made_by_another_stage(stage: stages.Stage) -> None:
    made = [out for other in STAGES.values() if other != stage for out in other.outs]
    for name in stage.deps:
        inside = any(out.startswith(name + "/") for out in made)
        assert inside or stages.covers(made, name) or (ROOT / name).exists(), name


@each_stage
def test_a_stage_depends_on_what_it_runs(stage: stages.Stage) -> None:
    if stage.is_notebook:
        assert stage.target in stage.deps
        assert {"profile", stage.name} <= set(stage.params)
        runner = "griddispatch.pipeline.notebook"
    else:
        runner = "griddispatch.pipeline.module"
    assert ENTRIES[stage.name]["cmd"] == f"python -m {runner} {stage.target}"
    assert ENTRIES[stage.name]["desc"]


@each_stage
def test_a_fresh_clone_cannot_skip_it(stage: stages.Stage) -> None:
    assert stage.manifest in stage.outs  # as a plain entry: cached by DVC
    assert stage.manifest in ENTRIES[stage.name]["outs"]


@each_stage
def test_what_is_published_is_in_git_and_the_rest_is_cached(stage: stages.Stage) -> None:
    for entry in ENTRIES[stage.name]["outs"]:
        options = next(iter(entry.values())) if isinstance(entry, dict) else {}
        name = next(iter(entry)) if isinstance(entry, dict) else entry
        published = name.split("/")[0] in ("results", "figures", "paper")
        assert options.get("cache", True) is not published, name
        assert not options.get("persist"), name


def test_every_notebook_is_a_stage() -> None:
    notebooks = {file.relative_to(ROOT).as_posix() for file in ROOT.glob("notebooks/*.ipynb")}
    assert notebooks == {stage.target for stage in STAGES.values() if stage.is_notebook}


def write(folder: Path, **modules: str) -> Path:
    """Write a package griddispatch; ``a__b="..."`` is the module a/b.py."""
    for name, text in modules.items():
        file = folder / "griddispatch" / (name.replace("__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def found(code: str, folder: Path) -> set[str]:
    package = folder / "griddispatch"
    return {file.relative_to(package).as_posix() for file in imports.closure([code], folder)}


def test_the_closure_follows_every_form_of_import(tmp_path: Path) -> None:
    write(
        tmp_path,
        grid__flow="from .net import Network",
        grid__net="import numpy\nfrom griddispatch import errors",
        grid__other="",
        errors="",
        data__series="def late():\n    import griddispatch.grid.other",
    )
    assert found("from griddispatch.grid import flow", tmp_path) == {
        "grid/flow.py",
        "grid/net.py",
        "errors.py",
    }
    assert found("from griddispatch.data.series import late", tmp_path) == {
        "data/series.py",
        "grid/other.py",
    }
    assert found("import numpy", tmp_path) == set()


def test_the_closure_holds_packages_that_import(tmp_path: Path) -> None:
    write(tmp_path, __init__="'''Doc.'''", errors="")
    (tmp_path / "griddispatch/envs").mkdir()
    (tmp_path / "griddispatch/envs/__init__.py").write_text("from ..errors import InputError")
    (tmp_path / "griddispatch/envs/feeder.py").write_text("")
    expected = {"envs/__init__.py", "envs/feeder.py", "errors.py"}
    assert found("import griddispatch.envs.feeder", tmp_path) == expected
