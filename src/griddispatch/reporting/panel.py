"""What if: one day of the published feeder under other batteries, prices and policies.

`Laboratory.respond` answers one question, a `Setting`: which day, which batteries, how far prices
spread, and who dispatches. It plays the day, finds the optimum of the same day, and holds both for
`panel_figure` (the picture) and `panel_widgets` (the panel in JupyterLab). It chooses nothing:
what rules and learners know comes from training and validation days, for every setting.

The price spread s moves every price away from the mean m of the training days, or towards it:
p -> m + s (p - m), for the day itself, the day before it, and the days that rules learn from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from griddispatch.agents import pathwise, rules
from griddispatch.agents.learning import Actor, Policy
from griddispatch.assets.storage import Storage
from griddispatch.data import splits
from griddispatch.data.series import Days, Series
from griddispatch.envs.cases import load_network
from griddispatch.envs.feeder import VOLTAGE_BAND, EndSoc, Feeder
from griddispatch.envs.observations import Scale, observe
from griddispatch.errors import InputError
from griddispatch.evaluation import experiments
from griddispatch.evaluation.metrics import captured_value
from griddispatch.evaluation.rollout import Rollout
from griddispatch.grid.network import Network
from griddispatch.optimization.arbitrage import arbitrage_schedule
from griddispatch.optimization.linear import linear_schedule
from griddispatch.reporting.panel_rollout import played, voltages

LEARNED = pathwise.NAME
POLICIES = (
    "Do nothing",
    "Price threshold",
    "Yesterday's schedule",
    "Fixed schedule",
    LEARNED,
    "Optimum",
)
PRINTED = Storage()  # the batteries of the paper

# Of tangents: bound and payment then differ by less than a cent a day at the published batteries.
_ROUNDS = 3
_WORTH = 0.005  # EUR; less than that between idleness and optimum is nothing to be gained
_LEVELS = 5  # quantiles of the training price among which the two thresholds are chosen


@dataclass(frozen=True)
class Setting:
    """One question: who dispatches which batteries, on which day, at which prices.

    Attributes
    ----------
    date
        A test or stress day, "YYYY-MM-DD".
    policy
        One of `POLICIES`.
    storage
        The batteries; by default those of the paper.
    spread
        Factor on the distance of every price from the training mean; 1 leaves prices as they are.
    end_soc
        "free" as in the paper, or "initial": the day ends with the charge of the morning.

    Raises
    ------
    InputError
        The policy is unknown, or the spread is negative or not finite.
    """

    date: str
    policy: str = "Do nothing"
    storage: Storage = PRINTED
    spread: float = 1.0
    end_soc: EndSoc = "free"

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(f"unknown policy {self.policy!r}; there are {', '.join(POLICIES)}")
        if not 0 <= self.spread < inf:
            raise InputError(
                f"the price spread is {self.spread}; give a factor of 0 (one price for all hours) "
                "or more"
            )


class Best(NamedTuple):
    """Perfect foresight on some days: powers, and what no policy can surpass in sum, EUR."""

    schedule: rules.Schedule
    bound: float


@dataclass(frozen=True)
class Answer:
    """What a setting leads to.

    feeder holds the one day; run and optimum are the day under the policy and under perfect
    foresight; voltage and idle_voltage [S, N] are the voltages at all nodes in p.u., with the
    policy and without batteries; published_price [S] is the price before it was spread; bound is
    what no policy can surpass, in EUR; notes say what to keep in mind.
    """

    setting: Setting
    feeder: Feeder
    run: Rollout
    optimum: Rollout
    voltage: NDArray[np.float64]
    idle_voltage: NDArray[np.float64]
    published_price: NDArray[np.float64]
    bound: float
    notes: tuple[str, ...]

    @property
    def idle(self) -> float:
        """Reward of doing nothing, EUR."""
        return -float(self.feeder.idle_penalty.sum())

    @property
    def captured(self) -> float:
        """Share of the achievable value in %: idle = 0, optimum = 100; NaN if there is none."""
        best = float(self.optimum.reward.sum())
        if best - self.idle < _WORTH:
            return float("nan")
        return captured_value(float(self.run.reward.sum()), self.idle, best)

    @property
    def violations(self) -> int:
        """Steps and battery nodes outside the voltage band, counted together."""
        return int(((self.run.magnitude - 1).abs() > VOLTAGE_BAND).sum())

    @property
    def numbers(self) -> dict[str, float]:
        """Everything that is read as a number; money in EUR, voltage in p.u., share in %."""
        profit, penalty, reward = (
            float(part.sum()) for part in (self.run.profit, self.run.penalty, self.run.reward)
        )
        return {
            "profit": profit,
            "penalty": penalty,
            "reward": reward,
            "gain": reward - self.idle,
            "captured": self.captured,
            "violations": self.violations,
            "lowest_voltage": float(self.voltage.min()),
        }


@dataclass(frozen=True)
class Laboratory:
    """The published case, ready to answer.

    Attributes
    ----------
    network
        The feeder.
    days, scopes
        Days that may be asked for, and which of their dates are test and which are stress days.
    training, validation
        Days that rules are made from; the mean price of the former is what prices spread about.
    agents
        A learned policy for each end of the day; none where no model is at hand.
    storage
        What these were trained with, and the price thresholds are tuned with.
    """

    network: Network
    days: Days
    scopes: Mapping[str, Sequence[str]]
    training: Days
    validation: Days
    agents: Mapping[EndSoc, Actor] = field(default_factory=dict)
    storage: Storage = PRINTED
    _best: dict[object, Best] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def read(
        cls, raw: Path, series: Path, agents: Mapping[EndSoc, Actor] | None = None
    ) -> "Laboratory":
        """Read the folder of raw data and the clean series of 34 nodes.

        Raises
        ------
        InputError
            A file is missing or wrong.
        """
        clean = Series.read(series)
        scopes = {scope: experiments.scope_days(clean, scope) for scope in experiments.SCOPES}
        return cls(
            network=load_network(raw, 34),
            days=clean.days([date for dates in scopes.values() for date in dates]),
            scopes=scopes,
            training=clean.days(splits.training_days(clean, "all")),
            validation=clean.days(splits.validation_days(clean, "all")),
            agents=agents or {},
        )

    def respond(self, setting: Setting) -> Answer:
        """Play the day of a setting.

        Raises
        ------
        InputError
            There is no such day, a battery stands where none can stand, the network cannot carry
            the power, or the learned policy does not fit the batteries.
        """
        feeder = self.feeder(setting, [setting.date])
        run = played(self.policy(setting, feeder), feeder)
        best = self.best(setting, feeder)
        everywhere = self.feeder(setting, [setting.date], everywhere=True)
        return Answer(
            setting=setting,
            feeder=feeder,
            run=run,
            optimum=played(best.schedule, feeder),
            voltage=voltages(everywhere, run),
            idle_voltage=everywhere.idle_voltage[0].abs().numpy(),
            published_price=np.asarray(self.days.select([setting.date]).price[0]),
            bound=best.bound,
            notes=self.notes(setting),
        )

    def feeder(self, setting: Setting, dates: Iterable[str], *, everywhere: bool = False) -> Feeder:
        """The environment of a setting on some days; `everywhere` watches all nodes' voltages."""
        return Feeder(
            self.network,
            setting.storage,
            self._spread(self.days.select(dates), setting.spread),
            voltage_scope="all" if everywhere else "battery",
            end_soc=setting.end_soc,
            observation=observe(experiments.PLAIN.prices),
            scale=self._scale,
        )

    def policy(self, setting: Setting, feeder: Feeder) -> Policy:
        """The policy of a setting, made for its batteries and prices.

        Raises
        ------
        InputError
            No learned policy is at hand for this end of the day, or it has another number of
            batteries or nodes.
        """
        if setting.policy == LEARNED:
            return self._learned(setting, feeder)
        if setting.policy == "Optimum":
            return self.best(setting, feeder).schedule
        if setting.policy == "Price threshold":
            low, high = (self._moved(x, setting.spread) for x in self._thresholds)
            return rules.PriceThreshold(low, high)
        if setting.policy == "Fixed schedule":
            mean = self._spread(self.training, setting.spread).price.mean(0)
            power = arbitrage_schedule(setting.storage, mean, feeder.hours, setting.end_soc)
            return rules.Schedule(power)
        if setting.policy == "Yesterday's schedule":
            return rules.YesterdaysSchedule()
        return rules.DoNothing()

    def best(self, setting: Setting, feeder: Feeder) -> Best:
        """Perfect foresight on the days of a setting's feeder; solved once per question."""
        key = (feeder.days.dates, setting.storage, setting.spread, setting.end_soc)
        if key not in self._best:
            found = [linear_schedule(feeder, day, _ROUNDS) for day in range(len(feeder.days))]
            power = np.stack([schedule.power_kw for schedule in found])
            self._best[key] = Best(
                rules.Schedule(power), sum(schedule.objective for schedule in found)
            )
        return self._best[key]

    def notes(self, setting: Setting) -> tuple[str, ...]:
        """What to keep in mind about a setting: where the learned policy leaves what it learned."""
        changed = [
            f.name.removesuffix("_kw").removesuffix("_kwh").replace("_", " ")
            for f in fields(Storage)
            if getattr(setting.storage, f.name) != getattr(self.storage, f.name)
        ]
        changed += ["price spread"] if setting.spread != 1 else []
        if setting.policy != LEARNED or not changed:
            return ()
        return (
            f"{LEARNED} acts outside what it was trained for: here the {_listed(changed)} "
            f"{'differs' if len(changed) == 1 else 'differ'}, and it was not trained again.",
        )

    # -- what is made once ----------------------------------------------------------------

    @cached_property
    def _scale(self) -> Scale:
        """What observations are divided by: that of the training days, as the learner saw them."""
        return Scale.of(self.training)

    @cached_property
    def _thresholds(self) -> tuple[float, float]:
        """Prices that serve the batteries of `storage` best on the validation days."""
        feeder = Feeder(self.network, self.storage, self.validation)
        rule = rules.tuned_threshold(
            feeder, lambda rule, days: float(played(rule, days).reward.sum()), _LEVELS
        )
        return rule.low, rule.high

    def _moved(self, price: float, spread: float) -> float:
        mean = self._scale.price_mean
        return mean + spread * (price - mean)

    def _spread(self, days: Days, spread: float) -> Days:
        """Days whose prices, and those of the day before, are spread about the training mean."""
        mean = self._scale.price_mean
        assert days.price_before is not None
        return replace(
            days,
            price=mean + spread * (days.price - mean),
            price_before=mean + spread * (days.price_before - mean),
        )

    def _learned(self, setting: Setting, feeder: Feeder) -> Actor:
        if setting.end_soc not in self.agents:
            raise InputError(
                f"no {LEARNED} model for a day that ends with end_soc={setting.end_soc!r}; train "
                "it with `dvc repro train_pathwise`, or take another policy"
            )
        actor = self.agents[setting.end_soc]
        takes, gives = actor.network.weights[0].shape[1], actor.network.weights[-1].shape[2]
        if (takes, gives) != (feeder.n_observations, feeder.n_actions):
            raise InputError(
                f"{LEARNED} was trained for {gives} batteries and sees {takes} numbers; this "
                f"feeder has {feeder.n_actions} and shows {feeder.n_observations}. Place {gives} "
                "batteries, or take another policy"
            )
        return actor


def learned(models: Path) -> dict[EndSoc, Actor]:
    """Agents of notebook 9, seed 0, trained on all measured days: one for each end of the day."""
    saved = torch.load(models)
    ends: tuple[EndSoc, ...] = ("free", "initial")
    names = {end: f"tuned, all, none, history, {end}" for end in ends}
    return {end: Actor.load(saved[name][0]) for end, name in names.items() if name in saved}


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
