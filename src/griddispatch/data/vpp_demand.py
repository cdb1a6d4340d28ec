"""Demand of the virtual power plant's customers: days, day types, events, and shifts of all these.

Two models of the demand without control, in kW over 12 periods of one hour. As published,

    E_t = base_t (1 + w_t + v_t) + e_t

with weather w an AR(1) process, events v of +-30 % in single periods, noise e. It is almost an
AR(1) process itself: a world model has nothing to find. With day types, the repaired model,

    E_t = base_t (1 + m) (1 + A s_{kind,t}) (1 + w_t + v_t) + e_t

a day has a hidden kind (normal, heat, holiday, industrial) with its own profile s and its own
spread of the weather, an amplitude A ~ U(.7, 1.3), and events last 2.5 periods on average. The mean
shift m acts in both models.

Customers answer prices by an elasticity matrix (own -.2 .. -.4, cross .01 .. .02). With prices .3
(high) and .1, the relative deviation of the expected price from .2 is P_high - .5.

Day k is a function of (seed, part, k). A `Shift` changes what is made of its random numbers, never
the numbers: the same seed under two shifts gives paired days.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from griddispatch.errors import InputError

Float = NDArray[np.float64]
Part = Literal["train", "validation", "test"]
Model = Literal["day types", "published"]

PERIODS = 12
BASE_KW = np.array([12, 10, 12, 18, 25, 30, 32, 30, 28, 25, 20, 15], dtype=np.float64)
KINDS = ("normal", "heat", "holiday", "industrial")
KIND_SHARE = (0.4, 0.2, 0.2, 0.2)
# Relative to the base, in the twelve periods; at most 30 %, and without effect on the mean day.
PROFILES = np.array(
    [
        [0.0, 0.0, -0.05, -0.065, -0.075, -0.085, -0.09, -0.075, -0.065, -0.06, -0.05, -0.025],
        [0.05, 0.05, 0.05, 0.08, 0.15, 0.22, 0.28, 0.30, 0.28, 0.22, 0.15, 0.10],
        [0.10, 0.05, -0.05, -0.20, -0.30, -0.30, -0.25, -0.25, -0.15, 0.05, 0.15, 0.15],
        [-0.15, -0.10, 0.10, 0.25, 0.30, 0.25, 0.15, 0.10, 0.0, -0.15, -0.20, -0.20],
    ]
)
WEATHER_SD = (0.04, 0.07, 0.03, 0.05)  # by kind; stationary, relative
WEATHER_MEMORY = 0.8  # autocorrelation of the weather from period to period
AMPLITUDE = (0.7, 1.3)
NOISE_KW, NOISE_LIMIT_KW = 1.0, 3.75
EVENT_SIZE, EVENT_PERIODS = 0.3, 2.5
PUBLISHED_WEATHER_SD, PUBLISHED_NOISE_KW = 0.08, 2.0
INERTIA = (0.4, 0.6)  # kappa of the customers
OWN_ELASTICITY, CROSS_ELASTICITY = (-0.4, -0.2), (0.01, 0.02)

_PARTS: tuple[Part, ...] = ("train", "validation", "test")
_ELASTICITY_SEED = 180


@dataclass(frozen=True)
class Shift:
    """How days differ from those of training.

    Attributes
    ----------
    sigma
        Factor of the spread of weather and noise.
    mean
        Relative change of the mean demand.
    events
        Probability that an event begins in a period in which none is running.

    Raises
    ------
    InputError
        A value lies outside its range.
    """

    sigma: float = 1.0
    mean: float = 0.0
    events: float = 0.08

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < np.inf or not -1 < self.mean < np.inf or not 0 <= self.events <= 1:
            raise InputError(
                "shift: needs sigma >= 0, mean > -1 and events in [0, 1]; they are "
                f"{self.sigma}, {self.mean}, {self.events}"
            )


SHIFTS = {
    "nominal": Shift(),
    "sigma x1.5": Shift(sigma=1.5),
    "sigma x2": Shift(sigma=2.0),
    "mean +10 %": Shift(mean=0.1),
    "mean +20 %": Shift(mean=0.2),
    "events 20 %": Shift(events=0.2),
    "combined": Shift(sigma=2.0, mean=0.1, events=0.2),
}


@dataclass(frozen=True, eq=False)
class DemandDays:
    """D days of 12 periods.

    Attributes
    ----------
    demand_kw
        [D, 12] demand without control and at prices without effect.
    kappa
        [D] inertia of the customers on that day, hidden from every dispatcher.
    kind
        [D] place in `KINDS`; 0 throughout in the published model.
    event
        [D, 12] relative size of a running event, 0 for none.

    Raises
    ------
    InputError
        A shape does not fit, or a value is negative or not finite.
    """

    demand_kw: Float
    kappa: Float
    kind: NDArray[np.int64]
    event: Float

    def __post_init__(self) -> None:
        days = len(self.demand_kw)
        for name, shape in (
            ("demand_kw", (days, PERIODS)),
            ("kappa", (days,)),
            ("kind", (days,)),
            ("event", (days, PERIODS)),
        ):
            values = getattr(self, name)
            if values.shape != shape or not days or not np.isfinite(values).all():
                raise InputError(
                    f"days: {name} has shape {values.shape}; give {shape}, all finite numbers"
                )
        if self.demand_kw.min() < 0 or self.kappa.min() < 0 or self.kappa.max() >= 1:
            raise InputError("days: needs demand_kw >= 0 and kappa in [0, 1)")

    def __len__(self) -> int:
        return len(self.demand_kw)

    @property
    def relative(self) -> Float:
        """[D, 12] demand over base load less one: what world models are fitted to."""
        return self.demand_kw / BASE_KW - 1

    def take(self, rows: slice | list[int]) -> "DemandDays":
        """Some of the days."""
        return DemandDays(self.demand_kw[rows], self.kappa[rows], self.kind[rows], self.event[rows])


def joined(parts: Sequence[DemandDays]) -> DemandDays:
    """All days of the parts in order, such as of several shifts for domain randomisation."""
    return DemandDays(
        *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(DemandDays))
    )


def draw_days(
    count: int,
    seed: int,
    part: Part,
    *,
    shift: str | Shift = "nominal",
    model: Model = "day types",
) -> DemandDays:
    """Draw days.

    Parameters
    ----------
    count, seed, part
        How many, of which seed, for which purpose. No two parts share a random stream.
    shift
        A name of `SHIFTS`, or one of your own.
    model
        "day types" (the repaired one) or "published".

    Raises
    ------
    InputError
        A name is unknown, or a number is out of range.
    """
    if part not in _PARTS:
        raise InputError(f"no part {part!r}; take one of {', '.join(_PARTS)}")
    if model not in ("day types", "published"):
        raise InputError(f"no model {model!r}; take 'day types' or 'published'")
    if count < 1 or seed < 0:
        raise InputError(f"days: needs count >= 1 and seed >= 0; they are {count}, {seed}")
    normals, uniforms = _numbers(count, seed, part)
    return make_days(normals, uniforms, shift=shift_named(shift), model=model)


def shift_named(shift: str | Shift) -> Shift:
    """The shift of that name, or the shift itself.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if isinstance(shift, Shift):
        return shift
    if shift not in SHIFTS:
        raise InputError(f"no shift {shift!r}; take one of {', '.join(SHIFTS)}")
    return SHIFTS[shift]


