"""Cells of the study of dispatch with forecasts: fit and forecast, choose, drive.

A `fit` makes the forecasts of one model for one data set once: some issues of the validation
days, which calibrate the scenarios, and every step of the test days. A `drive` lets controllers
run the plant over the test days, on forecasts that were made before. A `choose` tries one candidate
of a setting on validation days; no other cell chooses anything, and it sees no test day.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.data.profiles import Kind, Profiles, Split
from griddispatch.errors import InputError
from griddispatch.evaluation.forecasts import pit
from griddispatch.forecasting.naive import persistence, seasonal_naive
from griddispatch.forecasting.regression import KINDS, Boosted, Linear
from griddispatch.forecasting.scenarios import KEPT, PATHS, Copula
from griddispatch.forecasting.tft import TFT, Look, Settings
from griddispatch.forecasting.windows import Forecaster, lit, truth
from griddispatch.optimization.mpc_plant import DAY, Float

Steps = NDArray[np.intp]

NAIVE, PERSISTENCE, TRANSFORMER = "Seasonal naive", "Persistence", "TFT"
FORECASTERS = (TRANSFORMER, "Boosted", "Linear", NAIVE, PERSISTENCE)
_CODES = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Packed:
    """Forecasts of issues [I] in 16 bits: codes [I, N, 96, Q] are shares of ceiling [N] in kW.

    A step of the codes is a 50 000th of a series' highest power, far below any forecast's error.
    """

    codes: NDArray[np.uint16]
    issues: Steps
    ceiling: Float

    @classmethod
    def of(cls, quantiles: Float, issues: Steps, data: Profiles) -> "Packed":
        """Pack quantiles [I, N, 96, Q] in kW, which lie in 0 .. ceiling."""
        share = quantiles / data.ceiling[:, None, None]
        return cls(np.rint(_CODES * share).astype(np.uint16), issues, data.ceiling)

    def quantiles(self, issues: Steps | None = None) -> Float:
        """[I, N, 96, Q] in kW, of all issues or of some.

        Raises
        ------
        InputError
            An issue is not among these.
        """
        at = np.arange(len(self.issues))
        if issues is not None:
            at = np.searchsorted(self.issues, issues).clip(max=len(self.issues) - 1)
            if (self.issues[at] != issues).any():
                raise InputError("an issue was not forecast; forecast every step of the days")
        return self.codes[at] * (self.ceiling[:, None, None] / _CODES)


@dataclass(frozen=True)
class Sizes:
    """How much is spent on fits, scenarios and choices."""

    tft: Settings = field(default_factory=Settings)
    """Network and training of the transformer."""
    rows: int = 6_000
    """Targets that a linear model is fitted on, for each group of leads."""
    boosted_rows: int = 60_000
    """Targets that the trees are fitted on."""
    trees: int = 120
    """Trees per level."""
    test_days: int = 62
    """Test days that are played and forecast, from the first on; at most those of the data."""
    every: int = 7
    """Steps between the issues on validation days that calibrate scenarios."""
    paths: int = PATHS
    """Paths drawn before few are kept."""
    kept: int = KEPT
    """Scenarios of a stochastic decision."""


@dataclass(frozen=True)
class Made:
    """What a fit hands on: forecasts, and of a transformer its training and what it looks at.

    seconds are wall time of fit and forecasts; history has the validation loss by seed and
    iteration; looks are by kind of series.
    """

    forecaster: str
    calibration: Packed
    test: Packed
    seconds: float
    forecast_seconds: float
    history: pd.DataFrame
    looks: Mapping[Kind, Look]


def days_of(data: Profiles, split: Split, days: int) -> Steps:
    """Steps of the first so many days of a split; fewer where it has no more.

    Raises
    ------
    InputError
        The number is not positive.
    """
    if days < 1:
        raise InputError(f"days is {days}; it must be 1 or more")
    return data.steps(split)[: days * DAY]


def fit(data: Profiles, forecaster: str, sizes: Sizes, seed: int = 0) -> Made:
    """Fit one of `FORECASTERS` on the training days and make its forecasts.

    Raises
    ------
    InputError
        There is no such forecaster.
    """
    started = time.perf_counter()
    model: Forecaster
    history = pd.DataFrame()
    looks: dict[Kind, Look] = {}
    if forecaster == TRANSFORMER:
        model = TFT.fit(data, [seed], sizes.tft, lambda line: print(f"{data.name}: {line}"))
        history = model.history
    elif forecaster == "Linear":
        model = Linear.fit(data, sizes.rows, seed)
    elif forecaster == "Boosted":
        model = Boosted.fit(data, sizes.boosted_rows, sizes.trees, seed)
    elif forecaster in (NAIVE, PERSISTENCE):
        model = {NAIVE: seasonal_naive, PERSISTENCE: persistence}[forecaster](data)
    else:
        raise InputError(f"no forecaster {forecaster!r}; take one of {', '.join(FORECASTERS)}")
    fitted = time.perf_counter()
    issues = data.issues("validation", sizes.every)
    calibration = Packed.of(model.forecast(data, issues), issues, data)
    steps = days_of(data, "test", sizes.test_days)
    test = Packed.of(model.forecast(data, steps), steps, data)
    ended = time.perf_counter()
    if isinstance(model, TFT):
        looks = {kind: model.look(data, issues[::5], data.of(kind).tolist()) for kind in KINDS}
    return Made(forecaster, calibration, test, fitted - started, ended - fitted, history, looks)


def together(made: Sequence[Made]) -> Made:
    """Several fits as one: the means of their quantiles (Vincentization), weights and attention.

    Raises
    ------
    InputError
        There is none, or they are for other issues.
    """
    if not made:
        raise InputError("there is no fit to put together")
    first = made[0]

    def mean(parts: Sequence[Packed]) -> Packed:
        if any(not np.array_equal(part.issues, parts[0].issues) for part in parts):
            raise InputError(f"the fits of {first.forecaster} have different issues")
        total = np.sum([part.codes for part in parts], axis=0, dtype=np.uint32)
        return replace(parts[0], codes=np.rint(total / len(parts)).astype(np.uint16))

    looks: dict[Kind, Look] = {}
    for kind in first.looks:
        each = [m.looks[kind] for m in made]
        weight = np.mean([look.variables["weight"] for look in each], axis=0)
        attention = np.mean([look.attention for look in each], axis=0)
        looks[kind] = Look(each[0].variables.assign(weight=weight), attention)
    return Made(
        first.forecaster,
        mean([m.calibration for m in made]),
        mean([m.test for m in made]),
        sum(m.seconds for m in made),
        sum(m.forecast_seconds for m in made),
        pd.concat([m.history for m in made], ignore_index=True),
        looks,
    )


def copula_of(data: Profiles, calibration: Packed, paths: int = PATHS) -> Copula:
    """The copula of a forecaster's PIT values on validation days."""
    issues = calibration.issues
    levels = pit(calibration.quantiles(), truth(data, issues))
    return Copula.fit(levels, lit(data, issues), data, paths)
