"""One cell of the results table: train K agents on one setting, test them on days never seen.

A setting says what an agent learns from and what it sees. `SETTINGS` are the eight of the paper's
Table 3; `VARIANTS` change one thing of the last of them: what is known about prices, or where the
batteries must stand at midnight. Numbers of different information or end are never mixed.

Settings of algorithms were chosen by agents that learnt from fit days only, on the validation days
that they had not seen. With the settings fixed, the agents of the table learn from all training
days, the validation days among them; these then choose only which of an agent's records is kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from griddispatch.agents.learning import Actor
from griddispatch.assets.storage import Storage
from griddispatch.data import splits
from griddispatch.data.series import Days, Series
from griddispatch.envs.cases import load_network
from griddispatch.envs.feeder import EndSoc, Feeder
from griddispatch.envs.observations import Observation, Prices, observe, paper_observation
from griddispatch.errors import InputError
from griddispatch.evaluation.rollout import evaluate
from griddispatch.grid.network import Network
from griddispatch.learning.training import Training

SCOPES = ("test", "stress")
AUGMENTED = {"none": 0, "1 year": 365, "5 years": 5 * 365}
"""Generated days that join the measured ones."""
GENERATED = {p: f"data/processed/generated_{p.replace(' ', '_')}.npz" for p in splits.PRIMARY}
"""Where notebook 2 keeps the days that it generates from each primary set."""


@dataclass(frozen=True)
class Setting:
    """What an agent learns from, what it sees, and where its day must end."""

    primary: str = "all"
    """Measured days: one of `splits.PRIMARY`."""
    augmented: str = "none"
    """Generated days: one of `AUGMENTED`."""
    prices: Prices = "history"
    """What it knows about prices; see `envs.observations`."""
    end_soc: EndSoc = "free"
    """State of charge at midnight: "free", or "initial" as in the morning."""


# The paper's third primary set, a year, is not public; "all" stands in its place.
SETTINGS = tuple(
    Setting(primary, augmented)
    for primary in splits.PRIMARY
    for augmented in AUGMENTED
    if (primary, augmented) != ("all", "1 year")
)
PLAIN = Setting()
VARIANTS = (Setting(prices="now"), Setting(prices="day-ahead"), Setting(end_soc="initial"))


@dataclass(frozen=True)
class Case:
    """The published case: network, clean series, batteries, and generated days by primary set."""

    network: Network
    series: Series
    storage: Storage
    generated: Mapping[str, Days]
    device: str = "cpu"
    """Where agents learn."""

    @classmethod
    def read(
        cls, raw: Path, series: Path, generated: Mapping[str, Path], device: str = "cpu"
    ) -> "Case":
        """Read the folder of raw data, the clean series, and the generated days of notebook 2.

        Raises
        ------
        InputError
            A file is missing or wrong, or there is no such device.
        """
        days = {primary: Days.read(path) for primary, path in generated.items()}
        network, clean = load_network(raw, 34), Series.read(series)
        return cls(network, clean, Storage(), days, learning_device(device))

    def cell(
        self,
        train: Callable[..., Training[Actor]],
        algorithm: str,
        setting: Setting,
        preset: str,
        config: Any,
        seeds: int,
    ) -> dict[str, Any]:
        """Arguments of `train_and_test` for the seeds 0 .. seeds - 1."""
        wanted = AUGMENTED[setting.augmented]
        days = self.generated[setting.primary] if wanted else None
        return {
            "train": train,
            "algorithm": algorithm,
            "setting": setting,
            "preset": preset,
            "config": config,
            "seeds": list(range(seeds)),
            "network": self.network,
            "series": self.series,
            "storage": self.storage,
            # A short run of notebook 2 makes fewer days; it then trains on what there is.
            "generated": None if days is None else days.select(days.dates[:wanted]),
            "device": self.device,
        }


@dataclass(frozen=True)
class Cell:
    """Result of `train_and_test`: everything a notebook needs, nothing that must be trained again.

    curve is `Training.curve`; days has one row per seed, scope and date with the columns of
    `evaluate`; both carry the columns of `label`. actors holds `Actor.saved` of each seed.
    """

    algorithm: str
    setting: Setting
    preset: str
    curve: pd.DataFrame
    days: pd.DataFrame
    actors: list[dict[str, Any]]
    seconds: float
    updates: int
    memory_bytes: int


def learning_device(name: str) -> str:
    """The device that `name` stands for: itself, or for "auto" a CUDA device if there is one.

    Results are the same bytes for the same seed on a CPU; on a CUDA device they differ from those
    by rounding, and the small networks of the presets gain little from it.

    Raises
    ------
    InputError
        The name is unknown, or there is no CUDA device.
    """
    known, there = ("auto", "cpu", "cuda"), torch.cuda.is_available()
    if name not in known:
        raise InputError(f"device is {name!r}; it must be one of {', '.join(known)}")
    if name == "cuda" and not there:
        raise InputError("device is 'cuda', but torch finds none here; take 'auto' or 'cpu'")
    return name if name != "auto" else "cuda" if there else "cpu"


def label(algorithm: str, setting: Setting, preset: str) -> dict[str, str]:
    """Columns that say whose rows these are."""
    return {
        "policy": algorithm,
        "preset": preset,
        "primary": setting.primary,
        "augmented": setting.augmented,
        "information": "printed" if preset == "paper" else setting.prices,
        "end_soc": setting.end_soc,
    }


def information(preset: str, prices: Prices = "history") -> Observation:
    """What an agent of a preset sees: the printed state, or time as angles and known prices."""
    if preset == "paper":
        return paper_observation
    if preset == "tuned":
        return observe(prices)
    raise InputError(f"unknown preset {preset!r}; there are 'paper' and 'tuned'")


def scope_days(series: Series, scope: str) -> tuple[str, ...]:
    """Dates of a scope: "test" or "stress"."""
    if scope not in SCOPES:
        raise InputError(f"unknown scope {scope!r}; there are {', '.join(SCOPES)}")
    return splits.test_days(series) if scope == "test" else splits.stress_days(series)


def training_feeder(
    network: Network,
    series: Series,
    storage: Storage,
    setting: Setting = PLAIN,
    preset: str = "tuned",
    generated: Days | None = None,
    device: str = "cpu",
) -> Feeder:
    """The environment that an agent learns in: days of the primary set, and generated ones.

    Raises
    ------
    InputError
        The setting asks for generated days and none are given, or the other way round.
    """
    days = series.days(splits.training_days(series, setting.primary))
    if (setting.augmented != "none") != (generated is not None):
        raise InputError(f"{setting}: give generated days where it asks for them, and only there")
    if generated is not None:
        days = days.joined(generated)
    return Feeder(
        network,
        storage,
        days,
        observation=information(preset, setting.prices),
        end_soc=setting.end_soc,
        device=device,
    )


def train_and_test(
    train: Callable[..., Training[Actor]],
    algorithm: str,
    setting: Setting,
    preset: str,
    config: Any,
    seeds: Sequence[int],
    network: Network,
    series: Series,
    storage: Storage,
    generated: Days | None = None,
    device: str = "cpu",
) -> Cell:
    """Train on the days of a setting, test on both scopes; see the module's text.

    Parameters
    ----------
    train, algorithm, config
        The `train` of an agent's module, its name, and its settings.
    setting, preset
        What it learns from and sees; "tuned", or "paper" for the printed state.
    seeds
        One agent each, trained side by side.
    network, series, storage, generated
        The case, and the generated days that join the measured ones, if the setting wants any.
    device
        Where it learns, "cpu" or "cuda"; tests run on the CPU.
    """
    task = (network, series, storage, setting, preset, generated)
    learning = training_feeder(*task, device)
    # Validation days are measured days, whatever the agent learns from.
    validation = learning.on(series.days(splits.validation_days(series, setting.primary)))
    name = f"{algorithm} {preset}, {setting.primary} + {setting.augmented}"
    training = train(
        learning, config, list(seeds), validation, progress=lambda line: print(f"{name}: {line}")
    )
    tests = learning if device == "cpu" else training_feeder(*task)
    columns = label(algorithm, setting, preset)
    return Cell(
        algorithm=algorithm,
        setting=setting,
        preset=preset,
        curve=training.curve.assign(**columns),
        days=_tested(training, tests, series, seeds).assign(**columns),
        actors=[policy.saved for policy in training.policies],
        seconds=training.seconds,
        updates=training.updates,
        memory_bytes=training.memory_bytes,
    )


def _tested(
    training: Training[Actor], task: Feeder, series: Series, seeds: Sequence[int]
) -> pd.DataFrame:
    tables = []
    for scope in SCOPES:
        feeder = task.on(series.days(scope_days(series, scope)))
        for policy, seed in zip(training.policies, seeds, strict=True):
            tables.append(evaluate({"": policy}, feeder).assign(scope=scope, seed=seed))
    return pd.concat(tables, ignore_index=True)
