"""Unit commitment: which units run when, as rows of a mixed-integer program.

With the status u_t (0 or 1), start v_t and stop w_t of a unit in step t,

    u_t - u_(t-1) = v_t - w_t
    sum_{s = t - min_up + 1 .. t} v_s <= u_t,    sum_{s = t - min_down + 1 .. t} w_s <= 1 - u_t
    minimum u_t <= p_t <= maximum u_t
    p_t - p_(t-1) <= ramp_up u_(t-1) + start_ramp v_t
    p_(t-1) - p_t <= ramp_down u_t + stop_ramp w_t
    start cost = cold v_t - (cold - hot) h_t,   h_t <= v_t,
    h_t <= sum of the stops that lie min_down .. cold_after steps back

(Rajan and Takriti, "Minimum up/down polytopes of the unit commitment problem with start-up costs",
2005, for the second line; Morales-Espana, Latorre and Ramos, "Tight and compact MILP formulation
for the thermal unit commitment problem", 2013, for the last). v, w and h need not be declared
integers: the rows make them so where u is one.

The microgrid's CHP is one such unit. `ten_units` is the classic system of Kazarlis, Bakirtzis and
Petridis, "A genetic algorithm solution to the unit commitment problem", 1996. The optimum of its 24
hours, 563 938 $ (Viana and Pedroso, "A new MILP-based approach for unit commitment in power
production planning", 2013), is the check of these rows.
"""

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from griddispatch.errors import InputError
from griddispatch.optimization.mixed_integer import Columns, MixedInteger

Float = NDArray[np.float64]

TEN_UNIT_OPTIMUM = 563_938.0  # $, as the literature has it
_TANGENTS = 12  # of the fuel cost of a unit in the first round
_ROUNDS = 12


def _none() -> Float:
    return np.zeros(1)


def _free() -> Float:
    return np.full(1, np.inf)


@dataclass(frozen=True, eq=False)
class Units:
    """N thermal units; every field is [N], or [1] for all of them.

    Attributes
    ----------
    minimum, maximum
        Power when on.
    min_up, min_down
        Steps.
    held, power
        Steps for which the status has been held before the first step, > 0 on, < 0 off; power then.
    hot, cold, cold_after
        Cost of a start; `cold` after more than `cold_after` steps off.
    ramp_up, ramp_down, start_ramp, stop_ramp
        Per step; inf for none.
    fixed, linear, quadratic
        Fuel cost per step, fixed u + linear p + quadratic p^2.

    Raises
    ------
    InputError
        A field is NaN, minimum exceeds maximum, a minimum time is below 1, or `held` is 0.
    """

    minimum: Float
    maximum: Float
    min_up: Float
    min_down: Float
    held: Float
    power: Float = field(default_factory=_none)
    hot: Float = field(default_factory=_none)
    cold: Float = field(default_factory=_none)
    cold_after: Float = field(default_factory=_none)
    ramp_up: Float = field(default_factory=_free)
    ramp_down: Float = field(default_factory=_free)
    start_ramp: Float = field(default_factory=_free)
    stop_ramp: Float = field(default_factory=_free)
    fixed: Float = field(default_factory=_none)
    linear: Float = field(default_factory=_none)
    quadratic: Float = field(default_factory=_none)

    def __post_init__(self) -> None:
        n = len(np.atleast_1d(self.minimum))
        for each in fields(self):
            value = np.array(np.broadcast_to(getattr(self, each.name), n), dtype=np.float64)
            if np.isnan(value).any():
                raise InputError(f"units: {each.name} holds a value that is not a number")
            object.__setattr__(self, each.name, value)
        if (self.minimum > self.maximum).any() or (self.minimum < 0).any():
            raise InputError("units: needs 0 <= minimum <= maximum")
        if (self.min_up < 1).any() or (self.min_down < 1).any() or (self.held == 0).any():
            raise InputError("units: needs min_up, min_down >= 1 and held not 0 (-1: just stopped)")

    def __len__(self) -> int:
        return len(self.minimum)


