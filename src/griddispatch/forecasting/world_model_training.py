"""Training of K stacked recurrent models of the demand: cell, settings, loop, GRU mixture.

The weights with the smallest loss on validation days are kept, seed by seed; test days have no
part in it.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from griddispatch.errors import InputError
from griddispatch.forecasting.demand_models import (
    PERIODS,
    Carried,
    DemandModel,
    Float,
    Mixture,
    Scale,
    checked,
)
from griddispatch.learning.networks import Snapshot, StackedMLP, Streams, clip_per_agent, keep_best
from griddispatch.learning.training import Progress

LEAST_SD = 1e-3  # standard deviation of a density, on the scale of the training days


@dataclass(frozen=True)
class Settings:
    """Sizes of the networks and length of the training.

    hidden is the width of the memory, width that of the other layers, latent the number of latent
    variables per period, components the densities in a prediction (for the VRNN the prior samples,
    an even number); warmup the part of the training during which the weight of the KL divergence
    rises from 0 to 1; rate the first learning rate, which falls to zero along a cosine; clip the
    largest norm of a gradient; checks how often validation days are looked at.
    """

    hidden: int = 32
    width: int = 32
    latent: int = 2
    components: int = 32
    updates: int = 1_500
    batch: int = 128
    rate: float = 3e-3
    warmup: float = 0.1
    clip: float = 5.0
    checks: int = 6

    def __post_init__(self) -> None:
        sizes = (self.hidden, self.width, self.latent, self.components, self.updates, self.batch)
        if min(*sizes, self.checks) < 1 or self.components % 2:
            raise InputError(f"sizes and counts must be 1 or more, components even: {self}")
        if not (self.rate > 0 and self.clip > 0 and 0 <= self.warmup < 1):
            raise InputError(f"rate and clip must be positive, warmup in [0, 1): {self}")


class StackedGRU(nn.Module):
    """K gated recurrent cells (Cho et al., 2014): x [K, B, n_in], h [K, B, H] -> [K, B, H].

    The reset gate is applied after the product, as in `torch.nn.GRUCell`.
    """

    def __init__(self, n_in: int, hidden: int, streams: Streams) -> None:
        super().__init__()
        bound = hidden**-0.5

        def drawn(rows: int) -> nn.Parameter:
            return nn.Parameter((2 * streams.uniform(rows, 3 * hidden) - 1) * bound)

        self.from_input, self.from_memory = drawn(n_in), drawn(hidden)
        self.input_bias, self.memory_bias = drawn(1), drawn(1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """The next memory."""
        a = torch.baddbmm(self.input_bias, x, self.from_input)
        b = torch.baddbmm(self.memory_bias, h, self.from_memory)
        H = h.shape[-1]
        r, u = torch.sigmoid(a[..., : 2 * H] + b[..., : 2 * H]).chunk(2, -1)
        new = torch.tanh(torch.addcmul(a[..., 2 * H :], r, b[..., 2 * H :]))
        return torch.lerp(new, h, u)


class Recurrent(DemandModel, nn.Module):
    """K recurrent networks, trained by `fit`.

    Attributes
    ----------
    history
        seed, update and validation loss (nats per period, on the scale of the training days) of
        each check.
    """

    def __init__(self, settings: Settings, seeds: Sequence[int], scale: Scale) -> None:
        nn.Module.__init__(self)
        if not seeds:
            raise InputError("a demand model needs a seed or more")
        self.settings, self.seed_list, self.seeds = settings, list(seeds), len(seeds)
        self.scale, self.history = scale, pd.DataFrame()

    @abstractmethod
    def loss(self, y: Tensor, part: float, streams: Streams) -> Tensor:
        """[K] what training makes small, for scaled days y [K, B, 12]; part of it done, 0 .. 1."""

    def _blank(self, batch: int) -> Tensor:
        return torch.zeros(self.seeds, batch, self.settings.hidden)

    def calendar(self, batch: int, t: int) -> Tensor:
        """[K, B, 12] which period it is, one-hot."""
        return torch.eye(PERIODS)[t].expand(self.seeds, batch, -1)

    @torch.no_grad()
    def validation_loss(self, y: Tensor) -> Tensor:
        """[K] mean negative log-density, one step ahead, of scaled days y [N, 12]."""
        state, total = self.start(len(y)), torch.zeros(self.seeds)
        for t in range(PERIODS):
            now = y[:, t].expand(self.seeds, -1)
            total -= self._predict(state).log_density(now).mean(1)
            state = Carried(t + 1, self._update(state, now))
        return total / PERIODS

    def alone(self, k: int) -> Self:
        """The model of seed k by itself, with K = 1.

        Raises
        ------
        InputError
            There is no such place.
        """
        if not 0 <= k < self.seeds:
            raise InputError(f"no model {k} among {self.seeds}; count from 0")
        made = type(self)(self.settings, self.seed_list[k : k + 1], self.scale)
        made.load_state_dict({name: p[k : k + 1].clone() for name, p in self.state_dict().items()})
        made.history = self.history[self.history["seed"].eq(self.seed_list[k])]
        return made

    def fit(self, train: Float, validation: Float, progress: Progress) -> None:
        """Train on days [N, 12] in the unit of the scale, and keep the best weights by seed.

        Raises
        ------
        InputError
            Days are not [N, 12] or hold a value that is not finite.
        """
        y, held = (
            self.scale.scaled(torch.as_tensor(checked(days), dtype=torch.float32))
            for days in (train, validation)
        )
        s = self.settings
        streams = Streams(self.seed_list, f"{type(self).__name__} training")
        own = list(self.parameters())
        optimiser = torch.optim.Adam(own, lr=s.rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, s.updates)
        best: Snapshot | None = None
        rows = []
        every = max(1, s.updates // s.checks)
        for i in range(1, s.updates + 1):
            loss = self.loss(y[streams.integers(len(y), s.batch)], i / s.updates, streams)
            optimiser.zero_grad()
            loss.sum().backward()
            clip_per_agent(own, s.clip)
            optimiser.step()
            schedule.step()
            if i % every == 0 or i == s.updates:
                held_loss = self.validation_loss(held)
                best = keep_best(best, -held_loss, self)
                rows += [
                    {"seed": seed, "update": i, "loss": float(x)}
                    for seed, x in zip(self.seed_list, held_loss, strict=True)
                ]
                progress(f"{type(self).__name__}, update {i}: loss {held_loss.mean():.4f}")
        if best is not None:
            self.load_state_dict(best.parameters)
        self.history = pd.DataFrame(rows)


class GRUMixture(Recurrent):
    """GRU whose memory gives the weights, means and spreads of a mixture of normal densities."""

    def __init__(self, settings: Settings, seeds: Sequence[int], scale: Scale) -> None:
        super().__init__(settings, seeds, scale)
        streams = Streams(seeds, "GRU mixture")
        s = settings
        self.cell = StackedGRU(1 + PERIODS, s.hidden, streams)
        self.head = StackedMLP(
            (s.hidden + PERIODS, s.width, 3 * s.components), streams, activation="silu"
        )

    def loss(self, y: Tensor, part: float, streams: Streams) -> Tensor:
        """[K] mean negative log-density per period."""
        state, memories = self._blank(y.shape[1]), []
        for t in range(PERIODS):
            memories.append(torch.cat([state, self.calendar(y.shape[1], t)], -1))
            state = self._next(state, t, y[..., t])
        heads = self._density(torch.stack(memories, 2).flatten(1, 2))
        return -heads.log_density(y.flatten(1)).mean(1)

    def _predict(self, state: Carried) -> Mixture:
        calendar = self.calendar(state.memory.shape[1], state.t)
        return self._density(torch.cat([state.memory, calendar], -1))

    def _update(self, state: Carried, y: Tensor) -> Tensor:
        return self._next(state.memory, state.t, y)

    def _next(self, h: Tensor, t: int, y: Tensor) -> Tensor:
        return self.cell(torch.cat([y[..., None], self.calendar(h.shape[1], t)], -1), h)

    def _density(self, known: Tensor) -> Mixture:
        weight, mean, raw = self.head(known).chunk(3, -1)
        return Mixture(torch.softmax(weight, -1), mean, softplus(raw) + LEAST_SD)
