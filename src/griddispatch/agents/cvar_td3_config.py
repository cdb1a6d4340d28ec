"""Settings of CVaR-TD3 and their presets; `cvar_td3` says what the methods are."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from griddispatch.agents.microgrid_policy import PolicyConfig
from griddispatch.agents.microgrid_rules import Numbers
from griddispatch.envs.microgrid_reward import Index
from griddispatch.errors import InputError


@dataclass(frozen=True)
class CVaRTD3Config:
    """Settings of a training; the defaults are method A on the plant "rec".

    Raises
    ------
    InputError
        A value is out of range, or two do not go together.
    """

    objective: Literal["ru", "quantile", "published", "cost"] = "ru"
    """What the learner is paid; see the module."""
    index: Index = "fixed"
    """Of the published penalty."""
    weight: float = 0.3
    """w, the weight of the CVaR (lambda)."""
    alpha: float = 0.95
    """Its confidence."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Network, and the hours in which it may start the CHP."""
    critic: tuple[int, ...] = (64, 64)
    """Widths of the critics."""
    discrete: bool = False
    """Whether the critics value the two statuses separately."""
    potential: bool = True
    """Whether the potential b is used."""
    rounds: int = 300
    """Rounds of days."""
    environments: int = 64
    """Days side by side per agent."""
    greedy: int = 16
    """How many of them are played without exploration, for eta."""
    recent: int = 24
    """Rounds of greedy days of which eta is the quantile."""
    updates_per_step: int = 1
    """Critic updates per step of all days."""
    warmup: int = 4
    """Rounds before the first update."""
    batch: int = 256
    """Transitions per update and agent."""
    replay: int = 400_000
    """Transitions kept per agent."""
    lr: float = 1e-3
    """Learning rate of Adam at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 5e-5
    """Learning rate at the end."""
    gamma: float = 1.0
    """Discount per step. A day has an end and the time is in the state: none is needed."""
    tau: float = 0.01
    """Share of the online networks that the targets take over when they are updated."""
    noise: float = 0.3
    """Standard deviation of exploration at the start, for answers in [-1, 1]."""
    noise_end: float = 0.05
    """The same at the end; linear in between."""
    noise_hold: int = 4
    """Steps for which an exploration noise is held."""
    forced: float = 0.5
    """Share of exploring days whose hour of start, or none, is drawn; falls to a tenth of it."""
    target_noise: float = 0.1
    """Standard deviation of the noise on the target answer."""
    target_clip: float = 0.3
    """Largest noise on the target answer."""
    policy_delay: int = 2
    """Critic updates per update of the actor and the targets."""
    unit: float = 10.0
    """EUR in which the critics count."""
    huber: float | None = 1.0
    """Critic error, in units, from which on it counts linearly; None: squared."""
    gradient_clip: float | None = 10.0
    """Largest norm of an agent's gradient; None: no limit."""
    window: int = 256
    """Past steps of an agent whose costs are in the published penalty."""
    teacher: Numbers | None = None
    """Net-load rule that is imitated first; None: random weights."""
    clone_updates: int = 1500
    """Steps of that imitation."""
    frozen: int = 2000
    """Critic updates before the cloned actor is changed."""
    imitation: float = 0.0
    """Weight of staying near the rule's answers (Fujimoto and Gu, 2021), in units per square."""

    def __post_init__(self) -> None:
        counts = (self.rounds, self.environments, self.batch, self.policy_delay, self.warmup)
        if min(counts) < 1 or self.replay < self.environments:
            raise InputError(
                "TD3: rounds, environments, batch, policy_delay and warmup must be positive and "
                f"replay not below environments; they are {counts} and {self.replay}"
            )
        if not 0 <= self.weight <= 1 or not 0 < self.alpha < 1 or not 0 < self.gamma <= 1:
            raise InputError(
                "TD3: needs weight in [0, 1], alpha in (0, 1) and gamma in (0, 1]; they are "
                f"{self.weight}, {self.alpha}, {self.gamma}"
            )
        if self.objective not in ("ru", "quantile", "published", "cost"):
            raise InputError(f"TD3: no objective {self.objective!r}; ru, quantile, published, cost")
        needs_days = self.objective == "ru"
        if needs_days and not (self.policy.sees_cost and 0 < self.greedy <= self.environments):
            raise InputError(
                "TD3: objective 'ru' needs a policy that sees_cost, and greedy from 1 to "
                "environments"
            )
        if self.discrete and (self.objective == "quantile" or self.policy.start_hours is None):
            raise InputError("TD3: discrete needs start_hours and another objective than quantile")


_BLIND = PolicyConfig(sees_cost=False)
PRESETS = {
    "ru": CVaRTD3Config(),
    "ru discrete": CVaRTD3Config(discrete=True),
    "ru cloned": CVaRTD3Config(teacher=Numbers(20.0, 6.0, float("inf"), 10.0, 0.3), imitation=0.5),
    "quantile": CVaRTD3Config(objective="quantile", policy=_BLIND),
    "published": CVaRTD3Config(objective="published", index="inverted", policy=_BLIND),
    "index fixed": CVaRTD3Config(objective="published", policy=_BLIND),
    "td3": CVaRTD3Config(objective="cost", weight=0.0, policy=_BLIND),
}
PRINTED: dict[str, Any] = {
    "policy": PolicyConfig((256, 256), "relu", sees_cost=False, start_hours=None),
    "critic": (256, 256),
    "potential": False,
    "environments": 1,
    "greedy": 0,
    "forced": 0.0,
    "batch": 256,
    "replay": 1_000_000,
    "lr": 3e-4,
    "lr_end": 3e-4,
    "gamma": 0.99,
    "tau": 0.005,
    "noise": 0.2,
    "noise_end": 0.2,
    "noise_hold": 1,
    "target_noise": 0.2,
    "target_clip": 0.5,
    "unit": 1.0,
    "huber": None,
    "gradient_clip": None,
}
"""The published settings; learning rate and discount are not printed and are the usual ones."""
PRESETS["as_published"] = replace(PRESETS["published"], **PRINTED, rounds=2000, warmup=40)
