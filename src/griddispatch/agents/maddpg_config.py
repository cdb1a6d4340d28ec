"""Settings of MADDPG and their presets; `maddpg` says what they do."""

from dataclasses import dataclass
from typing import Any, Literal

from griddispatch.errors import InputError


@dataclass(frozen=True)
class MADDPGConfig:
    """Settings of MADDPG on the game; the defaults are the preset `tuned`.

    Raises
    ------
    InputError
        A value is out of range.
    """

    hidden: tuple[int, ...] = (32, 32)
    """Widths of the actors."""
    critic: tuple[int, ...] = (96, 96)
    """Widths of the critics."""
    independent: bool = False
    """Whether a critic sees its own agent's action only."""
    others: Literal["current", "memory"] = "current"
    """Whose actions stand beside the own one when an actor learns."""
    rounds: int = 1500
    """Rounds of days that are played; an update follows each."""
    days: int = 4
    """Days side by side per seed in a round."""
    repeats: int = 16
    """Draws of requests over which the payoff of a strategy is averaged before it is remembered."""
    warmup: int = 50
    """Rounds before the first update."""
    batch: int = 256
    """Periods per update and seed."""
    memory: int = 20_000
    """Periods kept per seed; some 400 rounds keep the critics exact near the actors of today."""
    lr: float = 5e-3
    """Learning rate of the critics at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 5e-5
    """Learning rate at the end."""
    actor_share: float = 0.5
    """Learning rate of the actors over that of the critics."""
    gamma: float = 0.0
    """Discount per period. What is chosen changes no later period, so that later payoffs would only
    add noise to the target."""
    tau: float = 0.01
    """Share of the online networks that the targets take over."""
    noise: float = 1.0
    """Standard deviation of exploration at the start, before the softmax."""
    noise_end: float = 0.25
    """The same at the end; linear in between."""
    gradient_clip: float | None = 1.0
    """Largest norm of an agent's gradient; None: no limit."""

    def __post_init__(self) -> None:
        counts = (self.rounds, self.days, self.repeats, self.batch, self.memory)
        if min(counts) < 1 or self.warmup < 0 or not 0 <= self.gamma < 1:
            raise InputError(
                "MADDPG: rounds, days, repeats, batch and memory must be positive, warmup not "
                "negative, and 0 <= gamma < 1; they are "
                f"{', '.join(map(str, counts))}, {self.warmup}, {self.gamma}"
            )
        if self.others not in ("current", "memory"):
            raise InputError(f"MADDPG: others is {self.others!r}; take current or memory")


PRINTED: dict[str, Any] = {
    "hidden": (64, 64),
    "critic": (64, 64),
    "others": "memory",
    "batch": 1024,
    "memory": 1_000_000,
    "repeats": 1,
    "lr": 1e-2,
    "lr_end": 1e-2,
    "actor_share": 1.0,
    "gamma": 0.95,
}
"""What Lowe et al. print (section 5 and appendix), for `replace(config, **PRINTED)`."""

PRESETS = {
    "tuned": MADDPGConfig(),
    "independent": MADDPGConfig(independent=True),
    "paper": MADDPGConfig(**PRINTED),
}
