"""Hours to regulate: signals, stored energy and EV envelopes, drawn once and shared by all.

Every policy is tried on the same hours (common random numbers), and hour h of a seed is the same
whether 10 or 1000 are drawn. Training, validation and test hours come from seeds that never meet.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from griddispatch.assets.ev_fleet import draw_envelopes
from griddispatch.assets.regulation import Fleet
from griddispatch.assets.regulation_resources import DISPATCH_S, STEP_S, SUBSTEPS, Battery
from griddispatch.data.regulation import HOUR_STEPS, synthesise
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Split = Literal["train", "validation", "test"]

DECISIONS = HOUR_STEPS // SUBSTEPS  # of an hour, 900
PREVIEW_S = 40.0  # of the signal, for a dispatcher that is told what will come
AHEAD = 30  # decisions behind the end of the hour for which limits are known
SIGNAL_STEPS = HOUR_STEPS + int(PREVIEW_S / STEP_S) + SUBSTEPS

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_EV_STREAM, _SOC_STREAM = 1, 2


@dataclass(frozen=True)
class Hours:
    """H hours for one fleet of R resources, S of them storages.

    Attributes
    ----------
    signal
        [H, 1800 + 22] in [-1, 1], every 2 s, with what a preview shows behind the end.
    start_mwh
        [H, S] stored energy at the start.
    power_mw
        [H, 930, S] largest power of the storages, either way, in each 4 s.
    empty_mwh, full_mwh
        [H, 931, S] limits of the stored energy at the start of each 4 s.
    schedule_mw
        [H, R] power that is planned and does not count as regulation (net charging of EV fleets).

    Raises
    ------
    InputError
        A signal has the wrong length, is not finite or lies outside [-1, 1].
    """

    signal: Float
    start_mwh: Float
    power_mw: Float
    empty_mwh: Float
    full_mwh: Float
    schedule_mw: Float

    def __post_init__(self) -> None:
        if self.signal.ndim != 2 or self.signal.shape[1] != SIGNAL_STEPS:
            raise InputError(
                f"signal has shape {self.signal.shape}; give [hours, {SIGNAL_STEPS}], an hour and "
                f"{PREVIEW_S:g} s of preview at {STEP_S:g} s"
            )
        if not (np.isfinite(self.signal).all() and (np.abs(self.signal) <= 1).all()):
            raise InputError("signal holds a value outside [-1, 1], or one that is not a number")

    def __len__(self) -> int:
        return len(self.signal)

    def take(self, rows: slice | list[int]) -> "Hours":
        """Some of the hours."""
        return Hours(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def draw_hours(
    fleet: Fleet,
    count: int,
    seed: int,
    split: Split,
    *,
    signal: str | Float = "RegD",
) -> Hours:
    """Draw hours for a fleet.

    Parameters
    ----------
    fleet
        Its storages decide on the energies and envelopes.
    count, seed, split
        How many, of which seed, for which purpose.
    signal
        A name of `data.regulation.SIGNALS`, or recorded hours [>= count, 1822].

    Raises
    ------
    InputError
        The split is unknown, a number is out of range, or a recorded signal is too short.
    """
    if split not in _SPLITS:
        raise InputError(f"no split {split!r}; take one of {', '.join(_SPLITS)}")
    if count < 1 or seed < 0:
        raise InputError(f"hours: needs count >= 1 and seed >= 0; they are {count}, {seed}")
    own = len(_SPLITS) * seed + _SPLITS.index(split)
    if isinstance(signal, str):
        signal = synthesise(signal, count, own, steps=SIGNAL_STEPS)
    elif len(signal) < count:
        raise InputError(f"the recorded signal has {len(signal)} hours; {count} are wanted")
    H, S, first = count, len(fleet.storages), len(fleet.generators)
    n = DECISIONS + AHEAD
    minutes = int(np.ceil(n * DISPATCH_S / 60))
    at = np.arange(n + 1) * DISPATCH_S / 60
    start, schedule = np.empty((H, S)), np.zeros((H, len(fleet)))
    power, empty, full = np.empty((H, n, S)), np.empty((H, n + 1, S)), np.empty((H, n + 1, S))
    for s, store in enumerate(fleet.storages):
        if isinstance(store, Battery):
            streams = [np.random.default_rng((own, _SOC_STREAM, 1 + s, h)) for h in range(H)]
            soc = np.array([rng.uniform(*store.soc_initial) for rng in streams])
            start[:, s] = store.energy_mwh * soc
            power[..., s] = store.power_mw
            empty[..., s] = store.energy_mwh * store.soc_min
            full[..., s] = store.energy_mwh * store.soc_max
            continue
        drawn = draw_envelopes(store.vehicles, H, (own, _EV_STREAM, 1 + s), minutes=minutes)
        start[:, s], schedule[:, first + s] = drawn.start_mwh, drawn.schedule_mw
        power[..., s] = np.repeat(drawn.power_mw, round(60 / DISPATCH_S), axis=1)[:, :n]
        for bound, minute in ((empty, drawn.low_mwh), (full, drawn.high_mwh)):
            bound[..., s] = [np.interp(at, np.arange(minutes + 1), row) for row in minute]
    return Hours(signal[:count], start, power, empty, full, schedule)
