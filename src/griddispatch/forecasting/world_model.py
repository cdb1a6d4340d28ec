"""World model of the demand: a variational recurrent network (Chung et al., 2015).

"A recurrent latent variable model for sequential data". In every period the memory h gives a prior
p(z | h) of latent variables; z and h give the density p(x | z, h) of the demand, here normal; and
h+ = GRU(x, z, h). Training makes the evidence lower bound large,

    ELBO = E_q sum_t [log p(x_t | z_t, h) - KL(q(z_t | x_t, h) || p(z_t | h))],

over whole days, with the weight of the KL divergence rising from 0 (warm-up), or the latent
variables are never taken into use.

A prediction is the mixture of p(x | z, h) over fixed points z of the prior, equally likely, so the
model gives the same answer to the same past. In a controller the memory moves on with the mean of
q, which knows no more than what has come.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from griddispatch.forecasting.demand_models import PERIODS, Carried, Float, Mixture, Scale, checked
from griddispatch.forecasting.world_model_training import (
    LEAST_SD,
    GRUMixture,
    Recurrent,
    Settings,
    StackedGRU,
)
from griddispatch.learning.networks import StackedMLP, Streams
from griddispatch.learning.training import Progress


class VRNN(Recurrent):
    """K variational recurrent networks; see the module."""

    def __init__(self, settings: Settings, seeds: Sequence[int], scale: Scale) -> None:
        super().__init__(settings, seeds, scale)
        streams = Streams(seeds, "VRNN")
        s = settings
        known = s.hidden + PERIODS
        self.prior = StackedMLP((known, s.width, 2 * s.latent), streams, activation="silu")
        self.encoder = StackedMLP((known + 1, s.width, 2 * s.latent), streams, activation="silu")
        self.decoder = StackedMLP((known + s.latent, s.width, 2), streams, activation="silu")
        self.cell = StackedGRU(1 + s.latent + PERIODS, s.hidden, streams)
        self.points = prior_points(s.components, s.latent)

    def with_points(self, count: int) -> Self:
        """The same K models with another number of prior samples in a prediction.

        A controller that asks for mean and spread alone is served faster by few.

        Raises
        ------
        InputError
            The number is not even and positive.
        """
        made = type(self)(replace(self.settings, components=count), self.seed_list, self.scale)
        made.load_state_dict(self.state_dict())
        made.history = self.history
        return made

    def loss(self, y: Tensor, part: float, streams: Streams) -> Tensor:
        """[K] negative evidence lower bound per period, its KL weighted by the warm-up."""
        fit, divergence = self.bound(y, streams)
        warm = min(1.0, part / self.settings.warmup) if self.settings.warmup else 1.0
        return (warm * divergence - fit).mean((1, 2))

    def bound(self, y: Tensor, streams: Streams) -> tuple[Tensor, Tensor]:
        """Both parts of the bound for scaled days y [K, B, 12], in nats, [K, B, 12] each.

        The first is log p(x | z, h) at one draw of z from q, the second KL(q || p), never negative.
        """
        batch = y.shape[1]
        h = self._blank(batch)
        noise = streams.normal(batch, PERIODS, self.settings.latent)
        kept: list[tuple[Tensor, ...]] = []
        for t in range(PERIODS):
            at = torch.cat([h, self.calendar(batch, t)], -1)
            mean, sd = _normal(self.encoder(torch.cat([at, y[..., t, None]], -1)))
            z = torch.addcmul(mean, sd, noise[:, :, t])
            h = self._next(h, t, y[..., t], z)
            kept.append((at, mean, sd, z))
        # The recurrence needs q alone; prior and decoder follow for all periods at once.
        by_period = zip(*kept, strict=True)
        at, mean, sd, z = (torch.stack(a, 2).flatten(1, 2) for a in by_period)
        prior_mean, prior_sd = _normal(self.prior(at))
        divergence = kl(mean, sd, prior_mean, prior_sd).view(y.shape)
        x_mean, x_sd = _normal(self.decoder(torch.cat([at, z], -1)))
        one = torch.ones_like(x_mean)
        return Mixture(one, x_mean, x_sd).log_density(y.flatten(1)).view(y.shape), divergence

    @torch.no_grad()
    def imagine(self, state: Carried, streams: Streams) -> Tensor:
        """[K, B, 12 - t] one imagined rest of the day, drawn as the model says days come about.

        Each period's z is drawn from the prior and moves the memory on, so what a day is like
        stays with it.
        """
        drawn, h = [], state.memory
        for t in range(state.t, PERIODS):
            at = torch.cat([h, self.calendar(h.shape[1], t)], -1)
            mean, sd = _normal(self.prior(at))
            z = torch.addcmul(mean, sd, streams.normal(*mean.shape[1:]))
            x_mean, x_sd = _normal(self.decoder(torch.cat([at, z], -1)))
            y = torch.addcmul(x_mean, x_sd, streams.normal(*x_mean.shape[1:]))[..., 0]
            drawn.append(self.scale.mean[t] + self.scale.sd[t] * y)
            h = self._next(h, t, y, z)
        return torch.stack(drawn, -1)

    def _predict(self, state: Carried) -> Mixture:
        h = state.memory
        at = torch.cat([h, self.calendar(h.shape[1], state.t)], -1)
        mean, sd = (a[:, :, None] for a in _normal(self.prior(at)))
        z = (mean + sd * self.points).flatten(1, 2)
        count = len(self.points)
        told = torch.cat([at.repeat_interleave(count, 1), z], -1)
        x_mean, x_sd = (a.view(*h.shape[:2], count) for a in _normal(self.decoder(told)))
        return Mixture(torch.full_like(x_mean, 1 / count), x_mean, x_sd)

    def _update(self, state: Carried, y: Tensor) -> Tensor:
        calendar = self.calendar(y.shape[1], state.t)
        mean, _ = _normal(self.encoder(torch.cat([state.memory, calendar, y[..., None]], -1)))
        return self._next(state.memory, state.t, y, mean)

    def _next(self, h: Tensor, t: int, y: Tensor, z: Tensor) -> Tensor:
        return self.cell(torch.cat([y[..., None], z, self.calendar(h.shape[1], t)], -1), h)


def kl(mean: Tensor, sd: Tensor, prior_mean: Tensor, prior_sd: Tensor) -> Tensor:
    """[...] KL divergence of one diagonal normal density from another, [..., Z] each; in nats."""
    ratio = (sd / prior_sd).square()
    apart = ((mean - prior_mean) / prior_sd).square()
    return 0.5 * (ratio + apart - 1 - ratio.log()).sum(-1)


def prior_points(count: int, latent: int) -> Tensor:
    """[count, latent] fixed points for a standard normal density: a Sobol net and its mirror image.

    Their mean is 0 and their variance 1, as near to the density as `count` points, an even number,
    can be.
    """
    net = torch.quasirandom.SobolEngine(latent, scramble=True, seed=0).draw(count // 2)
    half = torch.special.ndtri(net.double().clamp(1e-6, 1 - 1e-6)).float()
    half = half / half.square().mean(0).sqrt()
    return torch.cat([half, -half])


def _normal(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation from the two halves of a network's output."""
    mean, sd = raw.chunk(2, -1)
    return mean, softplus(sd) + LEAST_SD


def fit_vrnn(
    train: Float,
    validation: Float,
    seeds: Sequence[int],
    settings: Settings | None = None,
    progress: Progress = lambda line: None,
) -> VRNN:
    """Train the world model, one stacked network per seed.

    Parameters
    ----------
    train, validation
        Days [N, 12] of demand; the validation days choose the weights.
    seeds, settings, progress
        One network per seed; `Settings()` by default; called with a line at each check.

    Raises
    ------
    InputError
        The days are not valid, or there is no seed.
    """
    model = VRNN(settings or Settings(), seeds, Scale.of(checked(train)))
    model.fit(train, validation, progress)
    return model


def fit_gru(
    train: Float,
    validation: Float,
    seeds: Sequence[int],
    settings: Settings | None = None,
    progress: Progress = lambda line: None,
) -> GRUMixture:
    """Train the GRU mixture, as `fit_vrnn` does the world model."""
    model = GRUMixture(settings or Settings(components=4), seeds, Scale.of(checked(train)))
    model.fit(train, validation, progress)
    return model
