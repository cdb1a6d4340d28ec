"""Dispatch of a virtual power plant under uncertain demand: the environment, batched.

One step is one period. Before its demand is known, the supply side chooses which units run in it
and the load side how much load to move; then the demand D is known, and units, fast reserve,
shortage and surplus balance it exactly:

    D = max(E + base (r + e), 0),   r = kappa r_before + (1 - kappa) control a
    sum of outputs + reserve + shortage - surplus = D

E is the demand of the day, e the customers' answer to prices, a in [-1, 1] the load action, kappa
their hidden inertia; r + e stays within +-control. With `Plant.recourse` outputs follow the merit
order of the running units from their minimum outputs up, which is the cheapest dispatch. Without,
outputs are part of the action, as published. Then

    cost = outputs + no-load + starts + reserve + shortage + surplus + comfort
    comfort = discomfort r^2 + beyond the free share, and, in the last period,
              shed_cost times what the load actions took away in sum over the day
    reward = -cost     (with `Plant.published_signs`, outputs, no-load and starts enter with +)

A commitment [B, 7] is a status, 0 or 1; a forbidden one is counted, then set right. Values between
are a relaxation: limits of the output, no-load and start costs scale with them. Cost is
differentiable in commitment, load action and demand almost everywhere, so a straight-through bit
passes the gradient of the relaxed cost, and through the state that of the next start cost; timers
carry none.

All B rows of a batch stand at the same period; nothing is kept between steps.
"""

from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from griddispatch.assets.limits import within
from griddispatch.assets.vpp import Plant
from griddispatch.data.vpp_demand import BASE_KW, INERTIA, PERIODS, DemandDays, price_response
from griddispatch.envs.episodes import chosen
from griddispatch.envs.vpp_observation import observation_of
from griddispatch.envs.vpp_reward import comfort, deviations
from griddispatch.errors import InputError

BALANCED_KW = 1.0  # a period counts as balanced up to this imbalance
NEUTRAL_PRICE = (0.5,) * PERIODS
_ROUNDING = 1e-5


class Action(NamedTuple):
    """commit [B, 7] in [0, 1]; load [B] in [-1, 1]; output [B, 7] kW, read without recourse."""

    commit: Tensor
    load: Tensor
    output: Tensor | None = None


class State(NamedTuple):
    """Where B episodes stand before period t: day [B] (int64) of the environment's days.

    on [B, 7] (0 or 1, may carry a gradient) and held [B, 7] (int64), status and for how many
    periods; adjustment [B] the relative r, hidden as kappa is; shifted_kwh [B] sum of base r so
    far; load [B] the last load action; expected [B], expected_kwh [B] what r and shifted_kwh would
    be at mean inertia; demand [B, 12] in kW and free [B, 12], the part of it that is relative to
    the base and not explained by expected control and prices, both 0 from period t on.
    """

    day: Tensor
    t: int
    on: Tensor
    held: Tensor
    adjustment: Tensor
    shifted_kwh: Tensor
    load: Tensor
    expected: Tensor
    expected_kwh: Tensor
    demand: Tensor
    free: Tensor


class Outcome(NamedTuple):
    """What a step did.

    demand_kw [B]; output_kw [B, 7]; reserve_kw [B], up positive; shortage_kw, surplus_kw [B];
    on, started [B, 7]; violations [B] forbidden commitments; adjustment [B] r; free_kw [B] the
    demand without control. Costs [B]: energy, no_load, starts, reserve, shortage, surplus, comfort,
    and their sum `cost`.
    """

    demand_kw: Tensor
    output_kw: Tensor
    reserve_kw: Tensor
    shortage_kw: Tensor
    surplus_kw: Tensor
    on: Tensor
    started: Tensor
    violations: Tensor
    adjustment: Tensor
    free_kw: Tensor
    energy: Tensor
    no_load: Tensor
    starts: Tensor
    reserve: Tensor
    shortage: Tensor
    surplus: Tensor
    comfort: Tensor
    cost: Tensor

    @property
    def imbalance_kw(self) -> Tensor:
        """[B] demand that nothing meets, less output that nobody takes."""
        return self.shortage_kw - self.surplus_kw


COSTS = ("energy", "no_load", "starts", "reserve", "shortage", "surplus", "comfort")


