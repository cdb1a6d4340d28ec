"""Make new days from measured ones: the GMC method of RL-ADN, for complete days.

Source: Hou et al., "RL-ADN", section on data augmentation: a Gaussian mixture for each node and
time step (`griddispatch.data.marginals`) and a copula for their dependence
(`griddispatch.data.copula`). Here a day is one draw of everything that the environment reads:
loads, PV, reactive loads, the prices of the day and those of the day before. Node identity, the
course of the day and the relation between quantities are part of it.

    model = fit(days)                 # measured days that an agent may learn from, no others
    new = model.sample(1825, seed=0)  # complete `Days`, named "generated 0001", ...
    more = days.joined(new)

What is not free in the data is not drawn:

- Prices that are equal in every day (a price of an hour holds in four quarter-hours; the last hour
  of the day before reaches into the day) are one column.
- If PV is one profile times a factor per node in every day, the profile is drawn and the factors
  are kept. If the reactive load is a factor per node times the load, the factors are kept.
- PV that is zero in every day stays zero, and so does a node without any load. A price that is the
  same in every day, a fixed tariff, stays as it is. Any other column that never changes is an
  error.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from griddispatch.data.copula import Copula, Kind, Regularised, degrees_of_freedom, normal_scores
from griddispatch.data.marginals import Marginals
from griddispatch.data.series import Days
from griddispatch.errors import InputError

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

KINDS: tuple[Kind, ...] = ("gaussian", "student", "none")
FEWEST_DAYS = 10
COMPONENTS = 4
_SAME = 1e-9  # relative: values that differ less are one value with another rounding


@dataclass(frozen=True, eq=False)
class Block:
    """One quantity on a grid of C channels and T time steps.

    values [D, C, T]; present [C, T] says which cells are drawn; slots [T] is the time step of each
    column of the grid; labels [C] are the nodes of the channels, empty for a quantity without.
    """

    name: str
    values: Array
    present: Mask
    slots: npt.NDArray[np.int64]
    labels: tuple[int, ...] = ()

    @property
    def columns(self) -> Array:
        """The drawn cells [D, P]."""
        return self.values[:, self.present]

    @property
    def cut(self) -> Mask:
        """[P] columns of channels that are never negative: PV, and nodes that feed nothing in."""
        never = self.values.min((0, 2)) >= 0
        if self.name not in ("load", "pv"):
            never = np.zeros_like(never)
        return np.broadcast_to(never[:, None], self.present.shape)[self.present]

    def restored(self, columns: Array) -> Array:
        """Return drawn columns [n, P] as a grid [n, C, T]; the other cells are as in the data."""
        grid = np.repeat(self.values[:1], len(columns), axis=0)
        grid[:, self.present] = columns
        return grid


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model: the days it knows, their blocks, marginals and copula.

    pv_factor [N] is the share of each node in the PV profile, None if PV is drawn node by node;
    reactive_factor [N] is the reactive load per kW of load, None if it is drawn; price_column [2 S]
    says which column holds the price of each step of the day before and of the day.
    """

    days: Days
    blocks: tuple[Block, ...]
    marginals: Marginals
    copula: Copula
    pv_factor: Array | None
    reactive_factor: Array | None
    price_column: npt.NDArray[np.int64]

    def block(self, name: str) -> tuple[Block, slice]:
        """Return a block by its name and the place of its columns among all.

        Raises
        ------
        InputError
            There is none of this name.
        """
        start = 0
        for block in self.blocks:
            size = int(block.present.sum())
            if block.name == name:
                return block, slice(start, start + size)
            start += size
        known = ", ".join(block.name for block in self.blocks)
        raise InputError(f"no block {name!r} in this model; there are {known}")

    @property
    def shrinkage(self) -> dict[str, float]:
        """Lambda of each block: the weight of the Kronecker target in its correlation."""
        regularised = zip(self.blocks, self.copula.blocks, strict=True)
        return {block.name: part.shrinkage for block, part in regularised}

    def with_copula(self, copula: Kind, seed: int = 0) -> "Model":
        """Return this model with another dependence; its marginals are not fitted again.

        The seed is that of the pairs behind nu; InputError for an unknown copula.
        """
        _require_kind(copula)
        nu = np.inf
        if copula == "student":
            # nu rests on densities, so columns with a probability of zero itself stay out.
            values = np.concatenate([block.columns for block in self.blocks], axis=1)
            nu = degrees_of_freedom(values[:, self.marginals.zero == 0], seed)
        return replace(self, copula=Copula(copula, self.copula.blocks, nu))

    def sample(self, count: int, seed: int) -> Days:
        """Draw days; the first k of them are the same for any count of at least k.

        Parameters
        ----------
        count
            Number of days.
        seed
            Of the draw, 0 or more: the same seed gives the same days.

        Raises
        ------
        InputError
            The count is below 1, or the seed below 0.
        """
        if count < 1 or seed < 0:
            raise InputError(
                f"count is {count} and seed is {seed}; ask for 1 day or more, with a seed of 0 "
                "or more"
            )
        columns = self.marginals.quantile(self.copula.draw(count, seed))
        grids, start = {}, 0
        for block in self.blocks:
            size = int(block.present.sum())
            grids[block.name] = block.restored(columns[:, start : start + size])
            start += size
        load = np.ascontiguousarray(grids["load"].transpose(0, 2, 1))
        pv = grids["pv"].transpose(0, 2, 1)
        pv = np.ascontiguousarray(pv) if self.pv_factor is None else pv * self.pv_factor
        if self.reactive_factor is None:
            reactive = np.ascontiguousarray(grids["reactive"].transpose(0, 2, 1))
        else:
            reactive = load * self.reactive_factor
        price = grids["price"][:, 0, self.price_column]
        steps = load.shape[1]
        return Days(
            dates=tuple(f"generated {day + 1:04d}" for day in range(count)),
            nodes=self.days.nodes,
            load=load,
            pv=pv,
            reactive=reactive,
            price=price[:, steps:],
            step_hours=self.days.step_hours,
            price_before=price[:, :steps],
        )


