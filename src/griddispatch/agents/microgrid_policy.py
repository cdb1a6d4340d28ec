"""The policies that the learners of the microgrid train, and the imitation of a rule.

A policy answers three numbers in [-1, 1]: battery, CHP power, CHP status. `Microgrid.placed` makes
set-points of them, so none can violate a limit. The CHP is started on certain hours only and then
stays on for the day (`PolicyConfig.start_hours`): from a start to 80 kW takes 3.5 hours, and every
start costs as much as hours of running. Without start hours each step may switch it.

A policy that minimises a static CVaR needs to know what the day has cost so far. It sees
z = (eta - cost so far) / scale, with eta the VaR of its own days (Bäuerle and Ott, "Markov decision
processes with average-value-at-risk criteria", 2011). The cost of a step follows from two states.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from griddispatch.agents.microgrid_rules import NetLoad, Numbers, TimeOfUse
from griddispatch.envs.microgrid import ACTIONS, Microgrid, State
from griddispatch.errors import InputError
from griddispatch.learning.networks import StackedMLP, Streams

HOURS = 24
EARLY = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18)
_LEAST_SPREAD = 0.05


@dataclass(frozen=True)
class PolicyConfig:
    """Size of a policy, and what it sees and says.

    Raises
    ------
    InputError
        An hour is outside 0 .. 23, a width is not positive, or the scale is not.
    """

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the network."""
    activation: str = "silu"
    """A name of `networks.ACTIVATIONS`."""
    sees_cost: bool = True
    """Whether z is part of what it sees; a risk-neutral policy does not need it."""
    scale: float = 100.0
    """EUR by which z is divided."""
    start_hours: tuple[int, ...] | None = EARLY
    """Hours of the day at whose beginning the CHP may be started; it then stays on. None: every
    step may start or stop it."""

    def __post_init__(self) -> None:
        hours = self.start_hours or (0,)
        if not 0 <= min(hours) <= max(hours) < HOURS or not self.scale > 0:
            raise InputError(
                f"policy: needs start_hours within 0 .. 23 and scale > 0; they are {hours}, "
                f"{self.scale}"
            )
        if min(self.hidden, default=1) < 1:
            raise InputError(f"policy: hidden is {self.hidden}; give positive widths")


class StackedPolicy(nn.Module):
    """K policies of one shape.

    Parameters
    ----------
    config, n_observations
        See there; length of what the environment shows.
    streams
        Initial weights.
    judge
        [K, B, 2] values of status off and on for what is seen beside battery and CHP numbers. With
        it, the better one is the status, and the actor's third number plays no part.
    """

    eta: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        config: PolicyConfig,
        n_observations: int,
        streams: Streams,
        judge: nn.Module | None = None,
    ) -> None:
        super().__init__()
        K = len(streams)
        self.config, self.n_observations = config, n_observations
        sizes = (n_observations + config.sees_cost, *config.hidden, ACTIONS)
        self.actor = StackedMLP(sizes, streams, config.activation)
        self.judge = judge
        self.register_buffer("eta", torch.zeros(K))
        self.register_buffer("centre", torch.zeros(K, 1, n_observations))
        self.register_buffer("spread", torch.ones(K, 1, n_observations))

    def seen(self, env: Microgrid, state: State, so_far: Tensor) -> Tensor:
        """[K, B, n] what is seen at K * B states that have cost so_far [K * B] EUR."""
        shown = env.observe(state).view(len(self.eta), -1, self.n_observations)
        return self.with_cost(shown, so_far.view(len(self.eta), -1))

    def with_cost(self, shown: Tensor, so_far: Tensor) -> Tensor:
        """[K, B, n] observations [K, B, .] in standard form, with z if the policy sees it."""
        shown = (shown - self.centre) / self.spread
        if not self.config.sees_cost:
            return shown
        z = (self.eta[:, None] - so_far) / self.config.scale
        return torch.cat([shown, z[..., None]], 2)

    def forward(self, seen: Tensor) -> Tensor:
        """[K, B, 3] answers in [-1, 1]."""
        answer: Tensor = self.actor(seen).tanh()
        if self.judge is None:
            return answer
        values = self.value(torch.cat([seen, answer[..., :2]], 2))
        better = torch.where(values[..., 1:] > values[..., :1], 1.0, -1.0)
        return torch.cat([answer[..., :2], better], 2)

    @torch.no_grad()
    def standardise(self, env: Microgrid) -> None:
        """Let observations have mean 0 and deviation 1 on days with the CHP off, and on."""
        always = NetLoad(Numbers(-torch.inf, HOURS, torch.inf, 10.0, 0.1))
        rules: tuple[TimeOfUse | NetLoad, ...] = (TimeOfUse(), always)
        rows = []
        for rule in rules:
            state = env.reset()
            while state.t < env.steps:
                rows.append(env.observe(state))
                state, _, _ = env.step(state, rule.act(env, state))
        seen = torch.cat(rows).to(self.centre)
        self.centre.copy_(seen.mean(0))
        # What never changes must stay small where it does change.
        self.spread.copy_(seen.std(0).clamp(min=_LEAST_SPREAD))

    def value(self, shown: Tensor) -> Tensor:
        """[K, B, 2] what the judge says of off and on.

        Raises
        ------
        InputError
            The policy has none.
        """
        if self.judge is None:
            raise InputError("this policy has no judge; make it with one")
        values: Tensor = self.judge(shown)
        return values

    def setpoint(self, env: Microgrid, state: State, answer: Tensor) -> Tensor:
        """[K * B, 3] set-points of answers [K, B, 3]."""
        battery, chp, status = answer.flatten(0, 1).unbind(1)
        if not env.plant.commitment:
            return env.scaled(torch.stack([battery, (1 + chp) / 2, status], 1))
        wanted = status > 0
        if self.config.start_hours is not None:
            wanted = state.on | (wanted & (state.t in start_steps(env, self.config)))
        return env.placed(state, torch.stack([battery, (1 + chp) / 2, wanted.to(chp.dtype)], 1))

    def agent(self, k: int) -> "MicrogridActor":
        """Policy k alone."""
        mine = {name: p[k : k + 1].detach().clone() for name, p in self.state_dict().items()}
        saved = {"config": asdict(self.config), "parameters": mine}
        return MicrogridActor.load(saved)


