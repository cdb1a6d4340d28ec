"""PPO for frequency regulation, for any policy that knows the likelihood of what it does.

Schulman et al., "Proximal policy optimization algorithms" (2017), in the order of its algorithm 1,
with generalised advantages; the house's own `ppo` learns on days of a feeder and lends its
formulas.

1. Play a window of S decisions in E hours, with exploration. A decision has M factors: of the
   factored policy they are DeltaNet's, of a monolithic one the resources. Inside a decision nothing
   is discounted: the reward comes after the last factor.
2. advantages,                A_t = sum_l (gamma lambda)^l delta_(t+l),
   with                       delta_t = r_t + gamma V(s_(t+1)) - V(s_t), one critic V;
3. take from each advantage the mean over the hour's siblings at that decision, and normalise;
4. policy, some epochs,       maximise sum_i min(ratio_i A, clip(ratio_i, 1 - c, 1 + c) A),
   with                       ratio_i = pi_i(y_i | s, a_<i) / pi_i,old(y_i | s, a_<i);
5. critic, the same batches,  minimise the error of V(s_t) against A_t + V_old(s_t).

At ratio 1 the sum over factors in step 4 has the gradient of the ratio of the whole action; each
factor has its own clip and, by default, its own reward and output of the critic: what the other
choices cost directly (mileage, penalty) is left out. That is an approximation where an early choice
moves a later one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from griddispatch.agents.ppo import advantages, clipped_objective, less_siblings
from griddispatch.agents.regulation_networks import Choice, D, Draws, Policy
from griddispatch.agents.regulation_training import (
    Recorder,
    carry_out,
    fined,
    next_hours,
    signal_ahead,
)
from griddispatch.envs.regulation import Outcome, Regulation, State
from griddispatch.errors import InputError
from griddispatch.learning.networks import StackedMLP, Streams, clip_per_agent
from griddispatch.learning.steps import cosine, set_lr
from griddispatch.learning.training import Progress, Training


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO.

    Raises
    ------
    InputError
        A value is out of range.
    """

    critic: tuple[int, ...] = (64, 64)
    """Widths of the critic."""
    rounds: int = 300
    """Windows that are played, each followed by updates."""
    hours: int = 256
    """Hours side by side per agent."""
    siblings: int = 4
    """Copies of an hour side by side, which differ by their exploration only. Their mean advantage
    at a decision says how hard the signal is, not how good the action, and is taken away. 1: no."""
    window: int = 30
    """Decisions of a window."""
    epochs: int = 4
    """Passes over a window."""
    batch: int = 1_280
    """Decisions per update and agent."""
    lr: float = 3e-3
    """Learning rate of Adam at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 1e-4
    """Learning rate at the end."""
    gamma: float = 0.95
    """Discount per decision, below 1. What a set-point does shows within half a minute."""
    gae_lambda: float = 0.95
    """How far an advantage looks ahead before it trusts the critic."""
    clip: float = 0.2
    """Change of a factor's probability from which on there is nothing more to gain."""
    noise: float = 0.25
    """Standard deviation of a choice at the start, as a share of its interval (see
    `regulation_networks.beta_shape`); of a raw action in [-1, 1] for a monolithic policy."""
    noise_end: float = 0.05
    """The same at the end; linear in between."""
    penalty: float = 0.0
    """Paid per set-point outside its interval, in units of the tracking error that many MW cause.
    The factored policy has none to pay."""
    per_factor: bool = True
    """Whether each factor has its own advantage, without the mileage cost and the penalty of the
    other choices, which are noise to it. What tracking and the last resource cost is shared."""
    privileged_critic: bool = True
    """Whether the critic also sees the next minute of the signal. The policy never does: the critic
    exists only in training (Pinto et al., "Asymmetric actor critic", 2018)."""
    reward_unit: float = 0.02
    """Typical reward; the critic counts in it."""
    gradient_clip: float | None = 0.5
    """Largest norm of an agent's gradient; None: no limit."""
    keep_best: bool = True
    """Whether the policy that did best on validation hours is returned instead of the last one."""

    def __post_init__(self) -> None:
        counts = (self.rounds, self.hours, self.siblings, self.window, self.epochs, self.batch)
        if min(counts) < 1 or self.hours % self.siblings:
            raise InputError(
                "PPO: rounds, hours, siblings, window, epochs and batch must be positive, hours a "
                f"multiple of siblings; they are {', '.join(map(str, counts))}"
            )
        if not 0 <= self.gamma < 1 or not 0 < self.noise_end <= self.noise or self.penalty < 0:
            raise InputError(
                "PPO: needs 0 <= gamma < 1, 0 < noise_end <= noise and penalty >= 0; they are "
                f"{self.gamma}, {self.noise_end}, {self.noise}, {self.penalty}"
            )


def rewards(
    env: Regulation, config: PPOConfig, policy: Policy[D], reward: Tensor, outcome: Outcome
) -> Tensor:
    """[K * B, M] what each factor is paid (M = 1 without `per_factor`), penalty included."""
    paid = fined(env, reward, outcome, config.penalty)[:, None]
    if not config.per_factor:
        return paid
    direct = env.mileage_weight * outcome.mileage * env.constants.cost
    direct = direct + config.penalty / env.capacity_mw * outcome.excess
    own = torch.stack(
        [torch.zeros_like(reward) if r is None else direct[:, r] for r in policy.answers], 1
    )
    return paid + own.sum(1, keepdim=True) - own


