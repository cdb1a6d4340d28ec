"""Dispatch of regulation with perfect foresight: a linear program per hour, a bound on J.

The response of every resource is linear within its feasible interval (see `assets.regulation`), so
the hour is a linear program but for one thing: a storage could charge and discharge at once, which
only wastes energy. Allowing that makes the optimum a lower bound on J of every dispatcher that
keeps the limits, whatever it knows. With n = 0 .. 1799 steps, t = 0 .. 899 decisions and two steps
in each,

    minimise  mean_n z_n / R_mw + w mean_t (sum_i cost_i m_ti + wear)
    x_n = x_(n-1) + follow (a_t - x_(n-1))              output ahead of the dead time
    |a_t - x_(2t-1)| <= reach,  low <= a_t <= high      set-points
    z_n >= |sum_i x_i(n - dead_i) - u_n|                tracking error
    m_t >= |a_t - a_(t-1)|                              mileage
    x_n = d_n - c_n,  d_n + c_n <= high                 storages
    e_(t+1) = e_t - sum (given d_n - taken c_n),  empty <= e <= full

About 29 000 variables; HiGHS solves it by its interior-point method, without crossover.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from griddispatch.assets.regulation_resources import STEP_S, SUBSTEPS
from griddispatch.envs.regulation import Regulation, State
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Columns = NDArray[np.intp]
Weight = Float | float

SMALLEST_WEIGHT = 1e-5  # of a $; below, many schedules are as good and the solver stalls


@dataclass(frozen=True)
class Foresight:
    """The best dispatch of one hour.

    setpoint [T, R] in MW; objective is J, l1 its tracking part in units of the capacity, cost the
    $ of its T decisions. bound is a lower bound on J, the objective less the solver's gap to its
    dual. iterations are those of the solver, seconds wall time with the building of the model.
    """

    setpoint: Float
    objective: float
    bound: float
    l1: float
    cost: float
    iterations: int
    seconds: float


def foresight(env: Regulation, hour: int, decisions: int | None = None) -> Foresight:
    """Solve one hour of an environment, or its first `decisions`.

    Raises
    ------
    InputError
        There is no such hour or number of decisions, the environment weighs the mileage too little
        for the solver, or the solver finds no optimum.
    """
    if not 0 <= hour < len(env.hours):
        raise InputError(f"hour {hour} is outside 0 .. {len(env.hours) - 1}")
    T = env.steps if decisions is None else decisions
    if not 1 <= T <= env.steps:
        raise InputError(f"decisions is {decisions}; an hour has 1 .. {env.steps}")
    if env.mileage_weight < SMALLEST_WEIGHT:
        raise InputError(
            f"mileage_weight is {env.mileage_weight}; the linear program needs at least "
            f"{SMALLEST_WEIGHT:g}"
        )
    started = time.perf_counter()
    program = _Program(env, hour, T)
    solver = highspy.Highs()
    for name, option in (
        ("output_flag", False),
        ("threads", 1),
        ("solver", "ipm"),
        ("run_crossover", "off"),
    ):
        solver.setOptionValue(name, option)
    solver.passModel(program.model())
    solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise InputError(
            f"hour {hour}: the solver ends with {solver.modelStatusToString(status)}; "
            "are the limits of the hour consistent?"
        )
    value: Float = np.array(solver.getSolution().col_value)
    gap = float(solver.getInfoValue("primal_dual_objective_error")[1])
    error = value[program.error].sum() / (env.capacity_mw * T * SUBSTEPS)
    objective = float(program.cost @ value)
    return Foresight(
        setpoint=value[program.setpoint],
        objective=objective,
        bound=objective - abs(gap) * max(1.0, abs(objective)),
        l1=float(error),
        cost=float((objective - error) * T / env.mileage_weight),
        iterations=int(solver.getInfoValue("ipm_iteration_count")[1]),
        seconds=time.perf_counter() - started,
    )


class Replay:
    """Set-points [H, 900, R] in MW that were found before, as a dispatcher."""

    def __init__(self, setpoint: Float) -> None:
        self.setpoint = setpoint

    def act(self, env: Regulation, state: State) -> torch.Tensor:
        """[B, R] the set-points of this decision, in the order of the environment's hours."""
        if len(self.setpoint) != len(env.hours):
            raise InputError(
                f"there are set-points for {len(self.setpoint)} hours, the environment has "
                f"{len(env.hours)}"
            )
        return torch.as_tensor(self.setpoint[state.hour.cpu().numpy(), state.t]).to(env.start)


