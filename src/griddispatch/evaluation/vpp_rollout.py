"""Let a dispatcher of the virtual power plant play days: costs, balance, displayed reward."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from griddispatch.envs.vpp import BALANCED_KW, COSTS, Action, Outcome, State, VirtualPowerPlant
from griddispatch.envs.vpp_reward import clipped, displayed
from griddispatch.risk_measures import cvar

Float = NDArray[np.float64]

ALPHA = 0.9  # CVaR10: the mean of the worst tenth of the days


class Dispatcher(Protocol):
    """What `play` can run: actions for a batch of states, asked for periods in order."""

    def act(self, env: VirtualPowerPlant, state: State) -> Action:
        """Commitment [B, 7] and load action [B] of the coming period."""
        ...


class DayResults(NamedTuple):
    """How a dispatcher did on B days.

    cost [B] in currency; parts [B, 7] of it, in the order of `envs.vpp.COSTS`; period_cost [B, 12];
    balanced [B] share of periods within +-1 kW; reward [B] displayed, in [-3000, 0]; clipped [B]
    share of periods that its cap hides; violations [B]; shortage_kwh, surplus_kwh [B]; starts [B];
    moved_kwh [B] sum of what the load actions moved in either direction; net_kwh [B] of what they
    added less what they took; largest [B] relative adjustment.
    """

    cost: Float
    parts: Float
    period_cost: Float
    balanced: Float
    reward: Float
    clipped: Float
    violations: Float
    shortage_kwh: Float
    surplus_kwh: Float
    starts: Float
    moved_kwh: Float
    net_kwh: Float
    largest: Float


class Summary(NamedTuple):
    """Means per day, CVaR10 and largest cost; balanced and clipped are shares of periods."""

    mean: float
    cvar10: float
    largest: float
    balanced: float
    reward: float
    clipped: float
    violations: float
    shortage_kwh: float
    surplus_kwh: float
    starts: float


@torch.no_grad()
def play(
    env: VirtualPowerPlant,
    dispatcher: Dispatcher,
    start: State | None = None,
    watch: Callable[[Outcome], None] | None = None,
) -> DayResults:
    """Play a day in every row of `start`, by default all days of the environment once.

    `watch` is called with every outcome, for a figure of the day.
    """
    state = env.reset() if start is None else start
    seen: list[Outcome] = []
    while state.t < env.steps:
        state, _, outcome = env.step(state, dispatcher.act(env, state))
        seen.append(outcome)
        if watch is not None:
            watch(outcome)

    def over(name: str) -> Float:
        """[B, 12, ...] of a field."""
        return torch.stack([getattr(o, name) for o in seen], 1).double().cpu().numpy()

    cost, cap = over("cost"), env.plant.display_cap
    shortage, surplus, adjustment = over("shortage_kw"), over("surplus_kw"), over("adjustment")
    moved = adjustment * env.base_kw.double().cpu().numpy()[-len(seen) :]
    return DayResults(
        cost=cost.sum(1),
        parts=np.stack([over(name).sum(1) for name in COSTS], 1),
        period_cost=cost,
        balanced=(np.abs(shortage - surplus) <= BALANCED_KW).mean(1),
        reward=displayed(cost, cap).sum(1),
        clipped=clipped(cost, cap).mean(1),
        violations=over("violations").sum(1),
        shortage_kwh=shortage.sum(1),
        surplus_kwh=surplus.sum(1),
        starts=over("started").sum((1, 2)),
        moved_kwh=np.abs(moved).sum(1),
        net_kwh=moved.sum(1),
        largest=np.abs(adjustment).max(1),
    )


def summarise(results: DayResults) -> Summary:
    """Statistics over the days."""
    return Summary(
        mean=float(results.cost.mean()),
        cvar10=float(cvar(results.cost, ALPHA)),
        largest=float(results.cost.max()),
        balanced=float(results.balanced.mean()),
        reward=float(results.reward.mean()),
        clipped=float(results.clipped.mean()),
        violations=float(results.violations.mean()),
        shortage_kwh=float(results.shortage_kwh.mean()),
        surplus_kwh=float(results.surplus_kwh.mean()),
        starts=float(results.starts.mean()),
    )
