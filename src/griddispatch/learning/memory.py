"""Memory of K agents whose transitions are rows of numbers."""

import torch
from torch import Tensor

from griddispatch.learning.networks import Streams


class Memory:
    """The last transitions of K agents: rows of numbers in parts.

    Parameters
    ----------
    agents, capacity
        K, and rows per agent.
    widths
        Of the parts of a row, such as what was seen, done, paid, and seen afterwards.
    like
        A tensor of the precision to store.
    """

    def __init__(self, agents: int, capacity: int, widths: tuple[int, ...], like: Tensor) -> None:
        self.rows = torch.zeros(agents, capacity, sum(widths)).to(like)
        self.widths, self.size, self._next = widths, 0, 0

    def add(self, *parts: Tensor) -> None:
        """Store [K, E, width] of each part."""
        capacity, width = self.rows.shape[1], parts[0].shape[1]
        at = (self._next + torch.arange(width)) % capacity
        self.rows[:, at] = torch.cat(parts, 2)
        self._next = (self._next + width) % capacity
        self.size = min(self.size + width, capacity)

    def sample(self, batch: int, streams: Streams) -> tuple[Tensor, ...]:
        """[K, batch, width] of each part, drawn with each agent's own stream."""
        at = streams.integers(self.size, batch)
        return self.rows[torch.arange(len(at))[:, None], at].split(self.widths, 2)
