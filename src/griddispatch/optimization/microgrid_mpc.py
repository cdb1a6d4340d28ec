"""Model predictive control of the microgrid: solve again at every step, with a forecast.

The forecast is the linear conditional mean of everything that happens, given what is seen at the
present step,

    E[x_(t+k) | x_t] = mean_(t+k) + B_(t,k) (x_t - mean_t),

with means and coefficients by ridge regression over training days. The program takes the mean for
certain: it knows that a price spike will last a while, not that one may come.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.data.microgrid import QUANTITIES, MicrogridDays
from griddispatch.envs.microgrid import Microgrid, State
from griddispatch.errors import InputError
from griddispatch.optimization.microgrid_milp import solve

Float = NDArray[np.float64]

FEWEST_DAYS = 30
_RIDGE = 0.1  # of a standardised quantity, in days


class Forecast:
    """Conditional mean of the rest of a day; fitted to days that a learner may see.

    Raises
    ------
    InputError
        There are fewer than `FEWEST_DAYS` days.
    """

    def __init__(self, days: MicrogridDays) -> None:
        if len(days) < FEWEST_DAYS:
            raise InputError(f"a forecast from {len(days)} days; give at least {FEWEST_DAYS}")
        self.values = np.stack([getattr(days, name) for name in QUANTITIES], -1)  # [D, T, 6]
        self.mean = self.values.mean(0)
        self.low, self.high = self.values.min(0), self.values.max(0)
        self._weights: dict[int, Float] = {}

    def ahead(self, t: int, seen: Float) -> Float:
        """[T - t, 6] what happens from step t on, where `seen` [6] happens at t itself.

        Every value stays between the extremes of the days at its step.
        """
        if t not in self._weights:
            x = self.values[:, t] - self.mean[t]
            scale = x.std(0)
            z = np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)
            rest = (self.values[:, t:] - self.mean[t:]).reshape(len(z), -1)
            solved = np.linalg.solve(z.T @ z + _RIDGE * np.eye(z.shape[1]), z.T @ rest)
            self._weights[t] = solved / np.where(scale > 0, scale, np.inf)[:, None]
        change = ((seen - self.mean[t]) @ self._weights[t]).reshape(-1, len(QUANTITIES))
        forecast = np.clip(self.mean[t:] + change, self.low[t:], self.high[t:])
        forecast[0] = seen
        return forecast


@dataclass(frozen=True)
class Predictive:
    """Solves the program of the coming hours at every step and plays its first set-points.

    Attributes
    ----------
    forecast
        Of the rest of the day.
    horizon
        Steps ahead; the rest of the day where that is shorter.
    gap
        Relative, of every program.
    """

    forecast: Forecast
    horizon: int = 96
    gap: float = 1e-3

    def __post_init__(self) -> None:
        if self.horizon < 1 or not self.gap > 0:
            raise InputError(f"needs horizon >= 1 and gap > 0; they are {self.horizon}, {self.gap}")

    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] set-points; one program per row."""
        if len(self.forecast.mean) != env.steps:
            raise InputError(
                f"the forecast has {len(self.forecast.mean)} steps, a day {env.steps}; fit it anew"
            )
        now = env.now(state).double().cpu().numpy()
        chosen = []
        for row, seen in enumerate(now):
            one = State(
                state.day[row : row + 1],
                state.t,
                *(value[row : row + 1] for value in (state.energy_kwh, state.battery_kw)),
                *(value[row : row + 1] for value in (state.chp_kw, state.on, state.held)),
            )
            ahead = self.forecast.ahead(state.t, seen)[: self.horizon]
            plan = solve(env, one, ahead[None], one_way=False, gap=self.gap)
            chosen.append(plan.setpoint[0, 0])
        return torch.as_tensor(np.stack(chosen)).to(env.exogenous)
