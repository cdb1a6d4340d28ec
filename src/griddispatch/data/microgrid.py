"""Days of the microgrid: weather, loads, prices and outages, drawn once and shared by all.

Nothing is measured. Synthetic base days have the published ingredients (PV a half-sine with noise,
wind a random walk, load with two peaks, heat). Clearness and wind of a day share a latent factor,
so that dark days are calm. The library's own augmentation (`data.augmentation`, Gaussian mixtures
and a copula) is fitted to them and draws every day that is played; wind stands in it as a second
PV channel, heat as a second load.

Import price and limit have events of their own,

    price = base x time-of-use x spike,  import limit = full, or derated

Each hour without an event starts one with a fixed probability; it lasts a whole number of hours.
The time-of-use factor is 0.7 at night (22-6 h), 1.4 in the evening (17-21 h), 1 otherwise.

Day k of a split is a function of (seed, split, k): it is the same whether 10 or 2000 are drawn.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from griddispatch.data.augmentation import Model, fit
from griddispatch.data.series import Days
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Split = Literal["train", "validation", "test"]

QUANTITIES = ("pv", "wind", "load", "heat", "price", "import_kw")
PV_KW, WIND_KW, LOAD_KW, HEAT_KW = (0.0, 60.0), (0.0, 40.0), (5.0, 100.0), (10.0, 150.0)
HOURS = 24
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_BASE_DAYS, _BASE_SEED = 200, 20_26
_EVENTS = 7  # names the random stream of the events
_H = np.arange(HOURS) + 0.5
_SUN = np.clip(np.sin(np.pi * (_H - 6) / 12), 0, None)
_LOAD = 36 + 25 * np.exp(-(((_H - 8) / 2) ** 2)) + 42 * np.exp(-(((_H - 19) / 2.5) ** 2))
_HEAT = 62 + 28 * np.exp(-(((_H - 7) / 2.5) ** 2)) + 20 * np.exp(-(((_H - 20) / 3) ** 2))
_TIME_OF_USE = np.where((_H < 6) | (_H > 22), 0.7, np.where((_H > 17) & (_H < 21), 1.4, 1.0))


@dataclass(frozen=True)
class Scenario:
    """What days are drawn from.

    Attributes
    ----------
    price_eur
        Base import price in EUR/kWh.
    spike_rate, spike_factor, spike_hours
        Probability per hour that a price spike begins; ends of its uniform factor; shortest and
        longest duration.
    derating_rate, derated_kw, derating_hours
        The same for a derating of the import limit, and what is left of it.
    import_kw
        The full limit.
    heat_sigma
        Standard deviation of the logarithm of a day's heat load.

    Raises
    ------
    InputError
        A probability lies outside [0, 1], or another value outside its range.
    """

    price_eur: float = 0.15
    spike_rate: float = 0.01
    spike_factor: tuple[float, float] = (5.0, 8.0)
    spike_hours: tuple[int, int] = (1, 3)
    derating_rate: float = 0.002
    derated_kw: float = 40.0
    derating_hours: tuple[int, int] = (1, 3)
    import_kw: float = 100.0
    heat_sigma: float = 0.15

    def __post_init__(self) -> None:
        for name in ("spike_rate", "derating_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"scenario: {name} is {getattr(self, name)}; give 0 .. 1")
        for name in ("spike_factor", "spike_hours", "derating_hours"):
            low, high = getattr(self, name)
            if not 1 <= low <= high < np.inf:
                raise InputError(f"scenario: {name} is {low}, {high}; needs 1 <= low <= high")
        for name in ("price_eur", "derated_kw", "import_kw", "heat_sigma"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError(f"scenario: {name} is {getattr(self, name)}; give 0 or more")
        if self.derated_kw > self.import_kw:
            raise InputError(
                f"scenario: derated_kw {self.derated_kw} must not exceed import_kw {self.import_kw}"
            )


SCENARIOS = {
    "rec": Scenario(),
    "as_printed_prices": Scenario(spike_rate=0.02, derating_rate=0.01),
    "as_published": Scenario(spike_rate=0.0, derating_rate=0.0),
}


@dataclass(frozen=True, eq=False)
class MicrogridDays:
    """D days of T equal steps, each array [D, T].

    pv, wind, load, heat in kW, price of imports in EUR/kWh, import_kw the limit of imports.

    Raises
    ------
    InputError
        An array has another shape than pv, or a value is negative or not finite.
    """

    pv: Float
    wind: Float
    load: Float
    heat: Float
    price: Float
    import_kw: Float

    def __post_init__(self) -> None:
        for name in QUANTITIES:
            values = getattr(self, name)
            if values.ndim != 2 or values.shape != self.pv.shape or not values.size:
                raise InputError(
                    f"days: {name} has shape {values.shape}, pv {self.pv.shape}; give [days, steps]"
                )
            bad = np.argwhere(~(np.isfinite(values) & (values >= 0)))
            if len(bad):
                day, step = (int(i) for i in bad[0])
                raise InputError(
                    f"days: {name} is {values[day, step]} on day {day}, step {step}; give a finite "
                    "number, 0 or more"
                )

    def __len__(self) -> int:
        return len(self.pv)

    @property
    def steps(self) -> int:
        """T."""
        return self.pv.shape[1]

    def take(self, rows: slice | list[int]) -> "MicrogridDays":
        """Some of the days."""
        return MicrogridDays(*(getattr(self, f.name)[rows] for f in fields(self)))


def draw_days(
    count: int,
    seed: int,
    split: Split,
    *,
    scenario: str | Scenario = "rec",
    steps: int = 96,
) -> MicrogridDays:
    """Draw days.

    Parameters
    ----------
    count, seed, split
        How many, of which seed, for which purpose. No two splits share a random stream.
    scenario
        A name of `SCENARIOS`, or one of your own.
    steps
        Per day, a multiple of 24. Between the middles of the hours, weather and loads are
        interpolated linearly; price and limit hold for whole hours.

    Raises
    ------
    InputError
        The split or the scenario is unknown, or a number is out of range.
    """
    if split not in _SPLITS:
        raise InputError(f"no split {split!r}; take one of {', '.join(_SPLITS)}")
    if isinstance(scenario, str):
        if scenario not in SCENARIOS:
            raise InputError(f"no scenario {scenario!r}; take one of {', '.join(SCENARIOS)}")
        scenario = SCENARIOS[scenario]
    if count < 1 or seed < 0 or steps < HOURS or steps % HOURS:
        raise InputError(
            "days: needs count >= 1, seed >= 0 and steps a multiple of 24; they are "
            f"{count}, {seed}, {steps}"
        )
    own = len(_SPLITS) * seed + _SPLITS.index(split)
    drawn = weather_model(scenario.heat_sigma).sample(count, own)
    per_hour = steps // HOURS
    at = (np.arange(steps) + 0.5) / per_hour

    def course(hourly: Float, limits: tuple[float, float]) -> Float:
        rows = np.stack([np.interp(at, _H, row) for row in hourly])
        # To the watt: sums of another length differ in their last bits.
        return np.round(np.clip(rows, *limits), 3)

    spike, limit = np.ones((count, HOURS)), np.full((count, HOURS), scenario.import_kw)
    for k in range(count):
        rng = np.random.default_rng((own, _EVENTS, k))
        for start, end in _events(rng, scenario.spike_rate, scenario.spike_hours):
            spike[k, start:end] = rng.uniform(*scenario.spike_factor)
        for start, end in _events(rng, scenario.derating_rate, scenario.derating_hours):
            limit[k, start:end] = scenario.derated_kw
    return MicrogridDays(
        pv=course(drawn.pv[:, :, 0], PV_KW),
        wind=course(drawn.pv[:, :, 1], WIND_KW),
        load=course(drawn.load[:, :, 0], LOAD_KW),
        heat=course(drawn.load[:, :, 1], HEAT_KW),
        price=np.repeat(scenario.price_eur * _TIME_OF_USE * spike, per_hour, axis=1),
        import_kw=np.repeat(limit, per_hour, axis=1),
    )


def _events(rng: np.random.Generator, rate: float, hours: tuple[int, int]) -> list[tuple[int, int]]:
    """First hour, and hour after the last, of the events of a day."""
    # All numbers are drawn, used or not: the day of one rate is the day of another plus events.
    starts, lengths = rng.random(HOURS) < rate, rng.integers(hours[0], hours[1] + 1, HOURS)
    found, free = [], 0
    for hour in np.flatnonzero(starts):
        if hour >= free:
            free = int(hour + lengths[hour])
            found.append((int(hour), min(free, HOURS)))
    return found


@lru_cache(maxsize=8)
def weather_model(heat_sigma: float = 0.15) -> Model:
    """The augmentation model of weather and loads, fitted to the base days; hourly.

    Node 1 holds PV and electric load, node 2 wind and heat load, all in kW.
    """
    pv, wind, load, heat = base_days(heat_sigma)
    shape = (len(pv), HOURS, 2)
    days = Days(
        dates=tuple(f"base {k + 1:04d}" for k in range(len(pv))),
        nodes=(1, 2),
        load=np.stack([load, heat], 2),
        pv=np.stack([pv, wind], 2),
        reactive=np.zeros(shape),
        price=np.zeros(shape[:2]),
        step_hours=24 / HOURS,
    )
    return fit(days, components=2)


def base_days(heat_sigma: float = 0.15) -> tuple[Float, Float, Float, Float]:
    """PV, wind, electric load and heat load of the base days, [200, 24] in kW each."""
    rng = np.random.default_rng(_BASE_SEED)
    n = _BASE_DAYS
    weather = rng.standard_normal((n, 1))  # low: dark and calm
    own = rng.standard_normal((n, 4))
    clear = 1 / (1 + np.exp(-(0.2 + 0.9 * weather + 0.5 * own[:, :1])))
    pv = 60 * clear * _SUN * np.exp(0.15 * rng.standard_normal((n, HOURS)))
    level = 1 / (1 + np.exp(-(-0.7 + 0.8 * weather + 0.5 * own[:, 1:2])))
    walk = np.cumsum(0.08 * rng.standard_normal((n, HOURS)), axis=1)
    wind = 40 * np.clip(level + walk - walk.mean(1, keepdims=True), 0, 1)
    noise = rng.standard_normal((2, n, HOURS))
    load = _LOAD * np.exp(0.12 * own[:, 2:3] + 0.08 * noise[0])
    heat = _HEAT * np.exp(heat_sigma * own[:, 3:] + 0.05 * noise[1])
    return (
        np.clip(pv, *PV_KW),
        np.clip(wind, *WIND_KW),
        np.clip(load, *LOAD_KW),
        np.clip(heat, *HEAT_KW),
    )
