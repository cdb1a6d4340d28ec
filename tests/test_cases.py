"""The published feeders, ready to use."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from griddispatch.assets.storage import Storage
from griddispatch.data import splits
from griddispatch.data.series import Series
from griddispatch.envs.cases import load_feeder, load_network
from griddispatch.errors import InputError


@pytest.fixture(scope="module")
def data(raw_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder like the project's own."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "raw").mkdir()
    (folder / "raw/rl_adn").symlink_to(raw_data)
    (folder / "processed").mkdir()
    series = Series.read(raw_data / "34_node_time_series.csv")
    series.to_csv(folder / "processed/feeder_34.csv")
    return folder


def test_the_default_case_is_that_of_the_paper(data: Path) -> None:
    feeder = load_feeder(data, splits.test_days)
    assert feeder.storage == Storage()
    assert feeder.storage.nodes == (12, 16, 27, 34)
    assert (feeder.network.n_nodes, feeder.steps, feeder.hours) == (34, 96, 0.25)
    assert feeder.days.dates == tuple(f"2020-09-{day:02d}" for day in range(1, 31))
    assert (feeder.sigma, feeder.voltage_scope, feeder.end_soc) == (400, "battery", "free")


def test_without_batteries_the_violations_lie_in_winter(data: Path) -> None:
    september = load_feeder(data, splits.test_days).idle_voltage.abs()
    winter = load_feeder(data, splits.stress_days).idle_voltage.abs()
    assert float(september.min()) > 0.945
    assert 0.93 < float(winter.min()) < 0.94
    assert float(winter.max()) < 1.05


@pytest.mark.parametrize("backend", ["sweep", "dense"])
def test_real_days_can_be_played_in_single_precision(data: Path, backend: str) -> None:
    single = load_feeder(data, splits.test_days, backend=backend, dtype=torch.float32)
    double = load_feeder(data, splits.test_days)
    ours, reference = single.reset(), double.reset()
    for action in (-1.0, 1.0, 1.0):
        ours, reward, _ = single.step(ours, torch.full_like(ours.soc, action))
        reference, expected, _ = double.step(reference, torch.full_like(reference.soc, action))
        torch.testing.assert_close(reward.double(), expected, rtol=0, atol=1e-3)
    assert ours.soc.dtype == torch.float32


def test_days_storage_and_options_can_be_chosen(data: Path) -> None:
    storage = Storage(nodes=(9, 20))
    dates = ("2020-11-06", "2020-10-03")
    feeder = load_feeder(data, dates, storage=storage, sigma=1.0, voltage_scope="all")
    assert feeder.days.dates == dates
    assert feeder.storage is storage
    assert (feeder.sigma, feeder.n_actions, len(feeder.penalised)) == (1, 2, 34)


@pytest.mark.parametrize("nodes", [25, 69, 123])
def test_a_network_without_a_series_takes_that_of_the_34_nodes(data: Path, nodes: int) -> None:
    dates = ["2020-11-06"]
    storage = Storage(nodes=(12, nodes))
    feeder = load_feeder(data, dates, nodes=nodes, series=34, storage=storage)
    own = load_feeder(data, dates)
    assert feeder.network.n_nodes == len(feeder.days.nodes) == nodes
    total, expected = feeder.net_load.sum(2), own.net_load.sum(2)
    torch.testing.assert_close(total, expected)
    _, _, outcome = feeder.step(feeder.reset(), torch.ones(1, 2))
    assert outcome.power_kw.tolist() == [[50, 50]]
    assert 0.9 < float(feeder.idle_voltage.abs().min()) < float(outcome.magnitude.max()) < 1.1


def test_another_network_or_several_can_be_given(data: Path) -> None:
    published = load_network(data / "raw/rl_adn")
    tied = published.reconfigured(open=[(8, 9)], close=[(12, 6, 0.2, 0.1)])
    both = load_feeder(data, ["2020-11-06"], network=[published, tied])
    assert both.networks == (published, tied)
    assert len(both.days) == 2


def test_every_option_comes_through_gymnasium(data: Path) -> None:
    case = {"nodes": 69, "series": 34, "power_factor": 0.95, "zip_shares": (0.4, 0.3, 0.3)}
    env = gymnasium.make("griddispatch/Feeder-v0", data=data, dates=["2020-11-06"], **case)
    feeder = env.unwrapped.feeder
    assert (feeder.network.n_nodes, feeder.power_factor) == (69, 0.95)
    assert feeder.zip_shares == (0.4, 0.3, 0.3)
    env.reset(seed=0)
    assert np.isfinite(env.step(env.action_space.sample())[1])


@pytest.mark.parametrize("nodes", [25, 34, 69, 123])
def test_each_network_is_found_by_its_number_of_nodes(raw_data: Path, nodes: int) -> None:
    network = load_network(raw_data, nodes)
    assert network.n_nodes == nodes
    assert network.name == f"{nodes} nodes"


def test_a_missing_file_says_how_to_make_it(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"feeder_34.csv does not exist; run `make reproduce` or"):
        load_feeder(tmp_path, splits.test_days)
    with pytest.raises(InputError, match=r"dvc repro data_preparation.*take one with series=34"):
        load_feeder(data, splits.test_days, nodes=69)
    with pytest.raises(InputError, match=r"Nodes_33.csv does not exist.*25, 34, 69 and 123"):
        load_network(data / "raw/rl_adn", 33)


def test_an_unknown_day_is_one_clear_error(data: Path) -> None:
    with pytest.raises(InputError, match="no complete day '2021-06-01'"):
        load_feeder(data, ["2021-06-01"])
