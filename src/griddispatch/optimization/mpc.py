"""Rolling-horizon dispatch of battery, flexible load and grid exchange, over scenarios.

One linear program per decision, over scenarios w of weight pi_w and blocks k of dt hours:

    minimise  sum_w pi_w ( sum_k dt [buy g+ - sell g- + wear (c + d) + cut_cost q
                           + shift_cost (u + s)] + demand G - nu e_K ) + risk CVaR
    g+ - g- + d - c + q + s - u = load - PV + spill,   0 <= spill <= PV
    e = (1 - leak) e_before + dt (eta c - d / eta),    lowest <= e <= highest
    b = b_before + dt (s - u / (1 + payback)),         0 <= b <= backlog,  b_K = 0
    b <= what was put off within the last six hours
    q <= cut_share load,  s <= shift_share load,  sum of dt q in a calendar day <= cut_kwh
    G >= g+,  G >= this month's peak so far

The first block's decisions about battery and load are one for all scenarios; the grid is recourse.
CVaR is that of Rockafellar and Uryasev, "Optimization of conditional value-at-risk" (2000). The
spill is the slack of the balance row, so it needs no variable.

With buy >= sell >= 0 and losses, no optimum charges and discharges at once. Where a price breaks
that, a binary variable per direction decides, in those steps alone where a solution needs it.

The program is built once. A new decision refills bounds, costs and right-hand sides, and HiGHS
starts from the last basis.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np

from griddispatch.errors import InputError
from griddispatch.optimization.mpc_model import Model, Numbers, Shape, check
from griddispatch.optimization.mpc_plant import BLOCK, Float, Grid, Outlook, Plant, State
from griddispatch.optimization.mpc_program import Columns

_BOTH = 1e-4  # kW; two directions at once by more than this is no rounding
_OPTIONS = {"output_flag": False, "threads": 1, "mip_rel_gap": 1e-6, "presolve": "off"}
_NONE = np.empty(0, dtype=np.intp)


@dataclass(frozen=True)
class Plan:
    """What the program plans, [W, K] in kW but for energy and backlog in kWh at a block's end.

    grid is import less export, battery charging less discharging; weight [W]; peak [W] is the
    highest import of the first billing period, so far or planned (zero without a demand charge).
    objective in EUR; iterations of the solver; seconds wall time, refill included.
    """

    grid: Float
    battery: Float
    charge: Float
    discharge: Float
    energy: Float
    cut: Float
    later: Float
    caught_up: Float
    backlog: Float
    peak: Float
    weight: Float
    objective: float
    iterations: int
    seconds: float


class Dispatch:
    """The program of one plant, number of scenarios and horizon; solve it again and again.

    Parameters
    ----------
    plant
        What is dispatched.
    blocks
        Steps per block of the horizon, the first of one step: `FULL`, `BLOCK` or another.
    scenarios
        Number W.
    demand
        EUR per kW of a billing period's peak; with 0 the program has no rows for it.
    risk, tail
        Weight of CVaR in the objective, and the share of worst cases it averages.
    periods
        Billing period of each block, 0, 1, ...; by default all are one.
    options
        For HiGHS, over those set here.

    Raises
    ------
    InputError
        A parameter is out of its range.
    """

    def __init__(
        self,
        plant: Plant,
        blocks: Sequence[int] = BLOCK,
        scenarios: int = 1,
        *,
        demand: float = 0.0,
        risk: float = 0.0,
        tail: float = 0.2,
        periods: Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        if scenarios < 1 or not 0 <= demand < np.inf:
            raise InputError(
                f"scenarios is {scenarios}, demand {demand}; take 1 or more, and 0 or more"
            )
        if not 0 <= risk < np.inf or not 0 < tail <= 1:
            raise InputError(f"risk is {risk}, tail {tail}; take 0 or more, and one in (0, 1]")
        grid = Grid.of(blocks)
        billing = (0,) * len(grid.sizes) if periods is None else tuple(periods)
        if len(billing) != len(grid.sizes) or min(billing) < 0:
            raise InputError(f"periods has {len(billing)} entries for {len(grid.sizes)} blocks")
        self._shape = plant, grid, scenarios, demand, risk, tail, billing
        self._options = {**_OPTIONS, **(options or {})}
        self._programs: dict[bool, _Filled] = {}

    @property
    def single_steps(self) -> int:
        """Blocks of one step that the horizon begins with."""
        longer = np.flatnonzero(self._shape[1].sizes > 1)
        return int(longer[0]) if len(longer) else len(self._shape[1].sizes)

    def solve(
        self, state: State, outlook: Outlook, buy: Float, sell: Float, *, value: float
    ) -> Plan:
        """Plan from a state.

        Parameters
        ----------
        state
            Where the plant stands.
        outlook
            PV and load [W, steps] of each scenario.
        buy, sell
            [steps] EUR/kWh.
        value
            EUR per kWh in the battery at the end of the horizon.

        Raises
        ------
        InputError
            A shape is wrong, a number is not finite, or no plan keeps all limits; the message then
            names the row that lacks most.
        """
        started = time.perf_counter()
        check(*self._shape[:3], state, outlook, buy, sell, value)
        signed = bool((buy < sell).any() or (sell < 0).any() or value < 0)
        if signed not in self._programs:
            self._programs[signed] = _Filled(Model(Shape(*self._shape, signed)), self._options)
        filled = self._programs[signed]
        filled.refill(filled.model.numbers(state, outlook, buy, sell, value))
        x, objective, iterations = filled.run(buy, sell)
        return _plan(filled.model, x, outlook.weight, objective, iterations, started)


class _Filled:
    """A model inside the solver."""

    def __init__(self, model: Model, options: dict[str, Any]) -> None:
        self.model = model
        program = model.program
        self._solver: Any = highspy.Highs()
        for name, option in options.items():
            self._solver.setOptionValue(name, option)
        self._solver.passModel(program.model())
        self._columns = np.arange(program.width, dtype=np.int32)
        self._rows = np.arange(program.height, dtype=np.int32)
        self._values = np.array([np.nan])  # of the coefficients that move; none are in yet

    def refill(self, new: Numbers) -> None:
        """Put the numbers of a decision in; a coefficient is touched only where it moved."""
        solver = self._solver
        solver.changeColsCost(len(self._columns), self._columns, new.cost)
        solver.changeColsBounds(len(self._columns), self._columns, new.low, new.high)
        solver.changeRowsBounds(len(self._rows), self._rows, new.row_low, new.row_high)
        moved = np.flatnonzero(new.values != self._values)
        for row, column, v in zip(
            new.rows[moved], new.columns[moved], new.values[moved], strict=True
        ):
            solver.changeCoeff(int(row), int(column), float(v))
        self._values = new.values

    def run(self, buy: Float, sell: Float) -> tuple[Float, float, int]:
        """Solve; a direction becomes binary where a solution goes both ways to its profit."""
        pairs = self.model.pairs
        binary: list[Columns] = []
        iterations = 0
        while True:
            x = self._once()
            iterations += int(self._solver.getInfoValue("simplex_iteration_count")[1])
            found = []
            for pair, wrong in zip(pairs, self._harm(buy, sell), strict=False):
                both = (np.minimum(x[pair.forth], x[pair.back]) > _BOTH) & wrong
                found.append(pair.way[both])
            new = np.setdiff1d(np.concatenate([_NONE, *found]), np.concatenate([_NONE, *binary]))
            if not len(new):
                break
            binary.append(new)
            self._integral(new, highspy.HighsVarType.kInteger)
        objective = float(self._solver.getInfoValue("objective_function_value")[1])
        if binary:
            self._integral(np.concatenate(binary), highspy.HighsVarType.kContinuous)
        return x, objective, iterations

    def _harm(self, buy: Float, sell: Float) -> tuple[Any, Any]:
        """Where both directions at once would change the plan: battery, and grid by block [K]."""
        shape = self.model.shape
        return shape.plant.eta < 1, shape.grid.mean(sell) > shape.grid.mean(buy)

    def _integral(self, columns: Columns, kind: highspy.HighsVarType) -> None:
        kinds = np.full(len(columns), int(kind), dtype=np.uint8)
        self._solver.changeColsIntegrality(len(columns), columns.astype(np.int32), kinds)

    def _once(self) -> Float:
        """The solution of the program as it stands; InputError where there is none."""
        solver = self._solver
        solver.run()
        status = solver.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            lp = solver.getLp()
            why = self.model.program.explain(
                solver, np.array(lp.row_lower_), np.array(lp.row_upper_)
            )
            raise InputError(f"{why} (the solver says: {solver.modelStatusToString(status)})")
        return np.array(solver.getSolution().col_value)


def _plan(
    model: Model, x: Float, weight: Float, objective: float, iterations: int, started: float
) -> Plan:
    none = np.zeros(model.buy.shape)

    def at(columns: Columns | None) -> Float:
        return none if columns is None else x[columns]

    return Plan(
        grid=x[model.buy] - x[model.sell],
        battery=x[model.charge] - x[model.give],
        charge=x[model.charge],
        discharge=x[model.give],
        energy=x[model.energy],
        cut=at(model.cut),
        later=at(model.later),
        caught_up=at(model.caught_up),
        backlog=at(model.backlog),
        peak=np.zeros(len(weight)) if model.peak is None else x[model.peak[:, 0]],
        weight=weight,
        objective=objective,
        iterations=iterations,
        seconds=time.perf_counter() - started,
    )
