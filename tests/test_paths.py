"""Paths and records: what is read and written where, by hand and as a stage."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.errors import InputError
from griddispatch.pipeline import paths, records

DVC = """
stages:
  train:
    cmd: python -m griddispatch.pipeline.notebook notebooks/train.ipynb
    deps: [data/processed]
    outs: [{results/train.json: {cache: false}}, figures, build/stages/train.json]
  table:
    cmd: python -m griddispatch.pipeline.notebook notebooks/table.ipynb
    deps: [results/train.json]
    outs: [paper/tables/all.csv]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "a project"
    (root / "src/griddispatch").mkdir(parents=True)
    (root / "dvc.yaml").write_text(DVC)
    monkeypatch.delenv(paths.RUN, raising=False)
    monkeypatch.delenv(paths.ROOT, raising=False)
    monkeypatch.chdir(root)
    return root


def put(root: Path, name: str, text: str = "{}") -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_root_is_found_from_any_folder_inside(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert paths.root() == project


def test_a_wrong_folder_is_an_error(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is not inside a griddispatch project"):
        paths.read("results/train.json")
    monkeypatch.setenv(paths.ROOT, str(project))
    assert paths.root() == project
    monkeypatch.setenv(paths.ROOT, "nowhere")
    with pytest.raises(InputError, match="'nowhere', which is no folder"):
        paths.root()


def test_a_trial_by_hand_never_touches_a_published_result(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = put(project, "results/train.json", "1")
    assert paths.read("results/train.json") == published
    paths.write("results/train.json").write_text("2")
    assert published.read_text() == "1"
    assert paths.read("results/train.json") == project / "scratch/results/train.json"
    assert "reading scratch/results/train.json" in capsys.readouterr().out


def test_a_missing_file_names_the_stage_that_makes_it(project: Path) -> None:
    with pytest.raises(InputError, match=r"make it with: dvc repro train$"):
        paths.read("figures/curve.svg")
    with pytest.raises(InputError, match=r"no stage of dvc.yaml makes it"):
        paths.read("results/tran.json")


@pytest.mark.parametrize("name", ["/etc/hosts", "../other", "results/../../x", "."])
def test_a_name_stays_inside_the_project(project: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no name inside the project"):
        paths.write(name)


def test_a_stage_keeps_to_what_it_declares(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(project, "data/processed/feeder.csv")
    put(project, "results/other.json")
    put(project, "scratch/data/processed/feeder.csv", "a trial")
    monkeypatch.setenv(paths.RUN, "train")
    assert paths.read("data/processed/feeder.csv") == project / "data/processed/feeder.csv"
    with pytest.raises(InputError, match=r"reads results/other.json.* add it to the deps of train"):
        paths.read("results/other.json")
    with pytest.raises(InputError, match=r"writes results/x.json.* add it to the outs of train"):
        paths.write("results/x.json")
    written = paths.figures("curve.svg")
    assert written == project / "build/staging/train/figures/curve.svg"
    written.write_text("<svg/>")
    assert paths.read("figures/curve.svg") == written
    monkeypatch.setenv(paths.RUN, "tran")
    with pytest.raises(InputError, match="'tran', which is no stage"):
        paths.read("figures/curve.svg")


def test_json_is_rounded_sorted_and_plain(tmp_path: Path) -> None:
    content = {
        "b": np.float32(1 / 3),
        "a": np.arange(2),
        "n": [math.nan, -0.0, 1234567.8, None, True],
        "when": pd.Timestamp("2021-01-01", tz="UTC"),
        3: "é",
    }
    text = records.write_json(tmp_path / "x.json", content).read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert list(json.loads(text)) == ["3", "a", "b", "n", "when"]
    assert json.loads(text) == {
        "3": "é",
        "a": [0, 1],
        "b": 0.333333,
        "n": [None, 0.0, 1234570.0, None, True],
        "when": "2021-01-01T00:00:00+00:00",
    }
    assert "-0.0" not in text
    assert records.read_json(tmp_path / "x.json") == json.loads(text)


def test_json_refuses_what_it_cannot_hold_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x.json: cost\[1\] is infinite"):
        records.write_json(tmp_path / "x.json", {"cost": [1.0, math.inf]})
    with pytest.raises(InputError, match=r"x.json: cost is a set"):
        records.write_json(tmp_path / "x.json", {"cost": {1}})
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.floats(-1e300, 1e300), min_size=1), st.integers(2, 12))
def test_rounding_keeps_the_digits_and_is_stable(values: list[float], digits: int) -> None:
    once = records._plain(values, digits, "x")
    assert once == pytest.approx(values, rel=0.6 * 10.0 ** (1 - digits), abs=1e-320)
    assert records._plain(once, digits, "x") == once


def test_csv_is_rounded_and_names_its_index(tmp_path: Path) -> None:
    frame = pd.DataFrame({"cost": [1 / 3, math.nan], "n": [1, 2], "name": ["a", "b"]})
    records.write_csv(tmp_path / "x.csv", frame, digits=3)
    assert (tmp_path / "x.csv").read_bytes() == b"cost,n,name\n0.333,1,a\n,2,b\n"
    named = frame.set_index("name")
    records.write_csv(tmp_path / "y.csv", named, digits=3)
    assert (tmp_path / "y.csv").read_bytes() == b"name,cost,n\na,0.333,1\nb,,2\n"
    assert named["cost"].iloc[0] == 1 / 3  # the caller's frame is as it was


def test_a_record_goes_where_paths_say(project: Path) -> None:
    assert records.write_json("results/train.json", 1).parent == project / "scratch/results"
    put(project, "results/table.json", "[2]")
    assert records.read_json("results/table.json") == [2]