class VirtualPowerPlant:
    """The environment.

    Parameters
    ----------
    plant, days
        The plant, and the days that episodes are played on.
    p_high
        [12] probability of the high price in each period, from the upper level; neutral by default.
    device, dtype
        Of all tensors.

    Raises
    ------
    InputError
        A probability lies outside [0, 1].
    """

    def __init__(
        self,
        plant: Plant,
        days: DemandDays,
        *,
        p_high: ArrayLike = NEUTRAL_PRICE,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.plant, self.days, self.prices = plant, days, p_high
        self.steps, self.units = PERIODS, plant.units
        self.device, self.dtype = torch.device(device), dtype

        def table(values: ArrayLike) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float64, device=self.device).to(dtype)

        self.free_kw = table(days.demand_kw).T.contiguous()  # [12, D]
        self.kappa = table(days.kappa)
        self.base_kw = table(BASE_KW)
        self.response = table(price_response(p_high)).clamp(-plant.control, plant.control)
        self.p_high = table(p_high)
        self.power_kw, self.unit_cost = table(plant.power_kw), table(plant.unit_cost)
        self.running_cost = table(plant.running_cost)
        self.order = torch.tensor(plant.merit_order, device=self.device)
        self.place = self.order.argsort()  # of a unit in the merit order
        self.least = torch.tensor([plant.min_down, plant.min_up], device=self.device)

    def reset(self, day: Tensor | None = None) -> State:
        """Start of a day, all units off and free to start: all days once by default.

        Raises
        ------
        InputError
            There is no such day.
        """
        day = chosen(day, len(self.days), self.device)
        zero = torch.zeros(len(day), device=self.device, dtype=self.dtype)
        units = zero[:, None].repeat(1, self.units)
        seen = zero[:, None].repeat(1, PERIODS)
        return State(
            day=day,
            t=0,
            on=units,
            held=torch.full_like(units, int(self.least.max()), dtype=torch.int64),
            adjustment=zero,
            shifted_kwh=zero,
            load=zero,
            expected=zero,
            expected_kwh=zero,
            demand=seen,
            free=seen,
        )

    # -- what is feasible -----------------------------------------------------------------

    def must(self, state: State) -> tuple[Tensor, Tensor]:
        """Units that must be on, and units that must be off, in the coming period: [B, 7] bool."""
        on = state.on > 0.5
        return on & (state.held < self.least[1]), ~on & (state.held < self.least[0])

    def allowed(self, state: State, commit: Tensor) -> Tensor:
        """[B, 7] the commitment with forbidden statuses set right; other entries keep gradients."""
        must_on, must_off = self.must(state)
        return commit.masked_fill(must_on, 1.0).masked_fill(must_off, 0.0)

    def merit_order(self, commit: Tensor, target_kw: Tensor) -> Tensor:
        """[..., 7] kW: cheapest outputs of a commitment with the sum nearest target_kw [...]."""
        full = commit * self.power_kw
        low = full * self.plant.minimum
        room = (full - low).index_select(-1, self.order)
        rest = (target_kw - low.sum(-1))[..., None] - (room.cumsum(-1) - room)
        above = torch.minimum(rest.clamp(min=0), room)
        return low + above.index_select(-1, self.place)

    # -- steps ----------------------------------------------------------------------------

    def step(
        self, state: State, action: Action, delta_kw: Tensor | float = 0.0
    ) -> tuple[State, Tensor, Outcome]:
        """Play one period of B episodes.

        delta_kw [B] is added to the demand of this period; 0 in an honest episode. Returned are
        the next state, the reward [B] in currency, and what happened.

        Raises
        ------
        InputError
            The day is over, a shape is wrong, a value is not finite, or a commitment or load action
            lies outside its range.
        """
        self._check(state, action)
        plant, t = self.plant, state.t
        base, response = self.base_kw[t], self.response[t]
        kappa = self.kappa.index_select(0, state.day)
        r = self.adjusted(state.adjustment, kappa, action.load, t)
        mean_inertia = torch.full_like(kappa, sum(INERTIA) / 2)
        expected = self.adjusted(state.expected, mean_inertia, action.load, t)
        free = self.free_kw[t].index_select(0, state.day) + delta_kw
        demand = (free + base * (r + response)).clamp(min=0)

        on = self.allowed(state, action.commit)
        output, full = action.output, on * self.power_kw
        if output is None:
            output = self.merit_order(on, demand)
        else:
            output = within(output, full * plant.minimum, full)
        gap = demand - output.sum(1)
        reserve = gap.clamp(-plant.reserve_kw, plant.reserve_kw)
        shortage, surplus = (gap - reserve).clamp(min=0), (reserve - gap).clamp(min=0)
        started = (on - state.on).clamp(min=0)

        shifted = state.shifted_kwh + base * r
        parts = {
            "energy": output @ self.unit_cost,
            "no_load": on @ self.running_cost,
            "starts": plant.start_cost * started.sum(1),
            **deviations(plant, reserve, shortage, surplus),
            "comfort": comfort(plant, base, r, shifted if t == PERIODS - 1 else None),
        }
        cost = torch.stack(list(parts.values())).sum(0)
        outcome = Outcome(
            demand_kw=demand,
            output_kw=output,
            reserve_kw=reserve,
            shortage_kw=shortage,
            surplus_kw=surplus,
            on=on,
            started=started,
            violations=((on - action.commit).abs() > 0.5).sum(1),
            adjustment=r,
            free_kw=free,
            cost=cost,
            **parts,
        )
        now = torch.arange(PERIODS, device=self.device) == t
        estimate = demand / base - 1 - expected - response
        after = State(
            day=state.day,
            t=t + 1,
            on=on,
            held=torch.where((on > 0.5) == (state.on > 0.5), state.held + 1, 1),
            adjustment=r,
            shifted_kwh=shifted,
            load=action.load,
            expected=expected,
            expected_kwh=state.expected_kwh + base * expected,
            demand=torch.where(now, demand[:, None], state.demand),
            free=torch.where(now, estimate[:, None], state.free),
        )
        wrong = parts["energy"] + parts["no_load"] + parts["starts"]
        return after, 2 * wrong - cost if plant.published_signs else -cost, outcome

    def outcome_at(
        self, state: State, action: Action, delta_kw: Tensor
    ) -> tuple[State, Tensor, Outcome]:
        """What the step would do with other demands, for critics of the worst case.

        delta_kw is [M] or [B, M]. Returned is what `step` returns with B M rows, row b M + m; the
        reward is [B, M]. Of the next observation only the column `demand_column(t)` depends on
        delta_kw.

        Raises
        ------
        InputError
            As of `step`.
        """
        rows, many = len(state.day), delta_kw.shape[-1]
        delta = delta_kw.expand(rows, many).reshape(-1)

        place = torch.arange(rows, device=self.device).repeat_interleave(many)
        later: list[Tensor] = [value.index_select(0, place) for value in state[2:]]
        wide = State(state.day[place], state.t, *later)
        output = None if action.output is None else action.output[place]
        wanted = Action(action.commit[place], action.load[place], output)
        after, reward, outcome = self.step(wide, wanted, delta)
        return after, reward.view(rows, many), outcome

    def adjusted(self, before: Tensor, kappa: Tensor, load: Tensor, t: int) -> Tensor:
        """[B] relative adjustment r of the load in period t; with prices within +-control."""
        control, response = self.plant.control, float(self.response[t])
        wanted = kappa * before + (1 - kappa) * control * load
        return wanted.clamp(-control - min(response, 0.0), control - max(response, 0.0))

    def _check(self, state: State, action: Action) -> None:
        rows, t = len(state.day), state.t
        if t >= PERIODS:
            raise InputError(f"the day is over after {PERIODS} periods; reset it")
        if action.commit.shape != (rows, self.units) or action.load.shape != (rows,):
            raise InputError(
                f"action has shapes {tuple(action.commit.shape)}, {tuple(action.load.shape)}; give "
                f"commit [{rows}, {self.units}] and load [{rows}]"
            )
        if (action.output is None) != self.plant.recourse:
            raise InputError("action: give output exactly where the plant has no recourse")
        low, high = torch.aminmax(action.commit.detach())
        less, more = torch.aminmax(action.load.detach())
        slack = _ROUNDING  # of a straight-through bit; a comparison with NaN is false
        if not (low >= -slack and high <= 1 + slack and less >= -1 - slack and more <= 1 + slack):
            raise InputError(
                f"action of period {t}: give commit in [0, 1] and load in [-1, 1], none of them NaN"
            )

    # -- what the dispatchers see ---------------------------------------------------------

    def observe(self, state: State) -> Tensor:
        """[B, 42] observation; see `envs.vpp_observation`."""
        return observation_of(self, state)

    def on(self, days: DemandDays) -> "VirtualPowerPlant":
        """The same task on other days."""
        return VirtualPowerPlant(
            self.plant, days, p_high=self.prices, device=self.device, dtype=self.dtype
        )
