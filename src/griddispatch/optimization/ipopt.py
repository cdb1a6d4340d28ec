"""Solve a Pyomo model with Ipopt, whether or not an `ipopt` program is installed.

No wheel ships the program, but CasADi's wheel bundles the library. `solve` uses an `ipopt` on the
PATH if there is one, and otherwise writes the model as an .nl file, the exchange format of AMPL,
has CasADi read it and solve it in this process, and puts the values back into the Pyomo variables.
Both ways minimise the same file with the same options.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import casadi
import pyomo.environ as pyo
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.repn.plugins.nl_writer import NLWriter

from griddispatch.errors import InputError

Program = Literal["auto", "installed", "bundled"]

OPTIONS: dict[str, float | str] = {
    # Ipopt widens every bound by this share. A violation of 1e-8 p.u. at each node and step is
    # worth about a thousandth of a EUR at the usual penalty, so bounds are kept as they are.
    "bound_relax_factor": 0.0,
    "mu_strategy": "adaptive",  # a fifth fewer iterations than the monotone rule
    "tol": 1e-8,
    "max_iter": 1000,
}

# The file is to hold the model as it is written: no variable eliminated, none introduced.
_WRITER = {"linear_presolve": False, "export_defined_variables": False}

_SOLVED = {"Solve_Succeeded": "optimal", "Solved_To_Acceptable_Level": "acceptable"}


@dataclass(frozen=True)
class Result:
    """What a solve brought; the solution itself stands in the model's variables.

    status is "optimal", or "acceptable" where Ipopt could not reach its tolerance but stayed
    within the looser one; objective is evaluated by Pyomo; iterations are interior-point
    steps; seconds are wall time, with the writing of the model.
    """

    status: str
    objective: float
    iterations: int
    seconds: float


def solve(
    model: pyo.ConcreteModel,
    options: Mapping[str, float | str] | None = None,
    *,
    program: Program = "auto",
) -> Result:
    """Solve a continuous model with one objective from the values that its variables have.

    Parameters
    ----------
    model
        A Pyomo model. On success its variables hold the solution, after an error what they held.
    options
        Options of Ipopt by their own names, on top of `OPTIONS`.
    program
        "installed" is the `ipopt` on the PATH, "bundled" the library in CasADi's wheel, "auto" the
        first of them that is there.

    Raises
    ------
    InputError
        The model has no solution, Ipopt did not find it, or `program` is not available.
    """
    if program not in ("auto", "installed", "bundled"):
        raise InputError(f"unknown program {program!r}; there are 'auto', 'installed', 'bundled'")
    chosen = {**OPTIONS, **(options or {})}
    started = time.perf_counter()
    with _one_thread():
        found = program != "bundled" and is_installed()
        if program == "installed" and not found:
            raise InputError("there is no `ipopt` on the PATH; install it or take 'bundled'")
        status, iterations = _installed(model, chosen) if found else _bundled(model, chosen)
    return Result(status, _objective(model), iterations, time.perf_counter() - started)


def is_installed() -> bool:
    """Whether an `ipopt` program that answers to its name is on the PATH."""
    return bool(SolverFactory("ipopt").available())


def _installed(model: pyo.ConcreteModel, options: Mapping[str, Any]) -> tuple[str, int]:
    """Solve with the program on the PATH; return the status and the number of iterations."""
    results = SolverFactory("ipopt").solve(
        model,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
        solver_options=dict(options),
    )
    status = results.solution_status.name
    if status != "optimal":
        raise _failure(model, results.termination_condition.name)
    results.solution_loader.load_vars()
    return status, int(results.extra_info.iteration_count or 0)


def _bundled(model: pyo.ConcreteModel, options: Mapping[str, Any]) -> tuple[str, int]:
    """Solve with the library in CasADi's wheel; return the status and the iterations."""
    problem = casadi.NlpBuilder()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.nl")
        with file.open("w", encoding="utf-8", newline="\n") as stream:
            try:
                written = NLWriter().write(model, stream, **_WRITER)
            except InfeasibleConstraintException as error:
                raise _failure(model, "infeasible constraint") from error
        if not written.variables:
            return "optimal", 0
        problem.import_nl(str(file))
    if any(problem.discrete):
        raise InputError(f"model {model.name} has integer variables, which Ipopt does not know")
    try:
        statistics, solution = _run(problem, options)
    except RuntimeError as error:  # a wrong option, as a rule
        reason = str(error).splitlines()[-1]
        raise InputError(f"Ipopt refuses model {model.name} or an option: {reason}") from error
    status = statistics["return_status"]
    if status not in _SOLVED:
        raise _failure(model, status)
    for variable, value in zip(written.variables, solution, strict=True):
        variable.set_value(value, skip_validation=True)  # a bound may be missed by rounding
    return _SOLVED[status], int(statistics["iter_count"])


def _run(problem: Any, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[float]]:
    """Run CasADi's Ipopt on an imported file; return its statistics and the variables' values."""
    functions = {"x": casadi.vertcat(*problem.x), "f": problem.f, "g": casadi.vertcat(*problem.g)}
    settings: dict[str, Any] = {
        "expand": True,  # into scalar operations: the derivatives take half the time
        "print_time": False,
        "show_eval_warnings": False,
        "ipopt": {"print_level": 0, "sb": "yes", **options},
    }
    solver = casadi.nlpsol("solver", "ipopt", functions, settings)
    answer = solver(
        x0=problem.x_init,
        lbx=problem.x_lb,
        ubx=problem.x_ub,
        lbg=problem.g_lb,
        ubg=problem.g_ub,
    )
    return solver.stats(), answer["x"].full().ravel().tolist()


def _objective(model: pyo.ConcreteModel) -> float:
    """Value of the one active objective."""
    (objective,) = model.component_data_objects(pyo.Objective, active=True)
    value = float(pyo.value(objective))
    assert math.isfinite(value)
    return value


def _failure(model: pyo.ConcreteModel, status: str) -> InputError:
    """Say in words what a status of either way means."""
    words = status.replace("_", " ")
    if "infeasible" in status.lower():
        return InputError(
            f"model {model.name} has no solution (Ipopt: {words}); loosen a bound or a constraint"
        )
    return InputError(
        f"model {model.name} was not solved (Ipopt: {words}); start from other values, scale the "
        "model, or raise max_iter"
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let the linear algebra below Ipopt start with one thread.

    Its matrices are sparse, so that threads only wait for each other; and cells of a stage run
    beside each other. The libraries read the variable once, when they are loaded.
    """
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        casadi.has_nlpsol("ipopt")  # loads it
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