class _Program:
    """Rows, columns and bounds of the linear program of one hour."""

    def __init__(self, env: Regulation, hour: int, T: int) -> None:
        R, S = env.n_actions, len(env.fleet.storages)
        N, first = T * SUBSTEPS, R - S
        like = torch.zeros(1, dtype=torch.float64)
        k = env.fleet.constants(like)
        window = [np.asarray(w[:T, hour].double().cpu()) for w in env.window_table]
        low, high, empty, full = window
        rest = np.asarray(env.schedule[hour].double().cpu())
        start = np.asarray(env.start[hour].double().cpu())
        command = np.asarray(env.command[:T, hour].double().cpu()).ravel()
        self._columns, self._rows = 0, 0
        self._blocks: list[tuple[Float, NDArray[np.intp], NDArray[np.intp]]] = []
        self._row_low: list[Float] = []
        self._row_high: list[Float] = []
        self._col_low: list[Float] = []
        self._col_high: list[Float] = []
        a = self.setpoint = self._new(low, high)
        x = self._new(np.full((N, R), -np.inf), np.inf)
        m = self._new(np.zeros((T, R)), np.inf)
        d, c = (self._new(np.zeros((N, S)), np.inf) for _ in range(2))
        e = self._new(empty, full)
        z = self.error = self._new(np.zeros(N), np.inf)

        follow, reach = k.follow.numpy(), k.reach.numpy()
        held = np.repeat(a, SUBSTEPS, axis=0)
        begin = np.zeros((N, R))
        begin[0] = (1 - follow) * rest
        self._add([(1.0, x), (-follow, held)], [(follow - 1, x[:-1], 1)], begin, begin)
        slack = np.broadcast_to(reach[:first], (T, first))
        at_rest = np.zeros((T, first))
        at_rest[0] = rest[:first]
        lead = [(-1.0, x[SUBSTEPS - 1 : -1 : SUBSTEPS, :first], 1)]
        self._add([(1.0, a[:, :first])], lead, at_rest - slack, at_rest + slack)
        moved = np.zeros((T, R))
        moved[0] = rest
        self._add([(1.0, m), (-1.0, a)], [(1.0, a[:-1], 1)], -moved, np.inf)
        self._add([(1.0, m), (1.0, a)], [(-1.0, a[:-1], 1)], moved, np.inf)
        self._add([(1.0, x[:, first:]), (-1.0, d), (1.0, c)], [], np.zeros((N, S)), 0.0)
        most = np.repeat(high[:, first:], SUBSTEPS, axis=0)
        self._add([(1.0, d), (1.0, c)], [], np.full((N, S), -np.inf), most)
        given, taken = k.given.numpy(), k.taken.numpy()
        held_energy = np.zeros((T, S))
        held_energy[0] = start
        terms: list[tuple[Weight, Columns]] = [(1.0, e)]
        for step in range(SUBSTEPS):
            terms += [(given, d[step::SUBSTEPS]), (-taken, c[step::SUBSTEPS])]
        self._add(terms, [(-1.0, e[:-1], 1)], held_energy, held_energy)
        known = command.copy()
        late: list[tuple[float, Columns, int]] = []
        for i, dead in enumerate(env.fleet.dead_steps):
            known[:dead] -= rest[i]
            late.append((1.0, x[: N - dead, i], dead))
        self._add([(1.0, z)], late, known, np.inf)
        self._add([(1.0, z)], [(-w, v, by) for w, v, by in late], -known, np.inf)

        self.cost = np.zeros(self._columns)
        self.cost[z] = 1 / (N * env.capacity_mw)
        self.cost[m] = env.mileage_weight / T * k.cost.numpy()
        hours = env.mileage_weight / T * k.wear.numpy() * (STEP_S / 3600)
        self.cost[d] = hours
        self.cost[c] = hours

    def _new(self, low: Float, high: Weight) -> Columns:
        """Return the columns of new variables with these bounds, in the shape of `low`."""
        at = self._columns + np.arange(low.size).reshape(low.shape)
        self._columns += low.size
        self._col_low.append(low.ravel())
        self._col_high.append(np.broadcast_to(high, low.shape).ravel())
        return at

    def _add(
        self,
        terms: Sequence[tuple[Weight, Columns]],
        shifted: Sequence[tuple[Weight, Columns, int]],
        low: Float,
        high: Weight,
    ) -> None:
        """Add rows low <= sum of terms <= high, in the shape of `low`.

        A shifted term (weight, columns, by) begins `by` rows later, along the first axis.
        """
        rows = self._rows + np.arange(low.size).reshape(low.shape)
        self._rows += low.size
        for weight, columns, by in [*((w, v, 0) for w, v in terms), *shifted]:
            values = np.broadcast_to(np.asarray(weight, dtype=np.float64), columns.shape)
            at = rows[by : by + len(columns)]
            self._blocks.append((values.ravel(), at.ravel(), columns.ravel()))
        self._row_low.append(low.ravel())
        self._row_high.append(np.broadcast_to(high, low.shape).ravel())

    def model(self) -> highspy.HighsLp:
        """Return the program in the solver's form."""
        values, rows, columns = (np.concatenate(part) for part in zip(*self._blocks, strict=True))
        matrix = sparse.csc_matrix((values, (rows, columns)), (self._rows, self._columns))
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self._columns, self._rows
        lp.col_cost_ = self.cost
        lp.col_lower_, lp.col_upper_ = np.concatenate(self._col_low), np.concatenate(self._col_high)
        lp.row_lower_, lp.row_upper_ = np.concatenate(self._row_low), np.concatenate(self._row_high)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = matrix.indptr
        lp.a_matrix_.index_ = matrix.indices
        lp.a_matrix_.value_ = matrix.data
        return lp
