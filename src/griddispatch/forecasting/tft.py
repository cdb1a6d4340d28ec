"""Temporal Fusion Transformer: one model for all series (Lim, Arık, Loeff and Pfister, 2021).

"Temporal Fusion Transformers for interpretable multi-horizon time series forecasting". The network
is that of pytorch-forecasting. Its own data set holds one value per time and variable, not weather
forecasts by issue time, so the inputs are built here from `Windows` and the training is an own
loop: pinball loss on lit targets, Adam with a falling rate, and the weights of the best validation
loss kept. Several seeds are several models, whose quantiles are averaged (Vincentization).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_forecasting.metrics import QuantileLoss
from pytorch_forecasting.models import TemporalFusionTransformer
from torch import Tensor

from griddispatch.data.profiles import Profiles
from griddispatch.data.weather import DAY, MATERIALS
from griddispatch.errors import InputError
from griddispatch.forecasting.windows import LEVELS, Float, Steps, Windows, chunks, finished, truth

PAST = ("power", "past clear sky")
CALENDAR = ("hour sine", "hour cosine", "weekend")
KNOWN = ("clear sky", "a day before", "a week before", "latest sky", "last power")
STATIC = ("tilt", "azimuth", "is PV")
_VALIDATION_EVERY = 13  # steps between validation issues
_ISSUES = 32  # issues of a forecast at a time


@dataclass(frozen=True)
class Settings:
    """Size of the network and length of its training.

    checks is how often the validation loss is looked at; rate the highest learning rate.
    """

    hidden: int = 16
    heads: int = 2
    dropout: float = 0.1
    iterations: int = 1_200
    batch: int = 64
    rate: float = 3e-3
    checks: int = 12

    def __post_init__(self) -> None:
        if min(self.hidden, self.heads, self.iterations, self.batch, self.checks) < 1:
            raise InputError(f"TFT sizes and counts must be 1 or more: {self}")
        if not 0 <= self.dropout < 1 or not self.rate > 0:
            raise InputError(f"TFT needs 0 <= dropout < 1 and a positive rate: {self}")


class Look(NamedTuple):
    """What the network attends to, averaged over issues.

    variables has the weight of each input by group ("static", "past", "ahead"); attention
    [96, 192] is the weight of each step of past and horizon for each lead.
    """

    variables: pd.DataFrame
    attention: Float


@dataclass(frozen=True)
class TFT:
    """Trained networks, one per seed, and the validation loss of each at each check."""

    networks: tuple[TemporalFusionTransformer, ...]
    history: pd.DataFrame

    @classmethod
    def fit(
        cls,
        data: Profiles,
        seeds: Sequence[int] = (0, 1, 2),
        settings: Settings | None = None,
        progress: Callable[[str], None] = lambda line: None,
    ) -> "TFT":
        """Train one network per seed on the training days, stopped on the validation days.

        Raises
        ------
        InputError
            There is no seed, or a split has no issue.
        """
        if not seeds:
            raise InputError("a TFT needs a seed or more")
        settings = settings or Settings()
        networks, rows = [], []
        for seed in seeds:
            network, losses = _train(data, seed, settings, progress)
            networks.append(network)
            rows += [{"seed": seed, "iteration": i, "loss": x} for i, x in losses]
        return cls(tuple(networks), pd.DataFrame(rows))

    def forecast(self, data: Profiles, issues: Steps) -> Float:
        """[I, N, 96, Q] quantiles in kW."""
        parts = [np.empty((0, len(data.names), DAY, len(LEVELS)))]
        for part in chunks(issues, _ISSUES):
            windows = Windows.of(data, part)
            inputs = _inputs(windows, data)
            with torch.no_grad():
                made = [network(inputs)["prediction"].double().numpy() for network in self.networks]
            mean = np.mean([np.sort(x, axis=-1) for x in made], axis=0)
            parts.append(finished(mean.reshape(len(part), -1, *mean.shape[1:]), windows, data))
        return np.concatenate(parts)

    def look(self, data: Profiles, issues: Steps, series: Sequence[int] | None = None) -> Look:
        """Variable weights and attention, averaged over issues, series and networks.

        Parameters
        ----------
        data, issues
            What is forecast.
        series
            Positions of the series; all by default.
        """
        chosen = list(range(len(data.names)) if series is None else series)
        known = [*CALENDAR, *KNOWN, *data.runs.variables]
        names = {"static": ["material", *STATIC], "past": [*CALENDAR, *PAST], "ahead": known}
        keys = {"static": "static_variables", "past": "encoder_variables"}
        keys["ahead"] = "decoder_variables"
        weight = {group: np.zeros(len(n)) for group, n in names.items()}
        attention = np.zeros((DAY, 2 * DAY))
        count = 0
        for part in chunks(issues, _ISSUES):
            inputs = _inputs(Windows.of(data, part), data)
            rows = (np.arange(len(part))[:, None] * len(data.names) + chosen).ravel()
            inputs = {name: x[torch.as_tensor(rows)] for name, x in inputs.items()}
            for network in self.networks:
                with torch.no_grad():
                    out = network(inputs)
                for group, key in keys.items():
                    x = out[key].double().numpy()
                    weight[group] += x.reshape(-1, x.shape[-1]).mean(0)
                both = torch.cat([out["encoder_attention"], out["decoder_attention"]], dim=-1)
                attention += both.double().mean((0, 2)).numpy()
                count += 1
        if not count:
            raise InputError("give an issue or more to look at")
        rows_ = [
            {"group": group, "variable": variable, "weight": w / count}
            for group, variables in names.items()
            for variable, w in zip(variables, weight[group], strict=True)
        ]
        return Look(pd.DataFrame(rows_), attention / count)


def _as_is(made: dict[str, Any]) -> Tensor:
    """Powers are scaled by the capacity already, so the network's output stays as it is."""
    return made["prediction"]


