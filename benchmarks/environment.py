"""Steps per second of the feeder environment, and of the published one beside it.

    python benchmarks/environment.py [--data data] [--out results/timings]

A step is counted as an agent needs it: actions in, the physics and the reward, the next observation
out. Whole days of the default case (34 nodes, 4 batteries) are played with random actions. Every
configuration has worker processes of its own, loaded before the clock runs; they take turns, and
the table holds the median of the rounds.

"days" is how many days are played in parallel by all processes together, so a row with two
processes and 1 024 days runs two batches of 512.

The published environment (RL-ADN 0.1.3) is measured when the user has installed it with its own
requirement `gym`; it reads the same cleaned series and the same network. It is no requirement of
this project. One process of it plays one day at a time.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

from griddispatch.envs.cases import load_feeder
from griddispatch.envs.feeder import Feeder
from griddispatch.envs.gym_feeder import LEARNING_DAYS, FeederEnv, FeederVectorEnv
from griddispatch.errors import InputError
from griddispatch.evaluation.timing import PACKAGES, interleaved, machine

ROOT = Path(__file__).resolve().parents[1]
PEER = "power_network_rl"  # import name of RL-ADN
TARGET = (1024, 0.8e6)  # days in parallel and steps per second on two cores
BATCHES = (64, 1024, 4096)


@dataclass(frozen=True)
class Row:
    """One line of the table before it is measured."""

    environment: str
    days: int
    processes: int
    threads: int

    @property
    def label(self) -> str:
        """Say it in one line."""
        return f"{self.environment}: {self.days} days, {self.processes} x {self.threads} threads"


# -- what a worker process does -------------------------------------------------------------


def prepare(threads: int) -> None:
    """Set up a worker process."""
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")


@cache
def feeder(data: Path, backend: str) -> Feeder:
    """Return the default case."""
    return load_feeder(data, LEARNING_DAYS, backend=backend)


def play(row: Row, data: Path, seconds: float) -> int:
    """Play days for some seconds in one process; return the number of steps."""
    days = row.days // row.processes
    step = stepper(row.environment, days, data)
    steps, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        step()
        steps += days
    return steps


@cache
def stepper(environment: str, days: int, data: Path) -> Callable[[], None]:
    """Return a function that takes one step of `days` episodes, and starts new ones at the end."""
    name, _, kind = environment.partition(", ")
    if name == "RL-ADN":
        return published(kind, data)
    if name == "Feeder":
        return batched(feeder(data, kind), days)
    one = feeder(data, "auto")
    return gym_stepper(FeederEnv(one) if name == "FeederEnv" else FeederVectorEnv(days, one))


def batched(env: Feeder, days: int) -> Callable[[], None]:
    random = torch.Generator().manual_seed(0)
    day = torch.randint(len(env.days), (days,), generator=random)
    actions = 2 * torch.rand(env.steps, days, env.n_actions, generator=random).to(env.dtype) - 1
    place = {"state": env.reset(day), "t": 0}

    @torch.no_grad()
    def step() -> None:
        if place["t"] == env.steps:
            place.update(state=env.reset(day), t=0)
        place["state"], _, _ = env.step(place["state"], actions[place["t"]])
        env.observe(place["state"])
        place["t"] += 1

    return step


def gym_stepper(env: FeederEnv | FeederVectorEnv) -> Callable[[], None]:
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(16)]
    place = {"t": 0}

    def step() -> None:
        over = env.step(actions[place["t"] % 16])[2]
        place["t"] += 1
        if isinstance(env, FeederEnv) and over:
            env.reset()

    return step


def published(algorithm: str, data: Path) -> Callable[[], None]:
    """Return a step of RL-ADN's PowerNetEnv, which resets itself at the end of a day."""
    raw = data / "raw/rl_adn"
    config = {
        "voltage_limits": [0.95, 1.05],
        "algorithm": algorithm,
        "battery_list": [11, 15, 26, 33],  # counted from 0
        "year": 2020, "month": 8, "day": 1, "train": True,
        "state_pattern": "default",
        "network_info": {
            "vm_pu": 1.0,
            "s_base": 1000,
            "bus_info_file": str(raw / "Nodes_34.csv"),
            "branch_info_file": str(raw / "Lines_34.csv"),
        },
        "time_series_data_path": str(data / "processed/feeder_34.csv"),
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from power_network_rl.environments.Environment_Integrated import PowerNetEnv

        env = PowerNetEnv(config)
    env.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (96, 4))
    place = {"t": 0}

    def step() -> None:
        env.step(actions[place["t"] % 96])
        place["t"] += 1

    return step


