"""Time of a gradient update of each learner, and of stable-baselines3's own beside it.

    .venv/bin/python benchmarks/updates.py [--data data] [--out results/timings]

stable-baselines3 is one of the pinned packages that `make setup` installs into .venv.

An update is all that the algorithm does between two batches: drawing one from the memory (PPO: from
a rollout), critic, actor (TD3: at every second), temperature, targets. Ours trains five agents in
one update, so its time is divided by five; stable-baselines3 trains one. Both have networks of the
same widths, the same batch, the same lengths of observation and action, Adam, and one thread.
Settings that only one side has are off (critics that see more than the actor, Huber errors, clipped
gradients, PPO's advantages per battery).

The contenders of a table row take turns; a time is the processor time of this process, which other
programs on the machine change little, and the median of the rounds.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from griddispatch.agents import ddpg, ppo, sac, td3
from griddispatch.agents.replay import Replay
from griddispatch.envs.cases import load_feeder
from griddispatch.envs.feeder import Feeder
from griddispatch.envs.gym_feeder import LEARNING_DAYS
from griddispatch.envs.observations import observe
from griddispatch.errors import InputError
from griddispatch.evaluation.timing import PACKAGES, interleaved, machine
from griddispatch.learning.networks import Streams

ROOT = Path(__file__).resolve().parents[1]
AGENTS = 5
SIZES = (((64, 64), 256), ((256, 256), 512))  # widths of the networks, batch
MARK = ((64, 64), 2.5)  # widths, and how many times faster ours must be per agent
OFF_POLICY = {"DDPG": (ddpg, ddpg.DDPG), "TD3": (td3, td3.TD3), "SAC": (sac, sac.SAC)}


def stacked(name: str, hidden: tuple[int, ...], batch: int, feeder: Feeder) -> Callable[[], None]:
    """Return one update of five stacked agents, with a memory of random days."""
    if name == "PPO":
        return _stacked_ppo(hidden, batch, feeder)
    module, learner_of = OFF_POLICY[name]
    config: Any = replace(
        module.PRESETS["tuned"],
        hidden=hidden,
        batch=batch,
        privileged_critic=False,
        huber=None,
        gradient_clip=None,
    )
    seeds = list(range(AGENTS))
    learner = learner_of(config, feeder, seeds)
    replay, pick = Replay(AGENTS, 20_000, feeder.n_actions), Streams(seeds, "replay")
    state = feeder.reset(pick.integers(len(feeder.days), 64).flatten())
    for _ in range(feeder.steps):
        action = 2 * pick.uniform(64, feeder.n_actions).flatten(0, 1) - 1
        after, reward, _ = feeder.step(state, action)
        replay.add(state, action, reward, after)
        state = after
    return lambda: learner.update(learner.view.draw(replay, batch, pick))


def _stacked_ppo(hidden: tuple[int, ...], batch: int, feeder: Feeder) -> Callable[[], None]:
    config = replace(
        ppo.PRESETS["tuned"],
        hidden=hidden,
        batch=batch,
        environments=64,
        privileged_critic=False,
        per_battery=False,
        weight_decay=0.0,
        gradient_clip=0.5,  # as the other side, which cannot do without
    )
    learner = ppo.PPO(config, feeder, list(range(AGENTS)))
    samples = learner.roll_out()
    batches = (b for _ in itertools.count() for b in learner.batches(samples))
    return lambda: learner.update(next(batches))


def single(
    name: str, hidden: tuple[int, ...], batch: int, feeder: Feeder, updates: int
) -> Callable[[], None]:
    """Return a turn of `updates` updates of one agent of stable-baselines3, on random numbers.

    Raises
    ------
    InputError
        stable-baselines3 is not installed.
    """
    try:
        import stable_baselines3
        from stable_baselines3.common.logger import Logger
    except ImportError as error:
        raise InputError(
            "stable-baselines3 is not installed here; `make setup` installs it into .venv, so run "
            "this with .venv/bin/python"
        ) from error
    import gymnasium
    import numpy as np

    class Blank(gymnasium.Env[Any, Any]):
        """Spaces of the feeder; no step is ever taken."""

        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (feeder.n_observations,))
        action_space = gymnasium.spaces.Box(-1, 1, (feeder.n_actions,))

    algorithm: Any = getattr(stable_baselines3, name)
    memory: dict[str, Any] = {"buffer_size": 20_000}
    if name == "PPO":
        memory = {"n_steps": updates * batch, "n_epochs": 1}
    model = algorithm(
        "MlpPolicy",
        Blank(),
        batch_size=batch,
        policy_kwargs={"net_arch": list(hidden)},
        seed=0,
        device="cpu",
        **memory,
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    random = np.random.default_rng(0)
    if name == "PPO":
        one, start = torch.zeros(1), np.zeros(1)
        for _ in range(updates * batch):
            seen, action = (
                random.normal(size=(1, feeder.n_observations)),
                random.uniform(-1, 1, feeder.n_actions),
            )
            model.rollout_buffer.add(seen, action[None], random.normal(size=1), start, one, one)
        model.rollout_buffer.compute_returns_and_advantage(one, start)
        return lambda: model.train()
    for _ in range(6_000):
        before, after = random.normal(size=(2, 1, feeder.n_observations))
        action = random.uniform(-1, 1, (1, feeder.n_actions))
        model.replay_buffer.add(before, after, action, random.normal(size=1), np.zeros(1), [{}])
    return lambda: model.train(gradient_steps=updates, batch_size=batch)


def measure(feeder: Feeder, rounds: int, updates: int) -> pd.DataFrame:
    """Time all algorithms in all sizes: milliseconds per update and agent."""
    rows = []
    for hidden, batch in SIZES:
        for name in (*OFF_POLICY, "PPO"):
            own = stacked(name, hidden, batch, feeder)
            other = single(name, hidden, batch, feeder, updates)

            def five(own: Callable[[], None] = own) -> int:
                for _ in range(updates):
                    own()
                return updates * AGENTS

            def one(other: Callable[[], None] = other) -> int:
                other()
                return updates

            speeds = interleaved({"own": five, "other": one}, rounds, time.process_time)
            ours, theirs = (1e3 / median(speeds[key]) for key in ("own", "other"))
            rows.append(
                {
                    "algorithm": name,
                    "hidden": "x".join(map(str, hidden)),
                    "batch": batch,
                    "stacked_ms": ours,
                    "stable_baselines3_ms": theirs,
                    "times_faster": theirs / ours,
                }
            )
    return pd.DataFrame(rows)


def report(frame: pd.DataFrame) -> None:
    """Print the table and how the mark stands."""
    print(frame.to_string(index=False, float_format="{:.2f}".format))
    hidden, mark = "x".join(map(str, MARK[0])), MARK[1]
    slowest = frame[frame.hidden.eq(hidden)].times_faster.min()
    word = "met" if slowest >= mark else "NOT met"
    print(
        f"\n{hidden}, {AGENTS} agents stacked: at least {slowest:.1f} times faster per agent; "
        f"mark {mark}: {word}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write updates.csv and updates.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "results/timings")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=40, help="of one turn")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about = machine((*PACKAGES, "stable-baselines3"))
    try:
        feeder = load_feeder(options.data, LEARNING_DAYS, observation=observe("history"))
        frame = measure(feeder, options.rounds, options.updates)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report(frame)
    options.out.mkdir(parents=True, exist_ok=True)
    frame.round(3).to_csv(options.out / "updates.csv", index=False, lineterminator="\n")
    (options.out / "updates.json").write_text(
        json.dumps({"machine": about, "rounds": options.rounds, "updates": options.updates,
                    "agents": AGENTS, "rows": json.loads(frame.round(3).to_json(orient="records"))},
                   indent=2) + "\n",
        encoding="utf-8",
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
