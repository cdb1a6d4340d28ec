"""Two extensions that the source names, as small ablations on the microgrid.

Constraint-aware actor. A policy asks for powers in kW without being told the limits. The plant's
map cuts them back, so no limit is ever violated; how much was cut, as a share of the rating, is the
constraint g. Lagrangian: minimise E[C] + m (E[g] - budget) over the policy and maximise it over the
multiplier m >= 0 (dual ascent), by gradients through the simulator. The CHP starts at midnight.

Coupled microgrids. N microgrids behind one connection: what one exports covers what another
imports, and imports together stay below a common limit, beyond which load is lost. Each has its own
weather and actor; price and connection are the same. TD3 with one critic that sees the states and
answers of all and is paid the team's bill (Lowe et al., "Multi-agent actor-critic for mixed
cooperative-competitive environments", 2017), or with a critic each, that sees its own and is paid
its own bill. A microgrid is an agent of the stacked networks.
"""

from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from griddispatch.agents.microgrid_policy import PolicyConfig, StackedPolicy
from griddispatch.assets.microgrid import Plant
from griddispatch.data.microgrid import QUANTITIES, MicrogridDays
from griddispatch.envs.microgrid import ACTIONS, Microgrid, Outcome
from griddispatch.errors import InputError
from griddispatch.learning.memory import Memory
from griddispatch.learning.networks import HeldNoise, StackedMLP, Streams, soft_update
from griddispatch.learning.steps import descend, set_lr
from griddispatch.learning.training import check_seeds

# -- constraint-aware actor ---------------------------------------------------------------


@dataclass(frozen=True)
class LagrangianConfig:
    """Settings of the constraint-aware actor.

    Raises
    ------
    InputError
        A value is out of range.
    """

    learned: bool = True
    """Whether the multiplier is learned; otherwise it is 0."""
    budget: float = 0.01
    """Largest expected share of the rating that is cut off, per step."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the actor."""
    updates: int = 150
    """Steps of Adam."""
    days: int = 32
    """Days per update and agent."""
    lr: float = 1e-2
    """Learning rate; a tenth of it in the last third."""
    rate: float = 100.0
    """EUR per day by which the multiplier rises per update and unit of g above the budget."""

    def __post_init__(self) -> None:
        if min(self.updates, self.days) < 1 or not 0 <= self.budget < 1 or not self.rate > 0:
            raise InputError(
                "Lagrangian: needs updates and days of 1 or more, 0 <= budget < 1 and rate > 0; "
                f"they are {self.updates}, {self.days}, {self.budget}, {self.rate}"
            )


def play_unaware(env: Microgrid, actor: StackedMLP, day: Tensor) -> tuple[Tensor, Tensor]:
    """[K] mean cost of days [K * B] in EUR, and g: what was cut off, as a share of the rating."""
    agents = len(actor.weights[0])
    state, plant = env.reset(day), env.plant
    cost = torch.zeros_like(state.energy_kwh)
    cut = torch.zeros_like(cost)
    while state.t < env.steps:
        seen = env.observe(state)
        battery, chp = actor(seen.view(agents, -1, seen.shape[1])).flatten(0, 1).unbind(1)
        wanted = torch.stack([battery * plant.battery.power_kw, (1 + chp) / 2 * plant.chp.power_kw])
        setpoint = torch.cat([wanted, torch.ones_like(wanted[:1])]).T
        state, reward, outcome = env.step(state, setpoint)
        # The outcome's own excess has no gradient.
        off = (setpoint - outcome.setpoint).abs()
        share = off[:, 0] / plant.battery.power_kw + off[:, 1] / plant.chp.power_kw
        cost, cut = cost - reward, cut + share / (2 * env.steps)
    return cost.view(agents, -1).mean(1), cut.view(agents, -1).mean(1)


def train_lagrangian(
    env: Microgrid, config: LagrangianConfig, seeds: list[int], validation: Microgrid
) -> pd.DataFrame:
    """Train one constraint-aware actor per seed.

    Returns
    -------
    DataFrame
        seed, multiplier in EUR/day per unit of g; and on the validation days cost in EUR/day and
        cut, the mean share of the rating that was cut off.
    """
    check_seeds(seeds)
    c, K = config, len(seeds)
    sizes = (env.n_observations, *c.hidden, 2)
    actor = StackedMLP(sizes, Streams(seeds, "weights"), "silu", torch.tanh)
    optimiser = torch.optim.Adam(actor.parameters(), lr=c.lr)
    pick, multiplier = Streams(seeds, "days"), torch.zeros(K)
    for done in range(c.updates):
        set_lr([optimiser], c.lr if 3 * done < 2 * c.updates else c.lr / 10)
        day = pick.integers(len(env.days), c.days).flatten()
        cost, cut = play_unaware(env, actor, day)
        descend((cost + multiplier * cut)[:, None, None], optimiser, 30.0)
        if c.learned:
            multiplier = (multiplier + c.rate * (cut.detach() - c.budget)).clamp(min=0)
    every = torch.arange(len(validation.days)).repeat(K)
    with torch.no_grad():
        cost, cut = play_unaware(validation, actor, every)
    columns = {"multiplier": multiplier, "cost": cost, "cut": cut}
    return pd.DataFrame({"seed": seeds, **{name: x.numpy() for name, x in columns.items()}})


