"""A linear program in blocks of columns and rows that have names, for HiGHS.

Columns and rows come as arrays [W, K], scenarios by blocks of time. Where a block is `shared`, its
first entry is one and the same in all scenarios.
"""

from collections.abc import Sequence
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Float = NDArray[np.float64]
Columns = NDArray[np.intp]
Weight = Float | float
Term = tuple[Weight, Columns]

_ADVICE = {
    "balance": "raise import_kw or export_kw, or check load and PV",
    "battery": "check the energy in the battery against its limits",
    "backlog": "raise backlog_kwh or shift_up_kw",
    "age of the backlog": "raise shift_up_kw, or check what is due",
    "cut of a day": "check what was cut since midnight against cut_kwh",
}


class Program:
    """Columns, rows and coefficients; the numbers of a decision are filled in later."""

    def __init__(self) -> None:
        self.width, self.height = 0, 0
        self.names: list[tuple[str, Columns]] = []
        self._entries: list[tuple[Columns, Columns, Float]] = []

    def columns(self, W: int, K: int, *, shared: bool = False) -> Columns:
        """Numbers [W, K] of new columns."""
        made, self.width = _numbers(self.width, W, K, shared)
        return made

    def rows(
        self,
        name: str,
        terms: Sequence[Term],
        *,
        shape: tuple[int, int] | None = None,
        before: Term | None = None,
        shared: bool = False,
    ) -> Columns:
        """Numbers [W, K] of new rows, each the sum of `terms`.

        The term `before` enters with the entry of the block of time before; the first has none.
        """
        W, K = terms[0][1].shape if shape is None else shape
        made, self.height = _numbers(self.height, W, K, shared)
        self.names.append((name, made))
        for weight, columns in terms:
            self.add(made, columns, weight)
        if before is not None:
            self.add(made[:, 1:], before[1][:, :-1], before[0])
        return made

    def add(self, rows: Columns, columns: Columns, weight: Weight) -> None:
        """Put weights into the cells (rows, columns), all of one shape."""
        rows, columns, values = np.broadcast_arrays(rows, columns, np.asarray(weight, np.float64))
        self._entries.append((rows.ravel(), columns.ravel(), values.ravel()))

    def matrix(self) -> sparse.csc_matrix:
        """The coefficients; a cell of a shared row that was put in by each scenario counts once."""
        rows, columns, values = (np.concatenate(x) for x in zip(*self._entries, strict=True))
        _, once = np.unique(rows * self.width + columns, return_index=True)
        shape = self.height, self.width
        return sparse.csc_matrix((values[once], (rows[once], columns[once])), shape)

    def model(self) -> highspy.HighsLp:
        """The program in the solver's form, without cost and with open bounds."""
        matrix, lp = self.matrix(), highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self.width, self.height
        lp.col_cost_ = np.zeros(self.width)
        lp.col_lower_, lp.col_upper_ = np.zeros(self.width), np.full(self.width, np.inf)
        lp.row_lower_ = np.full(self.height, -np.inf)
        lp.row_upper_ = np.full(self.height, np.inf)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr, matrix.indices
        lp.a_matrix_.value_ = matrix.data
        return lp

    def explain(self, solver: Any, row_low: Float, row_high: Float) -> str:
        """Say which row lacks most where no plan keeps all limits."""
        solver.feasibilityRelaxation(-1.0, -1.0, 1.0)
        sums = np.array(solver.getSolution().row_value)
        lack = np.maximum(row_low - sums, sums - row_high)
        worst = int(lack.argmax())
        for name, rows in self.names:
            found = np.argwhere(rows == worst)
            if len(found):
                w, k = found[0]
                return (
                    f"no dispatch keeps all limits: the row '{name}' of block {k} in scenario {w} "
                    f"is off by {lack[worst]:.4g}; {_ADVICE.get(name, 'check the input')}"
                )
        return "no dispatch keeps all limits, and no single row is to blame; check the input"


def _numbers(start: int, W: int, K: int, shared: bool) -> tuple[Columns, int]:
    """[W, K] numbers from `start` on, and the next free one."""
    if not shared:
        return start + np.arange(W * K).reshape(W, K), start + W * K
    made = np.empty((W, K), dtype=np.intp)
    made[:, 0] = start
    made[:, 1:] = start + 1 + np.arange(W * (K - 1)).reshape(W, K - 1)
    return made, start + 1 + W * (K - 1)