class Status(NamedTuple):
    """Columns [T, N] of status, start and stop."""

    on: Columns
    start: Columns
    stop: Columns


def add_status(program: MixedInteger, units: Units, steps: int) -> Status:
    """Add status, minimum times and start costs of the units over `steps`."""
    shape = (steps, len(units))
    low, high = np.zeros(shape), np.ones(shape)
    for n, held in enumerate(units.held):
        least = units.min_up[n] if held > 0 else units.min_down[n]
        locked = int(max(least - abs(held), 0))
        low[:locked, n] = high[:locked, n] = held > 0
    before = (units.held > 0).astype(np.float64)
    on = program.variables(shape, low, high, integer=True)
    start = program.variables(shape, 0, 1, cost=units.cold)
    stop = program.variables(shape, 0, 1)
    program.rows([(1, on[0]), (-1, start[0]), (1, stop[0])], before, before)
    program.rows([(1, on[1:]), (-1, on[:-1]), (-1, start[1:]), (1, stop[1:])], 0, 0)
    for n in range(len(units)):
        for t in range(steps):
            up = start[max(0, t - int(units.min_up[n]) + 1) : t + 1, n]
            program.sums([(1, up), (-1, on[t : t + 1, n])], -np.inf, 0)
            down = stop[max(0, t - int(units.min_down[n]) + 1) : t + 1, n]
            program.sums([(1, down), (1, on[t : t + 1, n])], -np.inf, 1)
    for n in np.flatnonzero(units.cold > units.hot).tolist():
        hot = program.variables((steps,), 0, 1, cost=units.hot[n] - units.cold[n])
        program.rows([(1, hot), (-1, start[:, n])], high=0)
        first, last = int(units.min_down[n]), int(units.cold_after[n])
        for t in range(steps):
            stops = stop[max(0, t - last) : max(0, t - first + 1), n]
            recent = units.held[n] < 0 and first <= t - units.held[n] <= last
            program.sums([(1, hot[t : t + 1]), (-1, stops)], -np.inf, float(recent))
    return Status(on, start, stop)


def add_power(program: MixedInteger, units: Units, status: Status) -> Columns:
    """Add the power [T, N] of the units with its limits and ramps; several may share a status."""
    on, start, stop = status
    power = program.variables(on.shape)
    program.rows([(1, power), (-units.minimum, on)], low=0)
    program.rows([(1, power), (-units.maximum, on)], high=0)
    before = (units.held > 0).astype(np.float64)
    for sign, ramp, jump, change in (
        (1, units.ramp_up, units.start_ramp, start),
        (-1, units.ramp_down, units.stop_ramp, stop),
    ):
        some = np.flatnonzero(np.isfinite(ramp) | np.isfinite(jump))
        # A ramp above the maximum is none; the finite number keeps the rows finite.
        r, j = (np.minimum(x, units.maximum)[some] for x in (ramp, jump))
        p, u, c = power[:, some], on[:, some], change[:, some]
        steady = u[:-1] if sign > 0 else u[1:]
        program.rows([(sign, p[1:]), (-sign, p[:-1]), (-r, steady), (-j, c[1:])], high=0)
        first = sign * units.power[some]
        if sign > 0:
            program.rows([(1, p[0]), (-j, c[0])], high=first + r * before[some])
        else:
            program.rows([(-1, p[0]), (-r, u[0]), (-j, c[0])], high=first)
    return power


class Committed(NamedTuple):
    """A commitment: on [T, N] (0 or 1), power [T, N], cost, a lower bound of the optimum."""

    on: Float
    power: Float
    cost: float
    bound: float
    seconds: float


