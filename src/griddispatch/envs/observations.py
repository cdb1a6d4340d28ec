"""What a learner may see of a feeder: plain functions `observation(feeder, state) -> [B, K]`.

`paper_observation` is the state as printed. `observe` adds the time as angles and lets the
information about prices be chosen, because that choice, not the algorithm, is the largest
difference between learners:

- "now": the current price only, as in the paper;
- "history": also the prices of the last 24 hours, which every participant of a market has;
- "day-ahead": also the prices of the rest of the day, known wherever a day-ahead market clears
  before delivery.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from griddispatch.data.series import Days
from griddispatch.errors import InputError

if TYPE_CHECKING:
    from griddispatch.envs.feeder import Feeder, State

Observation = Callable[["Feeder", "State"], Tensor]
Table = Callable[["Feeder"], Tensor]
Prices = Literal["now", "history", "day-ahead"]
HOURS = 24


@dataclass(frozen=True)
class Scale:
    """What observations are divided by: training means and spreads, never those of test days."""

    load_mean: Tensor  # [N] kW
    load_std: Tensor  # [N] kW
    price_mean: float  # EUR/MWh
    price_std: float

    @classmethod
    def of(cls, days: Days) -> "Scale":
        """Means and standard deviations over all steps of `days`."""
        load = torch.as_tensor(days.net_load).flatten(0, 1)
        price = torch.as_tensor(days.price)
        spread = load.std(0)
        return cls(
            load_mean=load.mean(0),
            load_std=torch.where(spread > 0, spread, torch.ones_like(spread)),
            price_mean=float(price.mean()),
            price_std=float(price.std()) or 1.0,
        )


def paper_observation(feeder: "Feeder", state: "State") -> Tensor:
    """[B, N + M + 2] the state of the paper: net loads, price, time of day, states of charge."""
    return _printed(feeder, state)


@cache
def observe(prices: Prices = "history") -> Observation:
    """Observation of net loads, time as angles, states of charge and the prices that are known."""
    tables = {
        "now": (time_table, load_table, price_now),
        "history": (time_table, load_table, price_now, price_history),
        "day-ahead": (time_table, load_table, price_now, price_history, price_ahead),
    }
    if prices not in tables:
        raise InputError(f"unknown price information {prices!r}; there are {', '.join(tables)}")
    return joined(*tables[prices])


@cache
def joined(*tables: Table) -> Observation:
    """Observation made of tables [D, S + 1, k] side by side, and the states of charge."""

    def table(feeder: "Feeder") -> Tensor:
        return torch.cat([t(feeder).float() for t in tables], -1)

    def observation(feeder: "Feeder", state: "State") -> Tensor:
        return torch.cat([feeder.lookup(table, state), scaled_soc(feeder, state)], 1)

    return observation


def scaled_soc(feeder: "Feeder", state: "State") -> Tensor:
    """[B, M] state of charge, -1 at its lower and +1 at its upper limit."""
    k = feeder.storage.limits(state.soc)
    return (2 * (state.soc - k.soc_min) / (k.soc_max - k.soc_min) - 1).float()


def day_share(feeder: "Feeder") -> Tensor:
    """[D, S + 1, 1] share of the day that has passed."""
    share = torch.arange(feeder.steps + 1, dtype=feeder.dtype, device=feeder.device) / feeder.steps
    return share.expand(len(feeder.days), -1)[..., None]


def time_table(feeder: "Feeder") -> Tensor:
    """[D, S + 1, 6] share of the day passed, its square, sine and cosine of 24 h and of 12 h."""
    share = day_share(feeder)
    angle = 2 * torch.pi * share
    waves = [angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()]
    return torch.cat([2 * share - 1, share**2, *waves], -1)


def load_table(feeder: "Feeder") -> Tensor:
    """[D, S + 1, N] net loads in training standard deviations; 0 after the day."""
    scale = feeder.scale
    mean, std = scale.load_mean.to(feeder.price), scale.load_std.to(feeder.price)
    return _closed(_scaled(feeder.net_load, mean, std))


def price_now(feeder: "Feeder") -> Tensor:
    """[D, S + 1, 1] current price in training standard deviations; 0 after the day."""
    return _closed(_scaled_price(feeder, feeder.price)[..., None])


def price_history(feeder: "Feeder") -> Tensor:
    """[D, S + 1, 24] prices 1, 2, ..., 24 hours ago."""
    before = torch.as_tensor(feeder.days.price_before, device=feeder.device).to(feeder.price)
    series = _scaled_price(feeder, torch.cat([before, feeder.price], 1))  # [D, 2 S]
    per_hour = feeder.steps // HOURS
    lags = torch.arange(1, HOURS + 1, device=feeder.device) * per_hour
    now = feeder.steps + torch.arange(feeder.steps + 1, device=feeder.device)
    return series[:, now[:, None] - lags]


def price_ahead(feeder: "Feeder") -> Tensor:
    """[D, S + 1, 24] prices 1, 2, ..., 24 hours ahead as far as the day goes, then 0 (the mean)."""
    series = _scaled_price(feeder, feeder.price)
    series = torch.cat([series, torch.zeros_like(series), torch.zeros_like(series[:, :1])], 1)
    per_hour = feeder.steps // HOURS
    leads = torch.arange(1, HOURS + 1, device=feeder.device) * per_hour
    now = torch.arange(feeder.steps + 1, device=feeder.device)
    return series[:, now[:, None] + leads]


def _scaled_price(feeder: "Feeder", price: Tensor) -> Tensor:
    return _scaled(price, feeder.scale.price_mean, feeder.scale.price_std)


def _scaled(value: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """How many training standard deviations a value lies above the training mean."""
    return (value - mean) / std


def _closed(table: Tensor) -> Tensor:
    """Append the row for the state after the last step: zeros."""
    return torch.cat([table, torch.zeros_like(table[:, :1])], 1)


_printed = joined(load_table, price_now, day_share)
