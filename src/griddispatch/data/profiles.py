"""PV and load for dispatch with forecasts: four made-up arrays, or the measured 34-node series.

Both are a `Profiles`: N series of power in steps of 15 min, what a weather service says about them
by issue time, and a split by date into training, validation and test days. Nothing else looks at
the dates, and no setting is chosen on test days.

- `synthetic`: one PV array per material and a load, 518 days from 2020-04-01: 395 training days,
  61 validation days (May and June 2021) and 62 test days (July and August 2021).
- `measured`: PV and load of the RL-ADN series, summed over the feeder and scaled to the same site.
  Its 29 columns of PV are one profile rescaled, so there is one PV series. September 2020 is the
  test month and the two weeks before it are for validation. Training on the days before those is
  what an operator could have done, and they are few; the other choice adds the days after the test
  month, without the stress days of `splits`. The choice is a parameter and has to be said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.data import splits
from griddispatch.data.series import Series
from griddispatch.data.weather import (
    DAY,
    MATERIALS,
    PLACE,
    STEP,
    Array,
    Runs,
    Site,
    Sky,
    forecast_cloud,
    forecast_warmth,
    load_shape,
    make_weather,
    targets,
)
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Steps = NDArray[np.intp]
Kind = Literal["pv", "load"]
Split = Literal["train", "validation", "test"]

WEEK = 7 * DAY
LOAD_KW = 150.0
DARK = 5.0  # W/m²; below it a clear sky gives no power to speak of
GEOMETRIES = ((35.0, 180.0), (25.0, 135.0), (15.0, 235.0), (10.0, 180.0))  # tilt, azimuth
LENGTHS: Mapping[Split, int] = {"train": 395, "validation": 61, "test": 62}
FIRST_DAY = "2020-04-01"
PV_FACTOR = 2.0  # at the measured size all controllers lie within 1 %: there is nothing to dispatch
_MARGIN = 1.2
_VALIDATION_DAYS = 14  # of the measured series, next to the test month


@dataclass(frozen=True, eq=False)
class Profiles:
    """N series of power and all that may be known about them, T steps of 15 min.

    Attributes
    ----------
    name
        Of the data set.
    index
        [T] start of each step, UTC.
    names, kinds, materials
        [N] label, "pv" or "load", PV material ("" where there is none or none is known).
    power
        [T, N] mean power of each step, kW.
    capacity
        [N] kW by which errors are normalised: rated power, or the load's nominal peak.
    clear
        [T, N] clear-sky irradiance in the plane of the array in W/m²; of a load, on the ground.
    geometry
        [N, 2] tilt and azimuth in degrees; zero where there is none.
    runs
        Weather forecasts by issue time.
    dates
        Dates of each split.

    Raises
    ------
    InputError
        A shape does not fit, a power is not finite, or two splits share a date.
    """

    name: str
    index: pd.DatetimeIndex
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    materials: tuple[str, ...]
    power: Float
    capacity: Float
    clear: Float
    geometry: Float
    runs: Runs
    dates: Mapping[Split, tuple[str, ...]]

    def __post_init__(self) -> None:
        shape = (len(self.index), len(self.names))
        for field in ("power", "clear"):
            value = getattr(self, field)
            if value.shape != shape:
                raise InputError(f"{self.name}: {field} has shape {value.shape}, expected {shape}")
            wrong = np.argwhere(~np.isfinite(value))
            if len(wrong):
                t, n = wrong[0]
                raise InputError(
                    f"{self.name}: {field} of {self.names[n]} at {self.index[t]} is not finite "
                    f"({len(wrong)} such values); repair the series first"
                )
        if not (self.index[1:] - self.index[:-1] == STEP).all():
            raise InputError(f"{self.name}: the index is not regular with steps of {STEP}")
        seen: set[str] = set()
        for split, dates in self.dates.items():
            if twice := sorted(seen & set(dates)):
                raise InputError(f"{self.name}: {twice[0]} of the {split} days is in another split")
            seen |= set(dates)

    @property
    def dark(self) -> NDArray[np.bool_]:
        """[T, N] where PV is certain to give nothing."""
        pv = np.array([kind == "pv" for kind in self.kinds])
        return (self.clear < DARK) & pv

    @cached_property
    def ceiling(self) -> Float:
        """[N] kW that no forecast exceeds: a fifth more than any training step."""
        return np.asarray(_MARGIN * self.power[self.steps("train")].max(0))

    def of(self, kind: Kind) -> NDArray[np.intp]:
        """Positions of the series of a kind."""
        return np.flatnonzero([k == kind for k in self.kinds])

    def total(self, kind: Kind) -> Float:
        """[T] summed power of a kind, kW."""
        return self.power[:, self.of(kind)].sum(1)

    def steps(self, split: Split) -> Steps:
        """Every step of the days of a split, in order."""
        return np.flatnonzero(np.isin(self.index.strftime("%Y-%m-%d"), self.dates[split]))

    def issues(self, split: Split, every: int = 1) -> Steps:
        """Issue steps whose 96 targets all lie in days of a split and that have a week behind them.

        Parameters
        ----------
        split
            Its targets belong to no other split, so nothing is learned from another's days.
        every
            Keep each `every`-th of them.

        Raises
        ------
        InputError
            The split holds no such step.
        """
        inside = np.zeros(len(self.index) + 1, dtype=np.intp)
        inside[1:][self.steps(split)] = 1
        held = np.cumsum(inside)
        whole = held[DAY:] - held[:-DAY] == DAY
        found = np.flatnonzero(whole)
        found = found[found >= WEEK][::every]
        if not len(found):
            raise InputError(
                f"{self.name}: no {split} step has its day ahead within the split and a week "
                "behind it; take longer splits"
            )
        return found

    def with_power(self, power: Float) -> "Profiles":
        """The same series with other powers [T, N]; forecasts of the weather stay as issued."""
        return replace(self, power=power)


def arrays(seed: int | None = None, kwp: float = 50.0) -> tuple[Array, ...]:
    """One array per material; the four places are dealt out by `seed`, not by material.

    With None the materials take `GEOMETRIES` in turn.
    """
    order = range(len(MATERIALS))
    dealt = order if seed is None else np.random.default_rng(seed).permutation(len(MATERIALS))
    return tuple(
        Array(material, *GEOMETRIES[place], kwp)
        for material, place in zip(MATERIALS, dealt, strict=True)
    )


def synthetic(
    seed: int = 0,
    *,
    fleet: Sequence[Array] | None = None,
    lengths: Mapping[Split, int] = LENGTHS,
    first_day: str = FIRST_DAY,
    load_kw: float = LOAD_KW,
    site: Site = PLACE,
) -> Profiles:
    """Make the first data set.

    Parameters
    ----------
    seed
        Of weather, load and forecast errors, and of which material stands where.
    fleet
        The arrays; by default one per material as `arrays` deals them.
    lengths
        Days of each split, one after the other.
    first_day
        The first training day.
    load_kw
        Highest load of the training days.
    site
        Place of the arrays.

    Raises
    ------
    InputError
        A length is not positive, the training is too short for the weekly lag, or the day cannot
        be read.
    """
    if set(lengths) != set(LENGTHS) or min(lengths.values()) < 1 or lengths["train"] < 9:
        raise InputError(
            f"lengths are {dict(lengths)}; give days of train (9 or more), validation and test"
        )
    if not 0 < load_kw < np.inf:
        raise InputError(f"load_kw is {load_kw}; it must be positive")
    try:
        start = pd.Timestamp(first_day, tz="UTC").normalize()
    except ValueError as error:
        raise InputError(f"first_day {first_day!r} is no date; write it as 2020-04-01") from error
    fleet = arrays(seed) if fleet is None else tuple(fleet)
    days = sum(lengths.values()) + 1  # the last test day has a day ahead of it as well
    index = pd.date_range(start, periods=days * DAY, freq="15min")
    sky = Sky(index, site)
    weather = make_weather(sky, seed)
    shape = load_shape(index, weather.warmth, seed)
    load = load_kw * shape / shape[: lengths["train"] * DAY].max()
    ground = Array(MATERIALS[0], 0.0, 180.0)
    planes = [*fleet, ground]
    one = np.ones(len(index))
    pv: list[Kind] = ["pv"] * len(fleet)

    at = targets(len(index))
    cloud, warmth = forecast_cloud(weather.cloud, seed), forecast_warmth(weather.warmth, seed)
    seen = [sky.irradiance(cloud.ravel(), a, at.ravel()).reshape(at.shape) for a in planes]
    runs = np.stack([np.stack([x, warmth], axis=2) for x in seen], axis=2)
    return Profiles(
        name="synthetic",
        index=index,
        names=(*(a.material for a in fleet), "load"),
        kinds=(*pv, "load"),
        materials=(*(a.material for a in fleet), ""),
        power=np.column_stack([*(sky.power(*weather, a) for a in fleet), load]),
        capacity=np.array([*(a.kwp for a in fleet), load_kw]),
        clear=np.column_stack([sky.irradiance(one, a) for a in planes]),
        geometry=np.array([*((a.tilt, a.azimuth) for a in fleet), (0.0, 0.0)]),
        runs=Runs(("irradiance", "temperature"), runs.astype(np.float32)),
        dates=_in_turn(index, lengths),
    )


def measured(
    series: Series,
    *,
    training: Literal["before", "all"] = "before",
    pv_factor: float = PV_FACTOR,
    load_kw: float = LOAD_KW,
    seed: int = 0,
    site: Site = PLACE,
) -> Profiles:
    """Make the second data set from the measured series.

    The series has no weather. Its clear-sky index is PV over clear-sky irradiance at a site of the
    same solar noon, and the forecast is that index with the errors of the first data set: the true
    cloud cover of a run's future enters a forecast only through this noise.

    Parameters
    ----------
    series
        The 34-node series.
    training
        "before": the days before September 2020; "all": those after it as well, but for the stress
        days. The last two weeks of August are for validation.
    pv_factor
        PV is multiplied by this.
    load_kw
        The load is scaled so that the highest of a training day is this; PV by the same number.
    seed
        Of the forecast errors.
    site
        For the clear sky alone.

    Raises
    ------
    InputError
        The split is unknown, a factor is not positive, or the series lacks the days.
    """
    if training not in ("before", "all"):
        raise InputError(f"training is {training!r}; take 'before' or 'all'")
    if not (0 < pv_factor < np.inf and 0 < load_kw < np.inf):
        raise InputError(f"pv_factor {pv_factor} and load_kw {load_kw} must be positive")
    if series.step != STEP:
        raise InputError(f"{series.name} has steps of {series.step}; take a series of {STEP}")
    test = splits.test_days(series)
    usable = splits.training_days(series, "all")
    before = tuple(day for day in usable if day < test[0])
    validation = before[-_VALIDATION_DAYS:]
    fit = tuple(
        day for day in (before if training == "before" else usable) if day not in validation
    )
    dates: dict[Split, tuple[str, ...]] = {"train": fit, "validation": validation, "test": test}
    load, pv = series.load.sum(1), series.pv.sum(1)
    learned = np.isin(series.index.strftime("%Y-%m-%d"), fit)
    factor = load_kw / load[learned].max()
    clear = Sky(series.index, site).sun["ghi"]
    high = clear > 0.1 * clear.max()
    ratio = np.where(high, pv / np.where(high, clear, 1.0), np.nan)
    best = float(np.nanquantile(ratio[learned], 0.98))
    filled = pd.Series(ratio / best).interpolate(limit_direction="both")
    cloud = np.asarray(filled, dtype=np.float64)
    at = targets(len(series.index))
    seen = forecast_cloud(cloud, seed) * clear[at]
    capacity = pv_factor * factor * pv[learned].max()
    return Profiles(
        name="measured",
        index=series.index,
        names=("PV", "load"),
        kinds=("pv", "load"),
        materials=("", ""),
        power=factor * np.column_stack([pv_factor * pv, load]),
        capacity=np.array([capacity, load_kw]),
        clear=np.column_stack([clear, clear]),
        geometry=np.zeros((2, 2)),
        runs=Runs(("irradiance",), np.stack([seen, seen], axis=2)[..., None].astype(np.float32)),
        dates=dates,
    )


def _in_turn(index: pd.DatetimeIndex, lengths: Mapping[Split, int]) -> dict[Split, tuple[str, ...]]:
    """Cut the days of an index into splits, one after the other."""
    days = index[::DAY].strftime("%Y-%m-%d").tolist()
    train = lengths["train"]
    held = train + lengths["validation"]
    parts = days[:train], days[train:held], days[held : held + lengths["test"]]
    return dict(zip(LENGTHS, map(tuple, parts), strict=True))
