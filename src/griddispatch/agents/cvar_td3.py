"""TD3 on the microgrid with a CVaR in its objective: methods A, B, D, E and F; K seeds at once.

All are TD3 (Fujimoto et al., 2018; `td3` has its steps on days of a feeder). They differ in what
the learner is paid for a step of cost c that follows costs C of the same day:

- "ru" (A): the static CVaR of the day's cost by Rockafellar and Uryasev (2000),

      r = -(1 - w) c - w / (1 - alpha) [(C + c - eta)+ - (C - eta)+]

  which sums to -f of `microgrid_pathwise` over a day. The state holds z = (eta - C) / scale, there
  is no discount, and eta is the alpha-quantile of recent days without exploration. Replay keeps c
  and C; r is made anew from the present eta when it is drawn.
- "quantile" (B): r = -c, critics that hold quantiles of the remaining cost (Dabney et al., 2018),
  an actor that maximises (1 - w) mean + w mean of the worst quantiles. The risk of what remains,
  taken anew at each step: neither the static nor the dynamic (nested) CVaR of the day.
- "published" (D, E): `envs.microgrid_reward.PublishedReward`, index "inverted" or "fixed". The
  penalty is that of past costs, stored as a number: `cvar_td3_claims.penalty_gradient` is zero.
- "cost" (F): r = -c, plain TD3.

With `potential`, c is replaced by c + b(s') - b(s) and C by C + b(s), b the expected remaining cost
by status, step and stored energy; b = 0 at the end. This changes no policy's rank (Ng et al., 1999)
and lets a risk be seen before the cost passes eta. With `discrete`, the critics value "off" and
"on" separately and the better one is taken (Xiong et al., "Parametrized deep Q-networks", 2018).
"""

from collections import deque
from copy import deepcopy

import torch
from torch import Tensor

from griddispatch.agents.cvar_td3_config import PRESETS, PRINTED, CVaRTD3Config
from griddispatch.agents.microgrid_policy import (
    HOURS,
    MicrogridActor,
    StackedPolicy,
    answer_of,
    clone,
)
from griddispatch.agents.microgrid_rules import NetLoad, Numbers, TimeOfUse
from griddispatch.agents.microgrid_training import Recorder
from griddispatch.envs.microgrid import ACTIONS, Microgrid, State
from griddispatch.envs.microgrid_reward import PublishedReward
from griddispatch.learning.memory import Memory
from griddispatch.learning.networks import HeldNoise, StackedMLP, Streams, soft_update
from griddispatch.learning.steps import cosine, descend, regression_error, set_lr
from griddispatch.learning.training import Progress, Training, check_seeds

__all__ = ["PRESETS", "PRINTED", "TD3", "CVaRTD3Config", "train"]

QUANTILES = 20
_NUMBERS = 6  # of a transition: cost, cost so far, b before and after, what is paid, going


class Potential:
    """b(s): mean remaining cost in EUR by step and status, less the value of stored energy.

    From two rules on the days of an environment: CHP off, and CHP on from the start of the day.
    """

    def __init__(self, env: Microgrid) -> None:
        table = torch.zeros(env.steps + 1, 2)
        always = Numbers(-torch.inf, HOURS, torch.inf, 10.0, 0.1)
        rules: tuple[TimeOfUse | NetLoad, ...] = (TimeOfUse(), NetLoad(always))
        for status, rule in enumerate(rules):
            state = env.reset()
            while state.t < env.steps:
                state, reward, outcome = env.step(state, rule.act(env, state))
                spent = -reward - env.plant.chp.start_eur * outcome.started
                table[state.t - 1, status] = spent.mean()
        self.table = table.flip(0).cumsum(0).flip(0)
        battery = env.plant.battery
        self.value, self.steps = env.plant.end_value_eur, env.steps
        self.start = battery.soc_initial * battery.energy_kwh

    def __call__(self, state: State) -> Tensor:
        """[B] EUR."""
        if state.t == self.steps:
            return torch.zeros_like(state.energy_kwh)
        off, on = self.table[state.t]
        return torch.where(state.on, on, off) - self.value * (state.energy_kwh - self.start)


