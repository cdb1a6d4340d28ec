"""Fixtures that several test modules share, and one thread for everybody."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import settings
from matplotlib import pyplot as plt

from griddispatch.data.raw import fetch
from griddispatch.reporting import figures

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that a test starts

# The same examples in every run: a failure does not come and go.
settings.register_profile("griddispatch", deadline=None, derandomize=True)
settings.load_profile("griddispatch")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def raw_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the unpacked raw files: the project's own, or one fetched for the run.

    Where pip has no index and params.yaml names no wheel, this fails and says so.
    """
    made = ROOT / "data/raw/rl_adn"
    if made.is_dir():
        return made
    target = tmp_path_factory.mktemp("raw") / "rl_adn"
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    wheel = (parameters.get("fetch") or {}).get("wheel")
    fetch(ROOT / "data/raw/sources.txt", target, ROOT / wheel if wheel else None)
    return target


@pytest.fixture
def drawing_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty project folder to write and draw into; close its figures afterwards."""
    monkeypatch.setenv("GRIDDISPATCH_ROOT", str(tmp_path))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "src/griddispatch").mkdir(parents=True)
    figures.style()
    yield tmp_path
    plt.close("all")
