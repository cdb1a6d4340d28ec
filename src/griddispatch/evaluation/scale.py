"""How the whole path grows with the network: one task on networks of any size, step by step.

`walk` takes one network through all steps. Each step is timed in seconds of the processor, which
other processes on the machine hardly change (one thread), and its peak of memory is taken, in the
process that runs it.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats

from griddispatch.agents import pathwise, td3
from griddispatch.agents.learning import Policy
from griddispatch.agents.rules import DoNothing, Schedule, YesterdaysSchedule, fixed_schedule
from griddispatch.data.series import Days, Series
from griddispatch.envs.feeder import Feeder
from griddispatch.evaluation.comparison import BEST, IDLE, Comparison, Kind
from griddispatch.evaluation.power_flow_study import BACKENDS, Newton
from griddispatch.evaluation.rollout import evaluate
from griddispatch.evaluation.scale_tasks import Reference, Task, make_task
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import solve
from griddispatch.grid.synthetic import synthetic_feeder
from griddispatch.optimization.feeder_nlp import optimal_schedule
from griddispatch.optimization.linear import linear_schedule

SCOPE = "stress"
_AGREED = 1e-11  # p.u.; tolerance where voltages are compared with Newton-Raphson
_STEPS, _BATCH = 8, 64  # of the environment that are timed, and days side by side


@dataclass(frozen=True)
class Plan:
    """How much of everything: the sizes that do not depend on the network."""

    training_days: int = 30
    test_days: int = 6
    """Stress days; the learners are tried on as many validation days while they train."""
    updates: int = 30
    """Gradient steps of the pathwise learner, with `environments` days each per seed."""
    environments: int = 4
    episodes: int = 128
    """Days of experience per seed of TD3."""
    seeds: int = 2
    rounds: int = 4
    """Of tangents in the linear program that encloses the optimum."""
    nlp_nodes: int = 123
    """Largest network whose nonlinear program is solved, on one day."""
    scenarios: int = 960
    """Rows of the timed power flow."""
    newton: int = 4
    """Rows of Newton-Raphson, those of the highest load."""


class Walk(NamedTuple):
    """One network through the whole path.

    days has a row per policy, seed and date (see `rollout.evaluate`); facts are numbers about the
    network; timings has the columns step, seconds (per unit of work) and megabytes.
    """

    days: pd.DataFrame
    facts: dict[str, float]
    timings: pd.DataFrame


# -- the path ---------------------------------------------------------------------------------


def walk(network: Network, series: Series, plan: Plan, reference: Reference | None) -> Walk:
    """Take one network through all steps: task, power flow, rules, learners, optimum, test days.

    Parameters
    ----------
    network
        A tree without taps.
    series
        The published series, whose days are dealt out.
    plan, reference
        Sizes, and what is asked of the batteries; see `scale_tasks`.
    """
    _warm_up()
    meter = Meter()
    with meter.step("Set-up"):
        task = make_task(network, series, reference, plan.training_days, plan.test_days)
    test = task.test
    facts: dict[str, float] = {
        "nodes": network.n_nodes,
        "batteries": test.n_actions,
        "power_kw": float(test.storage.limits(test.price).power_kw.sum()),
        "mean_load_kw": float(task.learning.days.load.sum(2).mean()),
        "lowest_voltage": float(task.learning.idle_voltage.abs().min()),
        "lowest_voltage_test": float(test.idle_voltage.abs().min()),
        **_power_flows(network, task.learning.days, plan, meter),
    }
    _environment_steps(task.learning, meter)
    with meter.step("Rules", len(test.days)):
        rules: dict[str, Policy] = {
            IDLE.policy: DoNothing(),
            "Fixed schedule": fixed_schedule(task.learning),
            "Yesterday's schedule": YesterdaysSchedule(),
        }
        tables = [evaluate(rules, test).assign(seed=0)]
    tables += _learners(task, plan, meter)
    with meter.step("Linear program", len(test.days)):
        plans = [linear_schedule(test, day, plan.rounds) for day in range(len(test.days))]
    best = evaluate({BEST.policy: Schedule(np.stack([p.power_kw for p in plans]))}, test)
    facts["gap_eur"] = float(np.mean([p.objective for p in plans] - best["reward"]))
    if network.n_nodes <= plan.nlp_nodes:
        day = int(test.idle_penalty.sum(1).argmax())
        with meter.step("Nonlinear program"):
            optimum = optimal_schedule(test, day)
        facts["nlp_above_played_eur"] = optimum.objective - float(best["reward"][day])
        facts["nlp_below_bound_eur"] = plans[day].objective - optimum.objective
    days = pd.concat([*tables, best.assign(seed=0)], ignore_index=True)
    return Walk(days.assign(scope=SCOPE), facts, meter.table())


def _warm_up() -> None:
    """Load what is compiled or imported once per process, so that no step pays for it."""
    torch.set_num_threads(1)
    tiny = synthetic_feeder(4)
    load = torch.as_tensor(tiny.load_kw[None]).requires_grad_()
    solve(tiny, load).magnitude.sum().backward()
    with torch.no_grad():
        for backend in ("dense", "sweep", "pandapower"):
            solve(tiny, load, backend=backend)


def _power_flows(network: Network, days: Days, plan: Plan, meter: "Meter") -> dict[str, float]:
    """Time all backends; return how far they are from Newton-Raphson, in p.u."""
    rows = torch.as_tensor(days.net_load).flatten(0, 1)
    heavy = rows[rows.sum(1).argsort(descending=True, stable=True)[: plan.newton]]
    many = rows.repeat(-(-plan.scenarios // len(rows)), 1)[: plan.scenarios]
    cold = replace(network)  # has none of the matrices that the set-up made
    newton = Newton(network)
    newton.voltage(heavy[:1].numpy())  # builds its net
    with meter.step("Newton-Raphson", len(heavy)):
        exact = newton.voltage(heavy.numpy())
    errors = {}
    with meter.step("Matrices"):
        solve(cold, many[:1], backend="dense")
    for name, backend in BACKENDS.items():
        with meter.step(name, plan.scenarios):
            solve(cold, many, backend=backend)
        found = solve(cold, heavy, backend=backend, tol=_AGREED).voltage.numpy()
        errors[f"{name.lower()}_error"] = float(np.abs(found - exact).max())
    with meter.step("Dense, gradient", plan.scenarios):
        p = many.clone().requires_grad_()
        solve(cold, p, backend="dense").magnitude.sum().backward()
    return errors


def _environment_steps(feeder: Feeder, meter: "Meter") -> None:
    day = torch.arange(_BATCH) % len(feeder.days)
    state = feeder.reset(day)
    feeder.observe(state)  # makes its table
    with torch.no_grad(), meter.step("Environment step", _STEPS * _BATCH):
        for _ in range(_STEPS):
            feeder.observe(state)
            state, _, _ = feeder.step(state, torch.full_like(state.soc, 0.3))


def _learners(task: Task, plan: Plan, meter: "Meter") -> list[pd.DataFrame]:
    """Test days of both learners after a short training, seed by seed."""
    seeds = list(range(plan.seeds))
    model_free = replace(
        td3.PRESETS["tuned"],
        episodes=plan.episodes,
        environments=min(16, plan.episodes),
        warmup_episodes=min(16, plan.episodes // 2),
        replay=plan.episodes * task.learning.steps,
    )
    gradient = replace(
        pathwise.PRESETS["tuned"],
        updates=plan.updates,
        environments=plan.environments,
        paired_days=0,  # they cost memory in proportion to the nodes, and a short training is short
    )
    recipes: list[tuple[str, Callable[..., Any], Any, int]] = [
        (td3.NAME, td3.train, model_free, plan.episodes),
        (pathwise.NAME, pathwise.train, gradient, plan.updates),
    ]
    tables = []
    for name, train, config, units in recipes:
        with meter.step(f"{name} training", units * plan.seeds):
            training = train(task.learning, config, seeds, task.validation, 6)
        for seed, policy in zip(seeds, training.policies, strict=True):
            tables.append(evaluate({name: policy}, task.test).assign(seed=seed))
    return tables


# -- time and memory --------------------------------------------------------------------------

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Meter:
    """Processor seconds per unit of work and the peak of memory of steps of this process."""

    rows: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, units: int = 1) -> Iterator[None]:
        """Measure what happens inside, which is `units` of work.

        The peak counts from what the process held before. Only Linux lets a process set its peak
        back; elsewhere there is none (NaN).
        """
        _give_back()
        before = _kilobytes("VmRSS")
        started = time.process_time()
        yield
        seconds = time.process_time() - started
        self.rows.append((name, seconds / units, (_kilobytes("VmHWM") - before) / 1024))

    def table(self) -> pd.DataFrame:
        """Columns step, seconds per unit, megabytes."""
        return pd.DataFrame(self.rows, columns=["step", "seconds", "megabytes"])


def _give_back() -> None:
    """Return free memory to the system and set the peak back.

    What a C library keeps for later would be used again by the next step, and not be seen.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
        if trim is not None:
            trim(0)
        _CLEAR.write_text("5", encoding="ascii")


