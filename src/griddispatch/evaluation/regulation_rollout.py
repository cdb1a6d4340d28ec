"""Let a dispatcher of frequency regulation play hours, and say how it did."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.agents.regulation_networks import Dispatcher
from griddispatch.envs.regulation import TOLERANCE, Outcome, Regulation, State
from griddispatch.envs.regulation_hours import DECISIONS
from griddispatch.evaluation.regulation import mileage, performance_score, useful_mileage

Float = NDArray[np.float64]


class Trace(NamedTuple):
    """What happened in B hours.

    command [B, 1800] in MW, power, setpoint, excess, low, high: power [B, 1800, R] delivered,
    setpoint, excess [B, 900, R] in MW, energy [B, 901, S] in MWh ahead of the dead time, cost
    [B, 900] in $, error [B, 900] in MW, reward [B, 900].
    """

    command: Float
    power: Float
    setpoint: Float
    excess: Float
    energy: Float
    cost: Float
    error: Float
    reward: Float


class Result(NamedTuple):
    """How a dispatcher did in H hours; every field is [H].

    total, correlation, delay, precision are the parts of PJM's score. l1 is the mean of |sum power
    - command| in units of the capacity, objective J = l1 + w * mean cost per decision (minus the
    mean reward). mileage and useful are those of the total power in units of the capacity, cost is
    in $, both per hour. violations counts set-points outside their limits by more than 1e-6 of
    the resource's range, per 1000 set-points, excess adds them up in MW s; both are taken before
    any clipping. energy_error is the mean over the storages of |energy at the end - at the start|
    as a share of the range at the end.
    """

    total: Float
    correlation: Float
    delay: Float
    precision: Float
    l1: Float
    objective: Float
    mileage: Float
    useful: Float
    cost: Float
    violations: Float
    excess: Float
    energy_error: Float


@torch.no_grad()
def play(env: Regulation, dispatcher: Dispatcher, start: State | None = None) -> Trace:
    """Play an hour in every row of `start`, by default all hours of the environment once."""
    state = env.reset() if start is None else start
    outcomes: list[Outcome] = []
    energy, rewards = [state.energy], []
    while state.t < DECISIONS:
        state, reward, outcome = env.step(state, dispatcher.act(env, state))
        outcomes.append(outcome)
        rewards.append(reward)
        energy.append(state.energy)

    def joined(values: list[Tensor]) -> Float:
        return torch.stack(values, 1).double().cpu().numpy()

    return Trace(
        command=joined([o.command for o in outcomes]).reshape(len(state.hour), -1),
        power=joined([o.power for o in outcomes]).reshape(len(state.hour), -1, env.n_actions),
        setpoint=joined([o.setpoint for o in outcomes]),
        excess=joined([o.excess for o in outcomes]),
        energy=joined(energy),
        cost=joined([o.cost for o in outcomes]),
        error=joined([o.error for o in outcomes]),
        reward=joined(rewards),
    )


def judge(env: Regulation, trace: Trace, hour: Tensor | None = None) -> Result:
    """How well the hours of a trace went; `hour` [B] says which they are, by default all in order.

    The planned charging is taken off command and power before they are scored.
    """
    schedule = env.schedule if hour is None else env.schedule[hour]
    planned = schedule.sum(1, keepdim=True).double().cpu().numpy()
    u = (trace.command - planned) / env.capacity_mw
    y = (trace.power.sum(2) - planned) / env.capacity_mw
    score = performance_score(u, y)
    power = env.constants.power.double().cpu().numpy()
    outside = trace.excess > TOLERANCE * 2 * power
    window = env.window_table
    at = slice(None) if hour is None else hour.cpu()
    width = (window.full - window.empty)[-1].double().cpu().numpy()[at]
    moved = np.abs(trace.energy[:, -1] - trace.energy[:, 0])
    return Result(
        *score,
        l1=trace.error.mean(1) / env.capacity_mw,
        objective=-trace.reward.mean(1),
        mileage=mileage(y),
        useful=useful_mileage(u, y),
        cost=trace.cost.sum(1),
        violations=1000 * outside.mean((1, 2)),
        excess=trace.excess.sum((1, 2)) * 4.0,
        energy_error=(moved / width).mean(1),
    )
