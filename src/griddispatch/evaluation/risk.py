"""Let a dispatcher of the microgrid play days; mean, VaR, CVaR and the frontier between them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.envs.microgrid import Microgrid, Outcome, State
from griddispatch.errors import InputError
from griddispatch.risk_measures import ALPHA, cvar, risk_objective, value_at_risk

Float = NDArray[np.float64]
LAMBDAS = (0.0, 0.1, 0.3, 0.6, 0.9)


class Dispatcher(Protocol):
    """What `play` can run: set-points for a batch of states."""

    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] battery in kW, CHP in kW, status of the CHP."""
        ...


class DayResults(NamedTuple):
    """How a dispatcher did on B days; every field is [B].

    cost in EUR; violations counts set-points outside their intervals, lost load and heat and
    voltages outside the band; lost_kwh, lost_heat_kwh, import_kwh, chp_kwh, curtailed_kwh over the
    day; starts of the CHP; cycles of the battery, discharged energy over its size.
    """

    cost: Float
    violations: Float
    lost_kwh: Float
    lost_heat_kwh: Float
    import_kwh: Float
    chp_kwh: Float
    curtailed_kwh: Float
    starts: Float
    cycles: Float


class Summary(NamedTuple):
    """Statistics of days in EUR per day; violations, starts and cycles per day, lost in kWh."""

    mean: float
    var95: float
    cvar95: float
    largest: float
    violations: float
    lost_kwh: float
    starts: float
    cycles: float


@torch.no_grad()
def play(
    env: Microgrid,
    dispatcher: Dispatcher,
    start: State | None = None,
    watch: Callable[[Outcome], None] | None = None,
) -> DayResults:
    """Play a day in every row of `start`, by default all days of the environment once.

    `watch` is called with every outcome, for a figure of the day.
    """
    state = env.reset() if start is None else start
    battery, hours = env.plant.battery, env.plant.step_hours
    total = torch.zeros(len(DayResults._fields), len(state.day), dtype=torch.float64)
    while state.t < env.steps:
        state, _, outcome = env.step(state, dispatcher.act(env, state))
        if watch is not None:
            watch(outcome)
        power = outcome.setpoint
        discharged = (-power[:, 0]).clamp(min=0) / (battery.eta_discharge * battery.energy_kwh)
        energies = [
            outcome.lost_kw,
            outcome.lost_heat_kw,
            outcome.import_kw,
            power[:, 1],
            outcome.curtailed_kw,
        ]
        rows = [
            outcome.cost,
            outcome.violations.to(power.dtype),
            *(e * hours for e in energies),
            outcome.started,
            discharged * hours,
        ]
        total += torch.stack(rows).double().cpu()
    return DayResults(*total.numpy())


def summarise(results: DayResults, alpha: float = ALPHA) -> Summary:
    """Statistics over the days."""
    return Summary(
        mean=float(results.cost.mean()),
        var95=float(value_at_risk(results.cost, alpha)),
        cvar95=float(cvar(results.cost, alpha)),
        largest=float(results.cost.max()),
        violations=float(results.violations.mean()),
        lost_kwh=float((results.lost_kwh + results.lost_heat_kwh).mean()),
        starts=float(results.starts.mean()),
        cycles=float(results.cycles.mean()),
    )


class Choice(NamedTuple):
    """The candidate with the smallest J at a weight: its place, its J, mean and CVaR."""

    weight: float
    candidate: int
    objective: float
    mean: float
    cvar: float


def frontier(
    costs: Float, weights: Sequence[float] = LAMBDAS, alpha: float = ALPHA
) -> tuple[Choice, ...]:
    """For each weight the candidate whose J is smallest; costs [N, D] of N candidates on D days.

    The days must be training or validation ones: the candidates are chosen on them.

    Raises
    ------
    InputError
        The costs are not [N, D] finite numbers, or a weight lies outside [0, 1].
    """
    x = np.asarray(costs, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        raise InputError(f"frontier: costs have shape {x.shape}; give [candidates, days]")
    tails = cvar(x, alpha)
    chosen = []
    for weight in weights:
        objective = risk_objective(x, weight, alpha)
        best = int(objective.argmin())
        chosen.append(
            Choice(
                weight,
                best,
                float(objective[best]),
                float(x[best].mean()),
                float(tails[best]),
            )
        )
    return tuple(chosen)
