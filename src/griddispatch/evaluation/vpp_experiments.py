"""Cells of the study of the virtual power plant: train, tune or solve; judge all alike.

Training days teach, validation days choose, test days, which nothing else has seen, judge. Day k
of a part is made of the same random numbers in every cell and under every shift.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from griddispatch.agents import dromarl
from griddispatch.agents.dromarl import DROMARLConfig, Player
from griddispatch.assets.vpp import preset
from griddispatch.data.vpp_demand import SHIFTS, DemandDays, Model, Part, Shift, draw_days
from griddispatch.envs.vpp import COSTS, Action, Outcome, State, VirtualPowerPlant
from griddispatch.envs.vpp_reward import displayed
from griddispatch.evaluation.vpp_rollout import Dispatcher, play
from griddispatch.forecasting.demand_models import DemandModel

Float = NDArray[np.float64]

LEARNERS = {
    "DROMARL, no world model": "no world model",
    "DROMARL, no inertia": "no inertia",
    "DROMARL, no uncertainty": "no uncertainty",
    "DROMARL, GP-literal": "GP-literal",
    "DROMARL, one-sided": "one-sided",
    "DROMARL, Lipschitz": "Lipschitz",
    "Domain randomisation": "domain randomisation",
    "Domain randomisation, enumerated": "enumerated, domain randomisation",
    "MADDPG": "MADDPG",
    "Independent DDPG": "independent DDPG",
}
"""Learners beside DROMARL and itself without the robust critic, and the preset of each."""
CHOOSING = ("nominal", "sigma x1.5", "mean +10 %", "events 20 %")
"""Shifts of the validation days that choose robustness; the combined one is not among them."""
COMFORT = 0.3  # relative change of the load that customers are said to notice


@dataclass(frozen=True)
class Sizes:
    """How many days are drawn for each purpose, all of seed 0 of their part."""

    train: int = 2000
    validation: int = 300
    test: int = 400


@dataclass(frozen=True)
class Cell:
    """Result of `train_and_test`: K policies, and what they did.

    curve is that of the training and policy; days and validation have the columns of `judged`.
    """

    policy: str
    config: DROMARLConfig
    curve: pd.DataFrame
    days: pd.DataFrame
    validation: pd.DataFrame
    policies: list[Player]
    seconds: float
    updates: int
    memory_bytes: int

    def named(self, policy: str) -> "Cell":
        """The same cell under another name."""
        frames = {
            n: getattr(self, n).assign(policy=policy) for n in ("curve", "days", "validation")
        }
        return replace(self, policy=policy, **frames)


class Watched(NamedTuple):
    """What a dispatcher did on D days of 12 periods.

    demand_kw, reserve_kw, imbalance_kw, adjustment, load [D, 12]; output_kw, on [D, 12, 7]; costs
    [D, 12, 7] in the order of `COSTS`.
    """

    demand_kw: Float
    reserve_kw: Float
    imbalance_kw: Float
    adjustment: Float
    load: Float
    output_kw: Float
    on: Float
    costs: Float


def environment(
    part: Part,
    days: int,
    p_high: ArrayLike | None = None,
    shift: str | Shift = "nominal",
    *,
    plant: str = "repaired",
    model: Model = "day types",
) -> VirtualPowerPlant:
    """A plant on days of a part; p_high is neutral by default.

    Raises
    ------
    InputError
        A name is unknown, or there is no day.
    """
    drawn = draw_days(days, 0, part, shift=shift, model=model)
    return _plant(drawn, p_high, plant)


def _plant(
    days: DemandDays, p_high: ArrayLike | None, plant: str = "repaired"
) -> VirtualPowerPlant:
    if p_high is None:
        return VirtualPowerPlant(preset(plant), days)
    return VirtualPowerPlant(preset(plant), days, p_high=p_high)


class _Noting:
    """A dispatcher that notes the load actions of another."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.load: list[torch.Tensor] = []

    def act(self, env: VirtualPowerPlant, state: State) -> Action:
        action = self.dispatcher.act(env, state)
        self.load.append(action.load)
        return action


def watch(env: VirtualPowerPlant, dispatcher: Dispatcher) -> Watched:
    """Play all days of an environment and keep every period."""
    noting, seen = _Noting(dispatcher), list[Outcome]()
    play(env, noting, watch=seen.append)

    def of(name: str) -> Float:
        return _stacked([getattr(outcome, name) for outcome in seen])

    names = ("demand_kw", "reserve_kw", "imbalance_kw", "adjustment")
    parts = np.stack([of(name) for name in COSTS], -1)
    every = {name: of(name) for name in names} | {"load": _stacked(noting.load)}
    return Watched(**every, output_kw=of("output_kw"), on=of("on"), costs=parts)


def _stacked(values: list[torch.Tensor]) -> Float:
    return np.asarray(torch.stack(values, 1).double().cpu().numpy(), dtype=np.float64)


