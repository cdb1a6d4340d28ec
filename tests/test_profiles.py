"""Made-up and measured PV and load, the simulated weather forecast, and the split."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from griddispatch.data.profiles import (
    DARK,
    GEOMETRIES,
    Profiles,
    arrays,
    measured,
    synthetic,
)
from griddispatch.data.series import Series
from griddispatch.data.weather import (
    DAY,
    MATERIALS,
    REACH,
    RUN,
    Array,
    Runs,
    Sky,
    forecast_cloud,
    make_weather,
    material_effect,
    targets,
)
from griddispatch.errors import InputError

SHORT = {"train": 12, "validation": 3, "test": 4}


@pytest.fixture(scope="module")
def short() -> Profiles:
    return synthetic(3, lengths=SHORT, first_day="2021-05-01")


def series(first: str = "2020-07-25", days: int = 70) -> Series:
    """Return a made-up file of three nodes around September 2020."""
    index = pd.date_range(first, periods=days * DAY, freq="15min", tz="UTC")
    hour = index.hour.to_numpy() + index.minute.to_numpy() / 60
    random = np.random.default_rng(0)
    shape = (len(index), 3)
    load = 100 * (1 + 0.3 * np.sin(2 * np.pi * hour / 24))[:, None] * random.uniform(0.9, 1, shape)
    sun = np.clip(np.cos(2 * np.pi * (hour - 11.5) / 24), 0, None)
    return Series(
        name="made up",
        index=index,
        nodes=(1, 2, 3),
        load=load,
        pv=50 * sun[:, None] * np.array([0.0, 1.0, 2.0]),
        reactive=np.zeros(shape),
        price=np.full(len(index), 40.0),
        repairs=pd.DataFrame(),
    )


def test_power_keeps_the_rated_power_and_the_night_is_dark(short: Profiles) -> None:
    pv = short.of("pv")
    assert short.power.shape == (20 * DAY, 5)
    assert (short.power >= 0).all()
    assert (short.power[:, pv].max(0) < 50).all()
    assert (short.power[:, pv].max(0) > 25).all()
    assert short.power[:, pv][short.dark[:, pv]].max() < 0.5
    assert (short.dark[:, pv] == (short.clear[:, pv] < DARK)).all()
    assert not short.dark[:, short.of("load")].any()
    assert short.power[: 12 * DAY, -1].max() == pytest.approx(150)


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_weather() -> None:
    first, again, other = (synthetic(s, lengths=SHORT) for s in (1, 1, 2))
    assert first.power.tobytes() == again.power.tobytes()
    assert first.runs.values.tobytes() == again.runs.values.tobytes()
    assert np.abs(first.power - other.power).max() > 10


def test_a_longer_series_begins_with_the_shorter_one(short: Profiles) -> None:
    longer = synthetic(3, lengths={**SHORT, "test": 9}, first_day="2021-05-01")
    assert np.array_equal(longer.power[: len(short.power)], short.power)
    whole = (len(short.index) - REACH - RUN) // RUN  # the last runs reach beyond the short series
    assert np.array_equal(longer.runs.values[:whole], short.runs.values[:whole])


def test_materials_in_one_place_are_alike_but_for_the_season_of_cdte() -> None:
    effect = material_effect(0, days=200)
    assert set(effect["material"]) == set(MATERIALS)
    assert effect["correlation"].min() > 0.99
    cdte = effect[effect["material"] == "CdTe"].set_index("month")["relative"]
    assert cdte[1] < 0.97
    assert cdte[7] > 1.01
    others = effect[effect["material"] != "CdTe"]
    assert (others["relative"] - 1).abs().max() < 0.05
    assert np.allclose(effect.groupby("month")["relative"].mean(), 1)


def test_a_hot_cell_loses_what_its_temperature_coefficient_says() -> None:
    sky = Sky(pd.date_range("2021-06-21 11:00", periods=1, freq="15min", tz="UTC"))
    array = Array("poly-Si", 35, 180)
    one = np.ones(1)
    plane = sky.irradiance(one, array)[0]
    cold, hot = (sky.power(one, np.array([t]), array)[0] for t in (0.0, 30.0))
    cell = 30.0  # the cell follows the air
    water_shift = 0.03  # of the spectral factor, with the water that warm air holds
    assert plane > 700
    assert 1 - hot / cold == pytest.approx(0.0041 * cell / 1.03, abs=water_shift)


def test_places_are_dealt_out_whatever_the_material() -> None:
    deals = {tuple((a.tilt, a.azimuth) for a in arrays(seed)) for seed in range(6)}
    assert len(deals) > 2
    for deal in deals:
        assert set(deal) == set(GEOMETRIES)
    assert [a.material for a in arrays(5)] == list(MATERIALS)


def test_forecast_errors_grow_with_lead_and_are_not_zero() -> None:
    sky = Sky(pd.date_range("2021-03-01", periods=120 * DAY, freq="15min", tz="UTC"))
    cloud = make_weather(sky, 0).cloud
    wrong = forecast_cloud(cloud, 0) - cloud[targets(len(cloud))]
    early, late = (np.abs(wrong[:-6, k]).mean() for k in (slice(0, 12), slice(84, 96)))
    assert 0.02 < early < 0.75 * late


def test_an_issue_sees_the_last_run_made_by_then() -> None:
    values = np.arange(3 * REACH, dtype=np.float32).reshape(3, REACH, 1, 1)
    seen = Runs(("x",), values).seen(np.array([0, 5, RUN - 1, RUN, 2 * RUN + 3]))[..., 0, 0]
    assert seen[:, 0].tolist() == [0, 5, RUN - 1, REACH, 2 * REACH + 3]
    assert seen[2, -1] == REACH - 2
    assert (np.diff(seen, axis=1) == 1).all()


def test_splits_follow_each_other_and_issues_stay_inside(short: Profiles) -> None:
    train, validation, test = (short.dates[s] for s in ("train", "validation", "test"))
    assert max(train) < min(validation) <= max(validation) < min(test)
    assert (len(train), len(validation), len(test)) == (12, 3, 4)
    for split in ("train", "validation", "test"):
        own = set(short.steps(split))
        issues = short.issues(split)
        assert all({i, i + DAY - 1} <= own for i in issues)
        assert issues.min() >= 7 * DAY
    assert len(short.issues("test")) == 3 * DAY + 1
    assert short.issues("test", 5).tolist() == short.issues("test")[::5].tolist()


def test_measured_data_are_scaled_and_split_by_date() -> None:
    file = series()
    data = measured(file)
    assert data.names == ("PV", "load")
    assert min(data.dates["test"]) == "2020-09-01"
    assert max(data.dates["test"]) == "2020-09-30"
    assert max(data.dates["train"]) < min(data.dates["validation"]) == "2020-08-18"
    learned = data.steps("train")
    assert data.power[learned, 1].max() == pytest.approx(150)
    factor = 150 / file.load.sum(1)[learned].max()
    assert data.power[:, 0] == pytest.approx(2 * factor * file.pv.sum(1))
    assert data.power[:, 0].max() <= 1.0001 * data.capacity[0]


def test_later_training_days_are_a_choice_that_leaves_test_and_stress_days_out() -> None:
    file = series(days=90)
    before, later = measured(file), measured(file, training="all")
    assert set(before.dates["train"]) < set(later.dates["train"])
    assert before.dates["validation"] == later.dates["validation"]
    assert "2020-10-01" not in later.dates["train"]
    assert "2020-10-02" in later.dates["train"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": {"train": 5, "validation": 1, "test": 1}}, "lengths"),
        ({"lengths": {"train": 12}}, "lengths"),
        ({"load_kw": 0.0}, "load_kw"),
        ({"first_day": "someday"}, "first_day"),
    ],
)
def test_wrong_settings_of_the_made_up_set_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        synthetic(0, **{"lengths": SHORT, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [({"training": "some"}, "training"), ({"pv_factor": -1.0}, "pv_factor")],
)
def test_wrong_settings_of_the_measured_set_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measured(series(), **change)


@pytest.mark.parametrize(
    ("material", "tilt", "message"), [("tin", 10, "tin"), ("CdTe", 91, "tilt")]
)
def test_an_impossible_array_is_named(material: str, tilt: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Array(material, tilt, 180)


def test_a_gap_in_the_power_is_named_with_series_and_time(short: Profiles) -> None:
    power = short.power.copy()
    power[100, 2] = np.nan
    with pytest.raises(InputError, match=r"CdTe at 2021-05-02 01:00"):
        short.with_power(power)
    with pytest.raises(InputError, match="another split"):
        replace(short, dates={**short.dates, "test": short.dates["train"]})
