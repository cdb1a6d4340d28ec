"""How well regulation was done: PJM's performance score, mileage, cost, and the pay for it.

PJM Manual 12 (Balancing Operations), section 4.5.6, scores an hour on samples of 10 s. With the
signal u, the response y, and a time shift d in 0, 10 .. 300 s,

    corr(d) = correlation of u over 5 minutes with y over 5 minutes that begin d later
    D(d)    = |d - 300 s| / 300 s
    C, D    = corr and D at the shift with the largest corr(d) + D(d), "the highest coincident
              correlation and delay score"
    P       = 1 - mean |y - u| / mean |u| over the hour
    S       = (C + D + P) / 3

for every 10 s of the hour, C and P not below 0; the score of an hour is the mean. Where the signal
hardly moves in a window, C = 1 - |slope of u - slope of y| instead, with slopes from linear
regression. Open in the text, and settled here:

- the samples are means over 10 s, a window has 30 of them;
- only windows count whose latest shift still lies in the hour: those that begin in the first 50
  minutes (301 windows);
- "hardly moves" is a standard deviation below 0.01 of the capacity; slopes are changes over a
  window in units of the capacity;
- editions that read "the shift of the highest correlation" are `choice="correlation"`. For a pure
  delay of 10 s that gives D = 29/30; the sum gives a higher D, since in windows that change slowly
  a little correlation is worth less than 10 s of delay;
- PJM may grant 10 s for the travel of the signal. It is not granted here.

S is lenient: an answer of half the amplitude has 5/6, no answer at all has 1/3. P, the error and
the costs say more.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from griddispatch.data.regulation import STEP_S
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Choice = Literal["sum", "correlation"]

SAMPLE_S = 10.0
WINDOW = 30  # samples, 5 minutes
SHIFTS = 31  # 0, 10 .. 300 s
FLAT = 0.01  # standard deviation of a window, in units of the capacity
FORFEIT, QUALIFIED = 0.25, 0.75


class Score(NamedTuple):
    """PJM's performance score of H hours, each part [H] in [0, 1]."""

    total: Float
    correlation: Float
    delay: Float
    precision: Float


def performance_score(
    signal: ArrayLike, response: ArrayLike, *, choice: Choice = "sum", flat: float = FLAT
) -> Score:
    """PJM's performance score; see the module's text.

    Parameters
    ----------
    signal, response
        [H, n] in units of the capacity, one value per 2 s, at least 10 minutes.
    choice
        What the shift maximises: the sum of correlation and delay score, or correlation alone.
    flat
        Standard deviation of the signal in a window below which slopes are compared.

    Raises
    ------
    InputError
        Shapes differ, the series is too short or not finite, a signal is zero throughout, or the
        choice is unknown.
    """
    u, y = _sampled(signal, "signal"), _sampled(response, "response")
    if u.shape != y.shape:
        raise InputError(f"score: the signal has samples {u.shape}, the response {y.shape}")
    if choice not in ("sum", "correlation"):
        raise InputError(f"score: choice {choice!r} must be 'sum' or 'correlation'")
    size = np.abs(u).mean(1)
    if not (size > 0).all():
        raise InputError("score: the signal of an hour is zero throughout; there is nothing to do")
    correlation = _correlations(u, y, flat)  # [H, windows, SHIFTS]
    delay = np.abs(np.arange(SHIFTS) - (SHIFTS - 1)) / (SHIFTS - 1)
    judged = correlation + delay if choice == "sum" else correlation
    # Rounding must not decide between equal shifts: the earliest of them counts.
    best = np.argmax(judged >= judged.max(-1, keepdims=True) - 1e-9, axis=-1)
    C = np.take_along_axis(correlation, best[..., None], -1)[..., 0].clip(0, 1).mean(1)
    D = delay[best].mean(1)
    P = (1 - np.abs(y - u).mean(1) / size).clip(0)
    return Score((C + D + P) / 3, C, D, P)


def _sampled(series: ArrayLike, name: str) -> Float:
    x = np.atleast_2d(np.asarray(series, dtype=np.float64))
    per_sample = round(SAMPLE_S / STEP_S)
    if x.ndim != 2 or x.shape[1] < (WINDOW + SHIFTS - 1) * per_sample:
        raise InputError(f"score: {name} has shape {x.shape}; give [hours, 300 or more] every 2 s")
    if not np.isfinite(x).all():
        raise InputError(f"score: {name} holds a value that is not finite")
    whole = x.shape[1] // per_sample
    return x[:, : whole * per_sample].reshape(len(x), whole, per_sample).mean(2)


