"""What the dispatchers of the virtual power plant see before a period.

Columns, each of order 1:

    PERIOD   12   1 in the column of the coming period
    DEMAND   12   demand so far, relative to the base, less what expected control and prices
                  explain; 0 from the coming period on
    ON        7   status of the units
    LOCKED    7   periods for which a unit must still be on (+) or off (-), over 4
    LOAD      1   last load action
    CONTROL   1   relative adjustment to be expected at mean inertia
    SHIFTED   1   energy taken (-) or added by load actions so far at mean inertia, over a mean
                  period's base load
    PRICE     1   probability of the high price in the coming period

Nothing here knows the customers' inertia, the kind of day, or anything of the coming demand. After
the last period the columns PERIOD and PRICE are 0.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from griddispatch.data.vpp_demand import PERIODS

if TYPE_CHECKING:
    from griddispatch.envs.vpp import State, VirtualPowerPlant

UNITS = 7
PERIOD = slice(0, PERIODS)
DEMAND = slice(PERIODS, 2 * PERIODS)
ON = slice(DEMAND.stop, DEMAND.stop + UNITS)
LOCKED = slice(ON.stop, ON.stop + UNITS)
LOAD, CONTROL, SHIFTED, PRICE = range(LOCKED.stop, LOCKED.stop + 4)
OBSERVATIONS = PRICE + 1
LONGEST = 4.0  # periods of a minimum time that are 1 in LOCKED


def demand_column(t: int) -> int:
    """Column of the demand of period t."""
    return DEMAND.start + t


def observation_of(env: "VirtualPowerPlant", state: "State") -> Tensor:
    """[B, 42]; see the module's text."""
    rows, t = len(state.day), state.t
    on = state.on > 0.5
    left = (torch.where(on, env.least[1], env.least[0]) - state.held).clamp(min=0)
    period = torch.zeros(PERIODS, device=env.device, dtype=env.dtype)
    price = torch.zeros(1, device=env.device, dtype=env.dtype)
    if t < PERIODS:
        period[t] = 1.0
        price = env.p_high[t : t + 1]
    return torch.cat(
        [
            period.expand(rows, PERIODS),
            state.free,
            state.on,
            torch.where(on, left, -left).to(env.dtype) / LONGEST,
            torch.stack([state.load, state.expected, state.expected_kwh / env.base_kw.mean()], 1),
            price.expand(rows, 1),
        ],
        1,
    )
