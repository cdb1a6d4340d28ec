"""Probabilistic models of a day's demand, one period ahead: what they share, and the linear ones.

A model is told the demand of each period after it has passed and then says how the next may turn
out, as a mixture of normal densities. It works in the unit of its training days (kW, or relative to
a base load): every period is scaled by its own training mean and standard deviation. A controller
carries the model's memory through the day:

    state = model.start(batch)
    ahead = model.predict(state)        # Mixture [K, B, M] of the coming period
    state = model.update(state, came)   # came [K, B]

K models of different seeds are stacked. Nothing that comes later can reach a prediction, for
`predict` is given a memory of what came before and nothing else.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.errors import InputError
from griddispatch.learning.networks import Streams

Float = NDArray[np.float64]
PERIODS = 12
_BISECTIONS = 40
_REACH = 9.0  # standard deviations; a quantile of a component lies within
_FAINT = 1e-30  # a weight of zero would have an infinite slope
_RIDGE = 1e-6  # of the variance; for training days of which two periods say the same
_LEAST_SD = 1e-6  # of the scale


class Mixture(NamedTuple):
    """Mixtures of M normal densities: weight (summing to 1), mean and sd, [..., M] each."""

    weight: Tensor
    mean: Tensor
    sd: Tensor

    @property
    def centre(self) -> Tensor:
        """[...] mean of the mixture."""
        return (self.weight * self.mean).sum(-1)

    @property
    def spread(self) -> Tensor:
        """[...] standard deviation of the mixture."""
        apart = self.mean - self.centre[..., None]
        return (self.weight * (self.sd.square() + apart.square())).sum(-1).sqrt()

    def log_density(self, x: Tensor) -> Tensor:
        """[...] logarithm of the density at x [...]."""
        z = (x[..., None] - self.mean) / self.sd
        parts = self.weight.clamp(min=_FAINT).log() - self.sd.log() - z.square() / 2
        return torch.logsumexp(parts, -1) - 0.5 * float(np.log(2 * np.pi))

    def level(self, x: Tensor) -> Tensor:
        """[...] probability of at most x [...]."""
        return (self.weight * torch.special.ndtr((x[..., None] - self.mean) / self.sd)).sum(-1)

    def quantile(self, level: float) -> Tensor:
        """[...] the value that is not exceeded with probability `level`, by bisection.

        Raises
        ------
        InputError
            The level is not inside (0, 1).
        """
        if not 0 < level < 1:
            raise InputError(f"level of a quantile is {level}; it must lie inside (0, 1)")
        low = (self.mean - _REACH * self.sd).amin(-1)
        high = (self.mean + _REACH * self.sd).amax(-1)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            under = self.level(middle) < level
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return (low + high) / 2

    def sample(self, streams: Streams) -> Tensor:
        """[K, B] one draw from each mixture of [K, B, M], with agent k's own stream."""
        batch = self.mean.shape[1]
        edges = self.weight.cumsum(-1)[..., :-1].contiguous()
        u = streams.uniform(batch, 1).to(edges)
        chosen = torch.searchsorted(edges, u)
        mean, sd = (part.gather(-1, chosen)[..., 0] for part in (self.mean, self.sd))
        return mean + sd * streams.normal(batch).to(mean)