def commit(
    units: Units,
    demand: ArrayLike,
    reserve: ArrayLike = 0.0,
    *,
    gap: float = 1e-5,
    seconds: float = np.inf,
) -> Committed:
    """Cheapest commitment of units that meet a demand.

    A quadratic fuel cost is replaced by its tangents; each round adds those at the powers just
    found, until cost and bound differ by less than the gap.

    Parameters
    ----------
    units
        N of them.
    demand, reserve
        [T] power to be met, and what the units that are on must be able to give above it.
    gap
        Relative, between cost and bound.
    seconds
        Limit for one program.

    Raises
    ------
    InputError
        Demand or reserve is not finite, or the units cannot meet them.
    """
    need = np.atleast_1d(np.asarray(demand, dtype=np.float64))
    spare = np.broadcast_to(np.asarray(reserve, dtype=np.float64), need.shape)
    if need.ndim != 1 or not np.isfinite(need).all() or not np.isfinite(spare).all():
        raise InputError("demand and reserve: give one finite number per step")
    program = MixedInteger()
    status = add_status(program, units, len(need))
    power = add_power(program, units, status)
    fuel = program.variables(power.shape, cost=1.0)
    one = np.ones(len(units))
    for t in range(len(need)):
        program.sums([(one, power[t])], need[t], need[t])
        program.sums([(units.maximum, status.on[t])], need[t] + spare[t], np.inf)

    def tangents(at: Float) -> None:
        slope, rest = units.linear + 2 * units.quadratic * at, units.fixed - units.quadratic * at**2
        program.rows([(1, fuel), (-slope, power), (-rest, status.on)], low=0)

    curved = (units.quadratic > 0).any()
    for share in np.linspace(0, 1, _TANGENTS) if curved else [0.5]:
        tangents(units.minimum + share * (units.maximum - units.minimum))
    spent, best, bound = 0.0, None, -np.inf
    for _ in range(_ROUNDS):
        answer = program.minimise(gap=gap / 2, seconds=seconds)
        on, p = np.round(answer.value[status.on]), answer.value[power]
        burnt = (units.fixed * on + units.linear * p + units.quadratic * p**2).sum()
        cost = float(answer.objective - answer.value[fuel].sum() + burnt)
        spent, bound = spent + answer.seconds, max(bound, answer.bound)
        if best is None or cost < best.cost:
            best = Committed(on, p, cost, bound, spent)
        best = best._replace(bound=bound, seconds=spent)
        if not curved or best.cost - bound <= gap * abs(best.cost):
            break
        tangents(p)
    assert best is not None
    return best


def ten_units() -> tuple[Units, Float, Float]:
    """The ten units of Kazarlis et al. (1996), their demand [24] in MW and 10 % of it as reserve.

    The limits of cold starts are min_down plus the cold-start hours of the table.
    """
    down = np.array([8, 8, 5, 5, 6, 3, 3, 1, 1, 1.0])
    hot = np.array([4500, 5000, 550, 560, 900, 170, 260, 30, 30, 30.0])
    units = Units(
        minimum=np.array([150, 150, 20, 20, 25, 20, 25, 10, 10, 10.0]),
        maximum=np.array([455, 455, 130, 130, 162, 80, 85, 55, 55, 55.0]),
        min_up=down,
        min_down=down,
        held=np.array([8, 8, -5, -5, -6, -3, -3, -1, -1, -1.0]),
        hot=hot,
        cold=2 * hot,
        cold_after=down + np.array([5, 5, 4, 4, 4, 2, 2, 0, 0, 0]),
        fixed=np.array([1000, 970, 700, 680, 450, 370, 480, 660, 665, 670.0]),
        linear=np.array([16.19, 17.26, 16.6, 16.5, 19.7, 22.26, 27.74, 25.92, 27.27, 27.79]),
        quadratic=1e-5 * np.array([48, 31, 200, 211, 398, 712, 79, 413, 222, 173]),
    )
    morning = [700, 750, 850, 950, 1000, 1100, 1150, 1200, 1300, 1400, 1450, 1500]
    evening = [1400, 1300, 1200, 1050, 1000, 1100, 1200, 1400, 1300, 1100, 900, 800]
    demand = np.array(morning + evening, dtype=np.float64)
    return units, demand, 0.1 * demand