def _correlations(u: Float, y: Float, flat: float) -> Float:
    """[H, windows, SHIFTS] correlation of each window with the response at each shift.

    All sums over windows are differences of prefix sums. The mean of the hour is taken off first,
    so that little is lost in the differences.
    """
    n = u.shape[1] - WINDOW - SHIFTS + 2  # windows
    u, y = u - u.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    sum_u, sum_y, square_u, square_y = _window_sums(np.stack([u, y, u * u, y * y]))
    ramp = np.arange(u.shape[1], dtype=np.float64)
    ramp_u, ramp_y = _window_sums(np.stack([u * ramp, y * ramp]))
    var_u, var_y = (s2 - s * s / WINDOW for s2, s in ((square_u, sum_u), (square_y, sum_y)))
    middle = np.arange(sum_u.shape[1]) + (WINDOW - 1) / 2
    spread = (WINDOW**3 - WINDOW) / 12  # sum of squares of the centred times
    slope_u, slope_y = ((r - s * middle) / spread for r, s in ((ramp_u, sum_u), (ramp_y, sum_y)))
    quiet = np.sqrt(var_u[:, :n].clip(0) / WINDOW) < flat
    tiny = 1e-12  # a response that stands still has no correlation
    out = np.empty((len(u), n, SHIFTS))
    for d in range(SHIFTS):
        later = slice(d, d + n)
        product = _window_sums(u[:, : u.shape[1] - d] * y[:, d:])[:, :n]
        product = product - sum_u[:, :n] * sum_y[:, later] / WINDOW
        size = np.sqrt((var_u[:, :n] * var_y[:, later]).clip(0))
        moved = size > tiny
        corr = np.divide(product, size, out=np.zeros_like(size), where=moved)
        gap = WINDOW * np.abs(slope_u[:, :n] - slope_y[:, later])
        out[..., d] = np.where(quiet, 1 - gap, corr)
    return out


def _window_sums(x: Float) -> Float:
    """[..., n - WINDOW + 1] sums over windows of [..., n]."""
    total = np.zeros((*x.shape[:-1], x.shape[-1] + 1))
    np.cumsum(x, axis=-1, out=total[..., 1:])
    return total[..., WINDOW:] - total[..., :-WINDOW]


def mileage(series: ArrayLike) -> Float:
    """[...] sum of |changes| of a series [..., n]."""
    return np.abs(np.diff(np.asarray(series, dtype=np.float64))).sum(-1)


def useful_mileage(command: ArrayLike, power: ArrayLike) -> Float:
    """[...] the part of the power's mileage that goes towards the command, both [..., n].

    In each step the change of the power counts as far as it closes the gap between the command of
    the step and the power before it.
    """
    u, p = np.asarray(command, dtype=np.float64), np.asarray(power, dtype=np.float64)
    gap, change = u[..., 1:] - p[..., :-1], np.diff(p)
    return np.clip(change * np.sign(gap), 0, np.abs(gap)).sum(-1)


def credit(score: ArrayLike, capability: float, performance: float, ratio: float = 1.0) -> Float:
    """[...] $ of an hour per MW: score * (capability price + mileage ratio * performance price).

    An hour with a score below 0.25 is not paid (PJM Manual 28, section 4). Prices in $/MWh.
    """
    s = np.asarray(score, dtype=np.float64)
    return np.where(s < FORFEIT, 0.0, s * (capability + ratio * performance))


def l1_ratio(signal: ArrayLike, response: ArrayLike) -> Float:
    """[H] (1 - S) / (|e|_1 / (3 |u|_1)), which tends to 1 as the error e = y - u goes to 0.

    Why: 1 - P is |e|_1 / |u|_1 itself, 1 - C is of second order in the error, and D is 1 as soon as
    no shift is better than none. The limit needs windows in which the signal moves: 1 - C of a
    window is about the square of the error over the variance of the signal there. Errors are those
    of the 10-s samples.

    Raises
    ------
    InputError
        As of `performance_score`, or a response is the signal itself (0 / 0).
    """
    u, y = _sampled(signal, "signal"), _sampled(response, "response")
    score = performance_score(signal, response)
    error = np.abs(y - u).mean(1) / np.abs(u).mean(1)
    if not (error > 0).all():
        raise InputError("ratio: a response equals its signal; the ratio is 0 / 0")
    return (1 - score.total) / (error / 3)
