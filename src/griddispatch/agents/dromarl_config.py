"""Settings of DROMARL, its ablations and the learners it is compared with; `dromarl` explains them.

Domain randomisation is trained on the very shifts of the test: an oracle, not a competitor.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from griddispatch.data.vpp_demand import DemandDays, Shift, draw_days
from griddispatch.errors import InputError

Robust = Literal["none", "worst case", "Lipschitz", "one-sided", "GP-literal"]
_ROBUST = ("none", "worst case", "Lipschitz", "one-sided", "GP-literal")
TEST_RANGE = tuple(
    Shift(sigma, mean, events)
    for sigma in (1.0, 1.5, 2.0)
    for mean in (0.0, 0.1, 0.2)
    for events in (0.08, 0.2)
)


@dataclass(frozen=True)
class DROMARLConfig:
    """Settings of a training; the defaults are DROMARL with the robust critic that works.

    Raises
    ------
    InputError
        A value is out of range, or two do not go together.
    """

    supply: Literal["bernoulli", "enumerated"] = "bernoulli"
    """How units are committed: by a bit each (as published) or by the best of all 128 patterns."""
    robust: Robust = "worst case"
    """Form of the robust critic; see `dromarl_critics`."""
    rho: float = 0.05
    """Radius: the largest change of a period's demand, relative to the base. 0: not robust."""
    carried: bool = True
    """Whether a demand of the worst case also changes what follows: sight and forecast. Otherwise
    only the cost of its own period, and the worst cases of a day do not add up in the forecast."""
    penalty: float = 0.1
    """Weight of the penalties on the critic's gradient, "one-sided" and "GP-literal"."""
    slope: float = 1.0
    """K of the one-sided penalty: slope of the value, in units, per relative demand."""
    imagined: float = 0.25
    """Share of training days that the world model imagines; 0: none."""
    imagined_days: int = 512
    """Imagined days to draw from."""
    uncertainty: bool = True
    """Whether the supply side sees the world model's mean and spread of the coming demand."""
    inertia: bool = True
    """Whether the load action is kappa_hat a_prev + (1 - kappa_hat) a_new."""
    centralised: bool = True
    """Whether critics see the actions of both sides; otherwise each side has one that sees its own
    action only."""
    shifts: tuple[Shift, ...] = (Shift(),)
    """What `training_days` draws from, in equal parts."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the actors."""
    critic: tuple[int, ...] = (96, 96)
    """Widths of the critics."""
    rounds: int = 100
    """Rounds of days."""
    environments: int = 32
    """Days side by side per agent."""
    updates_per_step: int = 2
    """Critic updates per period of all days."""
    warmup: int = 8
    """Rounds of random actions before the first update."""
    batch: int = 128
    """Transitions per update and agent."""
    replay: int = 40_000
    """Transitions kept per agent."""
    patterns: int = 6
    """Commitments per transition on which enumerated values are taught."""
    lr: float = 2e-3
    """Learning rate of Adam at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 5e-5
    """Learning rate at the end."""
    gamma: float = 1.0
    """Discount per period. A day has an end and the period is seen: none is needed."""
    tau: float = 0.02
    """Share of the online networks that the targets take over when they are updated."""
    explore: float = 0.1
    """Probability at the start that a unit's bit is drawn blindly; it falls to a fifth of it."""
    noise: float = 0.3
    """Standard deviation of exploration of the load action at the start; it falls to a fifth."""
    target_noise: float = 0.1
    """Standard deviation of the noise on the target's load action, cut at 0.3."""
    policy_delay: int = 2
    """Critic updates per update of the actors and the targets."""
    unit: float = 1000.0
    """Currency in which the critics count."""
    huber: float | None = 1.0
    """Critic error, in units, from which on it counts linearly; None: squared."""
    gradient_clip: float | None = 10.0
    """Largest norm of an agent's gradient; None: no limit."""

    def __post_init__(self) -> None:
        counts = (self.rounds, self.environments, self.batch, self.policy_delay, self.patterns)
        if min(counts) < 1 or self.replay < self.environments or self.warmup < 1:
            raise InputError(
                "DROMARL: rounds, environments, batch, policy_delay, patterns and warmup must be "
                f"positive and replay not below environments; they are {counts}, {self.warmup} and "
                f"{self.replay}"
            )
        if self.robust not in _ROBUST or self.supply not in ("bernoulli", "enumerated"):
            raise InputError(
                f"DROMARL: robust is {self.robust!r}, supply {self.supply!r}; take one of "
                f"{', '.join(_ROBUST)} and bernoulli or enumerated"
            )
        if not 0 <= self.rho < 1 or min(self.penalty, self.slope) < 0 or not 0 < self.gamma <= 1:
            raise InputError(
                "DROMARL: needs 0 <= rho < 1, penalty and slope >= 0 and 0 < gamma <= 1; they are "
                f"{self.rho}, {self.penalty}, {self.slope}, {self.gamma}"
            )
        if not 0 <= self.imagined < 1 or self.imagined_days < 1 or not self.shifts:
            raise InputError(
                "DROMARL: needs 0 <= imagined < 1, imagined_days >= 1 and a shift; they are "
                f"{self.imagined}, {self.imagined_days}, {self.shifts}"
            )
        enumerated = self.supply == "enumerated"
        if enumerated and not (self.centralised and self.robust in ("none", "worst case")):
            raise InputError(
                "DROMARL: enumerated commitments need centralised critics, and robust 'none' or "
                "'worst case'"
            )

    @property
    def world(self) -> bool:
        """Whether a world model is needed."""
        return self.uncertainty or self.imagined > 0

    @property
    def radii(self) -> tuple[float, ...]:
        """Relative demands added in the worst case, the first of them 0; (0,) if it is not used."""
        if self.robust != "worst case" or self.rho == 0:
            return (0.0,)
        return (0.0, -0.5 * self.rho, 0.5 * self.rho, -self.rho, self.rho)


