"""Batteries on a distribution feeder: the environment of RL-ADN, batched.

Source: Hou et al., "RL-ADN: A high-performance deep reinforcement learning environment for optimal
energy storage systems dispatch in active distribution networks", eq. 5-7, with the signs and the
units of time put right (energy = power * dt in every term).

A step of B independent days, t = 0 .. S - 1, M batteries, N nodes

    P^B    = the action in [-1, 1] times rated power, held inside the storage's feasible interval
    V      = power flow at net load + P^B
    profit  = -price / 1000 * P * dt, with P = sum_m P^B_m               [EUR]
    penalty = sigma * sum_n max(0, |1 - V_n| - 0.05)                     [EUR]
    reward  = profit - penalty - wear

Nothing is kept between steps: a `State` says which day, which step, which state of charge, so a
transition can be stored in a few numbers, repeated, or restarted anywhere. What the agent sees and
what it is paid are plain functions, `observation(feeder, state)` and `reward(outcome)`; replace
them.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from griddispatch.assets.limits import within
from griddispatch.assets.storage import Storage, energy_kwh
from griddispatch.data.series import Days
from griddispatch.envs.episodes import chosen, observation_length
from griddispatch.envs.observations import Observation, Scale, paper_observation
from griddispatch.envs.variants import (
    ZipShares,
    check_topologies,
    repeated,
    with_power_factor,
    with_zip_loads,
)
from griddispatch.envs.voltages import Voltages
from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import Backend

VOLTAGE_BAND = 0.05  # p.u. on either side of 1, eq. 6
SIGMA = 400.0  # EUR per p.u. and step, eq. 6
SOC_ROUNDING = 1e-6  # a state of charge this little outside its limits is put on the limit

VoltageScope = Literal["battery", "all"]
EndSoc = Literal["free", "initial"]
Settlement = Literal["battery", "import"]

_KEPT = (  # by a copy for other days
    *("sigma", "voltage_scope", "end_soc", "settlement", "power_factor", "zip_shares", "backend"),
    *("tol", "observation", "reward", "scale", "device", "dtype"),
)


class State(NamedTuple):
    """Where B episodes stand: day [B] and t [B] (int64) into the feeder's days, soc [B, M]."""

    day: Tensor
    t: Tensor
    soc: Tensor


class Outcome(NamedTuple):
    """What a step did, all [B] in EUR unless a shape is named.

    price [B] is in EUR/MWh, power_kw [B, M] the power that the batteries took (+ = charging),
    traded_kw [B] the power that is paid for, magnitude [B, K] the voltages in p.u. at the nodes in
    the voltage scope.
    """

    state: State
    price: Tensor
    power_kw: Tensor
    traded_kw: Tensor
    magnitude: Tensor
    profit: Tensor
    penalty: Tensor
    wear: Tensor


Reward = Callable[[Outcome], Tensor]


def paper_reward(outcome: Outcome) -> Tensor:
    """[B] profit minus voltage penalty (eq. 5) minus wear, which is zero in the paper."""
    return outcome.profit - outcome.penalty - outcome.wear


def voltage_penalty(magnitude: Tensor, sigma: float) -> Tensor:
    """[B] sigma times the sum over nodes of how far |V| [B, K] is outside 1 +- 0.05 p.u., eq. 6."""
    return sigma * ((1 - magnitude).abs() - VOLTAGE_BAND).clamp(min=0).sum(-1)