def fit(
    days: Days, copula: Kind = "gaussian", seed: int = 0, *, components: int = COMPONENTS
) -> Model:
    """Fit marginals and dependence to measured days.

    Parameters
    ----------
    days
        D days, at least `FEWEST_DAYS`. Give only days that a learner may see.
    copula
        "gaussian", "student", or "none": mixtures alone, every column independent.
    seed
        Of the mixtures' starting points and of the pairs behind nu.
    components
        Most components of a mixture; BIC chooses.

    Raises
    ------
    InputError
        There are too few days, a value is not finite, a column never changes, or an option is
        unknown.
    """
    _require_kind(copula)
    if components < 1:
        raise InputError(f"components is {components}; allow 1 or more")
    if len(days) < FEWEST_DAYS:
        raise InputError(
            f"{len(days)} days are too few to fit from; give at least {FEWEST_DAYS}, better 30"
        )
    _require_finite(days)
    load = _by_node("load", days.load, days.nodes)
    pv_factor = _profile(days.pv)
    if pv_factor is None:
        pv = _by_node("pv", days.pv, days.nodes)
    else:
        largest = int(pv_factor.argmax())
        pv = _by_node("pv", days.pv[:, :, [largest]], (days.nodes[largest],))
    reactive_factor = _factor(days)
    price, price_column = _prices(days)
    blocks = [load, pv, price]
    if reactive_factor is None:
        blocks.append(_by_node("reactive", days.reactive, days.nodes))
    values = np.concatenate([block.columns for block in blocks], axis=1)
    cut = np.concatenate([block.cut for block in blocks])
    marginals = Marginals.fit(values, cut, components, seed)
    correlations = tuple(
        Regularised.fit(normal_scores(block.columns), block.present, block.slots)
        for block in blocks
    )
    model = Model(
        days=days,
        blocks=tuple(blocks),
        marginals=marginals,
        copula=Copula("gaussian", correlations, np.inf),
        pv_factor=pv_factor,
        reactive_factor=reactive_factor,
        price_column=price_column,
    )
    return model if copula == "gaussian" else model.with_copula(copula, seed)