def judged(
    env: VirtualPowerPlant, dispatcher: Dispatcher, policy: str, shift: str, seed: int = 0
) -> pd.DataFrame:
    """One row per day of the environment: policy, shift, seed, day, and what happened on it.

    cost and its parts in currency; balanced and clipped in % of periods; reward as displayed; the
    other fields of `vpp_rollout.DayResults`; starts_day, their number; comfort_day, periods with an
    adjustment beyond `COMFORT`; ramp_kw, mean change of the units' output from period to period.
    """
    seen: list[Outcome] = []
    played = play(env, dispatcher, watch=seen.append)._asdict()
    parts = played.pop("parts")
    played.pop("period_cost")
    played["starts_day"] = played.pop("starts")  # their cost has the name
    output = _stacked([outcome.output_kw.sum(1) for outcome in seen])
    played |= {
        "balanced": 100 * played["balanced"],
        "clipped": 100 * played["clipped"],
        **{name: parts[:, i] for i, name in enumerate(COSTS)},
        "comfort_day": (np.abs(_stacked([o.adjustment for o in seen])) > COMFORT).sum(1),
        "ramp_kw": np.abs(np.diff(output, axis=1)).mean(1),
    }
    named = {"policy": policy, "shift": shift, "seed": seed, "day": range(len(env.days))}
    return pd.DataFrame(named | played)


class Watching(VirtualPowerPlant):
    """Validation days that note what each of K policies does whenever they play through them.

    Attributes
    ----------
    rows
        One per play and policy: reward as displayed per day, adjustment (mean size, %), comfort
        (periods per day with an adjustment beyond `COMFORT`), ramp (kW per period).
    """

    def __init__(self, env: VirtualPowerPlant, policies: int) -> None:
        super().__init__(env.plant, env.days, p_high=env.prices, device=env.device, dtype=env.dtype)
        self.policies = policies
        self.rows: list[dict[str, float]] = []
        self._seen: list[Outcome] = []

    def step(
        self, state: State, action: Action, delta_kw: torch.Tensor | float = 0.0
    ) -> tuple[State, torch.Tensor, Outcome]:
        """As of the environment."""
        state, reward, outcome = super().step(state, action, delta_kw)
        self._seen.append(outcome)
        if state.t == self.steps:
            self._note()
        return state, reward, outcome

    def _note(self) -> None:
        def of(values: list[torch.Tensor]) -> torch.Tensor:
            return torch.stack(values).double().view(self.steps, self.policies, -1)

        size = of([o.adjustment.abs() for o in self._seen])
        shown = displayed(of([o.cost for o in self._seen]).numpy(), self.plant.display_cap)
        found = {
            "reward": torch.as_tensor(shown).sum(0).mean(1),
            "adjustment": 100 * size.mean((0, 2)),
            "comfort": (size > COMFORT).double().sum(0).mean(1),
        }
        for k in range(self.policies):
            self.rows.append({name: float(values[k]) for name, values in found.items()})
        self._seen = []


def train_and_test(
    policy: str,
    config: DROMARLConfig,
    seeds: Sequence[int],
    sizes: Sizes,
    p_high: ArrayLike,
    world: DemandModel | None,
    *,
    tested: Sequence[str] = tuple(SHIFTS),
    records: int = 10,
) -> Cell:
    """Train one policy per seed; judge on validation days, and on test days under the shifts.

    Parameters
    ----------
    policy, config, seeds
        Name of the rows, settings, and one pair of agents per seed.
    sizes, p_high, world
        How many days; [12] probability of the high price; a fitted model of the demand.
    tested
        Shifts of the test days; none for a candidate that is only to be chosen among others.
    records
        Points on the training curve.
    """
    env = _plant(dromarl.training_days(config, sizes.train, 0), p_high)
    validation = environment("validation", sizes.validation, p_high)
    watching = Watching(validation, len(seeds))

    def progress(line: str) -> None:
        print(f"{policy}: {line}", flush=True)

    done = dromarl.train(
        env, config, list(seeds), watching, world=world, records=records, progress=progress
    )
    noted = pd.DataFrame(watching.rows, index=done.curve.index)
    policies = list(zip(seeds, done.policies, strict=True))

    def judge(part: Part, days: int, shifts: Sequence[str]) -> pd.DataFrame:
        played = [
            judged(environment(part, days, p_high, shift), one, policy, shift, seed)
            for shift in shifts
            for seed, one in policies
        ]
        return pd.concat(played, ignore_index=True) if played else pd.DataFrame()

    return Cell(
        policy=policy,
        config=config,
        curve=pd.concat([done.curve, noted], axis=1).assign(policy=policy),
        days=judge("test", sizes.test, tested),
        validation=judge("validation", sizes.validation, CHOOSING),
        policies=list(done.policies),
        seconds=done.seconds,
        updates=done.updates,
        memory_bytes=done.memory_bytes,
    )


def inertia_estimates(env: VirtualPowerPlant, policies: Sequence[Player]) -> Float:
    """[K, D] what each load actor makes of the inertia: kappa_hat, mean over the day's periods."""
    made = []
    for player in policies:
        state, total = env.reset(), torch.zeros(len(env.days))
        with torch.no_grad():
            while state.t < env.steps:
                sight = player.sight(env, state)
                total += player.dispatchers.inertia(sight)[0] / env.steps
                state, _, _ = env.step(state, player.dispatchers.act(sight))
        made.append(total.double().numpy())
    return np.stack(made)
