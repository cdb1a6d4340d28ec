"""What DROMARL trains on, and its recorder: days, forecasts, curve, policies."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from griddispatch.agents.dromarl_config import DROMARLConfig, together
from griddispatch.agents.dromarl_networks import Dispatchers, Player, one_agent, predicted
from griddispatch.data.vpp_demand import BASE_KW, INERTIA, PERIODS, DemandDays
from griddispatch.envs.vpp import BALANCED_KW, VirtualPowerPlant
from griddispatch.forecasting.demand_models import DemandModel
from griddispatch.learning.networks import Streams
from griddispatch.learning.training import Progress, Training
from griddispatch.risk_measures import cvar

TAIL = 0.9  # CVaR of the worst tenth of days


class Played(NamedTuple):
    """[K, D] cost of a day in currency, and share of its periods within 1 kW."""

    cost: Tensor
    balanced: Tensor


@torch.no_grad()
def greedy(env: VirtualPowerPlant, player: Player) -> Played:
    """Let K policies play all days of an environment."""
    agents = player.dispatchers.agents
    state = env.reset(torch.arange(len(env.days)).repeat(agents))
    cost = torch.zeros(len(state.day))
    balanced = torch.zeros_like(cost)
    while state.t < env.steps:
        state, reward, outcome = env.step(state, player.act(env, state))
        cost = cost - reward
        balanced = balanced + (outcome.imbalance_kw.abs() <= BALANCED_KW).to(cost) / env.steps
    return Played(cost.view(agents, -1), balanced.view(agents, -1))


def imagined_days(world: DemandModel, count: int) -> DemandDays:
    """Days that the world model imagines, their inertia drawn from its range."""
    drawn = world.imagine(world.start(count), Streams([0] * world.seeds, "imagined"))[0]
    relative = drawn.double().numpy()
    low, high = INERTIA
    return DemandDays(
        demand_kw=np.clip(BASE_KW * (1 + relative), 0, None),
        kappa=np.random.default_rng(0).uniform(low, high, count),
        kind=np.zeros(count, dtype=np.int64),
        event=np.zeros((count, PERIODS)),
    )


class Foreseen:
    """The world model's forecasts for every day of an environment, and for moved demands.

    A table for training, of the uncontrolled demand as it is. In play the model goes through the
    estimate that the environment shows (`dromarl_networks.Forecast`); they differ by what mean
    inertia misses.

    Attributes
    ----------
    ahead
        [12, D, 2] mean and spread before each period, the effect of prices in the mean.
    near
        [12, D, 2 M] the same after each period, were its relative demand moved by each of M radii;
        0 after the last.
    """

    def __init__(
        self, env: VirtualPowerPlant, world: DemandModel | None, radii: Sequence[float]
    ) -> None:
        days, many = len(env.days), len(radii)
        self.ahead = torch.zeros(PERIODS, days, 2)
        self.near = torch.zeros(PERIODS, days, 2 * many)
        self.ahead[:, :, 0] = env.response[:, None]
        self.near[:-1, :, ::2] = env.response[1:, None, None]
        if world is None:
            return
        relative = torch.as_tensor(env.days.relative, dtype=torch.float32)
        carried = world.start(days)
        for t in range(PERIODS):
            self.ahead[t] += predicted(world, carried)
            if t + 1 < PERIODS:
                for m, radius in enumerate(radii):
                    came = (relative[:, t] + radius).expand(world.seeds, -1)
                    told = world.update(carried, came)
                    self.near[t, :, 2 * m : 2 * m + 2] += predicted(world, told)
                carried = world.update(carried, relative[:, t].expand(world.seeds, -1))


class Days:
    """Training days and imagined ones, in one environment, and the draw of them."""

    def __init__(
        self, env: VirtualPowerPlant, config: DROMARLConfig, world: DemandModel | None
    ) -> None:
        self.real, self.share = len(env.days), config.imagined
        self.imagined = config.imagined_days
        self.env = env
        if world is not None and config.imagined > 0:
            self.env = env.on(together([env.days, imagined_days(world, config.imagined_days)]))

    def draw(self, streams: Streams, count: int) -> Tensor:
        """[K * count] days of the environment."""
        real = streams.integers(self.real, count)
        unreal = self.real + streams.integers(self.imagined, count)
        taken = streams.uniform(count) < self.share
        return torch.where(taken, unreal, real).flatten()


@dataclass
class Recorder:
    """Keeps the curve of K agents; the last policies of the training are returned.

    The curve has the columns seed, update, days (per agent, so far), seconds, loss (the critics'
    error per update since the last record); and of the greedy policy on validation days mean and
    cvar (worst tenth) of the day's cost, and balanced, the share of periods within 1 kW.

    Attributes
    ----------
    player, seeds
        What is trained.
    validation
        Days on which the greedy policies are tried.
    progress
        Called with one line at each record.
    """

    player: Player
    seeds: Sequence[int]
    validation: VirtualPowerPlant
    progress: Progress
    rows: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = time.perf_counter()

    def record(self, update: int, days: int, losses: Sequence[Tensor] = ()) -> None:
        """Write a record; `update` updates and `days` days per agent are done.

        losses holds the critics' error [K] of each update since the last record.
        """
        tried = greedy(self.validation, self.player)
        cost = tried.cost.double().numpy()
        tails = cvar(cost, TAIL)
        seconds = time.perf_counter() - self.started
        nothing = torch.full((len(self.seeds),), torch.nan)
        loss = torch.stack(list(losses)).mean(0) if losses else nothing
        for k, seed in enumerate(self.seeds):
            self.rows.append(
                {
                    "seed": seed,
                    "update": update,
                    "days": days,
                    "seconds": seconds,
                    "loss": float(loss[k]),
                    "mean": float(cost[k].mean()),
                    "cvar": float(tails[k]),
                    "balanced": float(tried.balanced[k].mean()),
                }
            )
        self.progress(
            f"update {update}: validation mean {cost.mean():.0f}, CVaR {tails.mean():.0f}, "
            f"balanced {tried.balanced.mean():.3f}"
        )

    def training(self, updates: int, memory_bytes: int) -> Training[Player]:
        """The result."""
        made: Dispatchers = self.player.dispatchers
        plant, world = self.validation.plant, self.player.forecast.world
        return Training(
            [Player(one_agent(made, plant, k), world) for k in range(len(self.seeds))],
            pd.DataFrame(self.rows),
            time.perf_counter() - self.started,
            updates,
            memory_bytes,
        )