class Carried(NamedTuple):
    """What a model knows at the start of period t: memory [K, B, ...] of periods 0 .. t - 1."""

    t: int
    memory: Tensor


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each period, [12] each, over the training days."""

    mean: Tensor
    sd: Tensor

    @classmethod
    def of(cls, days: Float) -> "Scale":
        """Of days [N, 12]; a period that never varies is scaled by 1e-3 of the mean (or by 1)."""
        sd = days.std(0)
        steady = sd <= 1e-9 * np.abs(days).max(initial=0.0)
        floor = 1e-3 * np.abs(days).mean(0)
        sd = np.where(steady, np.where(floor > 0, floor, 1.0), sd)
        return cls(*(torch.as_tensor(a, dtype=torch.float32) for a in (days.mean(0), sd)))

    def scaled(self, x: Tensor) -> Tensor:
        """[..., 12] of the scale of demand x [..., 12]."""
        return (x.to(self.mean) - self.mean) / self.sd

    def unscaled(self, t: int, ahead: Mixture) -> Mixture:
        """A mixture of period t in the unit of the demand."""
        return Mixture(ahead.weight, self.mean[t] + self.sd[t] * ahead.mean, self.sd[t] * ahead.sd)


class DemandModel(ABC):
    """K fitted models of a day of 12 periods; see the module.

    Attributes
    ----------
    scale
        Of the training days.
    seeds
        K, the number of models.
    """

    scale: Scale
    seeds: int

    @abstractmethod
    def _blank(self, batch: int) -> Tensor:
        """Memory at the start of a day, [K, B, ...]."""

    @abstractmethod
    def _predict(self, state: Carried) -> Mixture:
        """Mixture [K, B, M] of the coming period, on the scale."""

    @abstractmethod
    def _update(self, state: Carried, y: Tensor) -> Tensor:
        """Memory after scaled demand y [K, B]."""

    def start(self, batch: int) -> Carried:
        """Memory at the start of `batch` days for each of the K models."""
        return Carried(0, self._blank(batch))

    @torch.no_grad()
    def predict(self, state: Carried) -> Mixture:
        """Mixture [K, B, M] of the demand of period `state.t`, in its unit.

        Raises
        ------
        InputError
            The day is over.
        """
        if not 0 <= state.t < PERIODS:
            raise InputError(f"period {state.t} of a day of {PERIODS}; start a new day")
        return self.scale.unscaled(state.t, self._predict(state))

    @torch.no_grad()
    def update(self, state: Carried, came: Tensor) -> Carried:
        """The memory after period `state.t`, in which demand came [K, B] was seen.

        Raises
        ------
        InputError
            The day is over; the demand is not [K, B] of the memory; a value is not finite.
        """
        if not 0 <= state.t < PERIODS:
            raise InputError(f"period {state.t} of a day of {PERIODS}; start a new day")
        wanted = tuple(state.memory.shape[:2])
        if tuple(came.shape) != wanted:
            raise InputError(f"demand has shape {tuple(came.shape)}; the memory is for {wanted}")
        if not torch.isfinite(came).all():
            raise InputError(f"demand of period {state.t} is NaN or infinite; give it in its unit")
        y = (came.to(self.scale.mean) - self.scale.mean[state.t]) / self.scale.sd[state.t]
        return Carried(state.t + 1, self._update(state, y))

    def imagine(self, state: Carried, streams: Streams) -> Tensor:
        """[K, B, 12 - t] one imagined rest of the day for each memory [K, B, ...].

        Each period is drawn from the prediction and taken for what came. `streams` has one
        generator for each of the K models.
        """
        drawn = []
        for _ in range(state.t, PERIODS):
            x = self.predict(state).sample(streams)
            state = self.update(state, x)
            drawn.append(x)
        return torch.stack(drawn, -1)


def one_step(model: DemandModel, days: Float) -> Mixture:
    """Predict every period of days [N, 12] from the periods before: mixtures [K, N, 12, M].

    Raises
    ------
    InputError
        The days are not [N, 12] or hold a value that is not finite.
    """
    came = torch.as_tensor(checked(days), dtype=torch.float32)
    state, made = model.start(len(came)), []
    for t in range(PERIODS):
        made.append(model.predict(state))
        state = model.update(state, came[:, t].expand(model.seeds, -1))
    return Mixture(*(torch.stack(parts, 2) for parts in zip(*made, strict=True)))


def checked(days: Float, fewest: int = 1) -> Float:
    """The same days as float64.

    Raises
    ------
    InputError
        They are not [N, 12] with N of `fewest` or more, or hold a value that is not finite.
    """
    made = np.asarray(days, dtype=np.float64)
    if made.ndim != 2 or made.shape[1] != PERIODS or len(made) < fewest:
        raise InputError(
            f"demand has shape {made.shape}; it must be [days, {PERIODS}] with {fewest} or more"
        )
    if not np.isfinite(made).all():
        day, t = np.argwhere(~np.isfinite(made))[0]
        raise InputError(f"demand of day {day}, period {t} is {made[day, t]}; leave the day out")
    return made


class Linear(DemandModel):
    """Normal density whose mean is linear in the last `lags` periods of the day, by least squares.

    One lag is an AR(1) with coefficients of its own for every period, the reference of the
    world model; `lags=11` is the regression on all that has been seen of the day.

    Parameters
    ----------
    days
        [N, 12] training days.
    lags
        Periods to look back, 1 .. 11.
    seeds
        K; a regression has no seed, so all K are the same.

    Raises
    ------
    InputError
        The days are not valid or fewer than the coefficients; lags or seeds are out of range.
    """

    def __init__(self, days: Float, lags: int = 1, seeds: int = 1) -> None:
        if not 1 <= lags < PERIODS or seeds < 1:
            raise InputError(f"lags is {lags}, seeds {seeds}; lags 1 .. {PERIODS - 1}, seeds >= 1")
        data = checked(days, lags + 2)
        self.seeds, self.scale = seeds, Scale.of(data)
        y = self.scale.scaled(torch.as_tensor(data, dtype=torch.float32)).double().numpy()
        self._weights = torch.zeros(PERIODS, PERIODS)
        self._sd = torch.ones(PERIODS)
        for t in range(PERIODS):
            past = y[:, max(0, t - lags) : t]
            ridge = _RIDGE * len(y) * np.eye(past.shape[1])
            b = np.linalg.solve(past.T @ past + ridge, past.T @ y[:, t])
            wrong = y[:, t] - past @ b
            sd = np.sqrt(wrong @ wrong / (len(y) - 1 - past.shape[1]))
            self._weights[t, max(0, t - lags) : t] = torch.as_tensor(b, dtype=torch.float32)
            self._sd[t] = max(float(sd), _LEAST_SD)

    def _blank(self, batch: int) -> Tensor:
        return torch.zeros(self.seeds, batch, PERIODS)

    def _predict(self, state: Carried) -> Mixture:
        mean = (state.memory @ self._weights[state.t])[..., None]
        return Mixture(torch.ones_like(mean), mean, self._sd[state.t].expand_as(mean))

    def _update(self, state: Carried, y: Tensor) -> Tensor:
        memory = state.memory.clone()
        memory[..., state.t] = y
        return memory
