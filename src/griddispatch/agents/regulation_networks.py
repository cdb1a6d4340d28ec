"""What the policies of frequency regulation are made of: inputs, exploration, what they share.

Since successive samples of the signal are nearly equal, what tells them apart is small. The
observation is therefore whitened: rotated and scaled to uncorrelated inputs of variance one.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from griddispatch.agents.interval_map import IntervalMap
from griddispatch.envs.regulation import Regulation, State
from griddispatch.errors import InputError
from griddispatch.learning.networks import ACTIVATIONS

WIDEST = 12**-0.5  # standard deviation of the uniform density on [0, 1]
_EDGE = 1e-6  # y stays this far from 0 and 1 where its density is asked for


class Dispatcher(Protocol):
    """Set-points in MW for a batch of states."""

    def act(self, env: Regulation, state: State) -> Tensor:
        """[B, R] set-points at the states [B], before any clipping."""
        ...


D = TypeVar("D", bound=Dispatcher)


class Choice(NamedTuple):
    """What a policy chose for K * B states, and what its likelihood is made of.

    setpoint [K * B, R] in MW, limits as `Regulation.step` takes them, seen [K, B, n] whitened
    observation, told [K, B, M, F] what the heads were told, y [K, B, M] the fractions (of a
    monolithic policy the raw actions; it is told nothing).
    """

    setpoint: Tensor
    limits: tuple[Tensor, Tensor]
    seen: Tensor
    told: Tensor
    y: Tensor


class Draws:
    """Beta and normal numbers of K agents, from one private generator each.

    A generator depends on the agent's seed and on the number of the stream only.
    """

    def __init__(self, seeds: Sequence[int], stream: int = 1) -> None:
        self.generators = [np.random.default_rng((s, stream)) for s in seeds]

    def beta(self, alpha: Tensor, beta: Tensor) -> Tensor:
        """[K, ...] like alpha and beta, inside (0, 1)."""
        rows = zip(
            self.generators,
            alpha.detach().double().numpy(),
            beta.detach().double().numpy(),
            strict=True,
        )
        drawn = np.stack([rng.beta(a, b) for rng, a, b in rows])
        return torch.from_numpy(drawn).to(alpha).clamp(_EDGE, 1 - _EDGE)

    def normal(self, like: Tensor) -> Tensor:
        """[K, ...] standard normal, shaped like `like` [K, ...]."""
        drawn = np.stack([rng.standard_normal(like.shape[1:]) for rng in self.generators])
        return torch.from_numpy(drawn).to(like)


def beta_shape(mode: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Both parameters, alpha and beta, of the Beta density with this mode.

    `noise` is the standard deviation for a mode in the middle, below 0.289 (the uniform density);
    the concentration c follows from 4 noise^2 (c + 3) = 1.
    """
    concentration = 1 / (4 * noise**2) - 3
    return 1 + concentration * mode, 1 + concentration * (1 - mode)


