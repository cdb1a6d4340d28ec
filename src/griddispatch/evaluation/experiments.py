"""One cell of a results table: train K seeds on one data set, test them on days never seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from griddispatch.agents import td3
from griddispatch.agents.learning import Training
from griddispatch.assets.storage import Storage
from griddispatch.data import splits
from griddispatch.data.series import Series
from griddispatch.envs.feeder import Feeder
from griddispatch.envs.observations import Observation, observe, paper_observation
from griddispatch.errors import InputError
from griddispatch.evaluation.rollout import evaluate
from griddispatch.grid.network import Network

SCOPES = ("test", "stress")


@dataclass(frozen=True)
class Cell:
    """Result of `train_and_test`: everything a notebook needs, nothing that must be trained again.

    curve is `Training.curve`; days has one row per seed, scope and date with the columns of
    `evaluate`; parameters holds one actor per seed.
    """

    primary: str
    preset: str
    curve: pd.DataFrame
    days: pd.DataFrame
    parameters: list[dict[str, Any]]
    seconds: float
    updates: int
    memory_bytes: int


def information(preset: str) -> Observation:
    """What an agent of a preset sees: the printed state, or time as angles and price history."""
    if preset == "paper":
        return paper_observation
    if preset == "tuned":
        return observe("history")
    raise InputError(f"unknown preset {preset!r}; there are 'paper' and 'tuned'")


def scope_days(series: Series, scope: str) -> tuple[str, ...]:
    """Dates of a scope: "test" or "stress"."""
    if scope not in SCOPES:
        raise InputError(f"unknown scope {scope!r}; there are {', '.join(SCOPES)}")
    return splits.test_days(series) if scope == "test" else splits.stress_days(series)


def train_and_test(
    network: Network,
    series: Series,
    storage: Storage,
    primary: str,
    preset: str,
    config: td3.TD3Config,
    seeds: Sequence[int],
) -> Cell:
    """Train on the fit days of a primary set, choose on its validation days, test both scopes."""
    fit = Feeder(
        network,
        storage,
        series.days(splits.fit_days(series, primary)),
        observation=information(preset),
    )
    validation = fit.on(series.days(splits.validation_days(series, primary)))
    name = f"{primary}, {preset}"
    training = td3.train(
        fit, config, list(seeds), validation, progress=lambda line: print(f"{name}: {line}")
    )
    days = [
        table
        for scope in SCOPES
        for table in _tested(training, fit.on(series.days(scope_days(series, scope))), scope, seeds)
    ]
    return Cell(
        primary=primary,
        preset=preset,
        curve=training.curve,
        days=pd.concat(days, ignore_index=True),
        parameters=[policy.saved for policy in training.policies],
        seconds=training.seconds,
        updates=training.updates,
        memory_bytes=training.memory_bytes,
    )


def _tested(
    training: Training, feeder: Feeder, scope: str, seeds: Sequence[int]
) -> list[pd.DataFrame]:
    return [
        evaluate({"TD3": policy}, feeder).assign(scope=scope, seed=seed)
        for policy, seed in zip(training.policies, seeds, strict=True)
    ]