# -- what the main process does -------------------------------------------------------------


def rows(peer: bool) -> list[Row]:
    """Return the lines of the table."""
    configurations = ((1, 1), (1, 2), (2, 1))  # processes, threads
    table = [Row(f"Feeder, {b}", 1, 1, 1) for b in ("sweep", "dense")]
    for backend in ("sweep", "dense"):
        table += [Row(f"Feeder, {backend}", d, p, t) for d in BATCHES for p, t in configurations]
    table += [Row("FeederEnv", 1, 1, 1)]
    table += [Row("FeederVectorEnv", 1024, p, 1) for p in (1, 2)]
    if peer:
        table += [Row(f"RL-ADN, {a}", p, p, 1) for p in (1, 2) for a in ("Laurent", "PandaPower")]
    return table


@contextlib.contextmanager
def workers(processes: int, threads: int) -> Iterator[Pool]:
    """Give a pool of processes that ends by itself, not by a signal."""
    with multiprocessing.get_context("spawn").Pool(processes, prepare, (threads,)) as pool:
        yield pool
        pool.close()
        pool.join()


def measure(table: list[Row], data: Path, rounds: int, seconds: float) -> pd.DataFrame:
    """Measure every row; steps per second: median, lowest and highest round."""

    def work(row: Row, pool: Pool) -> int:
        return sum(pool.starmap(play, [(row, data, seconds)] * row.processes, chunksize=1))

    with contextlib.ExitStack() as stack:
        kinds = sorted({(row.processes, row.threads) for row in table})
        pools = {kind: stack.enter_context(workers(*kind)) for kind in kinds}
        speeds = interleaved(
            {row.label: partial(work, row, pools[row.processes, row.threads]) for row in table},
            rounds,
        )
    frame = pd.DataFrame([asdict(row) for row in table])
    frame["steps_per_s"] = [median(speeds[row.label]) for row in table]
    frame["lowest"] = [min(speeds[row.label]) for row in table]
    frame["highest"] = [max(speeds[row.label]) for row in table]
    return frame


def with_ratio(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the ratio to RL-ADN's faster solver on as many processes (threads count as processes)."""
    frame = frame.copy()
    published = frame[frame.environment == "RL-ADN, Laurent"].set_index("processes").steps_per_s
    cores = np.maximum(frame.processes, frame.threads)
    frame["ratio_to_published"] = frame.steps_per_s / cores.map(published)
    return frame


def report(frame: pd.DataFrame) -> None:
    """Print the table and how the target stands."""
    shown = frame.copy()
    for column in ("steps_per_s", "lowest", "highest"):
        shown[column] = shown[column].map("{:,.0f}".format)
    print(shown.to_string(index=False, float_format="{:,.1f}".format, na_rep="not installed"))
    days, target = TARGET
    ours = frame[(frame.days == days) & frame.environment.str.startswith("Feeder")]
    best = ours.loc[ours.steps_per_s.idxmax()]
    word = "met" if best.steps_per_s >= target else "NOT met"
    print(
        f"\n{days} days in parallel, best configuration ({best.environment}, {best.processes} "
        f"processes x {best.threads} threads): {best.steps_per_s / 1e6:.2f} million steps/s; "
        f"target {target / 1e6:.1f}: {word}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write environment.csv and environment.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "results/timings")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one turn")
    options = parser.parse_args(arguments)
    peer = all(importlib.util.find_spec(name) for name in (PEER, "gym"))
    try:
        load_feeder(options.data, ["2020-09-01"])  # a missing file: one error, not one per process
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    os.environ["TQDM_DISABLE"] = "1"  # RL-ADN draws a progress bar in each step; not timed here
    about = machine((*PACKAGES, "RL-ADN", "gym"))
    frame = with_ratio(measure(rows(peer), options.data, options.rounds, options.seconds))
    report(frame)
    options.out.mkdir(parents=True, exist_ok=True)
    frame.round(3).to_csv(options.out / "environment.csv", index=False, lineterminator="\n")
    (options.out / "environment.json").write_text(
        json.dumps({"machine": about, "rounds": options.rounds, "seconds": options.seconds,
                    "rows": json.loads(frame.round(3).to_json(orient="records"))},
                   indent=2) + "\n",
        encoding="utf-8",
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
