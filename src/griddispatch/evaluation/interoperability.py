"""Another library's TD3 on the same environment, beside ours, at equal steps and equal settings.

stable-baselines3 takes the Gymnasium face of the feeder as it is. If both implementations and the
environment are right, they reach the same return, up to the noise of their seeds. The settings
are those that both know: no privileged critic, one day at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from griddispatch.agents import td3
from griddispatch.agents.learning import Policy
from griddispatch.envs.feeder import Feeder, Outcome, State
from griddispatch.envs.gym_feeder import FeederEnv
from griddispatch.errors import InputError
from griddispatch.evaluation.rollout import rollout

COMMON = td3.TD3Config(
    hidden=(64, 64),
    environments=1,
    updates_per_step=1,
    batch=256,
    replay=100_000,
    lr=1e-3,
    lr_end=1e-3,
    gamma=0.99,
    tau=0.005,
    noise=0.1,
    noise_end=0.1,
    noise_hold=1,
    target_noise=0.2,
    target_clip=0.5,
    shaping=False,
    random_soc=False,
    privileged_critic=False,
    huber=None,
    gradient_clip=None,
    keep_best=False,
)
"""stable-baselines3's defaults for TD3 where our config has the same setting."""


@dataclass(frozen=True)
class ForeignPolicy:
    """A model of stable-baselines3 as a policy."""

    model: Any

    @torch.no_grad()
    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] deterministic actions at the states [B]."""
        action, _ = self.model.predict(feeder.observe(state).numpy(), deterministic=True)
        return torch.as_tensor(action)


@dataclass(frozen=True)
class OverMean:
    """Reward that pays for energy by how far its price is from a mean price, in EUR.

    Charging is then judged at once, not hours later when the energy is sold.
    """

    mean_price: float
    """EUR/MWh."""
    step_hours: float

    def __call__(self, outcome: Outcome) -> Tensor:
        """[B] EUR."""
        energy = outcome.power_kw.sum(-1) * self.step_hours
        return outcome.profit - outcome.penalty + self.mean_price / 1000 * energy


def train_ours(feeder: Feeder, days: int, warmup: int, seeds: Sequence[int]) -> list[Policy]:
    """Our TD3 with the settings `COMMON`, one policy per seed."""
    config = td3.TD3Config(**{**vars(COMMON), "episodes": days, "warmup_episodes": warmup})
    return list(td3.train(feeder, config, list(seeds)).policies)


def train_theirs(feeder: Feeder, days: int, warmup: int, seed: int) -> Policy:
    """TD3 of stable-baselines3 with the same settings.

    Raises
    ------
    InputError
        stable-baselines3 is not installed.
    """
    try:
        from stable_baselines3 import TD3
        from stable_baselines3.common.noise import NormalActionNoise
    except ImportError as error:
        raise InputError("stable-baselines3 is not installed; run make setup") from error
    c, steps = COMMON, feeder.steps
    model = TD3(
        "MlpPolicy",
        FeederEnv(feeder),
        learning_rate=c.lr,
        buffer_size=c.replay,
        learning_starts=warmup * steps,
        batch_size=c.batch,
        tau=c.tau,
        gamma=c.gamma,
        train_freq=1,
        gradient_steps=c.updates_per_step,
        action_noise=NormalActionNoise(
            np.zeros(feeder.n_actions), np.full(feeder.n_actions, c.noise)
        ),
        policy_delay=c.policy_delay,
        target_policy_noise=c.target_noise,
        target_noise_clip=c.target_clip,
        policy_kwargs={"net_arch": list(c.hidden)},
        seed=seed,
        device="cpu",
    )
    return ForeignPolicy(model.learn(days * steps))


def mean_reward(policy: Policy, feeder: Feeder) -> float:
    """Profit minus penalty in EUR per day, whatever the reward that the agent was paid."""
    played = rollout(policy, feeder)
    return float((played.profit - played.penalty).sum(1).mean())


def compare(
    library: str,
    feeder: Feeder,
    validation: Feeder,
    days: int,
    warmup: int,
    seeds: Sequence[int],
) -> list[tuple[str, int, float]]:
    """(library, seed, mean reward on validation days) of "griddispatch" or "stable-baselines3"."""
    if library == "griddispatch":
        policies = train_ours(feeder, days, warmup, seeds)
    elif library == "stable-baselines3":
        policies = [train_theirs(feeder, days, warmup, seed) for seed in seeds]
    else:
        raise InputError(f"no library {library!r}; there are griddispatch and stable-baselines3")
    scores = [mean_reward(policy, validation) for policy in policies]
    return [(library, seed, score) for seed, score in zip(seeds, scores, strict=True)]
