"""Unit commitment of the virtual power plant by mixed-integer programs, for the same environment.

The units are those of `optimization.unit_commitment`. With the relative adjustment r of the load as
a variable, and for each of S scenarios its outputs p, reserve up and down, shortage and surplus,

    p_1 + .. + p_7 + up - down + short - over = max(E + base (r + e), 0)
    |r_t - kappa r_(t-1)| <= (1 - kappa) control,   r_t + e_t within +-control
    discomfort r^2 from below by its tangents

and the costs of the environment. One scenario with the day's own demand and inertia is perfect
foresight, a bound on every dispatcher. With several, statuses are decided once for all of them, and
so is the adjustment; the rest with foresight in each: the two-stage day-ahead commitment. One
scenario with the mean demand is what a dispatcher does who believes in means.

Where the demand could reach 0 (the adjustment takes more than there is) a slack variable stands for
the cut, so the objective stays a bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from griddispatch.data.vpp_demand import BASE_KW, INERTIA, PERIODS, DemandDays
from griddispatch.envs.vpp import Action, State, VirtualPowerPlant
from griddispatch.errors import InputError
from griddispatch.optimization.mixed_integer import MixedInteger
from griddispatch.optimization.unit_commitment import Units, add_status

Float = NDArray[np.float64]

_TANGENTS = 33  # of the discomfort; they lie below it by at most 0.05 per period


@dataclass(frozen=True, eq=False)
class Plan:
    """A schedule.

    on [12, 7] statuses (0 or 1); adjustment [12] of the load, relative; load [12] the load actions
    that make it at the inertia of the program; cost [S] of the scenarios; objective and a lower
    bound of its optimum; seconds of the solver.
    """

    on: Float
    adjustment: Float
    load: Float
    cost: Float
    objective: float
    bound: float
    seconds: float


def foresight(
    env: VirtualPowerPlant,
    days: Sequence[int],
    *,
    move_load: bool = True,
    gap: float = 3e-4,
    seconds: float = np.inf,
) -> list[Plan]:
    """Perfect foresight: one plan for each of the days, places in ``env.days``.

    move_load is whether load actions are part of it, gap is relative, seconds the limit of a day.

    Raises
    ------
    InputError
        There is no such day, the plant has no recourse, or HiGHS finds no solution.
    """
    if not len(days) or not all(0 <= day < len(env.days) for day in days):
        raise InputError(f"days: give at least one of 0 .. {len(env.days) - 1}")
    demand, kappa = env.days.demand_kw, env.days.kappa
    return [
        solve(
            env,
            demand[day : day + 1],
            float(kappa[day]),
            move_load=move_load,
            gap=gap,
            seconds=seconds,
        )
        for day in days
    ]


def mean_plan(env: VirtualPowerPlant, known: DemandDays, *, move_load: bool = True) -> Plan:
    """Day-ahead schedule for the mean demand of the days that are known.

    Raises
    ------
    InputError
        The plant has no recourse.
    """
    return solve(env, known.demand_kw.mean(0, keepdims=True), move_load=move_load)


def scenario_plan(
    env: VirtualPowerPlant,
    known: DemandDays,
    *,
    move_load: bool = True,
    gap: float = 2e-3,
    seconds: float = np.inf,
) -> Plan:
    """Day-ahead schedule that is best in the mean over the days that are known.

    Raises
    ------
    InputError
        The plant has no recourse, or HiGHS finds no solution.
    """
    return solve(env, known.demand_kw, move_load=move_load, gap=gap, seconds=seconds)


def solve(
    env: VirtualPowerPlant,
    demand_kw: ArrayLike,
    kappa: float = sum(INERTIA) / 2,
    *,
    move_load: bool = True,
    gap: float = 3e-4,
    seconds: float = np.inf,
) -> Plan:
    """Best statuses and adjustment for the scenarios demand_kw [S, 12] of the demand in kW.

    Raises
    ------
    InputError
        A shape is wrong, kappa lies outside [0, 1), the plant has no recourse, or HiGHS finds no
        solution.
    """
    free = np.asarray(demand_kw, dtype=np.float64)
    if free.ndim != 2 or free.shape[1] != PERIODS or not free.size or not 0 <= kappa < 1:
        raise InputError(
            f"scenarios have shape {free.shape}, kappa is {kappa}; give [S, {PERIODS}] and [0, 1)"
        )
    plant = env.plant
    if not plant.recourse:
        raise InputError("the optimum is modelled for plants with recourse; take preset repaired")
    scenarios, n = len(free), plant.units
    shape, many = (scenarios, PERIODS), (scenarios, PERIODS, n)
    program = MixedInteger()
    full = np.array(plant.power_kw)
    starting = np.full(1, plant.start_cost)
    units = Units(
        minimum=plant.minimum * full,
        maximum=full,
        min_up=np.array(plant.min_up),
        min_down=np.array(plant.min_down),
        held=np.full(1, -max(plant.min_up + plant.min_down)),
        hot=starting,
        cold=starting,
    )
    status = add_status(program, units, PERIODS)
    running = program.variables((1,), cost=1.0)
    program.sums([(plant.running_cost, status.on), (-1.0, running)], 0, 0)

    each = 1 / scenarios
    power = program.variables(many, cost=each * np.array(plant.unit_cost))
    program.rows([(1, power), (-units.minimum, status.on)], low=0)
    program.rows([(1, power), (-full, status.on)], high=0)
    up = program.variables(shape, high=plant.reserve_kw, cost=each * plant.reserve_up)
    down = program.variables(shape, high=plant.reserve_kw, cost=each * plant.reserve_down)
    short = program.variables(shape, cost=each * plant.shortage)
    over = program.variables(shape, cost=each * plant.surplus)

    response = env.response.double().cpu().numpy()
    at_prices = free + BASE_KW * response
    low, high = -plant.control - np.minimum(response, 0), plant.control - np.maximum(response, 0)
    r = program.variables((PERIODS,), low * move_load, high * move_load)
    reach = (1 - kappa) * plant.control
    program.rows([(1, r[:1])], -reach, reach)
    program.rows([(1, r[1:]), (-kappa, r[:-1])], -reach, reach)
    cut = program.variables(shape, high=np.clip(BASE_KW * plant.control - at_prices, 0, None))
    program.rows(
        [
            *((1, power[:, :, k]) for k in range(n)),
            (1, up),
            (-1, down),
            (1, short),
            (-1, over),
            (-1, cut),
            (-BASE_KW, r),
        ],
        at_prices,
        at_prices,
    )
    taken = program.variables((1,), cost=plant.shed_cost)
    program.sums([(1.0, taken), (BASE_KW, r)], 0, np.inf)
    discomfort = program.variables((PERIODS,), cost=plant.discomfort)
    beyond = program.variables((PERIODS,), cost=plant.comfort_cost * BASE_KW)
    for sign in (1, -1):
        program.rows([(1, beyond), (-sign, r)], low=-plant.comfort_free)

    def tangents(at: Float) -> None:
        program.rows([(1, discomfort), (-2 * at, r)], low=-(at**2))

    for share in np.linspace(-plant.control, plant.control, _TANGENTS):
        tangents(np.full(PERIODS, share))
    answer = program.minimise(gap=gap, seconds=seconds)
    x = answer.value
    on, adjustment = np.round(x[status.on]), x[r]
    common = (
        x[running[0]]
        + plant.start_cost * x[status.start].sum()
        + plant.shed_cost * x[taken[0]]
        + plant.discomfort * (adjustment**2).sum()
        + plant.comfort_cost * BASE_KW @ x[beyond]
    )
    each_cost = (
        (x[power] @ np.array(plant.unit_cost)).sum(1)
        + plant.reserve_up * x[up].sum(1)
        + plant.reserve_down * x[down].sum(1)
        + plant.shortage * x[short].sum(1)
        + plant.surplus * x[over].sum(1)
    )
    before = np.concatenate([[0.0], adjustment[:-1]])
    return Plan(
        on=on,
        adjustment=adjustment,
        load=np.clip((adjustment - kappa * before) / reach, -1, 1) if reach > 0 else before * 0,
        cost=common + each_cost,
        objective=float((common + each_cost).mean()),
        bound=answer.bound,
        seconds=answer.seconds,
    )


class Replay:
    """Plays schedules on [D, 12, 7] and load [D, 12], one for each day of the environment, or one.

    Raises
    ------
    InputError
        The shapes do not fit.
    """

    def __init__(self, on: Float, load: Float) -> None:
        if on.ndim != 3 or load.shape != on.shape[:2] or on.shape[1] != PERIODS:
            raise InputError(
                f"schedules have shapes {on.shape}, {load.shape}; give [D, {PERIODS}, units] and "
                f"[D, {PERIODS}]"
            )
        self.on, self.load = on, load

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> "Replay":
        """The plans of all days in order, or one plan for all."""
        return cls(np.stack([p.on for p in plans]), np.stack([p.load for p in plans]))

    def act(self, env: VirtualPowerPlant, state: State) -> Action:
        """Status and load action of this period."""
        if len(self.on) not in (1, len(env.days)):
            raise InputError(
                f"there are schedules for {len(self.on)} days, the environment has "
                f"{len(env.days)}; give one for each, or one for all"
            )
        rows = state.day.cpu().numpy() if len(self.on) > 1 else np.zeros(len(state.day), np.intp)
        on, load = (
            torch.as_tensor(x[rows, state.t], device=env.device).to(env.dtype)
            for x in (self.on, self.load)
        )
        return Action(on, load)
