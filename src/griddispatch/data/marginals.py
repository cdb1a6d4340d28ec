"""The distribution of each column by itself: Gaussian mixtures, chosen by BIC, and their inverse.

A column is one quantity at one node and one time step over D days. Its mixture has the number of
components with the lowest Bayesian information criterion. Three things keep a mixture of few
days from following single days: a component needs `DAYS_PER_COMPONENT` days, no component is
narrower than a tenth of the column's standard deviation, and the means start at quantiles.

A quantity that is never negative (PV, the load of a node that does not feed in) stays so: its
mixture is fitted to the values above zero, zero keeps the probability that it has in the data (PV
at dusk is zero in winter and not in summer), and what the mixture has below zero becomes zero. To
cut the mixture off and scale it up instead would raise the mean PV by several per cent.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sklearn
from scipy.special import ndtr, ndtri
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

DAYS_PER_COMPONENT = 10
SMALLEST_VARIANCE = 0.01  # of a component, as a share of the column's variance
_REACH = 8.0  # standard deviations: how far out a component is tabulated
_EDGE = 6.0  # standard normal scores beyond it take the table's last value
_SCORES = np.linspace(-_EDGE, _EDGE, 481)
_POINTS = 1000  # at which a distribution function is evaluated before it is inverted
_CHUNK = 256  # columns at a time


@dataclass(frozen=True, eq=False)
class Marginals:
    """P distributions of at most K components.

    weight, mean, sd [P, K] (weight 0 where a column has fewer components); zero [P] is the
    probability of zero itself; cut [P] says which columns are never negative. table [P, G] has the
    quantiles at G standard normal scores from -6 to 6.
    """

    weight: Array
    mean: Array
    sd: Array
    zero: Array
    cut: Mask
    table: Array

    @classmethod
    def fit(cls, values: Array, cut: Mask, components: int, seed: int) -> "Marginals":
        """Fit the columns of `values` [D, P]; those of `cut` [P] hold no negative value."""
        columns = values.shape[1]
        weight = np.zeros((columns, components))
        mean, sd = np.zeros_like(weight), np.ones_like(weight)
        zero = np.where(cut, (values == 0).mean(0), 0.0)
        with warnings.catch_warnings(), sklearn.config_context(skip_parameter_validation=True):
            # A mixture whose last steps are still small is as good as BIC needs it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for p in range(columns):
                column = values[values[:, p] != 0, p] if cut[p] else values[:, p]
                found = _mixture(column, components, seed)
                for array, fitted in zip((weight, mean, sd), found, strict=True):
                    array[p, : len(fitted)] = fitted
        table = np.empty((columns, len(_SCORES)))
        for start in range(0, columns, _CHUNK):
            part = slice(start, start + _CHUNK)
            table[part] = _table(weight[part], mean[part], sd[part], zero[part], cut[part])
        return cls(weight, mean, sd, zero, cut, table)

    @property
    def components(self) -> npt.NDArray[np.int64]:
        """Number of components of each column [P]."""
        return np.count_nonzero(self.weight, axis=1)

    def density(self, column: int, x: Array) -> Array:
        """Probability density of one column at x, without that of zero itself."""
        weight, mean, sd = self.weight[column], self.mean[column], self.sd[column]
        z = (x[:, None] - mean) / sd
        density = (weight / sd * np.exp(-0.5 * z**2)).sum(1) / np.sqrt(2 * np.pi)
        return np.where(self.cut[column] & (x < 0), 0.0, (1 - self.zero[column]) * density)

    def quantile(self, scores: Array) -> Array:
        """Quantiles at standard normal scores [n, P]: linear interpolation in the table."""
        result = np.empty_like(scores)
        last = len(_SCORES) - 1
        for start in range(0, scores.shape[1], _CHUNK):
            part = slice(start, start + _CHUNK)
            table = self.table[part]
            place = np.clip((scores[:, part] + _EDGE) * (last / (2 * _EDGE)), 0, last)
            below = np.minimum(place.astype(np.intp), last - 1)
            low = np.take_along_axis(table.T, below, axis=0)
            high = np.take_along_axis(table.T, below + 1, axis=0)
            result[:, part] = low + (place - below) * (high - low)
        return result


def _mixture(column: Array, most: int, seed: int) -> tuple[Array, Array, Array]:
    """Return weights, means and standard deviations of the mixture with the lowest BIC."""
    centre, spread = column.mean(), column.std()
    # One value, or several equal ones, above zero: a tenth of it stands in for the spread.
    spread = spread if spread > 1e-9 * abs(centre) else 0.1 * abs(centre)
    scaled = (column - centre) / spread
    days, variance = len(scaled), float(scaled.var()) + SMALLEST_VARIANCE
    # A single component is known without iterations; its likelihood is that of a Gaussian.
    single = days * (np.log(2 * np.pi * variance) + scaled.var() / variance) + 2 * np.log(days)
    best = single, np.ones(1), np.array([centre]), np.array([spread * np.sqrt(variance)])
    for k in range(2, min(most, days // DAYS_PER_COMPONENT) + 1):
        mixture = GaussianMixture(
            k,
            covariance_type="diag",
            reg_covar=SMALLEST_VARIANCE,
            means_init=np.quantile(scaled, (np.arange(k) + 0.5) / k)[:, None],
            init_params="random_from_data",
            random_state=seed,
            max_iter=200,
        ).fit(scaled[:, None])
        bic = mixture.bic(scaled[:, None])
        if bic < best[0]:
            width = np.sqrt(mixture.covariances_[:, 0])
            best = bic, mixture.weights_, centre + spread * mixture.means_[:, 0], spread * width
    return best[1:]


def _table(weight: Array, mean: Array, sd: Array, zero: Array, cut: Mask) -> Array:
    """Quantiles [P, G] at the standard normal scores of the table."""
    present = weight > 0
    low = np.where(present, mean - _REACH * sd, np.inf).min(1)
    high = np.where(present, mean + _REACH * sd, -np.inf).max(1)
    x = np.linspace(low, high, _POINTS, axis=1)
    z = (x[:, :, None] - mean[:, None]) / sd[:, None]
    below = (weight[:, None] * ndtr(z)).sum(2)
    above = (weight[:, None] * ndtr(-z)).sum(2)
    above = above * (1 - zero[:, None])
    below = zero[:, None] + below * (1 - zero[:, None])
    x = np.where(cut[:, None], np.maximum(x, 0), x)
    # The smaller of the two tails is the exact one.
    scores = np.where(below < 0.5, ndtri(below), -ndtri(above))
    table = np.stack([np.interp(_SCORES, s, values) for s, values in zip(scores, x, strict=True)])
    return np.where(ndtri(zero)[:, None] >= _SCORES, 0.0, table)
