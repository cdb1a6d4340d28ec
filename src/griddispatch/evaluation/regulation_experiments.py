"""One cell of the regulation study: train K dispatchers on one setting, judge them on new hours.

A setting names the plant, the signal, what the dispatcher knows, and how its interval map works.
`PLAIN` is the main one; every ablation changes one thing of it. All policies are judged on the same
test hours, which no training and no choice has seen; what is learned is chosen on validation hours.

Wrong dead times are believed throughout: the dispatcher learns in a simulator that has them, and
then plays on the true plant, where they still shape what it observes and which limits it keeps.
Violations are counted against the true limits, before anything is cut.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import pandas as pd
import torch

from griddispatch.agents.interval_map import Balance, IntervalMap
from griddispatch.agents.regulation_networks import Dispatcher
from griddispatch.agents.regulation_rules import FrequencySplit, tuned_split
from griddispatch.assets.regulation import Fleet, preset
from griddispatch.assets.regulation_resources import DISPATCH_S, STEP_S, Generator
from griddispatch.data.regulation import read_signal
from griddispatch.envs.regulation import Regulation
from griddispatch.envs.regulation_hours import SIGNAL_STEPS, Float, Split, draw_hours
from griddispatch.errors import InputError
from griddispatch.evaluation.regulation_rollout import judge, play
from griddispatch.learning.training import Progress, Training
from griddispatch.optimization.regulation_lp import Foresight, foresight

ORDERS = {
    "slow to fast": ("thermal", "hydro", "LNG", "EV", "BESS"),
    "LNG first": ("LNG", "hydro", "thermal", "EV", "BESS"),
    "EV last": ("thermal", "hydro", "LNG", "BESS", "EV"),
    "fast to slow": ("BESS", "EV", "LNG", "hydro", "thermal"),
}
"""Orders of the factors; the last resource is the one that has no choice."""
SIGNALS = ("RegD", "RegA", "fast")
FLEETS = ("hard", "easy", "ev_stress")
DEAD_TIMES = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Believed dead times as multiples of the true ones."""


@dataclass(frozen=True)
class Setting:
    """What is regulated, what the dispatcher knows, and how its interval map works."""

    fleet: str = "hard"
    """A preset of `assets.regulation`."""
    signal: str = "RegD"
    """A name of `data.regulation.SIGNALS`, or a CSV file (see `data.regulation.read_signal`), of
    which the first 70 % of the hours are for training and the next 10 % for validation."""
    dead_time: float = 1.0
    """Believed dead times, as a multiple of the true ones."""
    preview: bool = False
    """Whether the signal of the next 40 s is known."""
    order: str = "slow to fast"
    """One of `ORDERS`."""
    balance: Balance = "delivered"
    """What sums to the target; see `agents.interval_map`."""
    nested: bool | None = None
    """Whether intervals are nested; None: as the learner's own settings have it."""


PLAIN = Setting()


@dataclass(frozen=True)
class Sizes:
    """How many hours are drawn for each purpose, all of seed 0 of their split."""

    train: int = 256
    validation: int = 32
    test: int = 100


@dataclass(frozen=True)
class Cell:
    """Result of `train_and_test`.

    curve is `Training.curve`; hours has one row per seed and test hour with the columns of
    `judged`; both carry the columns of `label`. policies holds one dispatcher per seed, config the
    settings of their training.
    """

    policy: str
    setting: Setting
    config: Any
    curve: pd.DataFrame
    hours: pd.DataFrame
    policies: list[Dispatcher]
    seconds: float
    updates: int


def label(policy: str, setting: Setting = PLAIN) -> dict[str, Any]:
    """Columns that say whose rows these are."""
    columns = asdict(setting)
    columns["nested"] = {None: "", True: "yes", False: "no"}[setting.nested]
    return {"policy": policy} | columns


def changes(setting: Setting) -> dict[str, Any]:
    """Columns of `label` in which a setting differs from the plain one."""
    plain = label("", PLAIN)
    return {k: v for k, v in label("", setting).items() if v != plain[k]}


def believed_fleet(fleet: Fleet, factor: float) -> Fleet:
    """The fleet with all dead times multiplied, rounded up to what its model knows.

    The output of a plant is late by a multiple of 2 s, that of a storage by a multiple of 4 s.

    Raises
    ------
    InputError
        The factor is negative.
    """
    if factor < 0:
        raise InputError(f"dead_time is {factor}; give a factor of 0 or more")
    for r in fleet.resources:
        grid = STEP_S if isinstance(r, Generator) else DISPATCH_S
        fleet = fleet.changed(r.name, dead_s=grid * ceil(r.dead_s * factor / grid - 1e-9))
    return fleet


def environment(
    setting: Setting, split: Split, hours: int, dtype: torch.dtype = torch.float32
) -> Regulation:
    """The hours of a split; the test is on the true plant, the rest in the believed one.

    Raises
    ------
    InputError
        A name of the setting is unknown, or a number is out of range.
    """
    true = preset(setting.fleet)
    believed = believed_fleet(true, setting.dead_time)
    fleet = true if split == "test" else believed
    signal: str | Float = setting.signal
    if setting.signal.endswith(".csv"):
        signal = recorded(setting.signal, split)
    drawn = draw_hours(true, hours, 0, split, signal=signal)
    return Regulation(fleet, drawn, believed=believed, preview=setting.preview, dtype=dtype)


