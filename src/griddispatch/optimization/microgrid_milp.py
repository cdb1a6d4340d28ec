"""Optimal dispatch of the microgrid by mixed-integer programs, for the same environment.

The CHP is one unit of `optimization.unit_commitment`. For each of S scenarios, with charging c and
discharging d of the battery (p = c - d), z = 1 where it charges,

    c <= P z,  d <= P (1 - z),   c_t <= c_(t-1) + ramp,  d_t <= d_(t-1) + ramp
    e_t = e_(t-1) + dt (eta_c c - d / eta_d)
    import + lost - export - curtailed + chp - c + d = load - pv - wind
    ratio chp + boiler + lost heat >= heat

and the cost C_s of the environment. The objective is

    (1 - lambda) mean C_s + lambda (eta + mean (C_s - eta)+ / (1 - alpha))

(Rockafellar and Uryasev, "Optimization of conditional value-at-risk", 2000). A schedule of one
scenario is perfect foresight, a bound on every dispatcher. With several, the status of the CHP is
decided once for all of them and the rest with foresight in each: a two-stage program, whose
status schedule is a plan for unknown days.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.envs.microgrid import Microgrid, State
from griddispatch.errors import InputError
from griddispatch.optimization.mixed_integer import MixedInteger
from griddispatch.optimization.unit_commitment import Units, add_power, add_status

Float = NDArray[np.float64]

_BOTH_KW = 1e-6  # charging and discharging at once by more than this is no rounding


@dataclass(frozen=True, eq=False)
class Plan:
    """Schedules of S scenarios over T steps.

    setpoint [S, T, 3] for `Microgrid.step`; cost [S] in EUR; objective and a lower bound of its
    optimum; seconds of the solver.
    """

    setpoint: Float
    cost: Float
    objective: float
    bound: float
    seconds: float


def foresight(
    env: Microgrid, days: Sequence[int], *, gap: float = 3e-4, seconds: float = np.inf
) -> list[Plan]:
    """Perfect foresight: one plan for each of the days, places in ``env.days``.

    gap is relative, seconds the limit of a day.

    Raises
    ------
    InputError
        There is no such day, the plant is not one that is modelled, or HiGHS finds no solution.
    """
    _check(env, days)
    plans = []
    for day in days:
        state = env.reset(torch.tensor([day], device=env.device))
        plans.append(solve(env, state, _known(env, [day]), gap=gap, seconds=seconds))
    return plans


def scenario_plan(
    env: Microgrid,
    days: Sequence[int],
    weight: float,
    alpha: float,
    *,
    gap: float = 1e-3,
    seconds: float = np.inf,
) -> Plan:
    """One status schedule of the CHP for all the days, best for their mean and CVaR.

    weight is lambda, alpha the confidence. The battery's direction is not forced to be one at a
    time, so the objective is a bound of the two-stage program, and the battery powers are none to
    replay. Play the status with `agents.microgrid_rules.Scheduled`.

    Raises
    ------
    InputError
        As of `foresight`, or weight or alpha is out of range.
    """
    _check(env, days)
    if not 0 <= weight <= 1 or not 0 < alpha < 1:
        raise InputError(f"needs weight in [0, 1], alpha in (0, 1); they are {weight}, {alpha}")
    state = env.reset(torch.tensor([days[0]], device=env.device))
    return solve(
        env,
        state,
        _known(env, days),
        weight=weight,
        alpha=alpha,
        one_way=False,
        gap=gap,
        seconds=seconds,
    )


def _check(env: Microgrid, days: Sequence[int]) -> None:
    plant, highest = env.plant, env.days.price.max()
    if not len(days) or not all(0 <= day < len(env.days) for day in days):
        raise InputError(f"days: give at least one of 0 .. {len(env.days) - 1}")
    if not plant.commitment or plant.battery.ramp_both:
        raise InputError(
            "the optimum is modelled for plants with a commitment of their own; take the preset "
            "rec or as_printed_prices"
        )
    if plant.lost_load_eur <= highest:
        raise InputError(
            f"lost_load_eur is {plant.lost_load_eur}, a price {highest:.3f} EUR/kWh; lost load "
            "must cost more, or it pays to shed it"
        )


def _known(env: Microgrid, days: Sequence[int]) -> Float:
    """[S, T, 6] what happens on the days."""
    return env.exogenous[:, torch.as_tensor(list(days))].transpose(0, 1).double().cpu().numpy()


def solve(
    env: Microgrid,
    state: State,
    ahead: Float,
    *,
    weight: float = 0.0,
    alpha: float = 0.0,
    one_way: bool = True,
    gap: float = 3e-4,
    seconds: float = np.inf,
) -> Plan:
    """Best schedules from a state [1] on for scenarios `ahead` [S, T, 6] of what happens.

    T is at most the number of steps that are left. one_way is whether a binary variable keeps the
    battery from charging and discharging at once.

    Raises
    ------
    InputError
        The shapes do not fit, or HiGHS finds no solution.
    """
    S, T = ahead.shape[:2]
    if len(state.day) != 1 or ahead.shape[2] != 6 or not 1 <= T <= env.steps - state.t:
        raise InputError(
            f"scenarios have shape {ahead.shape}, the state {len(state.day)} rows; give [S, T, 6] "
            f"with T <= {env.steps - state.t}, and one row"
        )
    plant, battery, chp = env.plant, env.plant.battery, env.plant.chp
    pv, wind, load, heat, price, limit = np.moveaxis(ahead, 2, 0)
    hours, billed, shape = plant.step_hours, plant.billed_hours, (S, T)
    energy, power, running = (
        float(x[0]) for x in (state.energy_kwh, state.battery_kw, state.chp_kw)
    )
    program = MixedInteger()
    units = Units(
        minimum=np.array([chp.minimum_kw]),
        maximum=np.array([chp.power_kw]),
        min_up=np.array([chp.min_up]),
        min_down=np.array([chp.min_down]),
        held=np.array([int(state.held[0]) * (1 if bool(state.on[0]) else -1)]),
        power=np.array([running]),
        ramp_up=np.array([chp.ramp_kw]),
        ramp_down=np.array([chp.ramp_kw]),
        start_ramp=np.array([chp.start_kw]),
        stop_ramp=np.array([chp.stop_kw]),
    )
    status = add_status(program, units, T)
    p = np.stack([add_power(program, units, status)[:, 0] for _ in range(S)])

    charge = program.variables(shape, high=battery.power_kw)
    discharge = program.variables(shape, high=battery.power_kw)
    for flow, before in ((charge, max(power, 0.0)), (discharge, max(-power, 0.0))):
        program.rows([(1, flow[:, 0])], high=before + battery.ramp_kw)
        program.rows([(1, flow[:, 1:]), (-1, flow[:, :-1])], high=battery.ramp_kw)
    if one_way:
        way = program.variables(shape, 0, 1)
        program.rows([(1, charge), (-battery.power_kw, way)], high=0)
        program.rows([(1, discharge), (battery.power_kw, way)], high=battery.power_kw)
    stored = program.variables(
        shape, battery.soc_min * battery.energy_kwh, battery.soc_max * battery.energy_kwh
    )
    gained, given = battery.eta_charge * hours, hours / battery.eta_discharge
    flows = [(1, stored), (-gained, charge), (given, discharge)]
    program.rows([(w, c[:, 0]) for w, c in flows], energy, energy)
    program.rows([*((w, c[:, 1:]) for w, c in flows), (-1, stored[:, :-1])], 0, 0)

    drawn, lost = program.variables(shape, high=limit), program.variables(shape)
    sold = program.variables(shape, high=plant.export_kw)
    curtailed = program.variables(shape, high=pv + wind)
    net = load - pv - wind
    program.rows(
        [(1, drawn), (1, lost), (-1, sold), (-1, curtailed), (1, p), (-1, charge), (1, discharge)],
        net,
        net,
    )
    boiler, cold = program.variables(shape, high=plant.boiler_kw), program.variables(shape)
    program.rows([(chp.heat_ratio, p), (1, boiler), (1, cold)], low=heat)

    cost = program.variables((S,), -np.inf, cost=(1 - weight) / S)
    ends = state.t + T == env.steps
    for s in range(S):
        parts = [
            (price[s] * billed, drawn[s]),
            (-plant.export_eur * billed, sold[s]),
            (plant.gas_eur / chp.eta * billed, p[s]),
            (plant.gas_eur / plant.boiler_eta * billed, boiler[s]),
            (plant.lost_load_eur * billed, lost[s]),
            (plant.lost_heat_eur * billed, cold[s]),
            (chp.start_eur, status.start[:, 0]),
            (-plant.end_value_eur, stored[s, -1:]),
            (-1.0, cost[s : s + 1]),
        ]
        # A horizon that stops earlier values the battery in the same way, but owes nothing for it.
        known = plant.end_value_eur * battery.soc_initial * battery.energy_kwh * ends
        program.sums(parts, -known, -known)
    if weight > 0:
        threshold = program.variables((1,), -np.inf, cost=weight)
        beyond = program.variables((S,), cost=weight / (S * (1 - alpha)))
        program.rows([(1, beyond), (-1, cost), (1, threshold)], low=0)
    answer = program.minimise(gap=gap, seconds=seconds)
    x, spent, directed = answer.value, answer.seconds, np.zeros(shape, dtype=np.bool_)
    while one_way:
        both = (np.minimum(x[charge], x[discharge]) > _BOTH_KW) & ~directed
        if not both.any():
            break
        directed |= both
        program.make_integer(way[both])
        answer = program.minimise(gap=gap, seconds=seconds)
        x, spent = answer.value, spent + answer.seconds
    on = np.broadcast_to(np.round(x[status.on[:, 0]]), shape)
    return Plan(
        setpoint=np.stack([x[charge] - x[discharge], x[p], on], -1),
        cost=x[cost],
        objective=answer.objective,
        bound=answer.bound,
        seconds=spent,
    )


class Replay:
    """Plays schedules [D, T, 3] that were found before, in the order of the environment's days."""

    def __init__(self, setpoint: Float) -> None:
        self.setpoint = setpoint

    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] the set-points of this step."""
        if len(self.setpoint) != len(env.days):
            raise InputError(
                f"there are schedules for {len(self.setpoint)} days, the environment has "
                f"{len(env.days)}"
            )
        return torch.as_tensor(self.setpoint[state.day.cpu().numpy(), state.t]).to(env.exogenous)