# -- coupled microgrids -------------------------------------------------------------------


def neighbours(days: MicrogridDays, count: int) -> MicrogridDays:
    """Days of `count` microgrids, one block of all days after the other.

    Day d of the i-th has the weather and loads of another day of the set, and the price and the
    limit of imports of day d.

    Raises
    ------
    InputError
        There are fewer days than microgrids.
    """
    if not 1 <= count <= len(days):
        raise InputError(f"{count} microgrids need at least as many days; there are {len(days)}")
    shift = len(days) // count
    order = np.concatenate([np.roll(np.arange(len(days)), -i * shift) for i in range(count)])
    own = {name: getattr(days, name)[order] for name in QUANTITIES}
    shared = {name: np.tile(getattr(days, name), (count, 1)) for name in ("price", "import_kw")}
    return MicrogridDays(**{**own, **shared})


class Coupling:
    """The bill of N microgrids behind one connection, from what each does on its own.

    Parameters
    ----------
    plant, days
        Of each microgrid, and of one; `neighbours` makes those of the others.
    count
        N.
    common_kw
        Limit of their imports together.
    """

    def __init__(self, plant: Plant, days: MicrogridDays, count: int, common_kw: float) -> None:
        if not common_kw >= 0:
            raise InputError(f"common_kw is {common_kw}; give 0 or more")
        self.count, self.common_kw, self.days = count, common_kw, len(days)
        self.env = Microgrid(plant, neighbours(days, count))

    def rows(self, day: Tensor) -> Tensor:
        """[N * B] rows of the environment for days [B]: all microgrids on the same days."""
        return (day + self.days * torch.arange(self.count)[:, None]).flatten()

    def team_cost(self, outcome: Outcome) -> Tensor:
        """[B] EUR of a step: the bills of all, less what exchange saves, plus what is lost.

        A kWh that one exports and another imports needs no grid: it saves price - export tariff.
        """
        plant = self.env.plant
        drawn, given, cost = (
            x.view(self.count, -1).sum(0)
            for x in (outcome.import_kw, outcome.export_kw, outcome.cost)
        )
        price = self.env.now(outcome.state)[:, 4].view(self.count, -1)[0]
        exchanged = torch.minimum(drawn, given)
        over = (drawn - exchanged - self.common_kw).clamp(min=0)
        per_hour = (plant.lost_load_eur - price) * over - (price - plant.export_eur) * exchanged
        return cost + per_hour * plant.billed_hours


@dataclass(frozen=True)
class CoupledConfig:
    """Settings of TD3 on coupled microgrids.

    Raises
    ------
    InputError
        A value is out of range.
    """

    shared: bool = True
    """One critic that sees all and is paid the team's bill, or one each for its own."""
    policy: PolicyConfig = field(default_factory=lambda: PolicyConfig(sees_cost=False))
    """Each microgrid's."""
    critic: tuple[int, ...] = (96, 96)
    """Widths of the critics."""
    rounds: int = 100
    """Rounds of days, with an update per step."""
    environments: int = 32
    """Days side by side."""
    warmup: int = 3
    """Rounds before the first update."""
    batch: int = 256
    """Transitions per update."""
    replay: int = 100_000
    """Transitions kept."""
    lr: float = 1e-3
    """Learning rate."""
    tau: float = 0.01
    """Share of the online networks that the targets take over."""
    noise: float = 0.2
    """Standard deviation of exploration; half of it on the target's answer."""
    unit: float = 10.0
    """EUR in which the critics count."""

    def __post_init__(self) -> None:
        if min(self.rounds, self.environments, self.batch, self.warmup) < 1:
            raise InputError("coupled: rounds, environments, batch and warmup must be 1 or more")


