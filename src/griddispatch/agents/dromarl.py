"""DROMARL on the virtual power plant: a supply and a load actor, centralised critics; K seeds.

Each part can be switched off (`dromarl_config`): world model (imagined days in the replay, forecast
as input), robust critic (`dromarl_critics`), inertia-aware load actor, uncertainty-aware supply
actor. Both sides are paid the plant's cost. Each has critics of its own, which see the actions of
both sides (Lowe et al., "Multi-agent actor-critic for mixed cooperative-competitive environments",
2017) or, without `centralised`, its own action only. The robust forms are those of the supply
side's critics: a commitment cannot be taken back. The load side's are nominal; robust ones believe
in high demand throughout, where it pays to shed all load.

1. Act with exploration on E days, and store the transitions;
2. target value      y = r + gamma min(Q1'(s', a'), Q2'(s', a')), or one of its robust forms;
3. critics           minimise Huber's error of Q_i(s, a) - y, plus a penalty if there is one;
4. every second time the actors maximise Q1, and the targets follow by tau.

The bits of the supply actor are drawn from their probabilities p and passed on hard: the plant, the
replay and the critics see 0 and 1 only. Their gradient is that of p (straight-through: Bengio et
al., "Estimating or propagating gradients through stochastic neurons", 2013). The reward is the
unscaled cost over a constant. Energy that load actions took is billed after the last period only;
with potential Phi(s) = -bill so far the learner is paid r + Phi(s') - Phi(s), which changes no
policy's rank (Ng et al., "Policy invariance under reward transformations", 1999).

The successor "enumerated" learns the values of all 128 commitments. The demand does not depend on
the commitment, so every transition teaches several of them, exactly (`pattern_targets`); there is
no supply actor, and the load actor maximises the nominal value of the best commitment. With a
forecast, networks learn only what has to be added to the expected cost of the period, which follows
from the forecast and the plant (`dromarl_recourse.Expected`), robust or not.
"""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from griddispatch.agents.dromarl_config import PRESETS, DROMARLConfig, training_days
from griddispatch.agents.dromarl_critics import (
    Batch,
    Critic,
    pattern_targets,
    penalty,
    target,
)
from griddispatch.agents.dromarl_networks import (
    SIGHT,
    Dispatchers,
    Player,
    allowed,
    check_world,
)
from griddispatch.agents.dromarl_training import Days, Foreseen, Recorder, greedy
from griddispatch.envs.vpp import Action, State, VirtualPowerPlant
from griddispatch.errors import InputError
from griddispatch.forecasting.demand_models import DemandModel
from griddispatch.learning.memory import Memory
from griddispatch.learning.networks import Streams, soft_update
from griddispatch.learning.steps import cosine, descend, regression_error, set_lr
from griddispatch.learning.training import Progress, Training, check_seeds

__all__ = [
    "PRESETS",
    "DROMARLConfig",
    "Learner",
    "Player",
    "greedy",
    "train",
    "training_days",
]

_LATE = 0.2  # part of the first exploration that is left at the end


