"""Temporal Fusion Transformer: one model for all series (Lim, Arık, Loeff and Pfister, 2021).

"Temporal Fusion Transformers for interpretable multi-horizon time series forecasting". The network
is that of pytorch-forecasting. Its own data set holds one value per time and variable, not weather
forecasts by issue time, so the inputs are built here from `Windows` and the training is an own
loop: pinball loss on lit targets, Adam with one cycle of the rate, and the weights of the best
validation loss kept. Several seeds are several models, whose quantiles are averaged
(Vincentization).

Two things differ from the paper's use of it.

- The network sees hours and answers for the four steps of each, so that recurrence and attention
  run over 24 + 24 positions and not 96 + 96.
- It does not forecast the power but what an `Anchor` leaves of it: for PV the forecast irradiance
  times a yield, in units that shrink with the clear sky; for a load the mean profile of the day.

A network stopped on validation days is too sure of itself elsewhere, so its bands are stretched
about the median until the 90 % band covers nine tenths of those days (Romano, Patterson and Candès,
"Conformalized quantile regression", 2019, with a factor in place of a margin).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from pytorch_forecasting.metrics import QuantileLoss
from pytorch_forecasting.models import TemporalFusionTransformer
from torch import Tensor

from griddispatch.data.profiles import Profiles
from griddispatch.data.weather import DAY, MATERIALS
from griddispatch.errors import InputError
from griddispatch.forecasting.anchor import Anchor
from griddispatch.forecasting.tft_inputs import (
    CALENDAR,
    HOURS,
    KNOWN,
    PAST,
    PATCH,
    STATIC,
    Batch,
    network_inputs,
)
from griddispatch.forecasting.windows import (
    LEVELS,
    MEDIAN,
    Float,
    Mask,
    Steps,
    Windows,
    chunks,
    finished,
)

_VALIDATION_EVERY = 13  # steps between validation issues
_ISSUES = 128  # issues of a forecast at a time
_NARROW = 1e-6  # width of a band below which it is none


@dataclass(frozen=True)
class Settings:
    """Size of the network and length of its training.

    batch is in windows, of all series together; rate is the highest learning rate, decay the
    weight decay; checks is how often the validation loss is looked at.
    """

    hidden: int = 16
    heads: int = 2
    dropout: float = 0.2
    iterations: int = 1_200
    batch: int = 64
    rate: float = 4e-3
    decay: float = 0.05
    checks: int = 12

    def __post_init__(self) -> None:
        if min(self.hidden, self.heads, self.iterations, self.batch, self.checks) < 1:
            raise InputError(f"TFT sizes and counts must be 1 or more: {self}")
        if not 0 <= self.dropout < 1 or not self.rate > 0 or not self.decay >= 0:
            raise InputError(
                f"TFT needs 0 <= dropout < 1, a positive rate and a decay of 0 or more: {self}"
            )


class Look(NamedTuple):
    """What the network attends to, averaged over issues.

    variables has the weight of each input by group ("static", "past", "ahead"); attention [24, 48]
    is the weight of each hour of past and horizon for each hour of lead.
    """

    variables: pd.DataFrame
    attention: Float


@dataclass(frozen=True)
class TFT:
    """Trained networks, one per seed, the factors of their bands, and how training went.

    stretch [N] widens the bands of each series; history is the validation loss of each network at
    each check.
    """

    networks: tuple[TemporalFusionTransformer, ...]
    anchor: Anchor
    stretch: Float
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
        anchor = Anchor.fit(data)
        networks, rows = [], []
        for seed in seeds:
            network, losses = _train(data, anchor, seed, settings, progress)
            networks.append(network)
            rows += [{"seed": seed, "iteration": i, "loss": x} for i, x in losses]
        raw = cls(tuple(networks), anchor, np.ones(len(data.names)), pd.DataFrame(rows))
        held = data.issues("validation", _VALIDATION_EVERY)
        parts = [Batch.of(data, part, anchor) for part in chunks(held, _ISSUES)]
        quantiles, came, lit = (
            np.concatenate(x)
            for x in zip(*((raw.answer(b.inputs), b.target, b.mask) for b in parts), strict=True)
        )
        N = len(data.names)
        stretch = [stretch_of(quantiles[n::N], came[n::N], lit[n::N]) for n in range(N)]
        return replace(raw, stretch=np.array(stretch))

    def answer(self, inputs: dict[str, Tensor]) -> Float:
        """[I N, 96, Q] quantiles in units of the anchor, in order, the mean over the networks."""
        with torch.no_grad():
            made = [_answer(network, inputs).double().numpy() for network in self.networks]
        return np.asarray(np.mean([np.sort(x, axis=-1) for x in made], axis=0))

    def forecast(self, data: Profiles, issues: Steps) -> Float:
        """[I, N, 96, Q] quantiles in kW."""
        parts = [np.empty((0, len(data.names), DAY, len(LEVELS)))]
        for part in chunks(issues, _ISSUES):
            windows = Windows.of(data, part)
            found = self.answer(network_inputs(windows, data, self.anchor))
            found = found.reshape(len(part), -1, DAY, len(LEVELS))
            middle = found[..., MEDIAN : MEDIAN + 1]
            found = middle + self.stretch[:, None, None] * (found - middle)
            point, unit = self.anchor.ahead(windows, data)
            parts.append(finished(point[..., None] + unit[..., None] * found, windows, data))
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
        known = [*CALENDAR, *KNOWN, *data.runs.variables[1:]]
        names = {"static": ["material", *STATIC], "past": [*CALENDAR, *PAST], "ahead": known}
        keys = {"static": "static_variables", "past": "encoder_variables"}
        keys["ahead"] = "decoder_variables"
        weight = {group: np.zeros(len(n)) for group, n in names.items()}
        attention = np.zeros((HOURS, 2 * HOURS))
        count = 0
        for part in chunks(issues, _ISSUES):
            inputs = network_inputs(Windows.of(data, part), data, self.anchor)
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
    """The network answers in units of the anchor, so its output stays as it is."""
    return made["prediction"]


def _network(data: Profiles, settings: Settings) -> TemporalFusionTransformer:
    other = data.runs.variables[1:]
    reals = [*STATIC, *CALENDAR, *PAST, *KNOWN, *other]
    with warnings.catch_warnings():
        # The loss is a module among its hyperparameters, of which the library itself warns.
        warnings.simplefilter("ignore")
        network = TemporalFusionTransformer(
            hidden_size=settings.hidden,
            hidden_continuous_size=settings.hidden // 2 or 1,
            attention_head_size=settings.heads,
            dropout=settings.dropout,
            output_size=PATCH * len(LEVELS),
            loss=QuantileLoss(list(LEVELS)),
            output_transformer=_as_is,
            max_encoder_length=HOURS,
            static_categoricals=["material"],
            static_reals=list(STATIC),
            time_varying_reals_encoder=[*CALENDAR, *PAST],
            time_varying_reals_decoder=[*CALENDAR, *KNOWN, *other],
            x_categoricals=["material"],
            x_reals=reals,
            embedding_sizes={"material": (len(MATERIALS) + 1, 4)},
            causal_attention=False,
        )
    return network


def _answer(network: TemporalFusionTransformer, inputs: dict[str, Tensor]) -> Tensor:
    """[I N, 96, Q] quantiles in units of the anchor."""
    made: Tensor = network(inputs)["prediction"]
    return made.reshape(len(made), DAY, len(LEVELS))


def _loss(network: TemporalFusionTransformer, batch: Batch) -> tuple[Tensor, int]:
    """Summed pinball loss of lit targets, each series in units of its size, and their number."""
    lit = torch.as_tensor(batch.mask)
    came = torch.as_tensor(batch.target, dtype=torch.float32)
    over = came[..., None] - _answer(network, batch.inputs)
    q = torch.tensor(LEVELS)
    loss = torch.maximum(q * over, (q - 1) * over).mean(-1)
    loss = loss * torch.as_tensor(batch.unit, dtype=torch.float32)
    return loss[lit].sum(), int(lit.sum())


def stretch_of(quantiles: Float, came: Float, lit: Mask) -> float:
    """Factor of the deviations from the median with which the outer band covers what it should.

    Parameters
    ----------
    quantiles, came, lit
        [..., Q] quantiles, [...] what came, [...] what counts.
    """
    q, y = quantiles[lit], came[lit]
    middle = q[:, MEDIAN]
    above = (y - middle) / np.maximum(q[:, -1] - middle, _NARROW)
    below = (middle - y) / np.maximum(middle - q[:, 0], _NARROW)
    return float(np.quantile(np.maximum(above, below), LEVELS[-1] - LEVELS[0]))


def _train(
    data: Profiles, anchor: Anchor, seed: int, settings: Settings, progress: Callable[[str], None]
) -> tuple[TemporalFusionTransformer, list[tuple[int, float]]]:
    """One network with the weights of its best check, and the validation loss of each check."""
    random = np.random.default_rng(seed)
    issues, held = data.issues("train"), data.issues("validation", _VALIDATION_EVERY)
    check = [Batch.of(data, part, anchor) for part in chunks(held, _ISSUES)]
    at_once = max(1, settings.batch // len(data.names))
    losses: list[tuple[int, float]] = []
    best: dict[str, Tensor] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _network(data, settings)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.rate, weight_decay=settings.decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.rate, total_steps=settings.iterations + 1
        )
        for i in range(1, settings.iterations + 1):
            network.train()
            drawn = random.choice(issues, at_once, replace=False)
            loss, count = _loss(network, Batch.of(data, drawn, anchor))
            optimizer.zero_grad()
            (loss / max(count, 1)).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if i % max(1, settings.iterations // settings.checks) == 0:
                losses.append((i, _validation(network, check)))
                progress(f"TFT seed {seed}, iteration {i}: validation loss {losses[-1][1]:.5f}")
                if losses[-1][1] <= min(x for _, x in losses):
                    best = {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(best)
    return network.eval(), losses


def _validation(network: TemporalFusionTransformer, parts: Sequence[Batch]) -> float:
    network.eval()
    with torch.no_grad():
        found = [_loss(network, part) for part in parts]
    return float(sum(x for x, _ in found)) / sum(n for _, n in found)
