"""Ipopt by either way: the right values in the right variables, and clear errors."""

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.common.fileutils import Executable
from pyomo.contrib.solver.solvers.ipopt import Ipopt
from scipy import optimize

from griddispatch.errors import InputError
from griddispatch.optimization import ipopt

# A program that answers like `ipopt` does (the protocol of AMPL: stub.nl in, stub.sol out).
PROGRAM = """import sys
import casadi
if "--version" in sys.argv:
    print("Ipopt 3.14.0 (a stand-in), ASL(0)")
    sys.exit()
problem = casadi.NlpBuilder()
problem.import_nl(sys.argv[1])
functions = {"x": casadi.vertcat(*problem.x), "f": problem.f, "g": casadi.vertcat(*problem.g)}
options = dict(word.split("=") for word in sys.argv[3:] if "=" in word)
number = lambda text: int(text) if text.isdecimal() else float(text)
plain = {k: v.strip('"') if v.startswith('"') else number(v) for k, v in options.items()}
solver = casadi.nlpsol("s", "ipopt", functions, {"print_time": False, "ipopt": plain})
answer = solver(x0=problem.x_init, lbx=problem.x_lb, ubx=problem.x_ub,
                lbg=problem.g_lb, ubg=problem.g_ub)
x, y = answer["x"].full().ravel(), answer["lam_g"].full().ravel()
code, word = (0, "Optimal Solution Found") if solver.stats()["success"] else (200, "Infeasible")
lines = [f"Ipopt 3.14.0: {word}", "", "Options", "3", "1", "1", "0"]
lines += [len(y), len(y), len(x), len(x)]
lines += [repr(float(v)) for v in (*y, *x)] + [f"objno 0 {code}"]
open(sys.argv[1][:-3] + ".sol", "w").write("\\n".join(map(str, lines)) + "\\n")
"""


def hock_schittkowski_71() -> pyo.ConcreteModel:
    """The example of Ipopt's own documentation; its minimum is 17.0140173."""
    model = pyo.ConcreteModel(name="HS071")
    model.x = pyo.Var([1, 2, 3, 4], bounds=(1, 5), initialize={1: 1, 2: 5, 3: 5, 4: 1})
    x = model.x
    model.cost = pyo.Objective(expr=x[1] * x[4] * (x[1] + x[2] + x[3]) + x[3])
    model.product = pyo.Constraint(expr=x[1] * x[2] * x[3] * x[4] >= 25)
    model.sphere = pyo.Constraint(expr=sum(x[i] ** 2 for i in x) == 40)
    return model


def ring(sense: int = pyo.minimize) -> pyo.ConcreteModel:
    """A smooth function on a ring, with functions beyond polynomials and a fixed variable."""
    model = pyo.ConcreteModel(name="ring")
    model.b, model.a = pyo.Var(initialize=0.5), pyo.Var(initialize=1.5)
    model.half = pyo.Var(initialize=0.5)
    model.half.fix()
    model.wave = pyo.Expression(expr=pyo.sin(model.a) + pyo.exp(model.half * model.b))
    sign = 1 if sense == pyo.minimize else -1
    model.cost = pyo.Objective(expr=sign * (model.wave + model.a * model.b + 3), sense=sense)
    model.inside = pyo.Constraint(expr=(1, model.a**2 + model.b**2, 4))
    return model


