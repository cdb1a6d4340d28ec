"""DeltaNet, trained with the pathwise gradient: backpropagation through the physics of the hour.

The signal does not depend on what the dispatcher does, and responses, storages and the interval map
are known, almost everywhere differentiable functions. So the reward of a stretch of play, given its
hours, is a differentiable function of the policy's weights (Mohamed et al., "Monte Carlo gradient
estimation in machine learning", 2020). Backpropagation is truncated to windows, as in Xu et al.,
"Accelerated policy learning with parallel differentiable simulation" (2022), whose critic at a
window's end is not needed here: dead times and lags are far shorter than a window.

1. Go on where the last window ended, or draw new hours; forget the graph.
2. Play a window of T decisions with the policy at its modes, a_t = pi(s_t).
3. Ascend the gradient of (1 / T) sum_t r_t, clipped, by Adam: minus this mean is the objective J
   itself. Windows may grow during a training, since what is learnt last, the use of energy, pays
   later.

The other learner of the same policy is PPO (`deltanet_ppo`).
"""

from dataclasses import dataclass, field

import torch

from griddispatch.agents.deltanet_policy import DeltaNet, FactoredPolicy, PolicyConfig
from griddispatch.agents.interval_map import IntervalMap
from griddispatch.agents.regulation_networks import whitening
from griddispatch.agents.regulation_training import Recorder, carry_out, detached, next_hours
from griddispatch.envs.regulation import Regulation
from griddispatch.errors import InputError
from griddispatch.learning.networks import Streams, clip_per_agent
from griddispatch.learning.steps import cosine, set_lr
from griddispatch.learning.training import Progress, Training, check_seeds

NAME = "DeltaNet (pathwise)"


@dataclass(frozen=True)
class PathwiseConfig:
    """Settings of the pathwise training; the defaults are the preset `tuned`.

    Raises
    ------
    InputError
        A number is out of range.
    """

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Size of the policy."""
    nested: bool = False
    """Whether the intervals leave room for the set-points to sum to the target (`interval_map`).
    Tracking of delivered power does not need that, and without it there is more to choose from."""
    updates: int = 240
    """Gradient steps."""
    hours: int = 64
    """Hours side by side per agent."""
    window: int = 60
    """Decisions of a window at the start of the training."""
    window_end: int = 60
    """The same at the end; linear in between."""
    lr: float = 6e-3
    """Learning rate of Adam at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 1e-4
    """Learning rate at the end."""
    gradient_clip: float | None = 0.1
    """Largest norm of an agent's gradient; None: no limit. The first gradients are ten times as
    large as those later on."""
    keep_best: bool = True
    """Whether the policy that did best on validation hours is returned instead of the last one."""

    def __post_init__(self) -> None:
        counts = (self.updates, self.hours, self.window, self.window_end)
        if min(counts) < 1 or not 0 < self.lr_end <= self.lr:
            raise InputError(
                "pathwise: updates, hours, window and window_end must be positive, and 0 < lr_end "
                f"<= lr; they are {', '.join(map(str, counts))}, {self.lr_end}, {self.lr}"
            )


PRESETS = {"tuned": PathwiseConfig()}


def train_pathwise(
    env: Regulation,
    config: PathwiseConfig,
    seeds: list[int],
    validation: Regulation | None = None,
    *,
    mapping: IntervalMap | None = None,
    records: int = 10,
    progress: Progress = lambda line: None,
) -> Training[DeltaNet]:
    """Train one agent per seed on the hours of `env`.

    Parameters
    ----------
    env
        Training hours; its observation is what the policy sees.
    config
        Settings, see `PRESETS`.
    seeds
        One agent each. An agent's random numbers depend on its seed only.
    validation
        Hours on which the policies are tried at each record; they choose the returned policy if
        `config.keep_best`.
    mapping
        Balance and order of the factors; by default delivered power in the order of the fleet,
        nested as the config says. `IntervalMap.of(env, "setpoints")` balances set-points instead.
    records
        Points on the training curve.
    progress
        Called with one line at each record.

    Raises
    ------
    InputError
        There is no seed, or the map is for another fleet.
    """
    check_seeds(seeds)
    c, mapping = config, mapping or IntervalMap.of(env, nested=config.nested)
    policy = FactoredPolicy(c.policy, mapping, whitening(env), seeds)
    parameters = list(policy.parameters())
    optimiser = torch.optim.Adam(parameters, lr=c.lr, foreach=True)
    start = Streams(seeds, "start")
    every = max(1, c.updates // records)
    recorder = Recorder(env, validation, policy, seeds, every, c.keep_best, progress)
    state = None
    for update in range(c.updates):
        part = update / c.updates
        set_lr([optimiser], cosine(c.lr, c.lr_end, part))
        # 1. go on, or draw new hours
        state = detached(next_hours(env, state, start, c.hours))
        # 2. play a window
        window = round(c.window + (c.window_end - c.window) * part)
        total = torch.zeros_like(state.energy[:, 0])
        end = min(state.t + window, env.steps)
        length = end - state.t
        while state.t < end:
            choice = policy.decide(env, state)
            state, reward, outcome = carry_out(env, state, choice.setpoint, choice.limits)
            total = total + reward
            recorder.add(reward, outcome)
        # 3. ascend; the sum over agents keeps each agent's gradient its own
        optimiser.zero_grad()
        (-total.sum() / (c.hours * length)).backward()
        clip_per_agent(parameters, c.gradient_clip)
        optimiser.step()
        recorder.end_update(update + 1, update + 1 == c.updates)
    return recorder.training(c.updates)
