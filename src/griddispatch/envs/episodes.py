"""What the batched environments share: which episodes are played, and how much is seen of them."""

from typing import Any, Protocol

import torch
from torch import Tensor

from griddispatch.errors import InputError


class Batched(Protocol):
    """An environment of B episodes side by side."""

    device: torch.device

    def reset(self, place: Tensor, /) -> Any:
        """The start of the days (or hours) at places [B]."""
        ...

    def observe(self, state: Any, /) -> Tensor:
        """[B, K] observation of a state."""
        ...


def chosen(place: Tensor | None, count: int, device: torch.device, what: str = "a day") -> Tensor:
    """[B] places (int64) among `count` days, or hours: each once by default.

    Raises
    ------
    InputError
        There is no such place.
    """
    if place is None:
        return torch.arange(count, device=device)
    if bool(((place < 0) | (place >= count)).any()):
        raise InputError(f"{what} is outside 0 .. {count - 1}")
    return place


def observation_length(env: Batched) -> int:
    """K, the length of an observation."""
    first = torch.zeros(1, dtype=torch.int64, device=env.device)
    return env.observe(env.reset(first)).shape[1]
