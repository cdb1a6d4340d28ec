"""What the rolling-horizon optimiser dispatches: a plant, its tariff, its state and its horizon."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.errors import InputError

Float = NDArray[np.float64]

STEP_H = 0.25
DAY = 96  # steps
AGE = 24  # steps, 6 h: load that was shifted has to be made up for by then

FULL: tuple[int, ...] = (1,) * DAY
BLOCK: tuple[int, ...] = (1,) * 8 + (4,) * 22  # two hours in full, then hours


@dataclass(frozen=True)
class Plant:
    """Battery, flexible load and grid connection of one site.

    Attributes
    ----------
    power_kw, energy_kwh
        Rated power of the battery and largest energy in it.
    lowest_kwh
        Energy that stays in it.
    eta
        Efficiency of one direction.
    leak
        Share of the energy lost in an hour.
    wear
        Degradation cost, EUR per kWh that passes the terminals either way.
    import_kw, export_kw
        Limits of the grid connection.
    cut_share, cut_cost, cut_kwh
        Load that may be cut at most, of the present load; EUR/kWh for it; kWh in a calendar day.
    shift_share, shift_up_kw, shift_cost
        Load that may be put off at most, of the present load; how fast it is made up for; EUR/kWh
        either way.
    backlog_kwh, payback
        Largest backlog; share by which what is made up for exceeds what was put off.

    Raises
    ------
    InputError
        A number is out of its range, or a full backlog could not be made up for in two hours.
    """

    power_kw: float = 100.0
    energy_kwh: float = 200.0
    lowest_kwh: float = 0.0
    eta: float = 0.95
    leak: float = 0.0
    wear: float = 0.02
    import_kw: float = 300.0
    export_kw: float = 300.0
    cut_share: float = 0.1
    cut_cost: float = 0.30
    cut_kwh: float = 50.0
    shift_share: float = 0.15
    shift_up_kw: float = 40.0
    shift_cost: float = 0.01
    backlog_kwh: float = 60.0
    payback: float = 0.1

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise InputError(f"plant {name} is {value}; it must be finite and not negative")
        if not 0 < self.eta <= 1 or not self.lowest_kwh < self.energy_kwh:
            raise InputError(
                f"plant needs 0 < eta <= 1 and lowest_kwh < energy_kwh; they are {self.eta}, "
                f"{self.lowest_kwh}, {self.energy_kwh}"
            )
        if self.cut_share + self.shift_share > 1 or self.leak >= 1:
            raise InputError(
                f"plant: cut_share {self.cut_share} and shift_share {self.shift_share} take more "
                f"than the load, or the leak {self.leak} more than the energy"
            )
        # The block horizon sees two hours in full; a due backlog must fit into them.
        if self.shift_share and self.backlog_kwh * (1 + self.payback) > 2 * self.shift_up_kw:
            raise InputError(
                f"plant: a backlog of {self.backlog_kwh} kWh cannot be made up for in 2 h at "
                f"shift_up_kw {self.shift_up_kw}; raise that or lower backlog_kwh"
            )


class Tariff(NamedTuple):
    """Prices of energy [T] in EUR/kWh from the grid and into it, and EUR/kW of a month's peak."""

    buy: Float
    sell: Float
    demand: float = 0.0


def time_of_use(index: pd.DatetimeIndex, *, sell: float = 0.08, demand: float = 0.0) -> Tariff:
    """The tariff of the study: .12 at night (22-6 h), .32 on weekdays 17-21 h, else .20 EUR/kWh."""
    hour, weekday = index.hour.to_numpy(), index.dayofweek.to_numpy() < 5
    buy = np.where((hour >= 22) | (hour < 6), 0.12, 0.20)
    buy = np.where(weekday & (hour >= 17) & (hour < 21), 0.32, buy)
    return Tariff(buy, np.full(len(index), sell), demand)


class State(NamedTuple):
    """Where the plant stands at the start of a step.

    energy in kWh; due [AGE] backlog in kWh, entry j to be made up for by the end of the j-th step
    from now (0 = the coming one); peak is this month's highest import so far in kW; cut in kWh
    since midnight; clock is the step of the day, 0 .. 95.
    """

    energy: float
    due: tuple[float, ...] = (0.0,) * AGE
    peak: float = 0.0
    cut: float = 0.0
    clock: int = 0


class Outlook(NamedTuple):
    """What may come: PV and load [W, 96] in kW and the weight [W] of each of W scenarios."""

    pv: Float
    load: Float
    weight: Float

    @classmethod
    def certain(cls, pv: Float, load: Float) -> "Outlook":
        """One scenario, PV and load [96]."""
        return cls(pv[None], load[None], np.ones(1))


class Grid(NamedTuple):
    """Blocks of a horizon: first step, number of steps and length in hours of each, [K]."""

    start: NDArray[np.intp]
    sizes: NDArray[np.intp]
    hours: Float

    @classmethod
    def of(cls, blocks: Sequence[int]) -> "Grid":
        """The grid of numbers of steps per block; InputError if one is less than a step."""
        count = np.asarray(blocks, dtype=np.intp)
        if count.ndim != 1 or not len(count) or (count < 1).any() or count[0] != 1:
            raise InputError(f"horizon {tuple(blocks)}: give steps per block, the first of one")
        start = np.cumsum(count) - count
        return cls(start, count, (count * STEP_H).astype(np.float64))

    @property
    def steps(self) -> int:
        """Steps of the whole horizon."""
        return int(self.sizes.sum())

    def mean(self, values: Float) -> Float:
        """[..., K] means over the blocks of values [..., steps]."""
        return np.asarray(np.add.reduceat(values, self.start, axis=-1) / self.sizes)