def training_days(config: DROMARLConfig, count: int, seed: int) -> DemandDays:
    """Training days as the settings want them: nominal, or spread over `config.shifts`.

    Raises
    ------
    InputError
        There are fewer days than shifts.
    """
    shifts = config.shifts
    if count < len(shifts):
        raise InputError(f"{count} training days for {len(shifts)} shifts; give at least as many")
    made = [draw_days(count, seed, "train", shift=s) for s in shifts]
    parts = [d.take(list(range(i, count, len(shifts)))) for i, d in enumerate(made)]
    return together(parts)


def together(parts: list[DemandDays]) -> DemandDays:
    """One set of days after the other."""
    return DemandDays(
        *(
            np.concatenate([getattr(p, name) for p in parts])
            for name in ("demand_kw", "kappa", "kind", "event")
        )
    )


_FULL = DROMARLConfig()
_PLAIN = replace(_FULL, robust="none", imagined=0.0, uncertainty=False, inertia=False)
_LOOK = replace(_FULL, supply="enumerated", rho=0.2, carried=False, lr=1e-3)
PRESETS = {
    "DROMARL": _FULL,
    "no world model": replace(_FULL, imagined=0.0, uncertainty=False),
    "no robust critic": replace(_FULL, robust="none"),
    "no inertia": replace(_FULL, inertia=False),
    "no uncertainty": replace(_FULL, uncertainty=False),
    "GP-literal": replace(_FULL, robust="GP-literal"),
    "one-sided": replace(_FULL, robust="one-sided"),
    "Lipschitz": replace(_FULL, robust="Lipschitz"),
    "domain randomisation": replace(_FULL, robust="none", shifts=TEST_RANGE),
    "MADDPG": _PLAIN,
    "independent DDPG": replace(_PLAIN, centralised=False),
    "enumerated": _LOOK,
    "enumerated, no robust critic": replace(_LOOK, robust="none"),
    "enumerated, domain randomisation": replace(_LOOK, robust="none", shifts=TEST_RANGE),
}
