"""What commitments cost, from the plant itself: for the critics of DROMARL.

Once the demand of a period is known the plant follows the merit order, so what a commitment pays is
a function of commitment and demand alone, starts and comfort apart. It is tabulated from the
environment; nothing of it has to be learned.
"""

import itertools
from functools import lru_cache

import torch
from torch import Tensor, nn

from griddispatch.assets.vpp import Plant
from griddispatch.data.vpp_demand import BASE_KW, INERTIA, PERIODS, DemandDays
from griddispatch.envs.vpp import Action, VirtualPowerPlant

_GRID_KW, _HIGHEST_KW = 0.05, 120.0
_MEAN_KW, _SPREAD_KW = 0.5, 1.0  # grid of `Expected`
_MEANS, _SPREADS = 201, 17
_LEVELS = 33


def all_patterns(units: int) -> Tensor:
    """[2^units, units] every commitment."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)))


class Known(nn.Module):
    """What a commitment surely costs, starts and no-load, in units of the critics."""

    running: Tensor
    power: Tensor

    def __init__(self, plant: Plant, unit: float) -> None:
        super().__init__()
        running = torch.as_tensor(plant.running_cost, dtype=torch.float32) / unit
        self.register_buffer("running", running, persistent=False)
        self.register_buffer("power", torch.tensor(plant.power_kw), persistent=False)
        self.start, self.minimum = plant.start_cost / unit, plant.minimum
        self.shed, self.control = plant.shed_cost / unit, plant.control

    def starts(self, on: Tensor, bits: Tensor) -> Tensor:
        """[...] cost of the starts from statuses on [..., 7] to bits [..., 7]."""
        return self.start * (bits - on).clamp(min=0).sum(-1)

    def forward(self, on: Tensor, bits: Tensor) -> Tensor:
        """[...] cost of bits [..., 7] after statuses on [..., 7]."""
        return bits @ self.running + self.starts(on, bits)


class Recourse:
    """What a commitment pays in a period for a demand, starts and comfort apart, in units.

    A table of the environment's own costs, for all commitments and every 0.05 kW; linear between.
    """

    def __init__(self, plant: Plant, unit: float) -> None:
        self.patterns = all_patterns(plant.units)
        grid = torch.arange(0, _HIGHEST_KW + _GRID_KW / 2, _GRID_KW, dtype=torch.float64)
        count = len(grid)
        made = DemandDays(
            demand_kw=grid[:, None].expand(-1, PERIODS).numpy(),
            kappa=torch.full((count,), sum(INERTIA) / 2, dtype=torch.float64).numpy(),
            kind=torch.zeros(count, dtype=torch.int64).numpy(),
            event=torch.zeros(count, PERIODS, dtype=torch.float64).numpy(),
        )
        env = VirtualPowerPlant(plant, made)
        state = env.reset(torch.arange(count).repeat(len(self.patterns)))
        commit = self.patterns.repeat_interleave(count, 0)
        _, _, out = env.step(state, Action(commit, torch.zeros(len(commit))))
        self.table = ((out.cost - out.starts) / unit).view(len(self.patterns), count)
        self.places = 2 ** torch.arange(plant.units - 1, -1, -1)

    def index(self, bits: Tensor) -> Tensor:
        """[...] place of commitments [..., 7] among all patterns."""
        return (bits.long() * self.places).sum(-1)

    def cost(self, index: Tensor, demand: Tensor) -> Tensor:
        """[...] cost in units of commitments at places index [...] for demands [...] in kW."""
        at = (demand / _GRID_KW).clamp(0, self.table.shape[1] - 1.001)
        low = at.long()
        flat = index * self.table.shape[1] + low
        return torch.lerp(self.table.take(flat), self.table.take(flat + 1), at - low)


class Expected:
    """Expected cost of all commitments, if the demand is normal with a given mean and spread.

    With a radius it is the expectation of the largest cost over demands moved by -1, -1/2, 0, 1/2
    or 1 times the radius times the base. A table of `Recourse` for each period, in mean and spread,
    each in kW; bilinear between.
    """

    def __init__(self, recourse: Recourse, radius: float = 0.0) -> None:
        mean = _MEAN_KW * torch.arange(_MEANS)
        z = torch.special.ndtri((torch.arange(_LEVELS) + 0.5) / _LEVELS)
        z = z / z.square().mean().sqrt()
        every = torch.arange(len(recourse.patterns))[:, None, None]
        shares = (-1.0, -0.5, 0.0, 0.5, 1.0) if radius > 0 else (0.0,)

        def costs(base: float, spread: int) -> Tensor:
            """[means, 128] of one period and spread."""
            demand = mean[:, None] + _SPREAD_KW * spread * z
            moved = (demand + share * radius * base for share in shares)
            each = torch.stack([recourse.cost(every, d.clamp(min=0)[None]) for d in moved])
            return each.amax(0).mean(-1).T

        bases = [float(b) if radius > 0 else 0.0 for b in BASE_KW]
        levels = sorted(set(bases))
        self.which = torch.tensor([levels.index(b) for b in bases])
        rows = [torch.stack([costs(b, s) for s in range(_SPREADS)], 1) for b in levels]
        self.table = torch.stack(rows)  # [levels of the base, means, spreads, 128]

    def __call__(self, period: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        """[..., 128] cost in units, for periods, means and spreads [...], the last two in kW."""
        m = (mean / _MEAN_KW).clamp(0, _MEANS - 1.001)
        s = (spread / _SPREAD_KW).clamp(0, _SPREADS - 1.001)
        low, flat = m.long(), self.table.flatten(0, 2)
        at = (self.which[period] * _MEANS + low) * _SPREADS + s.long()
        up, wide = (m - low)[..., None], (s - s.long())[..., None]
        less = torch.lerp(flat[at], flat[at + 1], wide)
        more = torch.lerp(flat[at + _SPREADS], flat[at + _SPREADS + 1], wide)
        return torch.lerp(less, more, up)


@lru_cache(maxsize=4)
def recourse_of(plant: Plant, unit: float) -> Recourse:
    """The table of a plant, made once; read only."""
    return Recourse(plant, unit)


@lru_cache(maxsize=8)
def expected_of(plant: Plant, unit: float, radius: float) -> Expected:
    """The table of a plant and radius, made once; read only."""
    return Expected(recourse_of(plant, unit), radius)
