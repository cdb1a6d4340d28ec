"""Replay memory of K agents: a transition is a few numbers, not two observations.

What an observation says about the day and the hour is looked up again when a transition is
drawn, so one of them takes 16 bytes plus 12 per battery instead of hundreds.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from griddispatch.envs.feeder import State
from griddispatch.learning.networks import Streams


class Transitions(NamedTuple):
    """[K * B] transitions of K agents, agent by agent."""

    state: State
    action: Tensor  # [K * B, M]
    reward: Tensor  # [K * B]
    after: State


class Replay:
    """The last `capacity` transitions of each of K agents, on one device."""

    def __init__(
        self, agents: int, capacity: int, batteries: int, device: torch.device | str = "cpu"
    ) -> None:
        self.capacity, self.size, self._next = capacity, 0, 0
        self._day = torch.zeros(agents, capacity, dtype=torch.int32, device=device)
        self._t = torch.zeros(agents, capacity, dtype=torch.int32, device=device)
        self._numbers = torch.zeros(agents, capacity, 3 * batteries + 1, device=device)
        self._split = (batteries, batteries, batteries, 1)

    @property
    def bytes(self) -> int:
        """Memory of all agents' transitions."""
        return sum(x.numel() * x.element_size() for x in (self._day, self._t, self._numbers))

    def add(self, state: State, action: Tensor, reward: Tensor, after: State) -> None:
        """Store one transition of each of K * E environments, agent by agent."""
        agents = len(self._day)
        width = len(reward) // agents
        at = (self._next + torch.arange(width, device=self._day.device)) % self.capacity
        numbers = torch.cat([state.soc, after.soc, action, reward[:, None]], 1)
        self._day[:, at] = state.day.view(agents, width).int()
        self._t[:, at] = state.t.view(agents, width).int()
        self._numbers[:, at] = numbers.view(agents, width, -1).float()
        self._next = (self._next + width) % self.capacity
        self.size = min(self.size + width, self.capacity)

    def sample(self, batch: int, streams: Streams) -> Transitions:
        """Draw `batch` transitions per agent, each agent with its own stream."""
        pick = streams.integers(self.size, batch)
        first = self.capacity * torch.arange(len(pick), device=pick.device)
        pick = (pick + first[:, None]).flatten()
        day = self._day.flatten()[pick].long()
        t = self._t.flatten()[pick].long()
        numbers = self._numbers.flatten(0, 1).index_select(0, pick)  # faster than indexing
        soc, soc_after, action, reward = numbers.split(self._split, 1)
        after = State(day, t + 1, soc_after)
        return Transitions(State(day, t, soc), action, reward[:, 0], after)
