"""params.yaml: what it may hold, and what each slip is answered with."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from griddispatch.errors import InputError
from griddispatch.pipeline import config, stages

ROOT = Path(__file__).resolve().parents[1]

DEFAULTS = "updates = 100\nrate = 0.001\nname = 'td3'\nseeds = [0, 1]\nfast = True\nlimit = None"


def make_project(folder: Path, params: str, cell: str = DEFAULTS) -> Path:
    """Write a project with one notebook stage, train."""
    command = "python -m griddispatch.pipeline.notebook notebooks/train.ipynb"
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": {"cmd": command}}}))
    (folder / "params.yaml").write_text(params)
    (folder / "notebooks").mkdir()
    tagged = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": [cell]}
    (folder / "notebooks/train.ipynb").write_text(json.dumps({"cells": [tagged]}))
    return folder


def resolved(folder: Path) -> dict[str, Any]:
    return config.stage_parameters(folder, stages.load(folder)["train"])[0]


@pytest.mark.parametrize(("profile", "updates"), [("smoke", 1), ("reduced", 2), ("paper", 3)])
def test_a_map_gives_the_value_of_the_profile(tmp_path: Path, profile: str, updates: int) -> None:
    leaf = "{smoke: 1, reduced: 2, paper: 3}"
    text = f"profile: {profile}\ntrain:\n  updates: {leaf}\n  name: sac\n"
    assert resolved(make_project(tmp_path, text)) == {"updates": updates, "name": "sac"}


def test_types_are_kept_and_a_whole_number_may_be_a_float(tmp_path: Path) -> None:
    text = "profile: smoke\ntrain: {rate: 1, seeds: [3], fast: false, limit: 2.5}\n"
    found = resolved(make_project(tmp_path, text))
    assert found == {"rate": 1.0, "seeds": [3], "fast": False, "limit": 2.5}
    assert type(found["rate"]) is float
    assert found["fast"] is False


def test_the_run_section_has_defaults(tmp_path: Path) -> None:
    root = make_project(tmp_path, "profile: smoke\nrun: {workers: 3}\n")
    _, options = config.stage_parameters(root, stages.load(root)["train"])
    assert options == {"time_limit": 120.0, "workers": 3, "cluster": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {}", "profile is None; write one of smoke, reduced, paper"),
        ("profile: quick", "profile is 'quick'"),
        ("profile: smoke\ntrian: {}", "section 'trian' is no stage; did you mean 'train'"),
        ("profile: smoke\ntrain: {update: 3}", "train.update is no .* did you mean 'updates'"),
        ("profile: smoke\nrun: {time: 3}", "run.time is no parameter .* did you mean 'time_limit'"),
        ("profile: smoke\nrun: {cluster: lokal}", "run.cluster .* is 'lokal'; write null, local,"),
        ("profile: smoke\ntrain: {updates: 3.5}", r"train.updates is 3.5 \(float\); write int"),
        ("profile: smoke\ntrain: {updates: true}", r"True \(bool\); write int like 100"),
        ("profile: smoke\ntrain: {updates: null}", r"None \(NoneType\); write int like 100"),
        ("profile: smoke\ntrain: {rate: 1e-3}", r"'1e-3' \(str\); write float .* 1.0e-3"),
        ("profile: smoke\ntrain: {name: 2021-01-01}", "date.*put a text in quotes"),
        ("profile: smoke\ntrain: {seeds: [a]}", r"'a' \(str\); write int like 0"),
        ("profile: smoke\ntrain: {updates: {smoke: 1, paper: 2}}", "has the keys smoke, paper"),
        ("profile: smoke\ntrain: {updates: {smoke: 1, reduced: 2, paper: x}}", "updates is 'x'"),
        ("profile: smoke\ntrain: 5", "train is 5; write 'name: value' lines"),
        ("profile: [", "cannot be read"),
        ("", "holds no sections"),
    ],
)
def test_a_slip_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    root = make_project(tmp_path, text)
    with pytest.raises(InputError, match=message):
        resolved(root)


@pytest.mark.parametrize("cell", ["updates = int('3')", "import os", "a = b = 1", "updates ="])
def test_the_parameters_cell_holds_only_literals(tmp_path: Path, cell: str) -> None:
    root = make_project(tmp_path, "profile: smoke", cell)
    with pytest.raises(InputError, match="may hold only lines 'name = literal'"):
        resolved(root)


def test_the_parameters_cell_is_there_once(tmp_path: Path) -> None:
    root = make_project(tmp_path, "profile: smoke")
    (root / "notebooks/train.ipynb").write_text('{"cells": []}')
    with pytest.raises(InputError, match="has 0 cells tagged 'parameters'"):
        resolved(root)


def test_the_projects_own_parameters_fit_its_notebooks() -> None:
    assert config.read(ROOT)["profile"] == "reduced"  # what is committed is the default profile
