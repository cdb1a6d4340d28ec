"""When is a small absolute error as good as a high performance score? The ratio, measured.

With the error e = y - u of the samples, 1 - P = |e|_1 / |u|_1 by definition. Where no shift beats
none, D = 1. In a window in which the signal has the standard deviation sigma_u and the error a
standard deviation eps, 1 - C is about (eps / sigma_u)^2 / 2. So

    1 - S = |e|_1 / (3 |u|_1) + O(eps^2),    (1 - S) / (|e|_1 / (3 |u|_1)) -> 1.

The second term is small only if eps is small beside sigma_u in *every* window: RegA stands nearly
still for minutes, and there the limit is out of reach at any error that a plant can have.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from griddispatch.data.regulation import STEP_S, synthesise
from griddispatch.evaluation.regulation import SAMPLE_S, WINDOW, Float, l1_ratio

NOISE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Standard deviation of the error, as a share of that of the signal."""
LAGS = (4.0, 10.0, 20.0, 40.0, 80.0, 120.0)
"""Time constants of a response in s."""
STILL = 0.05  # standard deviation of a window, in units of the capacity

_PER_SAMPLE = round(SAMPLE_S / STEP_S)


def noisy(signal: Float, size: float, seed: int = 0) -> Float:
    """[H, n] a signal with an independent normal error in each sample of 10 s.

    `size` is its standard deviation as a share of the hour's.
    """
    rng = np.random.default_rng(seed)
    samples = -(-signal.shape[1] // _PER_SAMPLE)
    error = rng.standard_normal((len(signal), samples)).repeat(_PER_SAMPLE, 1)
    return signal + size * signal.std(1, keepdims=True) * error[:, : signal.shape[1]]


def lagged(signal: Float, lag_s: float) -> Float:
    """[H, n] a signal behind a first-order lag, sampled every 2 s."""
    keep = np.exp(-STEP_S / lag_s)
    out, now = np.empty_like(signal), signal[:, 0].copy()
    for n in range(signal.shape[1]):
        now = keep * now + (1 - keep) * signal[:, n]
        out[:, n] = now
    return out


def ratios(kinds: Sequence[str], hours: int, seed: int = 0) -> pd.DataFrame:
    """The ratio over noise and lags: kind, error ("noise" or "lag"), size, mean, low, high.

    low and high are the 5 % and 95 % quantiles over the hours.
    """
    made = []
    sweeps: tuple[tuple[str, Sequence[float], Callable[[Float, float], Float]], ...] = (
        ("noise", NOISE, noisy),
        ("lag", LAGS, lagged),
    )
    for kind in kinds:
        signal = synthesise(kind, hours, seed)
        for error, sizes, spoil in sweeps:
            for size in sizes:
                ratio = l1_ratio(signal, spoil(signal, size))
                ends = np.quantile(ratio, [0.05, 0.95])
                made.append((kind, error, size, ratio.mean(), *ends))
    return pd.DataFrame(made, columns=["kind", "error", "size", "mean", "low", "high"])


def still_share(signal: Float) -> float:
    """Share of the 5-minute windows in which a signal [H, n] hardly moves."""
    whole = signal.shape[1] // _PER_SAMPLE
    samples = signal[:, : whole * _PER_SAMPLE].reshape(len(signal), whole, -1).mean(2)
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW, axis=1)
    return float((windows.std(-1) < STILL).mean())
