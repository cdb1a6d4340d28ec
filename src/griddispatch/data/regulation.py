"""Regulation signals: synthesised with stated statistics, or read from a file.

The area control error (ACE) is the sum of two Ornstein-Uhlenbeck processes, tau = 900 s and 180 s,
seen through two first-order low-passes of 20 s and scaled to a standard deviation of 0.9,

    x_k' = phi_k x_k + sqrt(1 - phi_k^2) w,  phi_k = exp(-dt / tau_k),  w ~ N(0, 1)
    ACE  = 0.9 LPF(LPF(0.7 x_1 + 0.6 x_2)) / std

and the two signals are made of it as PJM splits its own (PJM Manual 12, section 4.4: RegA follows
the slow part, RegD the fast part and is neutral in energy):

    RegA = clip(0.9 LPF_150(ACE), -1, 1)
    RegD = clip(ACE - LPF_150(ACE) - kappa E, -1, 1),  E' = E + (dt / 900 s) RegD

Every low-pass is discretised exactly for an input that is held over a step. The linear part starts
in its stationary distribution, and RegD runs one hour before its first sample is used. The numbers
are choices of this project; the project holds no recorded signal.
"""

from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov

from griddispatch.errors import InputError

Float = NDArray[np.float64]

STEP_S = 2.0  # seconds between two samples of a signal
HOUR_STEPS = 1800  # samples of an hour
_SPLIT_S = 150.0  # time constant that separates RegA from RegD
_NEUTRAL_S = 900.0  # time constant of RegD's return to neutral energy
_ACE_STD = 0.9
_WARM_UP = 1800  # steps before the first sample of RegD


@dataclass(frozen=True)
class Signal:
    """How a signal is made.

    Attributes
    ----------
    fast
        Whether the part above the split is taken (RegD) or the part below (RegA).
    smooth_s
        Time constant of the two low-passes of the ACE.
    gain
        Factor of the part that is taken, before the clip.
    kappa
        Strength of the return to neutral energy.
    """

    fast: bool
    smooth_s: float = 20.0
    gain: float = 1.0
    kappa: float = 1.0


SIGNALS = {
    "RegA": Signal(fast=False, gain=0.9),
    "RegD": Signal(fast=True),
    "fast": Signal(fast=True, smooth_s=6.5),
}


class Statistics(NamedTuple):
    """Statistics of hours of a signal, each a mean over the hours.

    std is that of all samples, mileage the sum of |changes| per hour, drift the absolute value of
    an hour's mean (a neutral signal has little), saturated the share of samples at -1 or 1.
    """

    std: float
    mileage: float
    drift: float
    saturated: float


def synthesise(kind: str, hours: int, seed: int, *, steps: int = HOUR_STEPS) -> Float:
    """[hours, steps] independent hours of a signal, one sample every 2 s.

    Hour h depends on `seed` and h only, not on how many hours are drawn.

    Parameters
    ----------
    kind
        A name of `SIGNALS`.
    hours, seed
        How many, and which.
    steps
        Samples per row; more than an hour's give a preview behind the end.

    Raises
    ------
    InputError
        There is no such signal, or a number is not positive.
    """
    if kind not in SIGNALS:
        raise InputError(f"no signal {kind!r}; take one of {', '.join(SIGNALS)}")
    if hours < 1 or steps < 1:
        raise InputError(f"signal: hours and steps must be positive; they are {hours}, {steps}")
    made = SIGNALS[kind]
    transition, noise, covariance = _linear_part(made.smooth_s)
    root = np.linalg.cholesky(covariance)
    total = _WARM_UP + steps
    z = np.empty((hours, len(root)))
    w = np.empty((total, hours, noise.shape[1]))
    for h in range(hours):
        rng = np.random.default_rng((seed, h))
        z[h] = root @ rng.standard_normal(len(root))
        w[:, h] = rng.standard_normal((total, noise.shape[1]))
    out = np.empty((total, hours))
    energy = np.zeros(hours)
    w = w @ noise.T
    scale = made.gain * _ACE_STD / np.sqrt(covariance[3, 3])
    for n in range(total):
        z = z @ transition.T + w[n]
        slow = scale * z[:, 4]
        if made.fast:
            wanted = scale * z[:, 3] - slow - made.kappa * energy
            out[n] = np.clip(wanted, -1, 1)
            energy += STEP_S / _NEUTRAL_S * out[n]
        else:
            out[n] = np.clip(slow, -1, 1)
    return np.ascontiguousarray(out[_WARM_UP:].T)


