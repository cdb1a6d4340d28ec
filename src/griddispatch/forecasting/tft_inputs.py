"""What the Temporal Fusion Transformer is given: hours of what is known, in units of the anchor."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from griddispatch.data.profiles import Profiles
from griddispatch.data.weather import DAY, MATERIALS
from griddispatch.forecasting.anchor import Anchor, sky
from griddispatch.forecasting.windows import Float, Mask, Steps, Windows, truth

PAST = ("power", "past clear sky")
CALENDAR = ("hour sine", "hour cosine", "weekend")
KNOWN = ("clear sky", "forecast sky", "a day before", "a week before", "latest hour", "last power")
STATIC = ("tilt", "azimuth", "is PV")
PATCH = 4  # steps of an hour
HOURS = DAY // PATCH


def network_inputs(windows: Windows, data: Profiles, anchor: Anchor) -> dict[str, Tensor]:
    """Inputs of each issue and series, [I N, 24, variables]; zero where a variable has no say."""
    count, _, N = windows.past.shape
    shape = (count, N, HOURS)

    def hourly(values: Float) -> Float:
        return np.asarray(values.reshape(*shape, PATCH).mean(-1))

    def for_all(values: Float) -> Float:
        return np.broadcast_to(values[:, None], shape)

    def held(values: Float) -> Float:
        return np.broadcast_to(values[..., None], shape)

    hour, weekday = windows.hour[:, ::PATCH], windows.weekday[:, ::PATCH]
    turn = 2 * np.pi * hour / 24
    waves = [for_all(np.sin(turn)), for_all(np.cos(turn))]
    fixed = np.column_stack([data.geometry / 90.0, [kind == "pv" for kind in data.kinds]])
    static = [np.broadcast_to(fixed[:, k, None], shape) for k in range(fixed.shape[1])]
    days = weekday, (weekday - 1) % 7
    weekend, yesterday = (for_all((day >= 5).astype(np.float64)) for day in days)
    day, week = anchor.behind(windows, data)
    clear = windows.clear.transpose(0, 2, 1)
    light, *other = np.moveaxis(windows.seen, -1, 0).transpose(0, 1, 3, 2)
    past = [hourly(day), hourly(windows.past_clear.transpose(0, 2, 1))]
    known = [hourly(clear), hourly(sky(light, clear)), hourly(day), hourly(week)]
    known += [held(anchor.latest(windows, data)), held(day[:, :, -1]), *map(hourly, other)]
    none = np.zeros(shape)
    encoder = [*static, *waves, yesterday, *past, *[none] * len(known)]
    decoder = [*static, *waves, weekend, none, none, *known]
    code = [MATERIALS.index(m) + 1 if m else 0 for m in data.materials]
    material = torch.as_tensor(np.tile(code, count))[:, None, None].expand(-1, HOURS, 1)
    length = torch.full((count * N,), HOURS)
    both = {
        name: torch.as_tensor(
            np.stack(x, axis=-1).reshape(count * N, HOURS, -1), dtype=torch.float32
        )
        for name, x in (("encoder_cont", encoder), ("decoder_cont", decoder))
    }
    return both | {
        "encoder_cat": material,
        "decoder_cat": material,
        "encoder_lengths": length,
        "decoder_lengths": length,
        "target_scale": torch.zeros(count * N, 2),
    }


class Batch(NamedTuple):
    """Issues ready for the network: inputs, and by issue and series what came, what is lit, unit.

    target [I N, 96] in units of the anchor; unit [I N, 96] is what these are, in shares of each
    series' size.
    """

    inputs: dict[str, Tensor]
    target: Float
    mask: Mask
    unit: Float

    @classmethod
    def of(cls, data: Profiles, issues: Steps, anchor: Anchor) -> "Batch":
        """Cut the windows of issues and what came after them."""
        windows = Windows.of(data, issues)
        point, unit = anchor.ahead(windows, data)
        came = (truth(data, issues) / data.capacity[:, None] - point) / unit
        return cls(
            network_inputs(windows, data, anchor),
            came.reshape(-1, DAY),
            ~windows.dark.transpose(0, 2, 1).reshape(-1, DAY),
            (unit / anchor.size[:, None]).reshape(-1, DAY),
        )
