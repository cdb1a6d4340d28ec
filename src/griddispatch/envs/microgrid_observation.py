"""What a dispatcher of the microgrid sees: plain functions, to be replaced at will."""

from collections.abc import Callable
from math import pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from griddispatch.data.microgrid import HEAT_KW, LOAD_KW, PV_KW, WIND_KW

if TYPE_CHECKING:
    from griddispatch.envs.microgrid import Microgrid, State

Observation = Callable[["Microgrid", "State"], Tensor]

_PRICE_EUR = 0.5  # EUR/kWh by which a price is divided: a spike is above 1, any other price below
_SCALE = [PV_KW[1], WIND_KW[1], LOAD_KW[1], HEAT_KW[1], _PRICE_EUR]


def published_observation(env: "Microgrid", state: "State") -> Tensor:
    """[B, 10] the published state, without units.

    In this order: PV, wind, electric load, heat load, SOC, CHP status, price, hour / 24, sine and
    cosine of the hour. It hides what the next step depends on: the powers of battery and CHP (their
    ramps), how long the status has been held, the limit of imports.
    """
    day = env.exogenous[state.t].index_select(0, state.day)
    soc = state.energy_kwh[:, None] / env.plant.battery.energy_kwh
    scaled = day[:, :5] / torch.tensor(_SCALE, dtype=day.dtype, device=day.device)
    phase = state.t / env.steps
    angle = torch.tensor(2 * pi * phase, dtype=day.dtype, device=day.device)
    clock = torch.stack([torch.full_like(angle, phase), angle.sin(), angle.cos()])
    on = state.on[:, None].to(day.dtype)
    return torch.cat([scaled[:, :4], soc, on, scaled[:, 4:], clock.expand(len(day), -1)], 1)


def markov_observation(env: "Microgrid", state: "State") -> Tensor:
    """[B, 14] the published state, and the rest of the plant's state.

    Added: battery power, CHP power, for how many more steps the CHP's status is locked (as a share
    of the minimum time), limit of imports. The plant's state is then complete. What is still to
    come of the weather, and how long a spike will last, nobody knows.
    """
    plant = env.plant
    limit = env.exogenous[state.t].index_select(0, state.day)[:, 5]
    least = torch.where(state.on, plant.chp.min_up, plant.chp.min_down)
    more = [
        state.battery_kw / plant.battery.power_kw,
        state.chp_kw / plant.chp.power_kw,
        (least - state.held).clamp(min=0) / least,
        limit / max(plant.import_kw, 1.0),
    ]
    added = torch.stack([v.to(limit.dtype) for v in more], 1)
    return torch.cat([published_observation(env, state), added], 1)