def recorded(file: str, split: Split) -> Float:
    """[H, 1822] the hours of a recorded signal that belong to a split.

    Raises
    ------
    InputError
        As of `data.regulation.read_signal`.
    """
    hours = read_signal(file, steps=SIGNAL_STEPS)
    first, second = round(0.7 * len(hours)), round(0.8 * len(hours))
    parts = {"train": hours[:first], "validation": hours[first:second], "test": hours[second:]}
    return parts[split]


def mapping(setting: Setting, env: Regulation, nested: bool) -> IntervalMap:
    """The interval map of a setting; `nested` is what the learner has where the setting is silent.

    Raises
    ------
    InputError
        The order is unknown, or the balance needs nested intervals.
    """
    if setting.order not in ORDERS:
        raise InputError(f"no order {setting.order!r}; take one of {', '.join(ORDERS)}")
    order = tuple(env.fleet.names.index(name) for name in ORDERS[setting.order])
    nested = nested if setting.nested is None else setting.nested
    return IntervalMap.of(
        env, setting.balance, nested=nested or setting.balance == "setpoints", order=order
    )


def judged(env: Regulation, dispatcher: Dispatcher, **columns: Any) -> pd.DataFrame:
    """One row per hour of the environment, with the fields of `regulation_rollout.Result`.

    `hour` is its number, `setpoints` how many of them stand behind `violations`, and `columns` are
    put in front.
    """
    result = judge(env, play(env, dispatcher))
    frame = pd.DataFrame(result._asdict())
    frame.insert(0, "hour", range(len(frame)))
    frame["setpoints"] = env.steps * env.n_actions
    for name, value in reversed(columns.items()):
        frame.insert(0, name, value)
    return frame


def train_and_test(
    train: Callable[..., Training[Any]],
    policy: str,
    setting: Setting,
    config: Any,
    seeds: Sequence[int],
    sizes: Sizes,
    factored: bool = False,
    records: int = 10,
) -> Cell:
    """Train on the hours of a setting, choose on its validation hours, judge on its test hours.

    Parameters
    ----------
    train, policy, config
        The `train` of a learner's module (or `tune`), the name of the rows, and its settings.
    setting, sizes
        What is regulated, and how many hours are drawn.
    seeds
        One dispatcher each, trained side by side.
    factored
        Whether the learner has an interval map, so that the setting's map counts.
    records
        Points on the training curve.
    """
    env = environment(setting, "train", sizes.train)
    validation = environment(setting, "validation", sizes.validation)
    options = {"mapping": mapping(setting, env, config.nested)} if factored else {}

    def progress(line: str) -> None:
        print(f"{policy}, {setting.signal}, {setting.fleet}: {line}")

    training = train(
        env, config, list(seeds), validation, records=records, progress=progress, **options
    )
    columns = label(policy, setting)
    test = environment(setting, "test", sizes.test)
    tested = [
        judged(test, one, **columns, seed=seed)
        for seed, one in zip(seeds, training.policies, strict=True)
    ]
    return Cell(
        policy=policy,
        setting=setting,
        config=config,
        curve=training.curve.assign(**columns),
        hours=pd.concat(tested, ignore_index=True),
        policies=list(training.policies),
        seconds=training.seconds,
        updates=training.updates,
    )


@dataclass(frozen=True)
class TuneConfig:
    """Settings of the tuning of the frequency split; see `regulation_rules.tuned_split`."""

    evaluations: int = 640
    """Candidates in all."""
    population: int = 32
    """Candidates of a generation."""
    elite: int = 8
    """How many of them shape the next one."""
    hours: int = 16
    """Training hours that a candidate is tried on."""


def tune(
    env: Regulation,
    config: TuneConfig,
    seeds: list[int],
    validation: Regulation | None = None,
    *,
    records: int = 10,
    progress: Progress = print,
) -> Training[FrequencySplit]:
    """Tune one frequency split per seed, in the manner of a learner's `train`.

    The rule ends where the search ends: neither validation hours nor records are needed.
    """
    del validation, records
    started = time.perf_counter()
    rules = [tuned_split(env, **asdict(config), seed=seed, progress=progress) for seed in seeds]
    spent = time.perf_counter() - started
    return Training(rules, pd.DataFrame(), spent, config.evaluations)


def best_dispatch(setting: Setting, hour: int) -> Foresight:
    """Perfect foresight of one of the test hours."""
    return foresight(environment(setting, "test", hour + 1, torch.float64), hour)


def decision_ms(env: Regulation, dispatcher: Dispatcher, rounds: int = 200) -> float:
    """Median time in ms of one decision for one plant, without the simulator.

    A few decisions are taken first, so that tables are made and caches are warm. It is the
    processor time of this thread, which other programs on the machine change little.
    """
    state = env.reset(torch.zeros(1, dtype=torch.int64))
    spent: list[float] = []
    for _ in range(rounds):
        started = time.thread_time()
        setpoint = dispatcher.act(env, state)
        spent.append(time.thread_time() - started)
        state, _, _ = env.step(state, setpoint)
    return 1000 * float(pd.Series(spent[rounds // 5 :]).median())
