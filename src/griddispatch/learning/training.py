"""The record of a training of K agents, and which seeds make agents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import pandas as pd

from griddispatch.errors import InputError

Progress = Callable[[str], None]
P = TypeVar("P")


@dataclass
class Training(Generic[P]):
    """Result of training K agents.

    Attributes
    ----------
    policies
        One per seed, in the order of the seeds.
    curve
        Tidy record, a row per record and seed; its columns are those of the learner's `Recorder`.
    seconds, updates, memory_bytes
        Wall time of all agents together, validation included; changes of the policy or, where
        there are critics, of these; replay memory of all agents.
    """

    policies: list[P]
    curve: pd.DataFrame
    seconds: float = 0.0
    updates: int = 0
    memory_bytes: int = 0


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that cannot make agents.

    Raises
    ------
    InputError
        There is none, one is negative, or two are the same.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds are {list(seeds)}; give one or more, each once, none negative")