def learn(
    env: Regulation,
    config: PPOConfig,
    seeds: list[int],
    policy: Policy[D],
    validation: Regulation | None,
    records: int,
    progress: Progress,
) -> Training[D]:
    """PPO on any policy, which is changed; other parameters as of the learners' own `train`."""
    c, K = config, len(seeds)
    start, order, draws = Streams(seeds, "start"), Streams(seeds, "order"), Draws(seeds)
    first = env.reset(torch.zeros(K, dtype=torch.int64))

    def all_seen(seen: Tensor, state: State) -> Tensor:
        """[K, E, n] what the critic sees."""
        return torch.cat([seen, signal_ahead(env, state, K)], 2) if c.privileged_critic else seen

    n_critic = all_seen(policy.see(env, first), first).shape[2]
    factors = len(policy.answers) if c.per_factor else 1
    critic = StackedMLP((n_critic, *c.critic, factors), Streams(seeds, "critic"), "silu")
    critic = critic.to(env.dtype)
    actor_parameters, critic_parameters = list(policy.parameters()), list(critic.parameters())
    actor_optimiser = torch.optim.Adam(actor_parameters, lr=c.lr, foreach=True)
    critic_optimiser = torch.optim.Adam(critic_parameters, lr=c.lr, foreach=True)
    unit = c.reward_unit / (1 - c.gamma)
    every = max(1, c.rounds // records)
    recorder = Recorder(env, validation, policy, seeds, every, c.keep_best, progress)
    agent = torch.arange(K)[:, None]
    state, updates = None, 0
    for done in range(c.rounds):
        part = done / c.rounds
        set_lr([actor_optimiser, critic_optimiser], cosine(c.lr, c.lr_end, part))
        noise = c.noise + (c.noise_end - c.noise) * part
        # 1. play a window
        state = next_hours(env, state, start, c.hours, c.siblings)
        choices, seen, paid = [], [], []
        end = min(state.t + c.window, env.steps)
        with torch.no_grad():
            while state.t < end:
                choice = policy.decide(env, state, noise, draws)
                choices.append(choice)
                seen.append(all_seen(choice.seen, state))
                state, reward, outcome = carry_out(env, state, choice.setpoint, choice.limits)
                paid.append(rewards(env, c, policy, reward, outcome).view(K, -1, factors) / unit)
                recorder.add(reward, outcome)
            # 2. advantages; behind the window stands what the critic expects there
            inputs = torch.stack(seen, 1).flatten(1, 2)
            value = critic(inputs).unflatten(1, (len(paid), -1))
            # The hour ends, regulation does not: its last state stands for the one behind it.
            last = value[:, -1]
            if state.t < env.steps:
                last = critic(all_seen(policy.see(env, state), state))
            paid[-1] = paid[-1] + c.gamma * last
            advantage = advantages(torch.stack(paid, 1), value, c.gamma, c.gae_lambda)
            target = (value + advantage).flatten(1, 2)
            # 3. less the siblings' mean; every agent by its own spread
            advantage = less_siblings(advantage, c.siblings).flatten(1, 2)
            advantage = advantage - advantage.mean((1, 2), keepdim=True)
            advantage = advantage / advantage.std((1, 2), keepdim=True).clamp(min=1e-8)
            chosen = joined(choices)
            old = policy.log_probability(chosen, noise)
        samples = target.shape[1]
        for _ in range(c.epochs):
            shuffled = order.uniform(samples).argsort(1)
            for at in shuffled.chunk(max(1, samples // c.batch), 1):
                # 4. policy; the sum over agents keeps each agent's gradient its own
                log_ratio = policy.log_probability(taken(chosen, agent, at), noise) - old[agent, at]
                gain = clipped_objective(log_ratio, advantage[agent, at], c.clip)
                actor_optimiser.zero_grad()
                (-gain.sum(2).mean(1).sum()).backward()
                clip_per_agent(actor_parameters, c.gradient_clip)
                actor_optimiser.step()
                # 5. critic
                error = smooth_l1_loss(
                    critic(inputs[agent, at]), target[agent, at], reduction="none"
                )
                critic_optimiser.zero_grad()
                error.mean((1, 2)).sum().backward()
                clip_per_agent(critic_parameters, c.gradient_clip)
                critic_optimiser.step()
                updates += 1
        recorder.end_update(done + 1, done + 1 == c.rounds)
    return recorder.training(updates)


def joined(choices: list[Choice]) -> Choice:
    """Choices of S decisions [K, E, .] as one of S * E; set-points and limits are left behind."""
    seen, told, y = (
        torch.stack([getattr(choice, name) for choice in choices], 1).flatten(1, 2)
        for name in ("seen", "told", "y")
    )
    return choices[-1]._replace(seen=seen, told=told, y=y)


def taken(chosen: Choice, agent: Tensor, at: Tensor) -> Choice:
    """Some of the decisions, at [K, b] of each agent."""
    return chosen._replace(
        seen=chosen.seen[agent, at], told=chosen.told[agent, at], y=chosen.y[agent, at]
    )