def _network(data: Profiles, settings: Settings) -> TemporalFusionTransformer:
    reals = [*STATIC, *CALENDAR, *PAST, *KNOWN, *data.runs.variables]
    with warnings.catch_warnings():
        # The loss is a module among its hyperparameters, of which the library itself warns.
        warnings.simplefilter("ignore")
        return TemporalFusionTransformer(
            hidden_size=settings.hidden,
            hidden_continuous_size=settings.hidden // 2 or 1,
            attention_head_size=settings.heads,
            dropout=settings.dropout,
            output_size=len(LEVELS),
            loss=QuantileLoss(list(LEVELS)),
            output_transformer=_as_is,
            max_encoder_length=DAY,
            static_categoricals=["material"],
            static_reals=list(STATIC),
            time_varying_reals_encoder=[*CALENDAR, *PAST],
            time_varying_reals_decoder=[*CALENDAR, *KNOWN, *data.runs.variables],
            x_categoricals=["material"],
            x_reals=reals,
            embedding_sizes={"material": (len(MATERIALS) + 1, 4)},
            causal_attention=False,
        )


def _inputs(windows: Windows, data: Profiles) -> dict[str, Tensor]:
    """Inputs of each issue and series, [I N, 96, variables]; zero where a variable has no say."""
    count, _, N = windows.past.shape
    shape = (count, N, DAY)

    def by_series(values: Float) -> Float:
        return values.transpose(0, 2, 1)

    def for_all(values: Float) -> Float:
        return np.broadcast_to(values[:, None], shape)

    turn = 2 * np.pi * windows.hour / 24
    waves = [for_all(np.sin(turn)), for_all(np.cos(turn))]
    fixed = np.column_stack([data.geometry / 90.0, [kind == "pv" for kind in data.kinds]])
    static = [np.broadcast_to(fixed[:, k, None], shape) for k in range(fixed.shape[1])]
    none = np.zeros(shape)
    seen = [by_series(windows.seen[..., v]) for v in range(windows.seen.shape[-1])]
    days = windows.weekday, (windows.weekday - 1) % 7
    weekend, yesterday = (for_all((day >= 5).astype(np.float64)) for day in days)
    past = [by_series(windows.past), by_series(windows.past_clear)]
    last = np.repeat(windows.past[:, -1, :, None], DAY, axis=2)
    clear = by_series(windows.clear)
    known = [clear, by_series(windows.day_before), by_series(windows.week_before)]
    known += [windows.sky[..., None] * clear, last, *seen]
    encoder = [*static, *waves, yesterday, *past, *[none] * len(known)]
    decoder = [*static, *waves, weekend, none, none, *known]
    code = [MATERIALS.index(m) + 1 if m else 0 for m in data.materials]
    material = torch.as_tensor(np.tile(code, count))[:, None, None].expand(-1, DAY, 1)
    length = torch.full((count * N,), DAY)
    both = {
        name: torch.as_tensor(np.stack(x, axis=-1).reshape(count * N, DAY, -1), dtype=torch.float32)
        for name, x in (("encoder_cont", encoder), ("decoder_cont", decoder))
    }
    return both | {
        "encoder_cat": material,
        "decoder_cat": material,
        "encoder_lengths": length,
        "decoder_lengths": length,
        "target_scale": torch.zeros(count * N, 2),
    }


def _loss(network: TemporalFusionTransformer, data: Profiles, issues: Steps) -> tuple[Tensor, int]:
    """Summed pinball loss of lit targets, in shares of the capacity, and their number."""
    windows = Windows.of(data, issues)
    quantiles = network(_inputs(windows, data))["prediction"]
    came = torch.as_tensor(truth(data, issues) / data.capacity[:, None], dtype=torch.float32)
    lit = torch.as_tensor(~windows.dark.transpose(0, 2, 1)).reshape(-1, DAY)
    over = came.reshape(-1, DAY, 1) - quantiles
    q = torch.tensor(LEVELS)
    loss = torch.maximum(q * over, (q - 1) * over).mean(-1)
    return loss[lit].sum(), int(lit.sum())


def _train(
    data: Profiles, seed: int, settings: Settings, progress: Callable[[str], None]
) -> tuple[TemporalFusionTransformer, list[tuple[int, float]]]:
    """One network with the weights of its best check, and the validation loss of each check."""
    random = np.random.default_rng(seed)
    issues, held = data.issues("train"), data.issues("validation", _VALIDATION_EVERY)
    at_once = max(1, settings.batch // len(data.names))
    losses: list[tuple[int, float]] = []
    best: dict[str, Tensor] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _network(data, settings)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.rate, total_steps=settings.iterations + 1
        )
        for i in range(1, settings.iterations + 1):
            network.train()
            loss, count = _loss(network, data, random.choice(issues, at_once, replace=False))
            optimizer.zero_grad()
            (loss / max(count, 1)).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if i % max(1, settings.iterations // settings.checks) == 0:
                losses.append((i, _validation(network, data, held)))
                progress(f"TFT seed {seed}, iteration {i}: validation loss {losses[-1][1]:.5f}")
                if losses[-1][1] <= min(x for _, x in losses):
                    best = {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(best)
    return network.eval(), losses


def _validation(
    network: TemporalFusionTransformer, data: Profiles, issues: NDArray[np.intp]
) -> float:
    network.eval()
    with torch.no_grad():
        parts = [_loss(network, data, part) for part in chunks(issues, _ISSUES)]
    return float(sum(x for x, _ in parts)) / sum(n for _, n in parts)