def test_a_known_minimum_is_found() -> None:
    model = hock_schittkowski_71()
    result = ipopt.solve(model, program="bundled")
    assert result.status == "optimal"
    assert result.objective == pytest.approx(17.0140173, abs=1e-6)
    values = [model.x[i].value for i in model.x]
    np.testing.assert_allclose(values, [1, 4.742994, 3.8211503, 1.3794082], atol=1e-5)
    assert 3 < result.iterations < 30
    assert result.seconds > 0


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_scipy_finds_the_same(sense: int) -> None:
    model = ring(sense)
    result = ipopt.solve(model, program="bundled")
    expected = optimize.minimize(
        lambda v: np.sin(v[0]) + np.exp(v[1] / 2) + v[0] * v[1] + 3,
        [1.5, 0.5],
        constraints=[
            {"type": "ineq", "fun": lambda v: v @ v - 1},
            {"type": "ineq", "fun": lambda v: 4 - v @ v},
        ],
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    sign = 1 if sense == pyo.minimize else -1
    assert sign * result.objective == pytest.approx(expected.fun, abs=1e-6)
    np.testing.assert_allclose([model.a.value, model.b.value], expected.x, atol=1e-4)
    assert model.half.value == 0.5


def test_a_random_quadratic_program_has_scipys_solution() -> None:
    rng = np.random.default_rng(0)
    root, line = rng.normal(size=(6, 6)), rng.normal(size=6)
    square = root @ root.T + np.eye(6)
    model = pyo.ConcreteModel(name="quadratic")
    model.x = pyo.Var(range(6), bounds=(-0.1, 0.1), initialize=0)
    x = [model.x[i] for i in range(6)]
    quadratic = sum(square[i, j] * x[i] * x[j] for i in range(6) for j in range(6))
    model.cost = pyo.Objective(expr=quadratic / 2 + sum(line[i] * x[i] for i in range(6)))
    model.sum = pyo.Constraint(expr=sum(x) == 0.05)
    result = ipopt.solve(model, program="bundled")
    expected = optimize.minimize(
        lambda v: v @ square @ v / 2 + line @ v,
        np.zeros(6),
        bounds=[(-0.1, 0.1)] * 6,
        constraints={"type": "eq", "fun": lambda v: v.sum() - 0.05},
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    assert result.objective == pytest.approx(expected.fun, abs=1e-8)
    np.testing.assert_allclose([v.value for v in x], expected.x, atol=1e-5)


def test_no_bound_is_widened() -> None:
    model = pyo.ConcreteModel(name="bounds")
    model.x = pyo.Var(bounds=(0, 1e4), initialize=1)
    model.cost = pyo.Objective(expr=1e6 * model.x)
    assert ipopt.solve(model, program="bundled").objective >= 0


def test_the_same_model_gives_the_same_bits() -> None:
    first, second = hock_schittkowski_71(), hock_schittkowski_71()
    ipopt.solve(first, program="bundled")
    ipopt.solve(second, program="bundled")
    assert [first.x[i].value for i in first.x] == [second.x[i].value for i in second.x]


def test_a_model_without_free_variables_is_solved() -> None:
    model = ring()
    model.a.fix(1.2)
    model.b.fix(0.4)
    result = ipopt.solve(model, program="bundled")
    assert result.iterations == 0
    assert result.objective == pytest.approx(np.sin(1.2) + np.exp(0.2) + 0.48 + 3)


def test_an_infeasible_model_is_named_and_left_alone() -> None:
    model = ring()
    model.outside = pyo.Constraint(expr=model.a**2 <= -1)
    with pytest.raises(InputError, match="ring has no solution.*nfeasible"):
        ipopt.solve(model, program="bundled")
    assert (model.a.value, model.b.value) == (1.5, 0.5)


def test_a_constraint_that_no_value_can_meet_is_infeasible() -> None:
    model = ring()
    model.never = pyo.Constraint(expr=model.half >= 1)
    with pytest.raises(InputError, match="ring has no solution"):
        ipopt.solve(model, program="bundled")


def test_too_few_iterations_are_an_error() -> None:
    with pytest.raises(InputError, match="HS071 was not solved .*Maximum Iterations.*max_iter"):
        ipopt.solve(hock_schittkowski_71(), {"max_iter": 2}, program="bundled")


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(InputError, match="HS071.*no_such_option"):
        ipopt.solve(hock_schittkowski_71(), {"no_such_option": 1}, program="bundled")


def test_integers_are_refused() -> None:
    model = pyo.ConcreteModel(name="whole")
    model.x = pyo.Var(domain=pyo.Integers, initialize=1)
    model.cost = pyo.Objective(expr=(model.x - 0.4) ** 2)
    with pytest.raises(InputError, match="whole has integer variables"):
        ipopt.solve(model, program="bundled")


def test_an_unknown_program_is_refused() -> None:
    with pytest.raises(InputError, match="unknown program 'conda'"):
        ipopt.solve(ring(), program="conda")  # type: ignore[arg-type]


def test_the_environment_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "7"):
        if before is None:
            monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", before)
        ipopt.solve(ring(), program="bundled")
        assert os.environ.get("OPENBLAS_NUM_THREADS") == before


def use_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let Pyomo look for programs in `folder` only."""
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(Ipopt, "_exe_cache", {})
    Executable("ipopt").rehash()


@pytest.fixture(autouse=True)
def forget_programs() -> None:
    """Let the next test look for `ipopt` anew."""
    Executable("ipopt").rehash()


def test_an_installed_program_is_preferred_and_agrees(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "ipopt"
    code = tmp_path / "program.py"
    code.write_text(PROGRAM)
    # Through a shell, because the path of Python may have a space in it.
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{code}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    use_path(monkeypatch, tmp_path)
    assert ipopt.is_installed()
    for make in (hock_schittkowski_71, lambda: ring(pyo.maximize)):
        one, other = make(), make()
        installed, bundled = ipopt.solve(one), ipopt.solve(other, program="bundled")
        assert installed.status == "optimal"
        assert installed.objective == pytest.approx(bundled.objective, abs=1e-9)
        for a, b in zip(
            one.component_data_objects(pyo.Var),
            other.component_data_objects(pyo.Var),
            strict=True,
        ):
            assert a.value == pytest.approx(b.value, abs=1e-6)
    model = ring()
    model.outside = pyo.Constraint(expr=model.a**2 <= -1)
    with pytest.raises(InputError, match="ring has no solution"):
        ipopt.solve(model, program="installed")


def test_without_a_program_the_library_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_path(monkeypatch, tmp_path)
    assert not ipopt.is_installed()
    assert ipopt.solve(hock_schittkowski_71()).objective == pytest.approx(17.0140173, abs=1e-6)
    with pytest.raises(InputError, match="no `ipopt` on the PATH"):
        ipopt.solve(ring(), program="installed")