def start_steps(env: Microgrid, config: PolicyConfig) -> frozenset[int]:
    """Steps of the day in which the CHP may be started."""
    hours = range(HOURS) if config.start_hours is None else config.start_hours
    return frozenset(hour * env.steps // HOURS for hour in hours)


@dataclass
class MicrogridActor:
    """A trained policy, for `evaluation.risk.play`.

    If it sees the cost so far it must be asked for the steps of a batch of days in their order.
    """

    policy: StackedPolicy
    last: State | None = field(default=None, init=False, repr=False)
    so_far: Tensor = field(default_factory=lambda: torch.zeros(0), init=False, repr=False)

    @classmethod
    def load(cls, saved: dict[str, Any]) -> "MicrogridActor":
        """The policy that `saved` was made of."""
        p = saved["parameters"]
        settings = dict(saved["config"])
        for name in ("hidden", "start_hours"):
            settings[name] = None if settings[name] is None else tuple(settings[name])
        config, one = PolicyConfig(**settings), Streams([0])
        judge = None
        if "judge.weights.0" in p:
            weights = [v for name, v in p.items() if name.startswith("judge.weights")]
            sizes = (*(w.shape[1] for w in weights), weights[-1].shape[2])
            judge = StackedMLP(sizes, one, config.activation)
        n = p["actor.weights.0"].shape[1] - config.sees_cost
        policy = StackedPolicy(config, n, one, judge)
        policy.load_state_dict(p)
        return cls(policy)

    @property
    def saved(self) -> dict[str, Any]:
        """What `load` takes: plain values and tensors."""
        parameters = {name: p.clone() for name, p in self.policy.state_dict().items()}
        return {"config": asdict(self.policy.config), "parameters": parameters}

    @torch.no_grad()
    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] set-points.

        Raises
        ------
        InputError
            The policy sees the cost so far, and has not been asked for the step before.
        """
        if state.t == 0:
            self.so_far = torch.zeros_like(state.energy_kwh)
        elif self.policy.config.sees_cost:
            if (
                self.last is None
                or self.last.t != state.t - 1
                or len(self.so_far) != len(state.day)
            ):
                raise InputError(
                    f"asked for step {state.t} without step {state.t - 1}; this policy counts the "
                    "costs of a day, so play days from their start"
                )
            self.so_far = self.so_far + cost_between(env, self.last, state)
        self.last = state
        answer = self.policy(self.policy.seen(env, state, self.so_far))
        return self.policy.setpoint(env, state, answer)


def cost_between(env: Microgrid, before: State, after: State) -> Tensor:
    """[B] cost in EUR of the step that led from one state to the next."""
    done = torch.stack([after.battery_kw, after.chp_kw, after.on.to(after.chp_kw.dtype)], 1)
    return -env.step(before, done)[1]


# -- imitation ----------------------------------------------------------------------------


def answer_of(env: Microgrid, state: State, setpoint: Tensor) -> Tensor:
    """[B, 3] numbers in [-1, 1] for which `StackedPolicy.setpoint` gives a feasible set-point."""
    battery, chp, on = setpoint.unbind(1)
    low, high = env.chp_interval(state, on >= 0.5)
    part = torch.where(high > low, (chp - low) / (high - low).clamp(min=1e-6), 0.5)
    low, high = env.battery_interval(state, chp)
    charge, give = battery / high.clamp(min=1e-6), -battery / low.clamp(max=-1e-6)
    battery = torch.where(battery > 0, charge, give).clamp(-1, 1)
    return torch.stack([battery, 2 * part.clamp(0, 1) - 1, 2 * on - 1], 1)


def clone(
    policy: StackedPolicy, env: Microgrid, teacher: Numbers, seeds: Sequence[int], updates: int
) -> None:
    """Let each policy imitate a net-load rule on days of its own, by regression (Adam).

    Half of the days the rule plays, half the policy does (Ross et al., "A reduction of imitation
    learning and structured prediction to no-regret online learning", 2011).
    """
    rule, agents, days = NetLoad(teacher), len(seeds), 32
    pick = Streams(seeds, "clone")
    optimiser = torch.optim.Adam(policy.actor.parameters(), lr=3e-3)
    done = 0
    while done < updates:
        state = env.reset(pick.integers(len(env.days), days).flatten())
        so_far = torch.zeros_like(state.energy_kwh)
        rows, wanted = [], []
        led = (torch.arange(len(state.day)) % 2 == 0)[:, None]
        while state.t < env.steps:
            with torch.no_grad():
                seen, taught = policy.seen(env, state, so_far), rule.act(env, state)
                rows.append(seen)
                wanted.append(answer_of(env, state, taught).view(agents, days, -1))
                own = policy.setpoint(env, state, policy(seen))
                state, reward, _ = env.step(state, torch.where(led, taught, own))
                so_far = so_far - reward
        x, y = torch.cat(rows, 1), torch.cat(wanted, 1)
        for _ in range(min(20, updates - done)):
            at = pick.integers(x.shape[1], 512)
            which = torch.arange(agents)[:, None]
            error = (policy.actor(x[which, at]).tanh() - y[which, at]).square().mean((1, 2))
            optimiser.zero_grad()
            error.sum().backward()
            optimiser.step()
            done += 1