class Learner:
    """Networks of K agents, and one update of them."""

    def __init__(self, config: DROMARLConfig, env: VirtualPowerPlant, seeds: list[int]) -> None:
        c = config
        self.config, self.agents, self.updates = c, len(seeds), 0
        self.plain = replace(c, robust="none")
        self.losses: list[Tensor] = []
        self.least = env.least
        self.dispatchers = Dispatchers(c, env.plant, Streams(seeds, "weights"))
        self.recourse = self.dispatchers.recourse
        self.followers = Dispatchers(c, env.plant, Streams(seeds, "weights"))
        self.critics = torch.nn.ModuleList()
        if c.supply == "bernoulli":
            streams, known = Streams(seeds, "critic"), self.dispatchers.known
            for own in ("both", "both") if c.centralised else ("supply", "load"):
                self.critics += [Critic(c, known, env.units, streams, own) for _ in range(2)]
        self.targets = deepcopy(self.critics)
        judges = list(self.critics.parameters())
        if c.supply == "enumerated":
            judges = [*self.dispatchers.supply.parameters(), *self.dispatchers.nominal.parameters()]
        actors = list(self.dispatchers.load.parameters())
        if c.supply == "bernoulli":
            actors += list(self.dispatchers.supply.parameters())
        self.actor_optimiser = torch.optim.Adam(actors, lr=c.lr, fused=True)
        self.critic_optimiser = torch.optim.Adam(judges, lr=c.lr, fused=True)
        self.widths = (SIGHT, env.units, 1, 1, 1, SIGHT, 2 * len(c.radii), 1)
        self.memory = Memory(self.agents, c.replay, self.widths, torch.zeros(1))
        self.pick, self.noise = Streams(seeds, "replay"), Streams(seeds, "noise")

    # -- play -----------------------------------------------------------------------------

    def explore(self, sight: Tensor, left: float) -> tuple[Tensor, Tensor]:
        """Bits [K, E, 7] and load actions [K, E] with exploration, of which `left` is left."""
        c, shape = self.config, sight.shape[1:2]
        units = self.dispatchers.patterns.shape[1]
        load = self.dispatchers.load_action(sight) + c.noise * left * self.noise.normal(*shape)
        load = load.clamp(-1, 1)
        guessed = (self.noise.uniform(*shape, units) < 0.5).to(sight)
        if c.supply == "bernoulli":
            p = self.dispatchers.logits(sight).sigmoid()
            bits = (self.noise.uniform(*shape, units) < p).to(sight)
            blindly = self.noise.uniform(*shape, units) < c.explore * left
        else:
            bits = self.dispatchers.commitment(sight, load)
            blindly = self.noise.uniform(*shape, 1) < c.explore * left
        return allowed(sight, torch.where(blindly, guessed, bits)), load

    def at_random(self, sight: Tensor) -> tuple[Tensor, Tensor]:
        """As `explore`, blindly; a day's worth of statuses leans to on or to off."""
        shape, units = sight.shape[1:2], self.dispatchers.patterns.shape[1]
        lean = self.noise.uniform(*shape, 1)
        bits = (self.noise.uniform(*shape, units) < 0.2 + 0.8 * lean).to(sight)
        return allowed(sight, bits), 2 * self.noise.uniform(*shape) - 1

    # -- learning -------------------------------------------------------------------------

    def drawn(self) -> Batch:
        """Transitions from the memory."""
        sight, bits, load, reward, demand, after, near, going = self.memory.sample(
            self.config.batch, self.pick
        )
        one = (x[..., 0] for x in (load, reward, demand, going))
        load, reward, demand, going = one
        return Batch(sight, bits, load, reward, demand, after, near, going)

    def update(self) -> None:
        """One update of the critics; of actors and targets every `policy_delay`-th time."""
        c, batch = self.config, self.drawn()
        if c.supply == "bernoulli":
            self._teach_critics(batch)
        else:
            self._teach_patterns(batch)
        self.updates += 1
        if self.updates % c.policy_delay:
            return
        worth = self._worth(batch.sight)
        descend(-worth[..., None], self.actor_optimiser, c.gradient_clip)
        soft_update(self.followers, self.dispatchers, c.tau)
        if c.supply == "bernoulli":
            soft_update(self.targets, self.critics, c.tau)

    def _teach_critics(self, batch: Batch) -> None:
        c = self.config
        eps = (c.target_noise * self.noise.normal(c.batch)).clamp(-0.3, 0.3)
        errors = []
        for side, form in enumerate((c, self.plain)):
            pair = slice(2 * side, 2 * side + 2)
            y = target(form, self.targets[pair], self.followers, self.recourse, batch, eps)
            punished = form.robust in ("one-sided", "GP-literal")
            sight = batch.sight.clone().requires_grad_(punished)
            for critic in self.critics[pair]:
                value = critic(sight, batch.bits, batch.load)
                error = regression_error(value, y, c.huber)
                errors.append(error + penalty(c, value, sight) if punished else error)
        self._descend(torch.stack(errors))

    def _teach_patterns(self, batch: Batch) -> None:
        c, d = self.config, self.dispatchers
        barred = d.barred_at(batch.sight)
        learned = [judge(batch.sight, batch.load) for judge in (d.robust, d.plain)]
        with torch.no_grad():
            # Half of the commitments are the best so far, half any feasible ones.
            values = learned[0] - barred
            best = values.topk((c.patterns + 1) // 2, -1).indices
            dice = self.noise.uniform(*values.shape[1:]).masked_fill(barred.isinf(), -1.0)
            others = dice.topk(c.patterns // 2, -1).indices
            chosen = torch.cat([best, others], -1)
            ys = pattern_targets(c, self.followers, batch, chosen, self.least)
            starts = barred.gather(-1, chosen)
        errors = []
        for said, y in zip(learned, ys, strict=True):
            # An infeasible one has no value; it was drawn where there were no others.
            wanted = torch.where(starts.isinf(), 0.0, y + starts)
            found = torch.where(starts.isinf(), 0.0, said.gather(-1, chosen))
            errors.append(regression_error(found, wanted, c.huber).mean(-1))
        self._descend(torch.stack(errors))

    def _descend(self, error: Tensor) -> None:
        """One step of the critics down their errors [critics, K, B]."""
        self.losses.append(error.detach().mean((0, 2)))
        descend(error[..., None], self.critic_optimiser, self.config.gradient_clip)

    def _worth(self, sight: Tensor) -> Tensor:
        """[K, B] what the actors maximise: each side the value of its critic by its own action."""
        d = self.dispatchers
        load = d.load_action(sight)
        if self.config.supply == "enumerated":
            taken = d.values(sight, load.detach()).argmax(-1, keepdim=True)
            best: Tensor = d.plain(sight, load).gather(-1, taken)[..., 0]
            return best
        p = d.logits(sight).sigmoid()
        bits = (self.noise.uniform(*p.shape[1:]) < p).to(p)
        bits = allowed(sight, bits + p - p.detach())
        supply: Tensor = self.critics[0](sight, bits, load.detach())
        shifting: Tensor = self.critics[2](sight, bits.detach(), load)
        return supply + shifting


def train(
    env: VirtualPowerPlant,
    config: DROMARLConfig,
    seeds: list[int],
    validation: VirtualPowerPlant | None = None,
    *,
    world: DemandModel | None = None,
    records: int = 10,
    progress: Progress = lambda line: None,
) -> Training[Player]:
    """Train one pair of agents per seed.

    Parameters
    ----------
    env
        Training days; `training_days` draws those that the settings ask for.
    config
        Settings; see `PRESETS`.
    seeds
        One pair of agents each. Its result does not depend on the others.
    validation
        Days on which the policies are tried, for the curve only; None: the training days.
    world
        A fitted model of `DemandDays.relative`; unused if the settings have no use for it.
    records
        Points on the curve, besides the start.
    progress
        Called with one line at each record.

    Raises
    ------
    InputError
        The seeds are none, negative or twice the same; a world model is missing; or the plant has
        no recourse.
    """
    check_seeds(seeds)
    check_world(config, world)
    if not env.plant.recourse:
        raise InputError(
            "DROMARL commits units and leaves outputs to recourse; this plant has none"
        )
    c, K, E = config, len(seeds), config.environments
    used = world if c.world else None
    learner, days = Learner(c, env, seeds), Days(env, c, used)
    start = Streams(seeds, "days")
    shed = learner.dispatchers.known.shed
    recorder = Recorder(Player(learner.dispatchers, used), seeds, validation or env, progress)
    env, foreseen = days.env, Foreseen(days.env, used, c.radii)
    every = max(1, c.rounds // records)
    recorder.record(0, 0)
    for done in range(1, c.rounds + 1):
        part = max(0.0, (done - c.warmup) / max(1, c.rounds - c.warmup))
        set_lr([learner.actor_optimiser, learner.critic_optimiser], cosine(c.lr, c.lr_end, part))
        state = env.reset(days.draw(start, E))
        sight = torch.cat([env.observe(state), foreseen.ahead[0, state.day]], 1)
        while state.t < env.steps:
            t = state.t
            with torch.no_grad():
                stacked = sight.view(K, E, SIGHT)
                blindly = done <= c.warmup
                bits, load = (
                    learner.at_random(stacked)
                    if blindly
                    else learner.explore(stacked, 1 + (_LATE - 1) * part)
                )
                action = Action(bits.flatten(0, 1), load.flatten())
                before = state
                state, reward, outcome = env.step(before, action)
                near = foreseen.near[t, state.day]
                # After the last period the sight is stored but never valued.
                sight = torch.cat([env.observe(state), near[:, :2]], 1)
                going = torch.full_like(reward, t + 1 < env.steps)
                paid = reward / c.unit + going * potential(state, shed) - potential(before, shed)
                numbers = (load.flatten(), paid, outcome.demand_kw)
                learner.memory.add(
                    stacked,
                    bits,
                    *(x.view(K, E, 1) for x in numbers),
                    sight.view(K, E, SIGHT),
                    near.view(K, E, -1),
                    going.view(K, E, 1),
                )
            if not blindly:
                for _ in range(c.updates_per_step):
                    learner.update()
        if done % every == 0 or done == c.rounds:
            recorder.record(learner.updates, done * E, learner.losses)
            learner.losses = []
    stored = 4 * K * c.replay * sum(learner.widths)
    return recorder.training(learner.updates, stored)


def potential(state: State, shed: float) -> Tensor:
    """[B] minus what the energy taken so far would cost in units, were the day over now."""
    return -shed * (-state.expected_kwh).clamp(min=0)


def inertia_correlation(env: VirtualPowerPlant, player: Player) -> Tensor:
    """[K] correlation of kappa_hat in the last period with the customers' inertia over days."""
    agents = player.dispatchers.agents
    state = env.reset(torch.arange(len(env.days)).repeat(agents))
    with torch.no_grad():
        while state.t < env.steps:
            sight = player.sight(env, state)
            found = player.dispatchers.inertia(sight)
            state, _, _ = env.step(state, player.dispatchers.act(sight))
    true = env.kappa.expand(agents, -1)
    both = torch.stack([found, true.to(found)], 1)
    return torch.stack([torch.corrcoef(x)[0, 1] for x in both])