class CoupledTD3:
    """Actors of N microgrids, and their critics: one for all, or one each."""

    def __init__(self, config: CoupledConfig, coupling: Coupling, seed: int) -> None:
        c, env, N = config, coupling.env, coupling.count
        self.config, self.coupling, self.updates = config, coupling, 0
        each = [N * seed + i for i in range(N)]
        critics = Streams([seed] if c.shared else each, "critic")
        given = (env.n_observations + ACTIONS) * (N if c.shared else 1)
        self.policy = StackedPolicy(c.policy, env.n_observations, Streams(each, "weights"))
        self.policy.standardise(env)
        self.critics = torch.nn.ModuleList(
            StackedMLP((given, *c.critic, 1), critics, "silu") for _ in range(2)
        )
        self.target_policy, self.target_critics = deepcopy(self.policy), deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.policy.actor.parameters(), lr=c.lr)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=c.lr)
        widths = (env.n_observations, ACTIONS, 2, env.n_observations)
        # All microgrids of a transition stand in one row: they are drawn together.
        self.memory = Memory(1, c.replay, tuple(N * w for w in widths), torch.zeros(1))
        self.pick, self.noise = Streams([seed], "replay"), Streams(each, "noise")
        self.held = HeldNoise(self.noise, 4)

    def together(self, x: Tensor) -> Tensor:
        """[1, B, N * n] of [N, B, n], for the memory and a shared critic."""
        return x.transpose(0, 1).flatten(1)[None]

    def apart(self, x: Tensor) -> Tensor:
        """[N, B, n] of [1, B, N * n]."""
        return x[0].view(x.shape[1], self.coupling.count, -1).transpose(0, 1)

    def value(self, critic: torch.nn.Module, seen: Tensor, answer: Tensor) -> Tensor:
        """[1 or N, B, 1] for what is seen and answered, [N, B, .]."""
        both = torch.cat([seen, answer], 2)
        found: Tensor = critic(self.together(both) if self.config.shared else both)
        return found

    def update(self) -> None:
        """One update of the critics; of actors and targets every second time."""
        c = self.config
        drawn = self.memory.sample(c.batch, self.pick)
        seen, answer, numbers, after = (self.apart(x) for x in drawn)
        numbers = numbers[:1] if c.shared else numbers
        paid, going = numbers[..., :1], numbers[..., 1:]
        with torch.no_grad():
            eps = (c.noise / 2 * self.noise.normal(*answer.shape[1:])).clamp(-0.3, 0.3)
            next_answer = (self.target_policy(after) + eps).clamp(-1, 1)
            future = torch.minimum(
                *(self.value(q, after, next_answer) for q in self.target_critics)
            )
            y = paid / c.unit + going * future
        found = torch.stack([self.value(q, seen, answer) for q in self.critics])
        descend((found - y).square(), self.critic_optimiser, 10.0)
        self.updates += 1
        if self.updates % 2 == 0:
            descend(-self.value(self.critics[0], seen, self.policy(seen)), self.actor_optimiser, 10)
            soft_update(self.target_policy, self.policy, c.tau)
            soft_update(self.target_critics, self.critics, c.tau)


def train_coupled(coupling: Coupling, config: CoupledConfig, seed: int) -> StackedPolicy:
    """Train the actors of coupled microgrids; the last policies, one agent per microgrid.

    With a critic each, a microgrid is paid its own bill and does not know of the others.
    """
    c, env, N, E = config, coupling.env, coupling.count, config.environments
    learner, days = CoupledTD3(config, coupling, seed), Streams([seed], "days")
    for done in range(c.rounds):
        state = env.reset(coupling.rows(days.integers(coupling.days, E)[0]))
        nothing = torch.zeros_like(state.energy_kwh)
        while state.t < env.steps:
            with torch.no_grad():
                seen = learner.policy.seen(env, state, nothing)
                answer = learner.policy(seen)
                answer = answer + c.noise * learner.held.at(state.t, *answer.shape[1:])
                if done < c.warmup:
                    answer = 2 * learner.noise.uniform(*answer.shape[1:]) - 1
                answer = answer.clamp(-1, 1)
                after, reward, outcome = env.step(
                    state, learner.policy.setpoint(env, state, answer)
                )
                team = coupling.team_cost(outcome).expand(N, -1)
                paid = -team if c.shared else reward.view(N, -1)
                going = torch.full_like(paid, after.t < env.steps)
                end = after if after.t < env.steps else state  # unused after the last step
                parts = (
                    seen,
                    answer,
                    torch.stack([paid, going], 2),
                    env.observe(end).view_as(seen),
                )
                learner.memory.add(*(learner.together(x) for x in parts))
            state = after
            if done >= c.warmup:
                learner.update()
    return learner.policy


@torch.no_grad()
def team_costs(coupling: Coupling, policy: StackedPolicy) -> Tensor:
    """[D] the team's cost in EUR on every day, of the greedy policies."""
    env = coupling.env
    state = env.reset(coupling.rows(torch.arange(coupling.days)))
    nothing = torch.zeros_like(state.energy_kwh)
    total = torch.zeros(coupling.days)
    while state.t < env.steps:
        answer = policy(policy.seen(env, state, nothing))
        state, _, outcome = env.step(state, policy.setpoint(env, state, answer))
        total = total + coupling.team_cost(outcome)
    return total
