"""DeltaNet, trained with PPO: nothing of the physics is used but its samples.

The learner is `regulation_ppo`, on the factored policy: every factor of a decision has its own
ratio, in which the Jacobian of its interval cancels (`deltanet_policy`). Exploration stays inside
the intervals, so nothing is violated in training either.
"""

from dataclasses import dataclass, field

from griddispatch.agents.deltanet_policy import DeltaNet, FactoredPolicy, PolicyConfig
from griddispatch.agents.interval_map import IntervalMap
from griddispatch.agents.regulation_networks import WIDEST, whitening
from griddispatch.agents.regulation_ppo import PPOConfig, learn
from griddispatch.envs.regulation import Regulation
from griddispatch.errors import InputError
from griddispatch.learning.training import Progress, Training, check_seeds

NAME = "DeltaNet (PPO)"


@dataclass(frozen=True)
class FactoredPPOConfig(PPOConfig):
    """Settings of PPO on the factored policy; the defaults are the preset `tuned`."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Size of the policy."""
    nested: bool = True
    """Whether the intervals leave room for the set-points to sum to the target. It costs a little
    of what can be reached, but exploration inside such intervals disturbs the balance less."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise >= WIDEST:
            raise InputError(
                f"PPO: noise is {self.noise}; a share of an interval spreads by less than "
                f"{WIDEST:.3f} if it has a single peak"
            )


PRESETS = {"tuned": FactoredPPOConfig()}


def train(
    env: Regulation,
    config: FactoredPPOConfig,
    seeds: list[int],
    validation: Regulation | None = None,
    *,
    mapping: IntervalMap | None = None,
    records: int = 10,
    progress: Progress = lambda line: None,
) -> Training[DeltaNet]:
    """Train one agent per seed on the hours of `env`; parameters as of `deltanet.train_pathwise`.

    Raises
    ------
    InputError
        There is no seed, or the map is for another fleet.
    """
    check_seeds(seeds)
    mapping = mapping or IntervalMap.of(env, nested=config.nested)
    policy = FactoredPolicy(config.policy, mapping, whitening(env), seeds)
    return learn(env, config, seeds, policy, validation, records, progress)
