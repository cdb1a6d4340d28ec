"""The virtual power plant: seven units, fast reserve, controlled load, and what everything costs.

One period is one hour. Unit n is off, or gives minimum P_n .. P_n at cost c_n per kWh; while it is
on it also costs no_load c_n P_n per hour, without which it would never pay to switch one off.
A status is held at least min_up or min_down periods. Fast reserve moves the sum of the units by
+-reserve_kw after the demand is known. Costs are in the currency of the source.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from griddispatch.errors import InputError


@dataclass(frozen=True)
class Plant:
    """Units, reserve, controlled load and prices of deviations.

    Attributes
    ----------
    power_kw, unit_cost, min_up, min_down
        Of the N units: kW, currency per kWh, periods, periods.
    minimum
        Least output of a running unit over its power.
    start_cost, no_load
        Currency per start; share of c P that a running unit costs per hour whatever it gives.
    reserve_kw, reserve_up, reserve_down
        Limit of the fast reserve in both directions; currency per kWh in each.
    shortage, surplus
        Currency per kWh of what is still missing or left over.
    control
        Largest relative change of the base load, by load actions and prices together.
    shed_cost
        Currency per kWh that the load actions took away in sum over the day.
    discomfort
        Currency per period times the square of the relative adjustment.
    comfort_free, comfort_cost
        Adjustment without discomfort, and currency per kWh beyond it: the published rule.
    recourse
        Whether outputs follow the demand once it is known; else they are part of the action.
    published_signs
        Whether starting and running enter the reward with a plus sign, as in the public code.
    display_cap
        Cost of a period at which the displayed reward saturates.

    Raises
    ------
    InputError
        A value lies outside its range, or the units' fields differ in length.
    """

    power_kw: tuple[float, ...] = (13.5, 10.75, 6.83, 5.34, 2.87, 8.7, 10.9)
    unit_cost: tuple[float, ...] = (80.0, 90.0, 110.0, 105.0, 120.0, 95.0, 92.0)
    min_up: tuple[int, ...] = (2, 3, 2, 4, 2, 3, 3)
    min_down: tuple[int, ...] = (1, 2, 1, 3, 1, 2, 2)
    minimum: float = 0.4
    start_cost: float = 180.0
    no_load: float = 0.1
    reserve_kw: float = 3.0
    reserve_up: float = 130.0
    reserve_down: float = 40.0
    shortage: float = 1000.0
    surplus: float = 100.0
    control: float = 0.4
    shed_cost: float = 95.0
    discomfort: float = 300.0
    comfort_free: float = 0.0
    comfort_cost: float = 0.0
    recourse: bool = True
    published_signs: bool = False
    display_cap: float = 12_000.0

    def __post_init__(self) -> None:
        units = len(self.power_kw)
        for each in fields(self):
            value: Any = getattr(self, each.name)
            if isinstance(value, tuple) and len(value) != units:
                raise InputError(f"plant: {each.name} has {len(value)} units, power_kw {units}")
            if not (np.isfinite(value).all() and np.min(value) >= 0):
                raise InputError(f"plant: {each.name} is {value}; give finite numbers, 0 or more")
        if not units or min(self.power_kw) <= 0 or self.minimum > 1 or self.control >= 1:
            raise InputError("plant: needs units with power_kw > 0, minimum <= 1 and control < 1")
        if min(self.min_up + self.min_down) < 1 or self.display_cap <= 0:
            raise InputError("plant: needs min_up, min_down >= 1 and display_cap > 0")

    @property
    def units(self) -> int:
        """N."""
        return len(self.power_kw)

    @cached_property
    def merit_order(self) -> tuple[int, ...]:
        """Places of the units by cost, the cheapest first."""
        return tuple(int(n) for n in np.argsort(self.unit_cost, kind="stable"))

    @property
    def running_cost(self) -> NDArray[np.float64]:
        """[N] currency per hour for being on, whatever the output."""
        return self.no_load * np.array(self.unit_cost) * np.array(self.power_kw)


def preset(name: str = "repaired") -> Plant:
    """A plant: "repaired" (the default) or "as_published".

    "as_published": running units cost nothing but their energy, shed load costs nothing up to 30 %,
    outputs are set before the demand is known. Signs are kept right; `published_signs` is a flag.

    Raises
    ------
    InputError
        There is no such preset.
    """
    if name == "repaired":
        return Plant()
    if name == "as_published":
        return replace(
            Plant(),
            no_load=0.0,
            shed_cost=0.0,
            discomfort=0.0,
            comfort_free=0.3,
            comfort_cost=100.0,
            recourse=False,
        )
    raise InputError(f"no preset {name!r}; take repaired or as_published")