def _require_kind(copula: str) -> None:
    if copula not in KINDS:
        raise InputError(f"copula is {copula!r}; it must be one of {', '.join(KINDS)}")


def _require_finite(days: Days) -> None:
    """Raise InputError for the first value that is not finite; arrays may have been edited."""
    for name in ("load", "pv", "reactive", "price", "price_before"):
        bad = np.argwhere(~np.isfinite(getattr(days, name)))
        if len(bad):
            day, step, *node = (int(i) for i in bad[0])
            at = f", node {days.nodes[node[0]]}" if node else ""
            raise InputError(
                f"{name} is not finite on {days.dates[day]}, step {step}{at} "
                f"({len(bad)} such values); repair or leave out these days"
            )


def _still(values: Array) -> Mask:
    """Whether the values are the same in every day, along the first axis."""
    return np.ptp(values, axis=0) <= _SAME * np.abs(values).max(0)


def _by_node(name: str, values: Array, nodes: tuple[int, ...]) -> Block:
    """Return the block of values [D, S, N]; InputError if a column that must change never does."""
    grid = values.transpose(0, 2, 1)
    zero = np.abs(grid).max(0) == 0
    # PV may be zero at a step (night); of a load only a whole node may.
    allowed = zero if name == "pv" else zero & zero.all(1, keepdims=True)
    still = _still(grid)
    if (still & ~allowed).any():
        at = np.argwhere(still & ~allowed)
        named = ", ".join(f"node {nodes[c]} step {t}" for c, t in at[:5])
        more = f" and {len(at) - 5} more" if len(at) > 5 else ""
        raise InputError(
            f"{name} has the same value in all {len(values)} days at {named}{more}, so it has no "
            "distribution; give more days, mend the meter, or set the node to zero"
        )
    return Block(name, grid, ~still, np.arange(values.shape[1]), nodes)


def _profile(pv: Array) -> Array | None:
    """[N] factors if PV [D, S, N] is one profile times a factor per node, the largest being 1."""
    total = pv.sum((0, 1))
    largest = int(total.argmax())
    factor = total / total[largest] if total[largest] > 0 else np.zeros_like(total)
    same = np.abs(pv - pv[:, :, [largest]] * factor).max() <= _SAME * np.abs(pv).max()
    return factor if same and (pv >= 0).all() else None


def _factor(days: Days) -> Array | None:
    """[N] reactive load per kW if it is the same in all days and steps of a node."""
    energy = (days.load**2).sum((0, 1))
    product = (days.load * days.reactive).sum((0, 1))
    factor = np.divide(product, energy, out=np.zeros_like(energy), where=energy > 0)
    error = np.abs(days.reactive - factor * days.load).max()
    return factor if error <= _SAME * np.abs(days.reactive).max() else None


def _prices(days: Days) -> tuple[Block, npt.NDArray[np.int64]]:
    """Return the distinct columns of the prices of two days, and the column of each step [2 S]."""
    assert days.price_before is not None
    both = np.concatenate([days.price_before, days.price], axis=1)
    starts = np.r_[True, (np.diff(both, axis=1) != 0).any(0)]
    column = np.cumsum(starts) - 1
    grid = both[:, None, starts]
    still = _still(grid)
    if still.any() and not still.all():
        steps = np.flatnonzero(starts)[still[0]] - days.price.shape[1]
        raise InputError(
            f"the price has the same value in all {len(days)} days at step {steps[0]} "
            f"({len(steps)} such steps; below 0 is the day before), and not at others; give more "
            "days"
        )
    return Block("price", grid, ~still, np.flatnonzero(starts)), column