def _linear_part(smooth_s: float) -> tuple[Float, Float, Float]:
    """Transition, noise and stationary covariance of (x_1, x_2, LPF, LPF LPF = ACE, LPF_150 ACE).

    Each low-pass takes the value that the one before it has at the start of the step.
    """
    keep = np.exp(-STEP_S / np.array([900.0, 180.0]))
    a, b = exp(-STEP_S / smooth_s), exp(-STEP_S / _SPLIT_S)
    transition = np.zeros((5, 5))
    transition[[0, 1], [0, 1]] = keep
    transition[2, :3] = 0.7 * (1 - a), 0.6 * (1 - a), a
    transition[3, 2:4] = 1 - a, a
    transition[4, 3:5] = 1 - b, b
    noise = np.zeros((5, 2))
    noise[[0, 1], [0, 1]] = np.sqrt(1 - keep**2)
    return transition, noise, solve_discrete_lyapunov(transition, noise @ noise.T)


def statistics(signal: Float) -> Statistics:
    """Statistics of hours [H, n] that are sampled every 2 s."""
    per_hour = HOUR_STEPS / (signal.shape[1] - 1)
    return Statistics(
        std=float(signal.std()),
        mileage=float(np.abs(np.diff(signal, axis=1)).sum(1).mean() * per_hour),
        drift=float(np.abs(signal.mean(1)).mean()),
        saturated=float((np.abs(signal) >= 1).mean()),
    )


def read_signal(path: Path | str, *, steps: int = HOUR_STEPS) -> Float:
    """[H, steps] a recorded signal, cut into whole hours one after the other.

    A row may hold more than an hour (`steps` > 1800, for a preview behind its end); it then ends
    with the first samples of the next one.

    Parameters
    ----------
    path
        CSV file with a header and a column `signal` in [-1, 1], one row every 2 s. A column
        `time_s` may stand beside it; its differences must be 2. Without it, 2 s is taken on trust.
    steps
        Samples per row, at least those of an hour.

    Raises
    ------
    InputError
        There is no such file or column, a value is not a number or lies outside [-1, 1], the time
        step is not 2 s, or the file is shorter than one row of the result.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"signal: there is no file {path}; give a CSV file with a column signal")
    table = pd.read_csv(path)
    if "signal" not in table or not set(table) <= {"signal", "time_s"}:
        raise InputError(
            f"{path.name} has the columns {', '.join(map(str, table.columns))}; it needs signal, "
            "beside it at most time_s"
        )
    numbers = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers).all(1))[0])
        raise InputError(f"{path.name}: row {row + 2} is not a number; fill or cut the gap")
    signal = table["signal"].to_numpy(np.float64)
    if (np.abs(signal) > 1).any():
        row = int(np.flatnonzero(np.abs(signal) > 1)[0])
        raise InputError(
            f"{path.name}: row {row + 2}, signal is {signal[row]}, outside [-1, 1]; "
            "divide it by the regulation capacity"
        )
    if "time_s" in table:
        gaps = np.diff(table["time_s"].to_numpy(np.float64))
        if not np.allclose(gaps, STEP_S, rtol=0, atol=1e-3):
            row = int(np.flatnonzero(np.abs(gaps - STEP_S) > 1e-3)[0])
            raise InputError(
                f"{path.name}: row {row + 3}, time_s rises by {gaps[row]:g} s instead of "
                f"{STEP_S:g} s; resample the signal"
            )
    if len(signal) < max(steps, HOUR_STEPS):
        raise InputError(
            f"{path.name} has {len(signal)} samples; {max(steps, HOUR_STEPS)} are needed, "
            f"{max(steps, HOUR_STEPS) * STEP_S / 60:.0f} minutes at {STEP_S:g} s"
        )
    starts = range(0, len(signal) - max(steps, HOUR_STEPS) + 1, HOUR_STEPS)
    return np.stack([signal[s : s + steps] for s in starts])
