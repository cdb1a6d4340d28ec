"""Monolithic agents for frequency regulation: all set-points at once, limits learnt from a penalty.

One network sees the observation and the feasible intervals and gives R numbers z, with Gaussian
exploration. What they mean is a choice,

    absolute      a = planned power + P z
    increments    a = last set-point + step z,   step = min(P, ramp x lag)

with z cut to [-1, 1]. Neither keeps a set-point inside its interval. What lies outside is a
violation; the plant carries out the nearest feasible set-point all the same. Two ways to learn:

- with a penalty in proportion to what lies outside, so that the agent itself learns the limits;
- with clipping: no penalty, the cut at the interval is part of what the agent acts through. `act`
  still gives what the network wants, so that violations are counted before the cut; `Clipped` is
  the dispatcher that one would connect to a plant.

The learner is PPO, with the settings, the observation and the critic of the factored policy
(`regulation_ppo`), so that the two differ in their actions only. `regulation_td3` trains the same
policy.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from griddispatch.agents.regulation_networks import (
    Choice,
    Dispatcher,
    Draws,
    Policy,
    Trained,
    Whitening,
    check_network,
    whitening,
)
from griddispatch.agents.regulation_ppo import PPOConfig, learn
from griddispatch.assets.limits import within
from griddispatch.envs.regulation import Regulation, State
from griddispatch.errors import InputError
from griddispatch.learning.networks import StackedMLP, Streams
from griddispatch.learning.training import Progress, Training, check_seeds

NAME = "Monolithic PPO"
Actions = Literal["absolute", "increments"]


@dataclass(frozen=True)
class MonolithicPolicyConfig:
    """Size and shape of a monolithic policy.

    Raises
    ------
    InputError
        A value is out of range.
    """

    actions: Actions = "increments"
    """What the numbers of the network mean, see the module's text."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the network."""
    activation: str = "silu"
    """Between its layers; see `networks.ACTIVATIONS`."""
    scale: float = 0.3
    """Action for an output of one."""
    bounded: bool = False
    """Whether actions are bent into [-1, 1] by tanh before exploration, not only cut."""

    def __post_init__(self) -> None:
        check_network(self.hidden, self.activation)
        if self.actions not in ("absolute", "increments") or not self.scale > 0:
            raise InputError(
                "policy: actions must be 'absolute' or 'increments', scale positive; they are "
                f"{self.actions!r}, {self.scale}"
            )


@dataclass(frozen=True)
class MonolithicConfig(PPOConfig):
    """Settings of PPO on a monolithic policy."""

    policy: MonolithicPolicyConfig = field(default_factory=MonolithicPolicyConfig)
    """Size of the policy, and what its actions mean."""
    penalty: float = 1.0
    """As of `PPOConfig`."""


PRESETS = {
    "absolute": MonolithicConfig(policy=MonolithicPolicyConfig("absolute")),
    "increments": MonolithicConfig(),
    "clipped": MonolithicConfig(penalty=0.0),
}


class MonolithicPolicy(Policy["Monolithic"]):
    """The policy of K agents, stacked.

    Parameters
    ----------
    config
        Its size and its actions.
    resources
        R.
    inputs, seeds
        As of `deltanet_policy.FactoredPolicy`.
    """

    def __init__(
        self,
        config: MonolithicPolicyConfig,
        resources: int,
        inputs: Whitening,
        seeds: Sequence[int],
    ) -> None:
        super().__init__(inputs, len(seeds))
        self.config = config
        n = len(inputs.centre) + 2 * resources
        weights = Streams(seeds, "weights")
        self.network = StackedMLP((n, *config.hidden, resources), weights, config.activation)
        with torch.no_grad():
            self.network.weights[-1].mul_(0.1)
        self.linear = nn.Parameter(torch.zeros(len(seeds), n, resources))
        self.to(inputs.centre.dtype)

    @property
    def answers(self) -> tuple[int | None, ...]:
        """Every number is its resource's."""
        return tuple(range(self.linear.shape[2]))

    def see(self, env: Regulation, state: State) -> Tensor:
        """[K, B, n + 2 R] whitened observations of K * B states, and the ends of the intervals."""
        ends = torch.cat(env.feasible_interval(state), 1) / env.constants.power.repeat(2)
        return torch.cat([self.whitened(env, state), ends.unflatten(0, (self.agents, -1))], 2)

    def mean(self, seen: Tensor) -> Tensor:
        """[K, B, R] actions without exploration for what is seen [K, B, n + 2 R]."""
        z = self.config.scale * (self.network(seen) + seen @ self.linear)
        return torch.tanh(z) if self.config.bounded else z

    def decide(
        self, env: Regulation, state: State, noise: float = 0.0, draws: Draws | None = None
    ) -> Choice:
        """Ask for set-points at K * B states, with Gaussian exploration if there are `draws`."""
        seen = self.see(env, state)
        z = self.mean(seen)
        if draws is not None:
            z = z + noise * draws.normal(z)
        setpoint = self._setpoint(env, state, z)
        return Choice(setpoint, env.feasible_interval(state), seen, z[..., :0], z)

    def _setpoint(self, env: Regulation, state: State, z: Tensor) -> Tensor:
        z, power = z.flatten(0, 1).clamp(-1, 1), env.constants.power
        if self.config.actions == "absolute":
            return env.schedule[state.hour] + power * z
        return state.setpoint + torch.minimum(power, env.constants.reach) * z

    def log_probability(self, choice: Choice, noise: float) -> Tensor:
        """[K, B, R] resource by resource, up to a constant."""
        return -0.5 * ((choice.y - self.mean(choice.seen)) / noise).square()

    @property
    def settings(self) -> dict[str, Any]:
        """Its size and its actions."""
        return {"config": asdict(self.config)}

    def agent(self, k: int) -> "Monolithic":
        """The dispatcher that agent k has become."""
        return Monolithic.load({**self.settings, "parameters": self.alone(k)})


class Monolithic(Trained[MonolithicPolicy]):
    """A trained monolithic dispatcher. What it asks for, before any clipping, may be infeasible."""

    @classmethod
    def _untrained(cls, saved: dict[str, Any], inputs: Whitening) -> MonolithicPolicy:
        config = saved["config"]
        return MonolithicPolicy(
            MonolithicPolicyConfig(**{**config, "hidden": tuple(config["hidden"])}),
            saved["parameters"]["linear"].shape[2],
            inputs,
            [0],
        )


@dataclass(frozen=True)
class Clipped:
    """Another dispatcher, its set-points cut to the feasible interval."""

    of: Dispatcher

    def act(self, env: Regulation, state: State) -> Tensor:
        """[B, R] set-points in MW."""
        return within(self.of.act(env, state), *env.feasible_interval(state))


def train(
    env: Regulation,
    config: MonolithicConfig,
    seeds: list[int],
    validation: Regulation | None = None,
    *,
    records: int = 10,
    progress: Progress = lambda line: None,
) -> Training[Monolithic]:
    """Train one agent per seed with PPO; parameters as of `deltanet.train_pathwise`.

    Raises
    ------
    InputError
        There is no seed.
    """
    check_seeds(seeds)
    policy = MonolithicPolicy(config.policy, env.n_actions, whitening(env), seeds)
    return learn(env, config, seeds, policy, validation, records, progress)
