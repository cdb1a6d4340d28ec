"""What a learner may see of a feeder: plain functions `observation(feeder, state) -> [B, K]`.

`paper_observation` (in `feeder`) is the state as printed. The functions here add the time as
angles and let the information about prices be chosen, because that choice, not the algorithm, is
the largest difference between learners:

- "now": the current price only, as in the paper;
- "history": also the prices of the last 24 hours, which every participant of a market has;
- "day-ahead": also the prices of the rest of the day, known wherever a day-ahead market clears
  before delivery.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from griddispatch.envs.feeder import VOLTAGE_BAND, Feeder, Observation, State, scaled_soc
from griddispatch.errors import InputError

Prices = Literal["now", "history", "day-ahead"]
HOURS = 24


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
def joined(*tables: Callable[[Feeder], Tensor]) -> Observation:
    """Observation made of tables [D, S + 1, k] side by side, and the states of charge."""

    def table(feeder: Feeder) -> Tensor:
        return torch.cat([t(feeder).float() for t in tables], -1)

    def observation(feeder: Feeder, state: State) -> Tensor:
        return torch.cat([feeder.lookup(table, state), scaled_soc(feeder, state)], 1)

    return observation


def time_table(feeder: Feeder) -> Tensor:
    """[D, S + 1, 6] share of the day passed, its square, sine and cosine of 24 h and of 12 h."""
    share = torch.arange(feeder.steps + 1, dtype=feeder.dtype, device=feeder.device) / feeder.steps
    angle = 2 * torch.pi * share
    waves = [angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()]
    return torch.stack([2 * share - 1, share**2, *waves], -1).expand(len(feeder.days), -1, -1)


def load_table(feeder: Feeder) -> Tensor:
    """[D, S + 1, N] net loads in training standard deviations; 0 after the day."""
    load = (feeder.net_load - feeder.scale.load_mean.to(feeder.price)) / feeder.scale.load_std.to(
        feeder.price
    )
    return _closed(load)


def price_now(feeder: Feeder) -> Tensor:
    """[D, S + 1, 1] current price in training standard deviations; 0 after the day."""
    return _closed(_scaled(feeder, feeder.price)[..., None])


def price_history(feeder: Feeder) -> Tensor:
    """[D, S + 1, 24] prices 1, 2, ..., 24 hours ago."""
    before = torch.as_tensor(feeder.days.price_before).to(feeder.price)
    series = _scaled(feeder, torch.cat([before, feeder.price], 1))  # [D, 2 S]
    per_hour = feeder.steps // HOURS
    lags = torch.arange(1, HOURS + 1, device=feeder.device) * per_hour
    now = feeder.steps + torch.arange(feeder.steps + 1, device=feeder.device)
    return series[:, now[:, None] - lags]


def price_ahead(feeder: Feeder) -> Tensor:
    """[D, S + 1, 24] prices 1, 2, ..., 24 hours ahead as far as the day goes, then 0 (the mean)."""
    series = _scaled(feeder, feeder.price)
    series = torch.cat([series, torch.zeros_like(series), torch.zeros_like(series[:, :1])], 1)
    per_hour = feeder.steps // HOURS
    leads = torch.arange(1, HOURS + 1, device=feeder.device) * per_hour
    now = torch.arange(feeder.steps + 1, device=feeder.device)
    return series[:, now[:, None] + leads]


def _scaled(feeder: Feeder, price: Tensor) -> Tensor:
    return (price - feeder.scale.price_mean) / feeder.scale.price_std


def _closed(table: Tensor) -> Tensor:
    """Append the row for the state after the last step: zeros."""
    return torch.cat([table, torch.zeros_like(table[:, :1])], 1)


def voltage_table(feeder: Feeder) -> Tensor:
    """[D, S + 1, M] voltages at the battery nodes without batteries, in units of the 5 % band."""
    return _closed((feeder.idle_voltage[..., feeder.at].abs() - 1) / VOLTAGE_BAND)


def voltage_ahead(feeder: Feeder) -> Tensor:
    """[D, S + 1, 24] lowest of those voltages in each of the next 24 hours; 0 after the day."""
    lowest = (feeder.idle_voltage[..., feeder.at].abs() - 1).amin(-1) / VOLTAGE_BAND  # [D, S]
    lowest = torch.cat([lowest, torch.zeros_like(lowest), torch.zeros_like(lowest[:, :1])], 1)
    per_hour = feeder.steps // HOURS
    hourly = -torch.nn.functional.max_pool1d(-lowest[:, None], per_hour, stride=1)[:, 0]
    hourly = torch.cat([hourly, hourly.new_zeros(len(hourly), per_hour - 1)], 1)
    now = torch.arange(feeder.steps + 1, device=feeder.device)[:, None]
    return hourly[:, now + torch.arange(HOURS, device=feeder.device) * per_hour]