class TD3:
    """Networks of K agents, what they are paid, and one update."""

    def __init__(self, config: CVaRTD3Config, env: Microgrid, seeds: list[int]) -> None:
        c, n = config, env.n_observations
        self.config, self.agents, self.updates = config, len(seeds), 0
        outputs = QUANTILES if c.objective == "quantile" else 2 if c.discrete else 1
        given = n + c.policy.sees_cost + ACTIONS - c.discrete
        critics, sizes = Streams(seeds, "critic"), (given, *c.critic, outputs)
        made = [StackedMLP(sizes, critics, c.policy.activation) for _ in range(2)]
        self.critics = torch.nn.ModuleList(made)
        judge = made[0] if c.discrete else None
        self.policy = StackedPolicy(c.policy, n, Streams(seeds, "weights"), judge)
        self.policy.standardise(env)
        if c.teacher is not None:
            clone(self.policy, env, c.teacher, seeds, c.clone_updates)
        self.target_policy, self.target_critics = deepcopy(self.policy), deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.policy.actor.parameters(), lr=c.lr, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=c.lr, fused=True)
        self.optimisers = [self.actor_optimiser, self.critic_optimiser]
        self.memory = Memory(len(seeds), c.replay, widths(env, c), torch.zeros(1))
        self.pick, self.noise = Streams(seeds, "replay"), Streams(seeds, "noise")
        self.held, self.dice = HeldNoise(self.noise, c.noise_hold), Streams(seeds, "dice")
        self.forced, self.recent = torch.empty(0), deque[Tensor](maxlen=c.recent)

    def explore(self, seen: Tensor, t: int, per_hour: int, part: float, blind: bool) -> Tensor:
        """[K, E, 3] answers with noise, or drawn blindly; the first `greedy` of each without."""
        c = self.config
        answer: Tensor = self.policy(seen)
        sigma = c.noise + (c.noise_end - c.noise) * part
        noisy = (answer + sigma * self.held.at(t, *answer.shape[1:])).clamp(-1, 1)
        if blind:
            noisy = 2 * self.noise.uniform(*answer.shape[1:]) - 1
        if t == 0:
            width = answer.shape[1]
            hour = self.dice.integers(HOURS + 1, width)
            drawn = self.dice.uniform(width) < c.forced * (1 - 0.9 * part)
            self.forced = torch.where(drawn, hour * per_hour, -1)
        wanted = torch.where(self.forced <= t, 1.0, -1.0)
        noisy[..., 2] = torch.where(self.forced >= 0, wanted, noisy[..., 2])
        noisy[:, : c.greedy] = answer[:, : c.greedy]
        return noisy

    def move_eta(self, cost: Tensor) -> None:
        """Let eta be the quantile of the last rounds, whose last one cost [K, days] EUR."""
        if cost.shape[1]:
            self.recent.append(cost)
            costs = torch.cat(list(self.recent), 1)
            self.policy.eta.copy_(costs.quantile(self.config.alpha, 1))

    def reward(self, numbers: Tensor) -> Tensor:
        """[K, B, 1] what is paid, in units, for the numbers [K, B, 6] of transitions."""
        c = self.config
        cost, so_far, before, after, paid, _ = numbers.unbind(2)
        shaped = cost + after - before
        if c.objective == "published":
            reward = paid + before - after
        elif c.objective == "ru":
            eta = self.policy.eta[:, None]
            over = (so_far + cost + after - eta).clamp(min=0)
            rise = over - (so_far + before - eta).clamp(min=0)
            reward = -(1 - c.weight) * shaped - c.weight / (1 - c.alpha) * rise
        else:
            reward = -shaped
        return reward[..., None] / c.unit

    def values(self, critics: torch.nn.ModuleList, seen: Tensor, answer: Tensor) -> list[Tensor]:
        """[K, B, outputs] of each critic; of the status in the answer if they value both."""
        if not self.config.discrete:
            direct: list[Tensor] = [q(torch.cat([seen, answer], 2)) for q in critics]
            return direct
        status = (answer[..., 2:] > 0).long()
        both = [q(torch.cat([seen, answer[..., :2]], 2)) for q in critics]
        return [x.gather(2, status) for x in both]

    def update(self) -> None:
        """One update of the critics; of actor and targets every second time."""
        c, policy = self.config, self.policy
        shown, answer, numbers, next_shown, *taught = self.memory.sample(c.batch, self.pick)
        cost, so_far, going = numbers[..., 0], numbers[..., 1], numbers[..., 5:]
        seen = policy.with_cost(shown, so_far)
        with torch.no_grad():
            after = policy.with_cost(next_shown, so_far + cost)
            eps = c.target_noise * self.noise.normal(*answer.shape[1:])
            next_answer = self.target_policy(after) + eps.clamp(-c.target_clip, c.target_clip)
            future = torch.minimum(
                *self.values(self.target_critics, after, next_answer.clamp(-1, 1))
            )
            y = self.reward(numbers) + c.gamma * going * future
        found = torch.stack(self.values(self.critics, seen, answer))
        if c.objective == "quantile":
            error = quantile_error(found, y)
        else:
            error = regression_error(found, y.expand_as(found), c.huber)
        descend(error, self.critic_optimiser, c.gradient_clip)
        self.updates += 1
        if self.updates % c.policy_delay:
            return
        if c.teacher is None or self.updates >= c.frozen:
            mine = policy.actor(seen).tanh()
            loss = -self.worth(seen, mine)
            if taught:
                loss = loss + c.imitation * (mine - taught[0]).square().mean(2, keepdim=True)
            descend(loss, self.actor_optimiser, c.gradient_clip)
        soft_update(self.target_policy, self.policy, c.tau)
        soft_update(self.target_critics, self.critics, c.tau)

    def worth(self, seen: Tensor, answer: Tensor) -> Tensor:
        """[K, B, 1] what the actor maximises."""
        c = self.config
        given = answer[..., :2] if c.discrete else answer
        value: Tensor = self.critics[0](torch.cat([seen, given], 2))
        if c.objective != "quantile":
            return value.sum(2, keepdim=True)
        worst = max(1, round((1 - c.alpha) * QUANTILES))
        tail = value.sort(2).values[..., :worst].mean(2, keepdim=True)
        return (1 - c.weight) * value.mean(2, keepdim=True) + c.weight * tail


