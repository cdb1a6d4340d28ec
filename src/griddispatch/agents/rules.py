"""Rules that need no learning: every learner is judged beside them, on the same days.

A learner that does not beat the fixed schedule has learned less than a clock knows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.envs.feeder import Feeder, State
from griddispatch.errors import InputError
from griddispatch.optimization.arbitrage import arbitrage_schedule


class DoNothing:
    """Leave the batteries alone."""

    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] zeros."""
        return torch.zeros_like(state.soc)


@dataclass(frozen=True)
class Schedule:
    """Given powers: power_kw [S, M] for every day, or [D, S, M] for the days of one feeder."""

    power_kw: NDArray[np.float64]

    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] the scheduled power as an action; the environment keeps it feasible."""
        power = torch.as_tensor(self.power_kw).to(state.soc)
        if power.ndim == 3 and len(power) != len(feeder.days):
            raise InputError(
                f"the schedule is for {len(power)} days, the feeder has {len(feeder.days)}; "
                "give the schedule of these days, in their order"
            )
        now = power[state.t] if power.ndim == 2 else power[state.day, state.t]
        return now / feeder.storage.limits(state.soc).power_kw


def fixed_schedule(training: Feeder) -> Schedule:
    """The schedule that is best for the mean price profile of the training days."""
    mean = training.days.price.mean(0)
    return Schedule(arbitrage_schedule(training.storage, mean, training.hours, training.end_soc))


@dataclass
class YesterdaysSchedule:
    """Each day the schedule that would have been best for the prices of the day before."""

    _known: dict[bytes, NDArray[np.float64]] = field(default_factory=dict)

    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] yesterday's best power as an action."""
        before = np.asarray(feeder.days.price_before)
        schedule = np.stack([self._best(feeder, price) for price in before])
        return Schedule(schedule).act(feeder, state)

    def _best(self, feeder: Feeder, price: NDArray[np.float64]) -> NDArray[np.float64]:
        key = price.tobytes()
        if key not in self._known:
            self._known[key] = arbitrage_schedule(
                feeder.storage, price, feeder.hours, feeder.end_soc
            )
        return self._known[key]


@dataclass(frozen=True)
class PriceThreshold:
    """Charge at full power below one price, discharge above another (EUR/MWh)."""

    low: float
    high: float

    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] -1, 0 or 1."""
        price = feeder.price[state.day, state.t]
        action = (price < self.low).to(state.soc) - (price > self.high).to(state.soc)
        return action[:, None].expand_as(state.soc)


def tuned_threshold(
    training: Feeder, score: Callable[[PriceThreshold, Feeder], float], levels: int = 9
) -> PriceThreshold:
    """The pair of training-price quantiles with the highest `score` on the training days."""
    quantiles = np.quantile(training.days.price, np.linspace(0.1, 0.9, levels))
    pairs = [
        PriceThreshold(float(a), float(b))
        for i, a in enumerate(quantiles)
        for b in quantiles[i + 1 :]
    ]
    return max(pairs, key=lambda rule: score(rule, training))
