"""Rules for frequency regulation that need no learning, and the tuning of one of them.

All of them ask `feasible_interval` before they answer, so none violates a limit.

- `ProRata`: every resource takes a fixed share of the command, by its power or by what it can ramp
  in a minute.
- `MeritOrder`: the cheapest takes all it can, then the next.
- `FrequencySplit`: slow parts of the command to slow resources, what is missing to the fast ones;
  its numbers are tuned with the cross-entropy method (Rubinstein, "The cross-entropy method for
  combinatorial and continuous optimization", 1999) on the mean of the reward.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.assets.limits import within
from griddispatch.assets.regulation_resources import DISPATCH_S, Generator
from griddispatch.envs.regulation import Regulation, State
from griddispatch.errors import InputError
from griddispatch.learning.training import Progress

Float = NDArray[np.float64]


def command_now(env: Regulation, state: State) -> Tensor:
    """[B] the command in MW at the moment of the decision."""
    return env.command[state.t].index_select(0, state.hour)[:, 0]


@dataclass(frozen=True)
class ProRata:
    """Fixed shares of the command, by rated power or by the ramp of a minute."""

    by: Literal["capacity", "ramp"] = "capacity"

    def __post_init__(self) -> None:
        if self.by not in ("capacity", "ramp"):
            raise InputError(f"pro-rata by {self.by!r}; take 'capacity' or 'ramp'")

    def act(self, env: Regulation, state: State) -> Tensor:
        """[B, R] set-points in MW, on top of the schedule."""
        size = env.constants.power
        if self.by == "ramp":
            minute = [
                r.ramp_mw_per_s * 60 if isinstance(r, Generator) else r.power_mw
                for r in env.fleet.resources
            ]
            size = torch.minimum(size, torch.tensor(minute).to(size))
        planned = env.schedule[state.hour]
        wanted = (command_now(env, state) - planned.sum(1))[:, None] * (size / size.sum())
        return within(planned + wanted, *env.feasible_interval(state))


@dataclass(frozen=True)
class MeritOrder:
    """The cheapest resource first, each as far as it can go now."""

    def act(self, env: Regulation, state: State) -> Tensor:
        """[B, R] set-points in MW."""
        low, high = env.feasible_interval(state)
        order = sorted(range(env.n_actions), key=lambda i: env.fleet.resources[i].cost)
        setpoint = within(torch.zeros_like(low), low, high)
        left = command_now(env, state) - setpoint.sum(1)
        for i in order:
            a = within(setpoint[:, i] + left, low[:, i], high[:, i])
            left = left - (a - setpoint[:, i])
            setpoint[:, i] = a
        return setpoint


class Parameter(NamedTuple):
    """A number of `FrequencySplit`: where the tuning starts, and how far from there it looks."""

    name: str
    start: float
    spread: float


PARAMETERS = (
    Parameter("thermal share", 0.3, 0.15),
    Parameter("thermal log time constant", 4.5, 0.7),  # of seconds
    Parameter("hydro share", 0.3, 0.15),
    Parameter("hydro log time constant", 2.5, 0.7),
    Parameter("hydro lead", 0.0, 2.0),  # decisions by which the trend is carried on
    Parameter("LNG share", 0.3, 0.15),
    Parameter("LNG log time constant", 3.5, 0.7),
    Parameter("LNG lead", 0.0, 2.0),
    Parameter("EV share", 0.5, 0.25),  # of what is missing after the slow ones
    Parameter("EV log time constant", 0.5, 0.7),
    Parameter("energy", 5.0, 5.0),  # MW that others give for a half-empty battery
)


@dataclass(frozen=True, eq=False)
class FrequencySplit:
    """Low-passed parts of the command to the plants, the remainder to EV fleet and battery.

        plant i   share_i (low-pass_i(u) + lead_i trend_i) + correction / 2 (hydro and LNG)
        EV        schedule + share (low-pass(u) - predicted output of the plants)
        battery   u - predicted output of all others
        correction = energy (1 - 2 place), place of the battery's energy in its range, 0 .. 1

    The five resources must be those of `assets.regulation.preset`, in that order.

    Attributes
    ----------
    values
        [N, 11] candidates, each in the order of `PARAMETERS`. The rows of a state are divided among
        the candidates in N blocks of equal length.
    """

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(PARAMETERS):
            raise InputError(
                f"frequency split has values {tuple(self.values.shape)}; give "
                f"[candidates, {len(PARAMETERS)}], see PARAMETERS"
            )

    @cached_property
    def _slow(self) -> "_Slow":
        return _Slow(self.values)

    @classmethod
    def untuned(cls) -> "FrequencySplit":
        """The numbers that the tuning starts from."""
        return cls(torch.tensor([[p.start for p in PARAMETERS]], dtype=torch.float64))

    def act(self, env: Regulation, state: State) -> Tensor:
        """[B, R] set-points in MW."""
        slow = env.table(self._slow)[state.t].flatten(0, 1)  # [N H, 4]
        N, H = len(self.values), len(env.hours)
        block = torch.arange(N, device=env.device).repeat_interleave(len(state.hour) // N)
        thermal, hydro, lng, ev = slow[block * H + state.hour].unbind(1)
        v = self.values.to(slow)[block]
        low, high = env.feasible_interval(state)
        output = env.delivered(state)
        planned = env.schedule[state.hour]
        u = command_now(env, state)
        missing = ev + planned.sum(1) - planned[:, 3] - output[:, :3].sum(1)
        window = env.window_table
        empty, full = (x[state.t, state.hour, -1] for x in (window.empty, window.full))
        place = (state.energy[:, -1] - empty) / (full - empty)
        help_mw = v[:, 10] * (1 - 2 * place)
        a = torch.stack(
            [
                v[:, 0] * thermal,
                v[:, 2] * hydro + help_mw / 2,
                v[:, 5] * lng + help_mw / 2,
                planned[:, 3] + v[:, 8] * missing,
                u - output[:, :4].sum(1),
            ],
            1,
        )
        return within(a, low, high)


@dataclass(frozen=True, eq=False)
class _Slow:
    """Low-passed commands of candidates, as a table of an environment."""

    values: Tensor

    def __call__(self, env: Regulation) -> Tensor:
        """[T, N, H, 4] for thermal, hydro, LNG (with leads) and EV, without the schedule, in MW."""
        v = self.values.to(env.command)
        u = env.command[..., 0] - env.schedule.sum(1)  # [T, H]
        keep = torch.exp(-DISPATCH_S / v[:, [1, 3, 6, 9]].exp())[:, None]  # [N, 1, 4]
        lead = torch.stack([0 * v[:, 4], v[:, 4], v[:, 7], 0 * v[:, 4]], 1)[:, None]
        part = u[0, None, :, None].expand(len(v), -1, 4)
        rows = []
        for now in u:
            before = part
            part = torch.lerp(now[None, :, None].expand_as(part), part, keep)
            rows.append(part + lead * (part - before))
        return torch.stack(rows)


def tuned_split(
    env: Regulation,
    *,
    evaluations: int = 640,
    population: int = 32,
    elite: int = 8,
    hours: int = 16,
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> FrequencySplit:
    """The frequency split whose mean reward on training hours is highest.

    Parameters
    ----------
    env
        Hours to tune on; a candidate is tried on `hours` of them, drawn anew in each generation,
        the same for all candidates of it.
    evaluations
        Candidates in all.
    population, elite
        Candidates of a generation, and how many of them shape the next.
    hours, seed
        Hours per candidate, seed of the drawing.
    progress
        Called with one line per generation.

    Raises
    ------
    InputError
        A number is out of range.
    """
    if not 1 < elite <= population <= evaluations or not 1 <= hours <= len(env.hours):
        raise InputError(
            "tuning needs 1 < elite <= population <= evaluations and 1 <= hours <= "
            f"{len(env.hours)}; they are {elite}, {population}, {evaluations}, {hours}"
        )
    rng = np.random.default_rng(seed)
    mean = np.array([p.start for p in PARAMETERS])
    spread = np.array([p.spread for p in PARAMETERS])
    for generation in range(evaluations // population):
        drawn = mean + spread * rng.standard_normal((population, len(mean)))
        drawn[0] = mean
        rows = rng.choice(len(env.hours), hours, replace=False)
        score = split_rewards(env.on(env.hours.take(rows.tolist())), torch.as_tensor(drawn))
        best = drawn[np.argsort(-score)[:elite]]
        mean = best.mean(0)
        # The spread follows slowly, so that a lucky generation does not freeze the search.
        spread = 0.3 * spread + 0.7 * best.std(0)
        progress(f"generation {generation + 1}: mean reward {score.max():.4f}")
    return FrequencySplit(torch.as_tensor(mean[None]))


@torch.no_grad()
def split_rewards(env: Regulation, values: Tensor) -> Float:
    """[N] mean reward per decision of candidates [N, 11] on all hours of the environment."""
    rule, H = FrequencySplit(values), len(env.hours)
    state = env.reset(torch.arange(H, device=env.device).repeat(len(values)))
    total = torch.zeros(len(state.hour), dtype=torch.float64)
    for _ in range(env.steps):
        state, reward, _ = env.step(state, rule.act(env, state))
        total += reward.cpu()
    return (total.view(len(values), H).mean(1) / env.steps).numpy()