def widths(env: Microgrid, config: CVaRTD3Config) -> tuple[int, ...]:
    """Numbers of a stored transition: seen, answer, costs, seen afterwards, the rule's answer."""
    n = env.n_observations
    return (n, ACTIONS, _NUMBERS, n) + ((ACTIONS,) if config.teacher is not None else ())


def bytes_each(env: Microgrid, config: CVaRTD3Config) -> int:
    """Memory of a stored transition."""
    return 4 * sum(widths(env, config))


def quantile_error(found: Tensor, y: Tensor) -> Tensor:
    """[..., B, 1] Huber quantile loss of quantiles [..., B, N] against samples [B, N] of a return.

    Dabney et al., "Distributional reinforcement learning with quantile regression", 2018, eq. 10.
    """
    n = found.shape[-1]
    level = (torch.arange(n, device=found.device) + 0.5) / n
    gap = y[..., None, :] - found[..., :, None]
    huber = torch.where(gap.abs() < 1, 0.5 * gap.square(), gap.abs() - 0.5)
    return ((level[:, None] - (gap.detach() < 0).float()).abs() * huber).mean((-2, -1))[..., None]


def train(
    env: Microgrid,
    config: CVaRTD3Config,
    seeds: list[int],
    validation: Microgrid | None = None,
    *,
    records: int = 10,
    progress: Progress = lambda line: None,
) -> Training[MicrogridActor]:
    """Train one agent per seed; parameters as of `microgrid_pathwise.train`.

    Raises
    ------
    InputError
        The seeds are none, negative or twice the same.
    """
    check_seeds(seeds)
    c, K, learner = config, len(seeds), TD3(config, env, seeds)
    policy, days, E = learner.policy, Streams(seeds, "days"), c.environments
    recorder = Recorder(policy, seeds, validation or env, c.weight, c.alpha, progress)
    bill = PublishedReward(c.weight, c.alpha, c.index)
    potential = Potential(env) if c.potential else None
    teacher = None if c.teacher is None else NetLoad(c.teacher)
    past = torch.zeros(K, 0)
    every, per_hour = max(1, c.rounds // records), max(1, env.steps // HOURS)
    recorder.record(0, 0)
    for done in range(1, c.rounds + 1):
        part = max(0.0, (done - c.warmup) / max(1, c.rounds - c.warmup))
        blind = done <= c.warmup and teacher is None
        set_lr(learner.optimisers, cosine(c.lr, c.lr_end, part))
        state = env.reset(days.integers(len(env.days), E).flatten())
        so_far = torch.zeros_like(state.energy_kwh)
        while state.t < env.steps:
            with torch.no_grad():
                seen = policy.seen(env, state, so_far)
                answer = learner.explore(seen, state.t, per_hour, part, blind)
                after, reward, outcome = env.step(state, policy.setpoint(env, state, answer))
                window = past.repeat_interleave(E, 0)
                numbers = [-reward, so_far, *(torch.zeros_like(so_far) for _ in range(4))]
                if potential is not None:
                    numbers[2], numbers[3] = potential(state), potential(after)
                if c.objective == "published":
                    numbers[4] = bill(outcome, window)
                    past = torch.cat([past, -reward.view(K, E)], 1)[:, -c.window :]
                numbers[5] = torch.full_like(so_far, after.t < env.steps)
                parts = [env.observe(state), answer.flatten(0, 1), torch.stack(numbers, 1)]
                parts.append(
                    env.observe(after if after.t < env.steps else state)
                )  # unused at the end
                if teacher is not None:
                    parts.append(answer_of(env, state, teacher.act(env, state)))
                learner.memory.add(*(x.view(K, E, -1) for x in parts))
                state, so_far = after, so_far - reward
            if done > c.warmup:
                for _ in range(c.updates_per_step):
                    learner.update()
        learner.move_eta(so_far.view(K, E)[:, : c.greedy])
        if done % every == 0 or done == c.rounds:
            recorder.record(learner.updates, done * E)
    return recorder.training(learner.updates, K * c.replay * bytes_each(env, c))