class Feeder:
    """The environment. All tensors are on one device and in one precision.

    Parameters
    ----------
    network, storage, days
        The feeder, its batteries, and the days that episodes are drawn from. Several networks with
        the same nodes are topologies: every day can be played on each of them, and `feeder.days`
        holds all pairs, day d on topology k at the place k * D + d (see `feeder.topology`).
    sigma
        Penalty in EUR per p.u. and step.
    voltage_scope
        Which nodes are penalised: those with a battery, as printed, or all.
    end_soc
        "free" as in the paper, or "initial": every day ends at the storage's `soc_initial` (the
        feasible interval narrows towards the end of the day).
    settlement
        What the price is paid for: the batteries' own power, as printed, or the change that they
        make to the import at the slack node ("import"), which has the losses of the network in it.
    power_factor
        Lagging power factor of every load, in (0, 1]; by default the reactive loads of `days`.
    zip_shares
        Shares of constant power, current and impedance of every load, by default those of the
        network. Batteries and PV keep their power at any voltage.
    backend, tol
        Of the power flow; "dense" is differentiable, "pandapower" slow and there to compare with.
    observation, reward
        Plain functions; see the module's text.
    scale
        What observations are divided by; by default that of `days`.

    Raises
    ------
    InputError
        Nodes of days and networks differ, a battery stands at a node that does not exist or at the
        slack node, an option is unknown or out of its range, there is no day, or the feeder cannot
        carry the load of a day.
    """

    def __init__(
        self,
        network: Network | Sequence[Network],
        storage: Storage,
        days: Days,
        *,
        sigma: float = SIGMA,
        voltage_scope: VoltageScope = "battery",
        end_soc: EndSoc = "free",
        settlement: Settlement = "battery",
        power_factor: float | None = None,
        zip_shares: ZipShares | None = None,
        backend: Backend = "auto",
        tol: float = 1e-6,
        observation: Observation | None = None,
        reward: Reward = paper_reward,
        scale: Scale | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        networks = check_topologies([network] if isinstance(network, Network) else network)
        first = networks[0]
        if tuple(int(n) for n in first.nodes) != tuple(days.nodes):
            raise InputError(
                f"network {first.name} has {first.n_nodes} nodes, the days have "
                f"{len(days.nodes)}, or in another order; use the series of this network"
            )
        if not len(days):
            raise InputError("there are no days to draw episodes from; give at least one")
        for name, value, known in (
            ("voltage_scope", voltage_scope, ("battery", "all")),
            ("end_soc", end_soc, ("free", "initial")),
            ("settlement", settlement, ("battery", "import")),
        ):
            if value not in known:
                raise InputError(f"{name} is {value!r}; it must be {known[0]!r} or {known[1]!r}")
        if zip_shares is not None:
            networks = tuple(with_zip_loads(n, zip_shares) for n in networks)
        if power_factor is not None:
            days = with_power_factor(days, power_factor)
        self.networks, self.storage = networks, storage
        self.days = repeated(days, len(networks))
        self.sigma, self.voltage_scope = sigma, voltage_scope
        self.end_soc, self.settlement = end_soc, settlement
        self.power_factor, self.zip_shares = power_factor, zip_shares
        self.backend, self.tol = backend, tol
        self.observation = observation or paper_observation
        self.reward = reward
        self.scale = scale or Scale.of(days)
        self.device, self.dtype = torch.device(device), dtype
        self.hours = days.step_hours
        self.steps = days.price.shape[1]

        self.at = torch.tensor([first.position(n) for n in storage.nodes], device=self.device)
        if int(first.slack) in self.at.tolist():
            raise InputError(
                f"a battery stands at node {int(first.nodes[first.slack])}, the slack node, "
                "where it cannot change any voltage; move it"
            )
        everywhere = torch.arange(first.n_nodes, device=self.device)
        self.penalised = self.at if voltage_scope == "battery" else everywhere
        # [D, S] EUR/MWh
        self.price = torch.as_tensor(self.days.price, device=self.device, dtype=dtype)
        self._flow = Voltages(networks, self.days, self.at, backend, tol, dtype)
        self.net_load = self._flow.net_load  # [D, S, N] kW
        self.topology = self._flow.topology  # [D] which of `networks`
        self.idle_voltage = self._flow.idle  # [D, S, N] complex, no battery in use
        magnitude = self.idle_voltage.abs().flatten(0, 1)[:, self.penalised]
        self.idle_penalty = voltage_penalty(magnitude, sigma).view(self.price.shape)
        self._tables: dict[Callable[[Feeder], Tensor], Tensor] = {}

    @property
    def network(self) -> Network:
        """The network of this feeder, where there is only one.

        Raises
        ------
        InputError
            There are several topologies.
        """
        if len(self.networks) > 1:
            raise InputError(
                f"this feeder has {len(self.networks)} topologies; take one of them with "
                "feeder.on(days, feeder.networks[k])"
            )
        return self.networks[0]

    # -- episodes -------------------------------------------------------------------------

    @property
    def n_actions(self) -> int:
        """M, the number of batteries."""
        return len(self.storage)

    def reset(self, day: Tensor | None = None, soc: Tensor | None = None) -> State:
        """Start of a day: all days once by default, at the storage's initial state of charge.

        Raises
        ------
        InputError
            There is no such day, or a state of charge lies outside its limits.
        """
        limits = self.storage.limits(self.price)
        day = chosen(day, len(self.days), self.device)
        if soc is None:
            soc = limits.soc_initial.expand(len(day), -1)
        soc = soc.to(self.price)
        if soc.shape != (len(day), self.n_actions):
            raise InputError(
                f"soc has shape {tuple(soc.shape)}; give {(len(day), self.n_actions)}: "
                "one value per episode and battery"
            )
        inside = within(soc, limits.soc_min, limits.soc_max)
        if not bool(((soc - inside).abs() <= SOC_ROUNDING).all()):
            raise InputError("a state of charge lies outside soc_min .. soc_max of the storage")
        return State(day, torch.zeros_like(day), inside)

    def feasible_power(self, state: State) -> tuple[Tensor, Tensor]:
        """[B, M] lowest and highest power in kW that the batteries can take in this step."""
        if self.end_soc == "free":
            return self.storage.feasible_interval(state.soc, self.hours)
        left = (self.steps - 1 - state.t).to(self.dtype)[:, None] * self.hours
        target = self.storage.limits(state.soc).soc_initial
        return self.storage.feasible_interval(
            state.soc, self.hours, end_soc=target, hours_after=left
        )

    def power(self, state: State, action: Tensor) -> Tensor:
        """[B, M] power in kW that an action in [-1, 1] leads to."""
        low, high = self.feasible_power(state)
        wanted = action.to(self.price) * self.storage.limits(self.price).power_kw
        return within(wanted, low, high)

    def step(self, state: State, action: Tensor) -> tuple[State, Tensor, Outcome]:
        """Take one step of B episodes with actions [B, M] in [-1, 1] (beyond that they saturate).

        Returns
        -------
        state, reward, outcome
            The next state (after the last step of a day its t is S: the day is over), the reward
            [B], and what happened.

        Raises
        ------
        InputError
            The shape of the action is wrong, a value of it is not a number, an episode's day is
            over, or the power flow of a row has no solution; the message names the day and the
            step.
        """
        if action.shape != state.soc.shape:
            raise InputError(
                f"action has shape {tuple(action.shape)}; this feeder needs "
                f"{tuple(state.soc.shape)}: one value per episode and battery"
            )
        if bool((state.t >= self.steps).any()):
            raise InputError(f"the day of an episode is over after {self.steps} steps; reset it")
        power = self.power(state, action)
        voltage = self._flow.loaded(state.day, state.t, power)
        magnitude = voltage[:, self.penalised].abs()
        traded = power.sum(-1)
        if self.settlement == "import":
            idle = self.idle_voltage[state.day, state.t]
            traded = self._flow.import_kw(state.day, voltage)
            traded = traded - self._flow.import_kw(state.day, idle)
        price = self.price[state.day, state.t]
        outcome = Outcome(
            state=state,
            price=price,
            power_kw=power,
            traded_kw=traded,
            magnitude=magnitude,
            profit=-price / 1000 * energy_kwh(traded, self.hours),
            penalty=voltage_penalty(magnitude, self.sigma),
            wear=self.storage.wear_eur(power, self.hours),
        )
        soc = self.storage.step(state.soc, power, self.hours)
        return State(state.day, state.t + 1, soc), self.reward(outcome), outcome

    # -- what the agent sees --------------------------------------------------------------

    def observe(self, state: State) -> Tensor:
        """[B, K] observation of a state (float32)."""
        return self.observation(self, state)

    @property
    def n_observations(self) -> int:
        """K, the length of an observation."""
        return observation_length(self)

    def lookup(self, table: Callable[["Feeder"], Tensor], state: State) -> Tensor:
        """Rows of `table(feeder)` [D, S + 1, ...] for B states; the table is made only once.

        What an observation says about the day and the hour depends on no action, so it is looked
        up instead of computed at every step. Row S is the state after the last step of a day.
        """
        if table not in self._tables:
            self._tables[table] = table(self)
        rows = self._tables[table]
        return rows.flatten(0, 1).index_select(0, state.day * rows.shape[1] + state.t)

    def on(self, days: Days, network: Network | Sequence[Network] | None = None) -> "Feeder":
        """The same task, with the same scale of observations, on other days or networks."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in _KEPT}
        return Feeder(self.networks if network is None else network, self.storage, days, **kept)
