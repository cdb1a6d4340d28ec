"""A mixed-integer linear program that is built block by block, solved by HiGHS."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import highspy
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from griddispatch.errors import InputError

Float = NDArray[np.float64]
Columns = NDArray[np.intp]

_FEASIBLE = 1e-9  # of rows and bounds, in the units of the program


class Answer(NamedTuple):
    """A solution: value [n] of all variables, objective, lower bound of the optimum, wall time."""

    value: Float
    objective: float
    bound: float
    seconds: float

    @property
    def gap(self) -> float:
        """(objective - bound) / |objective|."""
        return (self.objective - self.bound) / max(abs(self.objective), 1e-9)


class MixedInteger:
    """Minimise cost over variables and rows that are added in blocks."""

    def __init__(self) -> None:
        self._low: list[Float] = []
        self._high: list[Float] = []
        self._cost: list[Float] = []
        self._integer: list[NDArray[np.bool_]] = []
        self._columns = 0
        self._rows = 0
        self._blocks: list[tuple[Float, Columns, Columns]] = []
        self._row_low: list[Float] = []
        self._row_high: list[Float] = []

    def variables(
        self,
        shape: Sequence[int],
        low: ArrayLike = 0.0,
        high: ArrayLike = np.inf,
        *,
        cost: ArrayLike = 0.0,
        integer: bool = False,
    ) -> Columns:
        """Columns, in the given shape, of new variables; bounds and cost are broadcast to it."""
        size = int(np.prod(shape))
        for store, given in ((self._low, low), (self._high, high), (self._cost, cost)):
            store.append(np.broadcast_to(np.asarray(given, dtype=np.float64), shape).ravel())
        self._integer.append(np.full(size, integer))
        self._columns += size
        return np.arange(self._columns - size, self._columns).reshape(shape)

    def rows(
        self,
        terms: Sequence[tuple[ArrayLike, Columns]],
        low: ArrayLike = -np.inf,
        high: ArrayLike = np.inf,
    ) -> None:
        """Add low <= sum of weight x variable <= high; everything is broadcast to one shape."""
        shape = np.broadcast_shapes(*(c.shape for _, c in terms))
        size = int(np.prod(shape))
        at = np.arange(self._rows, self._rows + size)
        self._rows += size
        for weight, columns in terms:
            values = np.broadcast_to(np.asarray(weight, dtype=np.float64), shape)
            self._blocks.append((values.ravel(), at, np.broadcast_to(columns, shape).ravel()))
        for store, given in ((self._row_low, low), (self._row_high, high)):
            store.append(np.broadcast_to(np.asarray(given, dtype=np.float64), shape).ravel())

    def sums(self, parts: Sequence[tuple[ArrayLike, Columns]], low: float, high: float) -> None:
        """Add one row low <= sum over all entries of all parts <= high."""
        for weight, columns in parts:
            values = np.broadcast_to(np.asarray(weight, dtype=np.float64), columns.shape).ravel()
            at = np.full(columns.size, self._rows)
            self._blocks.append((values, at, columns.ravel()))
        self._rows += 1
        self._row_low.append(np.array([low]))
        self._row_high.append(np.array([high]))

    def make_integer(self, columns: Columns) -> None:
        """Declare variables integers that were continuous before."""
        whole = np.concatenate(self._integer)
        whole[columns] = True
        self._integer = [whole]

    def minimise(self, *, gap: float = 1e-4, seconds: float = np.inf) -> Answer:
        """Solve, then fix the integers and solve the rest again, to the rounding of a simplex.

        Raises
        ------
        InputError
            The program has no solution, or none was found in `seconds`.
        """
        started = time.perf_counter()
        solver = highspy.Highs()
        for name, option in (
            ("output_flag", False),
            ("threads", 1),
            ("mip_rel_gap", gap),
            ("mip_abs_gap", 1e-6),
            ("primal_feasibility_tolerance", _FEASIBLE),
            ("mip_feasibility_tolerance", 1e-7),
            ("random_seed", 0),
        ):
            solver.setOptionValue(name, option)
        if np.isfinite(seconds):
            solver.setOptionValue("time_limit", float(seconds))
        solver.passModel(self._model())
        solver.run()
        status = solver.getModelStatus()
        done = status == highspy.HighsModelStatus.kOptimal
        late = status == highspy.HighsModelStatus.kTimeLimit
        objective = float(solver.getInfo().objective_function_value)
        if not (done or (late and np.isfinite(objective))):
            raise InputError(
                f"HiGHS ends with {solver.modelStatusToString(status)}; are the limits consistent, "
                "and is there time enough?"
            )
        value: Float = np.array(solver.getSolution().col_value)
        whole = np.flatnonzero(np.concatenate(self._integer))
        if not len(whole):
            return Answer(value, objective, objective, time.perf_counter() - started)
        bound = float(solver.getInfo().mip_dual_bound)
        fixed = np.round(value[whole])
        solver.setOptionValue("time_limit", float("inf"))
        solver.changeColsBounds(len(whole), whole.astype(np.int32), fixed, fixed)
        solver.changeColsIntegrality(
            len(whole),
            whole.astype(np.int32),
            np.full(len(whole), highspy.HighsVarType.kContinuous),
        )
        solver.run()
        if solver.getModelStatus() == highspy.HighsModelStatus.kOptimal:
            value = np.array(solver.getSolution().col_value)
            objective = float(solver.getInfo().objective_function_value)
        return Answer(value, objective, min(bound, objective), time.perf_counter() - started)

    def _model(self) -> highspy.HighsLp:
        values, rows, columns = (np.concatenate(part) for part in zip(*self._blocks, strict=True))
        matrix = sparse.csc_matrix((values, (rows, columns)), (self._rows, self._columns))
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self._columns, self._rows
        lp.col_cost_ = np.concatenate(self._cost)
        lp.col_lower_, lp.col_upper_ = np.concatenate(self._low), np.concatenate(self._high)
        lp.row_lower_, lp.row_upper_ = np.concatenate(self._row_low), np.concatenate(self._row_high)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = matrix.indptr
        lp.a_matrix_.index_ = matrix.indices
        lp.a_matrix_.value_ = matrix.data
        whole = np.concatenate(self._integer)
        if whole.any():
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            lp.integrality_ = [kinds[int(w)] for w in whole]
        return lp
