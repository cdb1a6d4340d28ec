"""Dispatch for the price alone, by a linear program; the rules use it.

The variables, for M batteries and S steps, are charging c >= 0 and discharging d >= 0 in kW and the
state of charge e after each step, e_t - e_(t-1) = (eta_c c_t - d_t / eta_d) dt / capacity. A
battery cannot do both at once. That takes care of itself wherever wasted energy costs money; in
the few steps where waste would pay (a negative price and losses), a binary variable decides.

`griddispatch.optimization.linear` adds voltage limits to the same program.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import linprog

from griddispatch.assets.storage import Storage
from griddispatch.envs.feeder import EndSoc
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

# Ties. A price holds for all quarters of an hour, so the best schedule is one of many with the same
# profit. Of these we want the one that moves the least energy, and among those the one that charges
# earliest and discharges latest. Two tiny costs in EUR/MWh say so. Price differences below 2e-4
# EUR/MWh are ties, too (published prices have two decimals).
_USE = 1e-4  # for each MWh through the terminals
_LATE = 4e-5  # rise of the price over the day; less than a charge and a discharge cost in use

_BOTH = 1e-3  # kW; charging and discharging at once by more than this is no rounding
_SOLVER = {
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-8,  # below the costs that break ties
    "mip_rel_gap": 1e-6,
}


def arbitrage_schedule(
    storage: Storage, price: ArrayLike, hours: float, end_soc: EndSoc = "free"
) -> Float:
    """The power [S, M] in kW that earns most at prices [S] in EUR/MWh; + = charging.

    Where many schedules earn the same, it is the one that moves the least energy, and of those the
    one that charges earliest and discharges latest.

    Parameters
    ----------
    storage
        M batteries; without a network none depends on another.
    price
        For each step, known in advance.
    hours
        Length of a step.
    end_soc
        "free", or "initial": the state of charge at the end is that at the start.

    Raises
    ------
    InputError
        A price is missing or not finite, the step is not positive, or `end_soc` is unknown.
    """
    prices = np.asarray(price, dtype=np.float64)
    if prices.ndim != 1 or not len(prices) or not np.isfinite(prices).all():
        raise InputError(
            f"the price (shape {prices.shape}) must be one finite number per step; fill its gaps"
        )
    if not hours > 0 or end_soc not in ("free", "initial"):
        raise InputError(
            f"the step of {hours} h must be positive, end_soc {end_soc!r} 'free' or 'initial'"
        )
    program = batteries(storage, prices, hours, end_soc)
    no_limits = Limits(sparse.csr_array((0, program.width)), np.empty(0), np.empty(0))
    return program.power(minimise(program, no_limits)[0])


def parameters(storage: Storage) -> dict[str, Float]:
    """Each parameter of M batteries as an array [M]."""
    limits = storage.limits(torch.empty(0, dtype=torch.float64))
    return {name: value.numpy() for name, value in limits._asdict().items()}


# Programs of batteries -----------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """Minimise cost @ x with equal @ x = equal_to within bounds; x = [c, d, e], each [M, S].

    The cost is in EUR/MWh times kW, that is EUR * 1000 / hours.
    """

    cost: Float
    equal: sparse.csr_array
    equal_to: Float
    bounds: Float  # [3 M S, 2]
    batteries: int

    @property
    def width(self) -> int:
        """Number of variables, 3 M S."""
        return len(self.cost)

    def power(self, x: Float) -> Float:
        """[S, M] net power in kW."""
        charge, discharge, _ = x[: self.width].reshape(3, self.batteries, -1)
        return np.ascontiguousarray((charge - discharge).T)


class Limits(NamedTuple):
    """matrix @ [x, v] <= below, with further variables v >= 0 of a cost each."""

    matrix: sparse.csr_array
    below: Float
    cost: Float


def batteries(storage: Storage, price: Float, hours: float, end_soc: EndSoc) -> Program:
    """State the program of the batteries at prices [S]."""
    steps, m = len(price), len(storage)
    k = {name: value[:, None] for name, value in parameters(storage).items()}
    wear = 1000 * k["wear_eur_per_kwh"]
    price = price + _LATE * np.arange(steps) / steps
    cost = [price + wear + _USE, wear + _USE - price, np.zeros((m, steps))]

    rise, fall = (hours / k["capacity_kwh"] * x for x in (k["eta_charge"], 1 / k["eta_discharge"]))
    each, change = sparse.eye_array(steps), sparse.eye_array(steps) - sparse.eye_array(steps, k=-1)
    inside = (-np.diag(rise[:, 0]), each), (np.diag(fall[:, 0]), each), (np.eye(m), change)
    start, low, high = np.zeros((m, steps)), np.zeros((3, m, steps)), np.zeros((3, m, steps))
    start[:, :1] = k["soc_initial"]
    low[2], high[:2], high[2] = k["soc_min"], k["power_kw"], k["soc_max"]
    if end_soc == "initial":
        low[2, :, -1:] = high[2, :, -1:] = k["soc_initial"]
    return Program(
        cost=np.concatenate([part.ravel() for part in cost]),
        equal=sparse.hstack([sparse.kron(*pair) for pair in inside], format="csr"),
        equal_to=start.ravel(),
        bounds=np.column_stack([low.ravel(), high.ravel()]),
        batteries=m,
    )


def minimise(program: Program, limits: Limits) -> tuple[Float, int]:
    """Solve with HiGHS; return [x, v] and the iterations.

    Directions get a binary variable only where a solution charges and discharges at once: without
    any of them the program is a relaxation, so a solution that needs none is optimal.
    """
    size = program.width // 3
    directed = np.zeros(size, dtype=np.bool_)
    iterations = 0
    while True:
        answer = _highs(program, limits, directed)
        iterations += int(answer.nit)
        charge, discharge = answer.x[:size], answer.x[size : 2 * size]
        both = (np.minimum(charge, discharge) > _BOTH) & ~directed
        if not both.any():
            return answer.x[: program.width + len(limits.cost)], iterations
        directed |= both


def _highs(program: Program, limits: Limits, directed: Bool) -> Any:
    """Run HiGHS once, with a binary variable (1 = charging) for each directed pair of c and d."""
    pairs = np.flatnonzero(directed)
    continuous, binaries = program.width + len(limits.cost), len(pairs)
    power = program.bounds[pairs, 1]
    one = sparse.eye_array(continuous, format="csr")
    one_way = [  # c <= P z, d <= P (1 - z)
        [one[pairs], -sparse.diags_array(power, shape=(binaries, binaries))],
        [one[len(directed) + pairs], sparse.diags_array(power, shape=(binaries, binaries))],
    ]
    unused = sparse.csr_array((len(program.equal_to), continuous - program.width + binaries))
    free, either = np.tile([0, np.inf], (len(limits.cost), 1)), np.tile([0, 1], (binaries, 1))
    answer = linprog(
        np.concatenate([program.cost, limits.cost, np.zeros(binaries)]),
        A_ub=sparse.block_array([[limits.matrix, None], *one_way], format="csr"),
        b_ub=np.concatenate([limits.below, np.zeros(binaries), power]),
        A_eq=sparse.hstack([program.equal, unused], format="csr"),
        b_eq=program.equal_to,
        bounds=np.vstack([program.bounds, free, either]),
        integrality=np.repeat([0, 1], [continuous, binaries]),
        method="highs",
        options=_SOLVER,
    )
    if answer.status != 0:
        raise InputError(f"HiGHS did not solve the dispatch: {answer.message}; check the prices")
    return answer