def make_days(normals: Float, uniforms: Float, *, shift: Shift, model: Model) -> DemandDays:
    """Days from random numbers: standard normals [D, 2, 12] and uniforms [D, 4, 12].

    The normals are those of weather and noise. The first three rows of the uniforms are those of an
    event's beginning, end and sign; of the last, three numbers are kind, amplitude and inertia.
    """
    own = uniforms[:, 3]
    published = model == "published"
    kind = np.zeros(len(own), dtype=np.int64)
    profile, sd = np.zeros((len(own), PERIODS)), np.full(len(own), PUBLISHED_WEATHER_SD)
    if not published:
        kind = np.searchsorted(np.cumsum(KIND_SHARE)[:-1], own[:, 0], side="right")
        amplitude = AMPLITUDE[0] + (AMPLITUDE[1] - AMPLITUDE[0]) * own[:, 1]
        profile, sd = amplitude[:, None] * PROFILES[kind], np.array(WEATHER_SD)[kind]
    weather = np.empty_like(profile)
    fresh = (1 - WEATHER_MEMORY**2) ** 0.5
    for t in range(PERIODS):
        new = normals[:, 0, t]
        weather[:, t] = new if t == 0 else WEATHER_MEMORY * weather[:, t - 1] + fresh * new
    event = _events(uniforms, shift.events, 1.0 if published else EVENT_PERIODS)
    noise = (PUBLISHED_NOISE_KW if published else NOISE_KW) * normals[:, 1]
    noise = shift.sigma * np.clip(noise, -NOISE_LIMIT_KW, NOISE_LIMIT_KW)
    relative = 1 + shift.sigma * sd[:, None] * weather + event
    demand = BASE_KW * (1 + shift.mean) * (1 + profile) * relative + noise
    return DemandDays(
        demand_kw=np.clip(demand, 0, None),
        kappa=INERTIA[0] + (INERTIA[1] - INERTIA[0]) * own[:, 2],
        kind=kind.astype(np.int64),
        event=event,
    )


def _numbers(count: int, seed: int, part: Part) -> tuple[Float, Float]:
    own = len(_PARTS) * seed + _PARTS.index(part)
    normals, uniforms = np.empty((count, 2, PERIODS)), np.empty((count, 4, PERIODS))
    for k in range(count):
        rng = np.random.default_rng((own, k))
        normals[k], uniforms[k] = rng.standard_normal((2, PERIODS)), rng.random((4, PERIODS))
    return normals, uniforms


def _events(uniforms: Float, rate: float, periods: float) -> Float:
    """[D, 12] relative size of the events; their length is geometric with that mean."""
    event = np.zeros((len(uniforms), PERIODS))
    running = np.zeros(len(uniforms))
    for t in range(PERIODS):
        begins, ends, sign = uniforms[:, 0, t], uniforms[:, 1, t], uniforms[:, 2, t]
        running = np.where(ends < 1 / periods, 0.0, running)
        size = np.where(sign < 0.5, -EVENT_SIZE, EVENT_SIZE)
        running = np.where((running == 0) & (begins < rate), size, running)
        event[:, t] = running
    return event


@lru_cache(maxsize=1)
def elasticity() -> Float:
    """[12, 12] change of demand in a period (row) by the relative price of another (column)."""
    rng = np.random.default_rng(_ELASTICITY_SEED)
    matrix = rng.uniform(*CROSS_ELASTICITY, (PERIODS, PERIODS))
    np.fill_diagonal(matrix, rng.uniform(*OWN_ELASTICITY, PERIODS))
    return matrix


def price_response(p_high: ArrayLike) -> Float:
    """[12] relative change of demand for the probabilities [12] of the high price.

    Raises
    ------
    InputError
        There are not 12 of them, or one lies outside [0, 1].
    """
    given = np.asarray(p_high, dtype=np.float64)
    if given.shape != (PERIODS,) or not ((given >= 0) & (given <= 1)).all():
        raise InputError(f"p_high: give {PERIODS} probabilities in [0, 1]; it is {given.tolist()}")
    return elasticity() @ (given - 0.5)
