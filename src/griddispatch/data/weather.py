"""Made-up weather at one site, what PV arrays make of it, and a forecast that grows worse by lead.

The sky is pvlib's: solar position, and the clear sky of Ineichen and Perez with its own table of
turbidity (Ineichen and Perez, "A new airmass independent formulation for the Linke turbidity
coefficient", 2002). Clouds multiply it by a clear-sky index k: a chain of two states, fair and
overcast, each with its own mean and spread, and an AR(1) process within. All arrays see one sky.

An array's power follows King's chain (pvlib): irradiance in its plane (Hay and Davies), cell
temperature (Faiman, 2008), a spectral factor by material (Lee and Panchula, "Spectral correction
for photovoltaic module performance based on air mass and precipitable water", 2016), PVWatts.

All times are UTC, and so are the clocks of tariffs and people: the site has no summer time.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import pvlib
from numpy.typing import NDArray
from scipy.signal import lfilter

from griddispatch.errors import InputError

Float = NDArray[np.float64]
Steps = NDArray[np.intp]

STEP = pd.Timedelta("15min")
HOURS = 0.25
DAY = 96  # steps
ALBEDO = 0.2
WIND_M_S = 2.0  # held: its effect on a cell is about 1 K per m/s
HUMIDITY = 70.0  # %, held

# Power per K of cell temperature, and the name of the spectral response at pvlib. The numbers are
# data-sheet values of large-area modules of each kind.
TEMPERATURE = {"mono-Si": -0.0037, "poly-Si": -0.0041, "CdTe": -0.0028, "CIGS": -0.0036}
SPECTRUM = {"mono-Si": "monosi", "poly-Si": "multisi", "CdTe": "cdte", "CIGS": "cigs"}
MATERIALS = tuple(TEMPERATURE)

# Forecast runs, as a weather service makes them.
RUN = 24  # steps from one run to the next
REACH = DAY + RUN  # leads of a run: the last issue before the next run still sees a whole day
_SMOOTH = 8  # steps; no run knows the single cloud
_CLOUD_ERROR = 0.06, 0.18  # of the clear-sky index: at once, and added after a day
_CLOUD_MEMORY = 3.0  # h
_WARMTH_ERROR = 0.5, 2.0  # K
_WARMTH_MEMORY = 12.0  # h

_MEAN_STAY = 6.0  # h in one state of the sky
_LEVEL = 0.97, 0.38  # mean clear-sky index: fair, overcast
_SPREAD = 0.04, 0.16
_GUST_MEMORY = 1.0  # h of the cloud process within a state
_HIGHEST_INDEX = 1.15


class Site(NamedTuple):
    """Where the arrays stand: degrees north and east, metres."""

    latitude: float = 52.0
    longitude: float = 5.0
    altitude: float = 10.0


PLACE = Site()


@dataclass(frozen=True)
class Array:
    """A PV array: material, tilt from the horizontal, azimuth (180 = south), rated power in kW.

    Raises
    ------
    InputError
        The material is unknown or a number is out of its range.
    """

    material: str
    tilt: float
    azimuth: float
    kwp: float = 50.0

    def __post_init__(self) -> None:
        if self.material not in TEMPERATURE:
            raise InputError(f"no PV material {self.material!r}; take one of {list(MATERIALS)}")
        if not (0 <= self.tilt <= 90 and 0 <= self.azimuth <= 360 and 0 < self.kwp < np.inf):
            raise InputError(
                f"array of {self.material}: needs 0 <= tilt <= 90, 0 <= azimuth <= 360, kwp > 0; "
                f"they are {self.tilt}, {self.azimuth}, {self.kwp}"
            )


@dataclass(frozen=True, eq=False)
class Sky:
    """Sun and clear sky over T steps, at the middle of each step.

    index [T] are the starts of the steps. All else is computed on demand and kept.
    """

    index: pd.DatetimeIndex
    site: Site = PLACE

    @cached_property
    def sun(self) -> dict[str, Float]:
        """Solar position, extraterrestrial and clear-sky irradiance [T] in W/m², air mass."""
        middle = self.index + STEP / 2
        place = pvlib.location.Location(*self.site[:2], altitude=self.site.altitude)
        position = place.get_solarposition(middle)
        clear = place.get_clearsky(middle, model="ineichen", solar_position=position)
        zenith = position["apparent_zenith"].to_numpy()
        mass = np.nan_to_num(pvlib.atmosphere.get_relative_airmass(zenith), nan=10.0)
        return {
            "zenith": zenith,
            "azimuth": position["azimuth"].to_numpy(),
            "extra": np.asarray(pvlib.irradiance.get_extra_radiation(middle), dtype=np.float64),
            "ghi": clear["ghi"].to_numpy(),
            "day": middle.dayofyear.to_numpy().astype(np.float64),
            "mass": pvlib.atmosphere.get_absolute_airmass(
                mass, pvlib.atmosphere.alt2pres(self.site.altitude)
            ),
        }

    def irradiance(self, cloud: Float, array: Array, steps: Steps | None = None) -> Float:
        """Irradiance in an array's plane, W/m², for clear-sky indices `cloud` of the steps.

        steps are the steps that the entries of `cloud` belong to; all in turn by default.
        """
        sun = {k: v if steps is None else v[steps] for k, v in self.sun.items()}
        ghi = cloud * sun["ghi"]
        parts = pvlib.irradiance.erbs(ghi, sun["zenith"], sun["day"])
        plane = pvlib.irradiance.get_total_irradiance(
            array.tilt,
            array.azimuth,
            sun["zenith"],
            sun["azimuth"],
            parts["dni"],
            ghi,
            parts["dhi"],
            dni_extra=sun["extra"],
            albedo=ALBEDO,
            model="haydavies",
        )
        return np.nan_to_num(np.asarray(plane["poa_global"], dtype=np.float64)).clip(min=0)

    def power(self, cloud: Float, warmth: Float, array: Array) -> Float:
        """Power of an array [T] in kW at the inverter's grid side.

        Parameters
        ----------
        cloud, warmth
            [T] clear-sky index and air temperature in °C.
        array
            Material, place and size.
        """
        plane = self.irradiance(cloud, array)
        cell = pvlib.temperature.faiman(plane, warmth, WIND_M_S)
        water = pvlib.atmosphere.gueymard94_pw(warmth, HUMIDITY)
        factor = pvlib.spectrum.spectral_factor_firstsolar(
            np.clip(water, 0.1, 8.0),
            np.clip(self.sun["mass"], 0.58, 10.0),
            SPECTRUM[array.material],
        )
        direct = pvlib.pvsystem.pvwatts_dc(
            plane * factor, cell, array.kwp, TEMPERATURE[array.material]
        )
        return np.asarray(pvlib.inverter.pvwatts(direct, array.kwp)).clip(min=0)


class Weather(NamedTuple):
    """Made-up truth: clear-sky index [T] and air temperature [T] in °C."""

    cloud: Float
    warmth: Float


def make_weather(sky: Sky, seed: int) -> Weather:
    """Draw the weather under a sky.

    A longer series begins with the shorter one of the same seed: nothing looks ahead.
    """
    count = len(sky.index)
    chain, gust, slow = (np.random.default_rng([seed, 1, k]) for k in range(3))
    leave = 1 - np.exp(-HOURS / _MEAN_STAY)
    overcast = np.cumsum(chain.random(count) < leave) % 2
    level, spread = np.array(_LEVEL)[overcast], np.array(_SPREAD)[overcast]
    # A change of state takes about an hour, as a front does.
    level, spread = (ar1(x, 0.7) for x in (level, spread))
    within = red_noise(gust, count, _GUST_MEMORY)
    cloud = (level + spread * within).clip(0.03, _HIGHEST_INDEX)
    day, hour = sky.sun["day"], sky.index.hour.to_numpy() + sky.index.minute.to_numpy() / 60
    season = 10.5 - 7.5 * np.cos(2 * np.pi * (day - 20) / 365.25)
    daily = -(1.5 + 2.5 * ar1(cloud, 0.98)) * np.cos(2 * np.pi * (hour - 2.5) / 24)
    return Weather(cloud, season + daily + 2.5 * red_noise(slow, count, 36.0))


def load_shape(index: pd.DatetimeIndex, warmth: Float, seed: int) -> Float:
    """Load [T] in arbitrary units: people at work and at home, season, weather, noise."""
    hour = index.hour.to_numpy() + index.minute.to_numpy() / 60
    weekend = index.dayofweek.to_numpy() >= 5
    work = 1 / (1 + np.exp(-(hour - 7.0) / 0.6)) - 1 / (1 + np.exp(-(hour - 17.0) / 0.8))
    evening = np.exp(-(((hour - 19.5) / 2.2) ** 2))
    morning = np.exp(-(((hour - 7.5) / 1.2) ** 2))
    home = 0.45 * evening + 0.15 * morning
    shape = 0.4 + home + np.where(weekend, 0.15, 0.55) * work
    shape += 0.008 * np.maximum(14 - warmth, 0) + 0.012 * np.maximum(warmth - 21, 0)
    fast, slow = (np.random.default_rng([seed, 4, k]) for k in range(2))
    noise = 0.04 * red_noise(fast, len(index), 1.0) + 0.05 * red_noise(slow, len(index), 24.0)
    return np.asarray(shape * np.exp(noise))


def material_effect(
    seed: int = 0, *, days: int = 365, geometry: tuple[float, float] = (35.0, 180.0)
) -> pd.DataFrame:
    """What the material alone does: four arrays in one place under one sky.

    Returns
    -------
    effect
        One row per material and month: energy relative to the mean of the four in that month, and
        the correlation of its power by day with mono-Si's.
    """
    if days < 1:
        raise InputError(f"days is {days}; it must be 1 or more")
    sky = Sky(pd.date_range("2021-01-01", periods=days * DAY, freq="15min", tz="UTC"))
    weather = make_weather(sky, seed)
    power = np.column_stack([sky.power(*weather, Array(m, *geometry)) for m in MATERIALS])
    frame = pd.DataFrame(power, sky.index, list(MATERIALS))
    monthly = frame.groupby(sky.index.month).sum() * HOURS
    relative = monthly.div(monthly.mean(axis=1), axis=0)
    bright = frame.max(axis=1) > 0
    alike = frame[bright].corr()[MATERIALS[0]]
    table = relative.rename_axis("month").reset_index().melt("month", None, "material", "relative")
    return table.assign(correlation=table["material"].map(alike))


@dataclass(frozen=True, eq=False)
class Runs:
    """Forecasts by issue time: run r is made at step RUN r, for the leads 0 .. REACH - 1.

    values [R, REACH, N, V], V variables for each of N series. Whoever decides at step i sees the
    last run made by then and nothing newer.
    """

    variables: tuple[str, ...]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or self.values.shape[1] != REACH:
            raise InputError(
                f"forecast runs have shape {self.values.shape}; they need [R, {REACH}, N, V]"
            )

    def seen(self, issue: Steps) -> NDArray[np.float32]:
        """[I, 96, N, V]: what is known at each issue step about the day that begins with it."""
        run = issue // RUN
        return self.values[run[:, None], (issue - RUN * run)[:, None] + np.arange(DAY)]


def targets(count: int) -> Steps:
    """[R, REACH] step that each lead of each run stands for, held at the last of `count` steps."""
    runs = np.arange(0, count, RUN)
    return (runs[:, None] + np.arange(REACH)).clip(max=count - 1)


def forecast_cloud(cloud: Float, seed: int) -> Float:
    """[R, REACH] forecast clear-sky index: the smoothed truth and an error that grows by lead."""
    kernel = np.ones(_SMOOTH + 1) / (_SMOOTH + 1)
    padded = np.pad(cloud, _SMOOTH // 2, mode="edge")
    smooth = np.convolve(padded, kernel, mode="valid")
    wrong = _lead_errors(len(cloud), _CLOUD_ERROR, _CLOUD_MEMORY, [seed, 2])
    return (smooth[targets(len(cloud))] + wrong).clip(0.03, _HIGHEST_INDEX)


def forecast_warmth(warmth: Float, seed: int) -> Float:
    """[R, REACH] forecast air temperature in °C, likewise."""
    wrong = _lead_errors(len(warmth), _WARMTH_ERROR, _WARMTH_MEMORY, [seed, 3])
    return warmth[targets(len(warmth))] + wrong


def _lead_errors(count: int, size: tuple[float, float], memory: float, seed: list[int]) -> Float:
    """[R, REACH] errors of spread size[0] + size[1] sqrt(lead / 1 d), each run on its own."""
    random = np.random.default_rng(seed)
    runs = len(range(0, count, RUN))
    decay = np.exp(-HOURS / memory)
    noise = random.standard_normal((runs, REACH)) * np.sqrt(1 - decay**2)
    noise[:, 0] /= np.sqrt(1 - decay**2)
    error: Float = lfilter([1.0], [1.0, -decay], noise, axis=1)
    return error * (size[0] + size[1] * np.sqrt(np.arange(REACH) / DAY))


def ar1(x: Float, decay: float) -> Float:
    """[T] first-order smoothing y += (1 - decay) (x - y), from the first value."""
    y, _ = lfilter([1 - decay], [1.0, -decay], x, zi=[decay * x[0]])
    return np.asarray(y)


def red_noise(random: np.random.Generator, count: int, memory: float) -> Float:
    """[T] AR(1) noise of variance one that forgets in `memory` hours."""
    decay = np.exp(-HOURS / memory)
    noise = random.standard_normal(count) * np.sqrt(1 - decay**2)
    noise[0] /= np.sqrt(1 - decay**2)
    return np.asarray(lfilter([1.0], [1.0, -decay], noise))
