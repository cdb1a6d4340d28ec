"""How long a training takes with either power flow (the paper's Fig. 8), from a slice of it.

The settings are those of the preset `paper`: one day at a time, as printed. What is timed is a few
learning days with each power flow; a training is so many times longer as it has more days. Days
before the first update, which only fill a replay memory, are not counted.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from griddispatch.envs.feeder import Feeder
from griddispatch.envs.observations import paper_observation
from griddispatch.grid.power_flow import Backend

BACKENDS: dict[str, Backend] = {"Sweep": "sweep", "pandapower": "pandapower"}
PLAYED = 2  # days of the feeder; more of them would only take longer to set up
FEWEST = 4  # days in a slice of a learner that plays a batch of whole days before each update


def measure(agents: Mapping[str, Any], feeder: Feeder, days: int, turns: int = 3) -> pd.DataFrame:
    """Time learning days of every agent with every power flow.

    Parameters
    ----------
    agents
        Modules of `griddispatch.agents` that have a preset `paper`, by name.
    feeder
        The network, the batteries and the days.
    days
        Learning days in a slice; at least `FEWEST` for a learner without replay memory, whose
        batch is made smaller with the days.
    turns
        Slices with the fast power flow, of which the median counts. With pandapower a step takes
        so long that one slice is steady enough.

    Returns
    -------
    DataFrame
        policy; backend; days, in the slice; seconds_per_day; printed_days; and hours, what a
        training of the printed length takes.
    """
    rows = []
    for name, agent in agents.items():
        config = agent.PRESETS["paper"]
        for backend, solver in BACKENDS.items():
            case = _small(feeder, solver)
            repeats = 1 if solver == "pandapower" else turns
            per_day = np.median([_seconds(agent, case, config, days) for _ in range(repeats)])
            hours = float(per_day) * config.episodes / 3600
            rows.append((name, backend, days, float(per_day), config.episodes, hours))
    columns = ["policy", "backend", "days", "seconds_per_day", "printed_days", "hours"]
    return pd.DataFrame(rows, columns=columns)


def _small(feeder: Feeder, backend: Backend) -> Feeder:
    """The printed task with one power flow, on few days: to set up more would only take longer."""
    days = feeder.days.select(feeder.days.dates[:PLAYED])
    return Feeder(
        feeder.network, feeder.storage, days, observation=paper_observation, backend=backend
    )


def _seconds(agent: Any, feeder: Feeder, config: Any, days: int) -> float:
    """Per learning day: a run with a slice of them, less one that ends before the first update."""
    if not hasattr(config, "warmup_episodes"):
        few = min(config.environments, max(days, FEWEST))
        batch = round(config.batch * few / config.environments)
        config = replace(config, environments=few, batch=batch)
        return _timed(agent, feeder, config, 1) / few
    rounds = math.ceil(days / config.environments)
    config = replace(config, warmup_episodes=config.environments)
    spent = _timed(agent, feeder, config, 1 + rounds) - _timed(agent, feeder, config, 1)
    return spent / (rounds * config.environments)


def _timed(agent: Any, feeder: Feeder, config: Any, rounds: int) -> float:
    begin = time.perf_counter()
    agent.train(feeder, replace(config, episodes=rounds * config.environments), [0])
    return time.perf_counter() - begin
