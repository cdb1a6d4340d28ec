"""The dependence between columns: a Gaussian or Student-t copula of far more columns than days.

With D days and P columns, P much larger than D, the correlation S = Z'Z / D of the normal scores
Z [D, P] is singular, and most of what it says about distant columns is noise. It is regularised
block by block. A block is one quantity: C channels (nodes) times T time steps, and

    Sigma = (1 - lambda) S + lambda (C x T),

where C is the correlation between channels, averaged over the time steps, T the correlation between
time steps, averaged over the channels (over equal lags, where a block has a single channel), and x
the Kronecker product. lambda is the weight with the least expected squared error, estimated from
the data (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
2004, with this target in the place of the identity; it takes the days as independent). In a block
of several channels it is at most a half, because what it takes away is all that the block shares
with the others.

Sigma of many nodes is never formed. A day is drawn with weights w [D] of the measured days and
noise E [C, T], both standard normal:

    z = sqrt(1 - lambda) Z'w / sqrt(D) + sqrt(lambda) C^(1/2) E T^(1/2).

Every column of Z has mean zero and variance one, so each z is standard normal. A block of a single
channel (the price, or a PV profile) is small enough for Sigma itself. With Z / sqrt(D) = V s U',

    z = Sigma^(1/2) (U V'w + (1 - U U') e),    e standard normal,

which has the correlation Sigma exactly and keeps as much of w as there is. Since w is the same in
all blocks, prices, PV and loads of a day belong together: the correlation between two blocks is
that of the scores, times sqrt(1 - lambda) of a block of several channels.

The Student-t copula divides a whole day by sqrt(chi2(nu) / nu), one draw for all columns. nu
maximises the likelihood of random pairs of columns (composite likelihood) under statsmodels'
`StudentTCopula`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import rankdata
from statsmodels.distributions.copula.api import StudentTCopula

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Kind = Literal["gaussian", "student", "none"]

LARGEST_SHRINKAGE = 0.5  # of a block of several channels
PAIRS = 200
NU_RANGE = (2.0, 200.0)  # at the upper end a t copula is a Gaussian one to the eye
_MOST_CORRELATED = 0.99  # pairs above it have no density to speak of
_NO_DIRECTION = 1e-8  # singular values of scores below it are rounding
_MAP = np.linspace(-8.0, 8.0, 4001)


def normal_scores(values: Array) -> Array:
    """Normal scores [D, P] of the ranks in each column, with mean 0 and variance 1.

    Equal values share their mean rank, as the zeros of PV do.
    """
    scores = ndtri(pseudo_observations(values))
    scores = scores - scores.mean(0)
    return scores / np.sqrt((scores**2).mean(0))


def pseudo_observations(values: Array) -> Array:
    """Ranks over D + 1 in each column [D, P]: they stand for the values of a copula."""
    ranks: Array = rankdata(values, axis=0) / (len(values) + 1)
    return ranks


@dataclass(frozen=True, eq=False)
class Regularised:
    """The correlation of one block of P columns, in the form that days are drawn from.

    loading [D, P] is what the weights of the days are multiplied with. channel [C, C] and time
    [T, T] multiply the noise from both sides; present [C, T] says which cells of it are the P
    columns, in C order. shrinkage is lambda.
    """

    loading: Array
    present: Mask
    shrinkage: float
    channel: Array
    time: Array

    @classmethod
    def fit(cls, scores: Array, present: Mask, slots: npt.NDArray[np.int64]) -> "Regularised":
        """Estimate from scores [D, P]; slots [T] is the time of each step, in any unit."""
        days = len(scores)
        if len(present) == 1:  # the steps that are not drawn are in nobody's way
            present, slots = present[:, present[0]], slots[present[0]]
        if not scores.shape[1]:
            roots = (np.zeros((size, size)) for size in present.shape)
            return cls(scores, present, 0.0, *roots)
        grid = np.zeros((days, *present.shape))
        grid[:, present] = scores
        shared = present.astype(np.float64)
        flat = grid.reshape(-1, present.shape[1]), grid.transpose(0, 2, 1).reshape(-1, len(present))
        channel = _correlation(_mean(flat[1].T @ flat[1], days * shared @ shared.T))
        time = _mean(flat[0].T @ flat[0], days * shared.T @ shared)
        time = _correlation(_by_lag(time, slots) if len(present) == 1 else time)
        # Squared Frobenius norms, all without a matrix [P, P].
        sample = float(((scores @ scores.T) ** 2).sum()) / days**2
        target = float((channel**2 * (shared @ time**2 @ shared.T)).sum())
        both = float((channel @ grid @ time * grid).sum()) / days
        noise = (float(((scores**2).sum(1) ** 2).sum()) / days - sample) / days
        distance = sample - 2 * both + target
        most = LARGEST_SHRINKAGE if len(present) > 1 else 1.0
        shrinkage = float(np.clip(noise / distance, 0, most)) if distance > 0 else most
        loading = scores / np.sqrt(days)
        if len(present) > 1:
            root = np.sqrt(shrinkage) * _root(channel)
            return cls(np.sqrt(1 - shrinkage) * loading, present, shrinkage, root, _root(time))
        sigma = _root((1 - shrinkage) * loading.T @ loading + shrinkage * time)
        left, singular, right = np.linalg.svd(loading, full_matrices=False)
        kept = singular > _NO_DIRECTION
        left, right = left[:, kept], right[kept]
        rest = sigma - right.T @ (right @ sigma)
        return cls(left @ (right @ sigma), present, shrinkage, channel, rest)

    def draw(self, weights: Array, random: np.random.Generator) -> Array:
        """Draw standard normal scores [n, P] for weights [n, D] of the days."""
        noise = random.standard_normal((len(weights), *self.present.shape))
        smooth = self.channel @ noise @ self.time
        return weights @ self.loading + smooth[:, self.present]

    def correlation(self) -> Array:
        """Return Sigma [P, P], for a look at a small block."""
        c, t = np.nonzero(self.present)
        channel, time = self.channel @ self.channel.T, self.time.T @ self.time
        return self.loading.T @ self.loading + channel[np.ix_(c, c)] * time[np.ix_(t, t)]


@dataclass(frozen=True, eq=False)
class Copula:
    """Dependence of all columns: blocks side by side; nu is infinite for the Gaussian copula."""

    kind: Kind
    blocks: tuple[Regularised, ...]
    nu: float

    def draw(self, count: int, seed: int) -> Array:
        """Draw standard normal scores [count, P]; a longer sample begins with the shorter one."""
        streams = [np.random.default_rng((seed, i)) for i in range(2 + len(self.blocks))]
        if self.kind == "none":
            columns = sum(block.loading.shape[1] for block in self.blocks)
            return streams[0].standard_normal((count, columns))
        weights = streams[0].standard_normal((count, len(self.blocks[0].loading)))
        parts = [
            block.draw(weights, stream)
            for block, stream in zip(self.blocks, streams[2:], strict=True)
        ]
        scores = np.concatenate(parts, axis=1)
        if np.isinf(self.nu):
            return scores
        mixing = np.sqrt(streams[1].chisquare(self.nu, (count, 1)) / self.nu)
        return to_normal(scores / mixing, self.nu)


def to_normal(t: Array, nu: float) -> Array:
    """Return the standard normal scores with the probabilities of t scores, from a table."""
    half = _MAP[_MAP <= 0]
    below = stdtrit(nu, ndtr(half))
    return np.interp(t, np.concatenate([below, -below[-2::-1]]), _MAP)


def degrees_of_freedom(values: Array, seed: int, pairs: int = PAIRS) -> float:
    """Nu of the Student-t copula by composite likelihood over random pairs of columns.

    The correlation of a pair comes from Kendall's tau, which does not depend on nu.

    Parameters
    ----------
    values
        [D, P], continuous columns: equal values have no density.
    seed
        Of the choice of pairs.
    pairs
        How many of them.
    """
    random = np.random.default_rng(seed)
    ranks = pseudo_observations(values)
    chosen = []
    for _ in range(pairs):
        pair = ranks[:, random.choice(ranks.shape[1], 2, replace=False)]
        rho = float(StudentTCopula(k_dim=2).fit_corr_param(pair))
        if abs(rho) < _MOST_CORRELATED:
            chosen.append((pair, rho))

    def loss(log_nu: float) -> float:
        nu = float(np.exp(log_nu))
        fits = (StudentTCopula(corr=rho, df=nu, k_dim=2).logpdf(pair) for pair, rho in chosen)
        return -float(sum(fit.sum() for fit in fits))

    best = minimize_scalar(loss, bounds=np.log(NU_RANGE), options={"xatol": 0.02})
    return float(np.exp(best.x))


def _mean(total: Array, count: Array) -> Array:
    """Return total / count, and 0 where nothing was counted."""
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _by_lag(time: Array, slots: npt.NDArray[np.int64]) -> Array:
    """Replace each entry by the mean over all entries with the same distance in time."""
    lag = np.abs(slots[:, None] - slots)
    mean = np.bincount(lag.ravel(), time.ravel()) / np.maximum(np.bincount(lag.ravel()), 1)
    return mean[lag]


def _correlation(matrix: Array) -> Array:
    """Return the matrix without its negative eigenvalues, with ones on the diagonal."""
    values, vectors = np.linalg.eigh(matrix)
    positive = (vectors * np.maximum(values, 0)) @ vectors.T
    scale = np.sqrt(positive.diagonal())
    # A row without a column in the block has nothing to scale; no column is drawn from it.
    scale = np.where(scale > 0, scale, 1.0)
    return positive / scale[:, None] / scale


def _root(correlation: Array) -> Array:
    """Return the symmetric square root."""
    values, vectors = np.linalg.eigh(correlation)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