def _kilobytes(entry: str) -> float:
    """What the kernel writes about this process's memory: VmRSS is held now, VmHWM the peak."""
    if sys.platform != "linux":
        return float("nan")
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{entry}:"))


# -- what comes out ---------------------------------------------------------------------------


def captured(walks: Mapping[str, Walk], draws: int) -> pd.DataFrame:
    """Captured value in % with its 95 % interval, one row per network and policy."""
    rows = []
    for name, found in walks.items():
        comparison = Comparison(found.days, draws)
        policies = [kind.policy for kind in comparison.kinds]
        for policy in policies:
            share = comparison.interval(Kind(policy), SCOPE, "captured")
            money = (comparison.block(Kind(policy), SCOPE, m).mean() for m in ("profit", "penalty"))
            rows.append((name, int(found.facts["nodes"]), policy, *share, *money))
    columns = ["network", "nodes", "policy", "captured", "low", "high", "profit", "penalty"]
    return pd.DataFrame(rows, columns=columns)


def growth(timings: pd.DataFrame, column: str, least_nodes: int) -> pd.DataFrame:
    """Exponents k of column ~ nodes^k by step: the slope in log-log, with its 95 % interval.

    What does not grow hides the growth of the rest on small networks, and a sum of powers bends
    upwards; so the slope between the two largest networks stands beside that over all.

    Parameters
    ----------
    timings
        Columns nodes, step, and the one that is fitted.
    column
        "seconds" or "megabytes". Values that are not positive are left out.
    least_nodes
        Smaller networks are left out.

    Returns
    -------
    DataFrame
        step, exponent, low, high (of Student's t; NaN with fewer than three points), last (between
        the two largest networks), points.
    """
    rows = []
    part = timings[(timings["nodes"] >= least_nodes) & (timings[column] > 0)]
    for step, own in part.groupby("step", sort=False):
        if own["nodes"].nunique() < 2:
            continue
        logs = np.log(own[["nodes", column]].sort_values("nodes").to_numpy(np.float64))
        fit = stats.linregress(logs[:, 0], logs[:, 1])
        spare = len(own) - 2
        half = float(stats.t.ppf(0.975, spare) * fit.stderr) if spare else float("nan")
        slope = float(fit.slope)
        nodes, values = logs.T
        smaller = nodes < nodes[-1]
        before = nodes == nodes[smaller][-1]
        rise = values[~smaller].mean() - values[before].mean()
        last = float(rise / (nodes[-1] - nodes[smaller][-1]))
        rows.append((step, slope, slope - half, slope + half, last, len(own)))
    return pd.DataFrame(rows, columns=["step", "exponent", "low", "high", "last", "points"])
