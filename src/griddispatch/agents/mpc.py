"""Rolling-horizon dispatch of the batteries on a feeder: the linear program anew at every step.

At step t of a day the policy knows prices and net loads up to t, and of the rest of the day

- "day-ahead": the prices, as wherever a market clears before delivery;
- "history": a forecast of them from the present price and those of the day before;
- "now": a forecast from the present price alone.

The net loads of the rest of the day are forecast in each case. A forecast is the mean profile of
the training days plus the deviations that are known, each with a slope that depends on the lead.

The program of the batteries is that of `optimization.arbitrage`; what leaves the voltage band
costs as in the environment, with voltages from a power flow at the forecast loads and linear in the
powers of the batteries. The first step of the plan is applied.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from griddispatch.assets.storage import Storage
from griddispatch.envs.feeder import VOLTAGE_BAND, Feeder, State
from griddispatch.envs.observations import Prices
from griddispatch.errors import InputError
from griddispatch.grid.power_flow import solve
from griddispatch.optimization.arbitrage import Limits, batteries, minimise, parameters

Float = NDArray[np.float64]

_MILLE = 1e3  # voltages in thousandths of a p.u., so that no coefficient is tiny
_PROBE_KW = 1.0  # half the step of the central differences


@dataclass(frozen=True)
class Deviations:
    """Forecast of a quantity from its profile [S, ...] and slopes [S leads, number of inputs]."""

    profile: Float
    slopes: Float

    def ahead(self, t: int, *inputs: Float) -> Float:
        """[S - t, ...] of the steps from t on; inputs are deviations that broadcast to them."""
        left = len(self.profile) - t
        made = self.profile[t:].copy()
        for slope, known in zip(self.slopes[:left].T, inputs, strict=True):
            made += slope.reshape(-1, *[1] * (made.ndim - 1)) * known
        return made


@dataclass(frozen=True)
class MPCPolicy:
    """A policy for `evaluate`; `MPCPolicy.fit` makes it from training days.

    Attributes
    ----------
    information
        What is known of the prices; see above.
    price, price_now
        Forecast from the present price and the day before, and from the present price alone.
    net_load
        Forecast of every node, [S, N] kW.
    reactive
        [S, N] mean reactive load in kvar.
    slope
        [S, K, M] change of the K penalised voltages in p.u. per kW of each battery.
    margin
        p.u. by which the plan stays inside the voltage band: tangents see too little under-voltage,
        and a forecast is no promise.
    """

    information: Prices
    price: Deviations
    price_now: Deviations
    net_load: Deviations
    reactive: Float
    slope: Float
    margin: float = 0.0

    @classmethod
    def fit(
        cls, training: Feeder, information: Prices = "day-ahead", margin: float = 0.0
    ) -> "MPCPolicy":
        """Fit the forecasts on the days of a feeder, and the slopes at their mean loads.

        Raises
        ------
        InputError
            The information is unknown, the margin leaves no band, prices are paid for something
            else than the batteries' power, or there are several topologies.
        """
        if information not in ("now", "history", "day-ahead"):
            raise InputError(
                f"unknown price information {information!r}; there are now, history, day-ahead"
            )
        if not 0 <= margin < VOLTAGE_BAND:
            raise InputError(f"margin is {margin} p.u.; take one from 0 to below {VOLTAGE_BAND}")
        if training.settlement != "battery":
            raise InputError("the plan is for settlement='battery', the printed reward")
        days = training.days
        price, load = np.asarray(days.price), np.asarray(days.net_load)
        before = np.asarray(days.price_before) - price.mean(0)
        wrong = price - price.mean(0)
        return cls(
            information=information,
            price=Deviations(price.mean(0), _slopes(wrong[..., None], before[..., None])),
            price_now=Deviations(price.mean(0), _slopes(wrong[..., None])),
            net_load=Deviations(load.mean(0), _slopes(load - load.mean(0))),
            reactive=np.asarray(days.reactive).mean(0),
            slope=_sensitivity(training, load.mean(0), np.asarray(days.reactive).mean(0)),
            margin=margin,
        )

    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] the first step of each day's plan, as an action.

        Raises
        ------
        InputError
            The episodes stand at different steps, or the power flow has no solution.
        """
        steps = state.t.unique()
        if len(steps) != 1:
            raise InputError("the episodes stand at different steps; play whole days together")
        t = int(steps)
        loads = np.stack([self.loads(feeder, int(day), t) for day in state.day])
        level = _magnitude(feeder, loads, self.reactive[t:])
        power = np.stack(
            [
                self._plan(feeder, self.prices(feeder, int(day), t), voltage, soc.numpy(), t)[0]
                for day, voltage, soc in zip(
                    state.day, level, state.soc.double().cpu(), strict=True
                )
            ]
        )
        return torch.as_tensor(power).to(state.soc) / feeder.storage.limits(state.soc).power_kw

    def prices(self, feeder: Feeder, day: int, t: int) -> Float:
        """[S - t] EUR/MWh from step t on: the known ones, and the forecast of the others."""
        true = np.asarray(feeder.days.price[day])
        if self.information == "day-ahead":
            return true[t:]
        profile = self.price.profile
        now = true[t] - profile[t]
        if self.information == "now":
            made = self.price_now.ahead(t, np.asarray(now))
        else:
            before = np.asarray(feeder.days.price_before)[day] - profile
            made = self.price.ahead(t, np.asarray(now), before[t:])
        made[0] = true[t]
        return made

    def loads(self, feeder: Feeder, day: int, t: int) -> Float:
        """[S - t, N] net load in kW from step t on; that of step t is measured."""
        now = feeder.net_load[day, t].double().cpu().numpy()
        made = self.net_load.ahead(t, now - self.net_load.profile[t])
        made[0] = now
        return made

    def _plan(self, feeder: Feeder, price: Float, level: Float, soc: Float, t: int) -> Float:
        """[S - t, M] powers in kW; level [S - t, K] are the voltages with idle batteries."""
        storage = feeder.storage
        program = batteries(_charged(storage, soc), price, feeder.hours, "free")
        if feeder.end_soc == "initial":
            end = program.bounds.reshape(3, len(storage), len(price), 2)[2, :, -1]
            end[:] = parameters(storage)["soc_initial"][:, None]
        return program.power(minimise(program, self._limits(feeder, program.width, level, t))[0])

    def _limits(self, feeder: Feeder, width: int, level: Float, t: int) -> Limits:
        """What leaves the band at the steps and nodes that the batteries could bring out of it."""
        rated, band = parameters(feeder.storage)["power_kw"], VOLTAGE_BAND - self.margin
        slope = self.slope[t:]
        step, node = np.nonzero(np.abs(1 - level) + 1.5 * np.abs(slope) @ rated > band)
        count, m = len(step), len(rated)
        column = (step[:, None] + len(level) * np.arange(m)).ravel()
        at = np.arange(count).repeat(m), column
        shape = (count, width // 3)
        change = sparse.csr_array((_MILLE * slope[step, node].ravel(), at), shape=shape)
        outside, unused = -sparse.eye_array(count), sparse.csr_array(shape)
        rows = [[-change, change, unused, outside], [change, -change, unused, outside]]
        at_rest = level[step, node]
        below = np.concatenate([at_rest - (1 - band), (1 + band) - at_rest])
        cost = np.full(count, feeder.sigma / feeder.hours)
        return Limits(sparse.block_array(rows, format="csr"), _MILLE * below, cost)


def _slopes(now: Float, *others: Float) -> Float:
    """[S leads, inputs] least squares of deviations [D, S, n] on those known, through the origin.

    The first input is the deviation `lead` steps earlier; each other one [D, S, n] is of the same
    step.
    """
    steps = now.shape[1]
    made = np.zeros((steps, 1 + len(others)))
    for lead in range(steps):
        came = now[:, lead:].ravel()
        known = [now[:, : steps - lead].ravel(), *(x[:, lead:].ravel() for x in others)]
        made[lead] = np.linalg.lstsq(np.column_stack(known), came, rcond=None)[0]
    return made


def _charged(storage: Storage, soc: Float) -> Storage:
    """The same batteries, which start from a state of charge [M] held inside its limits."""
    k = parameters(storage)
    return replace(storage, soc_initial=tuple(soc.clip(k["soc_min"], k["soc_max"]).tolist()))


def _magnitude(feeder: Feeder, load: Float, reactive: Float, battery: Float | None = None) -> Float:
    """[..., S, K] magnitudes in p.u. of the penalised nodes for net loads [..., S, N] in kW."""
    nodes = load.shape[-1]
    constant = np.zeros_like(load)
    if battery is not None:
        constant[..., feeder.at.tolist()] = battery
    flow = solve(
        feeder.network,
        load.reshape(-1, nodes),
        np.broadcast_to(reactive, load.shape).reshape(-1, nodes).copy(),
        constant_kw=constant.reshape(-1, nodes),
        tol=1e-9,
    )
    if not bool(flow.converged.all()):
        raise InputError("the power flow at the forecast loads has no solution; reduce the load")
    return flow.magnitude.numpy()[:, feeder.penalised.tolist()].reshape(*load.shape[:-1], -1)


def _sensitivity(feeder: Feeder, load: Float, reactive: Float) -> Float:
    """[S, K, M] slopes of the penalised voltages in p.u. per kW of each battery, at given loads."""
    m = feeder.n_actions
    probe = _PROBE_KW * np.concatenate([np.eye(m), -np.eye(m)])
    many = np.broadcast_to(load, (2 * m, *load.shape))
    found = _magnitude(feeder, many.copy(), reactive, probe[:, None])
    return np.moveaxis((found[:m] - found[m:]) / (2 * _PROBE_KW), 0, -1)