def log_beta(y: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """[...] logarithm of the Beta density."""
    scale = torch.lgamma(alpha + beta) - torch.lgamma(alpha) - torch.lgamma(beta)
    return scale + (alpha - 1) * torch.log(y) + (beta - 1) * torch.log1p(-y)


def soft_cut(aim: Tensor, low: Tensor, high: Tensor, sharpness: float) -> Tensor:
    """[...] in [0, 1]: where `aim` lies in [low, high], bent instead of cut at the ends."""
    return torch.sigmoid(sharpness * (aim - (low + high) / 2) / (high - low).clamp(min=1e-4))


class Whitening(NamedTuple):
    """Makes observations uncorrelated: (s - centre) @ matrix, with centre [n], matrix [n, n]."""

    centre: Tensor
    matrix: Tensor


@torch.no_grad()
def whitening(env: Regulation, *, hours: int = 32, smallest: float = 1e-6) -> Whitening:
    """Whitening for what is observed while set-points wander at random.

    Parameters
    ----------
    env
        Training hours; the first `hours` of them are played.
    hours
        How many.
    smallest
        Variance below which a direction is not scaled up any further.
    """
    env = env.on(env.hours.take(slice(0, hours)))
    state, rng = env.reset(), np.random.default_rng(0)
    mapping, wander, rows = IntervalMap.of(env, nested=False), None, []
    first = env.n_actions - 1
    while state.t < env.steps:
        new = torch.from_numpy(rng.standard_normal((len(state.hour), first))).to(env.start)
        # A walk that forgets in 200 s, with a standard deviation of one.
        wander = new if wander is None else 0.98 * wander + 0.2 * new
        if state.t % 5 == 0:
            rows.append(env.observe(state).double())
        low, high = (x[:, :first] for x in env.feasible_interval(state))
        aim = env.schedule[state.hour, :first] + 0.3 * env.constants.power[:first] * wander
        y = soft_cut(aim, low, high, 4.0)
        state, _, _ = env.step(state, mapping.act(env, state, y))
    seen = torch.cat(rows)
    variance, axes = torch.linalg.eigh(torch.cov(seen.T))
    matrix = axes / variance.clamp(min=smallest).sqrt()
    return Whitening(seen.mean(0).to(env.start), matrix.to(env.start))


class Policy(nn.Module, ABC, Generic[D]):
    """The policies of K agents, stacked; what they act through differs.

    Parameters
    ----------
    inputs
        Whitening of the observation, the same for all agents.
    agents
        K.
    """

    centre: Tensor
    matrix: Tensor

    def __init__(self, inputs: Whitening, agents: int) -> None:
        super().__init__()
        n = len(inputs.centre)
        self.register_buffer("centre", inputs.centre.expand(agents, 1, n).clone())
        self.register_buffer("matrix", inputs.matrix.expand(agents, n, n).clone())

    @property
    def agents(self) -> int:
        """K."""
        return len(self.centre)

    def whitened(self, env: Regulation, state: State) -> Tensor:
        """[K, B, n] whitened observations of K * B states, agent by agent."""
        seen = env.observe(state).unflatten(0, (self.agents, -1))
        return (seen - self.centre) @ self.matrix

    @property
    @abstractmethod
    def answers(self) -> tuple[int | None, ...]:
        """The resource that each of the M factors is responsible for, by its place in the fleet."""

    @abstractmethod
    def decide(
        self, env: Regulation, state: State, noise: float = 0.0, draws: Draws | None = None
    ) -> Choice:
        """Set-points for K * B states, agent by agent; explored if there are `draws`."""

    @abstractmethod
    def log_probability(self, choice: Choice, noise: float) -> Tensor:
        """[K, B, M] of what was chosen, factor by factor, up to what depends on no parameter."""

    @abstractmethod
    def see(self, env: Regulation, state: State) -> Tensor:
        """[K, B, n] all that the policy sees."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Numbers and names that it was made of, beside its inputs and its parameters."""

    @abstractmethod
    def agent(self, k: int) -> D:
        """The dispatcher that agent k has become."""

    def alone(self, k: int) -> dict[str, Tensor]:
        """Parameters and buffers of agent k, [1, ...] each."""
        return {name: p[k : k + 1].detach().clone() for name, p in self.state_dict().items()}


P = TypeVar("P", bound=Policy[Any])


@dataclass(frozen=True, eq=False)
class Trained(ABC, Generic[P]):
    """A trained dispatcher: the policy of one agent, without exploration."""

    policy: P

    @torch.no_grad()
    def act(self, env: Regulation, state: State) -> Tensor:
        """[B, R] set-points in MW."""
        return self.policy.decide(env, state).setpoint

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """The dispatcher that `saved` was made of."""
        parameters = saved["parameters"]
        inputs = Whitening(parameters["centre"][0, 0], parameters["matrix"][0])
        policy = cls._untrained(saved, inputs)
        policy.load_state_dict(parameters)
        policy.requires_grad_(False)
        return cls(policy)

    @classmethod
    @abstractmethod
    def _untrained(cls, saved: dict[str, Any], inputs: Whitening) -> P:
        """A policy of one agent with the settings, but not the parameters, of `saved`."""

    @property
    def saved(self) -> dict[str, Any]:
        """What `load` takes: numbers, names and tensors."""
        return {**self.policy.settings, "parameters": dict(self.policy.state_dict())}


def check_network(hidden: Sequence[int], activation: str) -> None:
    """Refuse a network that cannot be built.

    Raises
    ------
    InputError
        A width is not positive, or there is no such activation.
    """
    if not hidden or min(hidden) < 1:
        raise InputError(f"hidden is {tuple(hidden)}; give one or more positive widths")
    if activation not in ACTIVATIONS:
        raise InputError(f"no activation {activation!r}; take one of {', '.join(ACTIVATIONS)}")
