"""Dispatch of a multi-energy microgrid: the environment, batched and differentiable.

A set-point [B, 3] holds battery power (kW, + charges), CHP power (kW) and CHP status (on from 0.5
on) for one step. Whatever lies outside its feasible interval is a violation: it is counted first
and only then cut back. The order is status, CHP, battery. Then nothing is left to choose,

    net = load + battery - chp - pv - wind
    import = min(max(net, 0), limit),      lost load = max(net - limit, 0)
    export = min(max(-net, 0), limit),     curtailed = max(-net - limit, 0) <= pv + wind
    boiler = min(max(heat - chp heat, 0), limit),  lost heat and dumped heat likewise

and both balances hold at every step exactly:

    pv + wind - curtailed + chp + import + lost = load + battery + export
    chp heat + boiler + lost heat = heat + dumped

    cost = dt (price import - tariff export + gas (chp / eta + boiler / eta) + lost ...) + starts
           - end value (energy at the end - at the start), in the last step           [EUR]
    reward = -cost

The battery discharges no more than load and export can take, and charges nothing that would have to
be shed from the load: both limits are part of its interval.

With `Plant.commitment` off, as published, the CHP is on where its set-point reaches the minimum,
and the third set-point, a grid power, changes nothing: the balance leaves no freedom.

Everything but the status is differentiable almost everywhere. All B rows of a batch stand at the
same step; nothing is kept between steps.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from griddispatch.assets.limits import within
from griddispatch.assets.microgrid import VOLTAGE_BAND, VOLTAGE_BASE_KW, Interval, Plant
from griddispatch.data.microgrid import QUANTITIES, MicrogridDays
from griddispatch.envs.episodes import chosen, observation_length
from griddispatch.envs.microgrid_observation import (
    Observation,
    markov_observation,
    published_observation,
)
from griddispatch.errors import InputError

ACTIONS = 3
TOLERANCE_KW = 1e-3  # outside an interval by less is rounding


class State(NamedTuple):
    """Where B episodes stand at step t: day [B] (int64) of the environment's days.

    energy_kwh [B] in the battery; battery_kw, chp_kw [B] of the step before; on [B] (bool) the
    CHP's status; held [B] (int64) for how many steps it has been held.
    """

    day: Tensor
    t: int
    energy_kwh: Tensor
    battery_kw: Tensor
    chp_kw: Tensor
    on: Tensor
    held: Tensor


class Outcome(NamedTuple):
    """What a step did: powers in kW, each [B].

    setpoint [B, 3] was carried out (battery, CHP, status as 0 or 1); excess [B, 3] is how far the
    wanted one lay outside its interval (a forbidden status: 1). violations [B] counts these, a
    voltage outside its band, and lost load and heat. voltage [B] in p.u., cost [B] in EUR.
    """

    state: State
    setpoint: Tensor
    excess: Tensor
    violations: Tensor
    started: Tensor
    import_kw: Tensor
    export_kw: Tensor
    curtailed_kw: Tensor
    lost_kw: Tensor
    boiler_kw: Tensor
    dumped_kw: Tensor
    lost_heat_kw: Tensor
    voltage: Tensor
    cost: Tensor


class Microgrid:
    """The environment. All tensors are on one device and in one precision.

    Parameters
    ----------
    plant, days
        The plant, and the days that episodes are played on.
    observation
        A plain function [B, K] of environment and state; by default `markov_observation`, and for a
        plant without commitment `published_observation`.

    Raises
    ------
    InputError
        The days have another number of steps, a load is below 5 kW, or a day's import limit is
        above the plant's.
    """

    def __init__(
        self,
        plant: Plant,
        days: MicrogridDays,
        *,
        observation: Observation | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if days.steps != plant.steps:
            raise InputError(
                f"the days have {days.steps} steps, the plant {plant.steps}; draw them with "
                f"steps={plant.steps}"
            )
        spare = plant.chp.power_kw - plant.export_kw
        if days.load.min() < spare:
            raise InputError(
                f"a load of {days.load.min():g} kW and export_kw {plant.export_kw:g} cannot take "
                f"the CHP's {plant.chp.power_kw:g} kW; raise export_kw"
            )
        if days.import_kw.max() > plant.import_kw:
            raise InputError(
                f"the days allow imports of {days.import_kw.max():g} kW, the plant "
                f"{plant.import_kw:g}; lower one or raise the other"
            )
        self.plant, self.days = plant, days
        default = markov_observation if plant.commitment else published_observation
        self.observation = observation or default
        self.device, self.dtype = torch.device(device), dtype
        stacked = np.stack([getattr(days, name) for name in QUANTITIES], -1)  # [D, T, 6]
        table = torch.as_tensor(stacked).to(self.device, dtype)
        self.exogenous = table.transpose(0, 1).contiguous()  # [T, D, 6]

    # -- episodes -------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """T, the steps of a day."""
        return self.plant.steps

    def reset(self, day: Tensor | None = None) -> State:
        """Start of a day, CHP off and free to start, battery at rest: all days once by default.

        Raises
        ------
        InputError
            There is no such day.
        """
        day = chosen(day, len(self.days), self.device)
        zero = torch.zeros(len(day), device=self.device, dtype=self.dtype)
        battery = self.plant.battery
        return State(
            day=day,
            t=0,
            energy_kwh=zero + battery.soc_initial * battery.energy_kwh,
            battery_kw=zero,
            chp_kw=zero,
            on=zero > 0,
            held=torch.full_like(day, max(self.plant.chp.min_up, self.plant.chp.min_down)),
        )

    def now(self, state: State) -> Tensor:
        """[B, 6] PV, wind, load, heat (kW), price (EUR/kWh) and limit of imports (kW) at a state.

        Raises
        ------
        InputError
            The day is over.
        """
        if state.t >= self.steps:
            raise InputError(f"the day is over after {self.steps} steps; reset it")
        return self.exogenous[state.t].index_select(0, state.day)

    # -- feasible intervals ---------------------------------------------------------------

    def may_switch(self, state: State) -> tuple[Tensor, Tensor]:
        """Whether the CHP may be off, and whether it may be on, in the coming step: [B] bool."""
        return self.plant.chp.may_switch(state.chp_kw, state.on, state.held)

    def status(self, state: State, wanted: Tensor) -> Tensor:
        """[B] bool the status that is carried out where `wanted` [B] (bool) is asked for."""
        may_be_off, may_be_on = self.may_switch(state)
        return (wanted & may_be_on) | ~may_be_off

    def chp_interval(self, state: State, on: Tensor) -> Interval:
        """[B] kW of the CHP for a status that `status` returned."""
        return self.plant.chp.interval(state.chp_kw, state.on, on)

    def battery_interval(self, state: State, chp_kw: Tensor) -> Interval:
        """[B] kW of the battery beside this CHP power; it contains 0 unless the ramp is printed."""
        now = self.now(state)
        return self._battery_interval(state, chp_kw, now[:, 2] - now[:, 0] - now[:, 1], now)

    def _battery_interval(self, state: State, chp_kw: Tensor, net: Tensor, now: Tensor) -> Interval:
        plant = self.plant
        low, high = plant.battery.interval(state.energy_kwh, state.battery_kw, plant.step_hours)
        sink = (now[:, 2] - chp_kw + plant.export_kw).clamp(min=0)
        source = (now[:, 5] + chp_kw - net).clamp(min=0)
        return Interval(
            torch.minimum(torch.maximum(low, -sink), high),
            torch.maximum(torch.minimum(high, source), low),
        )

    def placed(self, state: State, fraction: Tensor) -> Tensor:
        """[B, 3] set-points without any violation for fractions [B, 3].

        Parameters
        ----------
        state
            Where the episodes stand.
        fraction
            In this order: battery in [-1, 1], from the lowest allowed power to the highest, 0 is
            rest; CHP in [0, 1], from the lowest to the highest power of the status; status, on from
            0.5 on where that is allowed.
        """
        on = self.status(state, fraction[:, 2] >= 0.5)
        low, high = self.chp_interval(state, on)
        chp = within(torch.lerp(low, high, fraction[:, 1]), low, high)
        low, high = self.battery_interval(state, chp)
        part = fraction[:, 0]
        battery = within(part.clamp(min=0) * high - part.clamp(max=0) * low, low, high)
        return torch.stack([battery, chp, on.to(chp.dtype)], 1)

    def scaled(self, action: Tensor) -> Tensor:
        """[B, 3] set-points in kW of a published action: [-1, 1], [0, 1], [-1, 1], no interval.

        Battery to +-50 kW, CHP to 0 .. 80 kW, grid to -80 .. +100 kW.
        """
        plant, grid = self.plant, action[:, 2]
        exchange = grid.clamp(min=0) * plant.import_kw + grid.clamp(max=0) * plant.export_kw
        battery = action[:, 0] * plant.battery.power_kw
        return torch.stack([battery, action[:, 1] * plant.chp.power_kw, exchange], 1)

    # -- steps ----------------------------------------------------------------------------

    def step(self, state: State, setpoint: Tensor) -> tuple[State, Tensor, Outcome]:
        """Take one step of B episodes with set-points [B, 3]; see the module's text.

        Returns
        -------
        state, reward, outcome
            The next state, the reward [B] in EUR, what happened.

        Raises
        ------
        InputError
            The shape is wrong, a value is not a number, or the day is over.
        """
        if setpoint.shape != (len(state.day), ACTIONS):
            raise InputError(
                f"set-point has shape {tuple(setpoint.shape)}; give [{len(state.day)}, {ACTIONS}]: "
                "battery, CHP, status"
            )
        now, plant = self.now(state), self.plant
        if not bool(torch.isfinite(setpoint).all()):
            raise InputError(f"a set-point at step {state.t} is not a finite number")
        pv, wind, load, heat, price, limit = now.unbind(1)
        want_battery, want_chp, third = setpoint.unbind(1)
        wanted = third >= 0.5 if plant.commitment else want_chp >= plant.chp.minimum_kw
        on = self.status(state, wanted)
        chp = within(want_chp, *self.chp_interval(state, on))
        battery = within(want_battery, *self._battery_interval(state, chp, load - pv - wind, now))
        status = on.to(chp.dtype)
        excess = torch.stack(
            [(want_battery - battery).abs(), (want_chp - chp).abs(), (wanted != on).to(chp.dtype)],
            1,
        ).detach()

        net = load + battery - chp - pv - wind
        drawn, given = net.clamp(min=0), (-net).clamp(min=0)
        imported, exported = torch.minimum(drawn, limit), given.clamp(max=plant.export_kw)
        made = plant.chp.heat_ratio * chp
        cold = (heat - made).clamp(min=0)
        boiler = cold.clamp(max=plant.boiler_kw)
        lost, lost_heat = drawn - imported, cold - boiler
        voltage = 1 - plant.thevenin / VOLTAGE_BASE_KW * (imported - exported)
        started = status * ~state.on
        energy = plant.battery.after(state.energy_kwh, battery, plant.step_hours)
        per_hour = (
            price * imported
            - plant.export_eur * exported
            + plant.gas_eur * (chp / plant.chp.eta + boiler / plant.boiler_eta)
            + plant.lost_load_eur * lost
            + plant.lost_heat_eur * lost_heat
        )
        cost = per_hour * plant.billed_hours + plant.chp.start_eur * started
        if state.t == self.steps - 1:
            start = plant.battery.soc_initial * plant.battery.energy_kwh
            cost = cost - plant.end_value_eur * (energy - start)
        broken = torch.cat(
            [
                excess > TOLERANCE_KW,
                torch.stack([lost, lost_heat], 1) > TOLERANCE_KW,
                ((voltage < VOLTAGE_BAND[0]) | (voltage > VOLTAGE_BAND[1]))[:, None],
            ],
            1,
        )
        outcome = Outcome(
            state=state,
            setpoint=torch.stack([battery, chp, status], 1),
            excess=excess,
            violations=broken.sum(1),
            started=started,
            import_kw=imported,
            export_kw=exported,
            curtailed_kw=given - exported,
            lost_kw=lost,
            boiler_kw=boiler,
            dumped_kw=(made - heat).clamp(min=0),
            lost_heat_kw=lost_heat,
            voltage=voltage,
            cost=cost,
        )
        held = torch.where(on == state.on, state.held + 1, 1)
        after = State(state.day, state.t + 1, energy, battery, chp, on, held)
        return after, -cost, outcome

    # -- what the dispatcher sees ---------------------------------------------------------

    def observe(self, state: State) -> Tensor:
        """[B, K] observation of a state."""
        return self.observation(self, state)

    @property
    def n_observations(self) -> int:
        """K, the length of an observation."""
        return observation_length(self)

    def on(self, days: MicrogridDays) -> "Microgrid":
        """The same task on other days."""
        return Microgrid(
            self.plant, days, observation=self.observation, device=self.device, dtype=self.dtype
        )
