"""DeltaNet's policy: one factor per resource, each inside the interval that the others leave.

With the command u, the factors in their order are

    (0)  delta = delta_mw (2 y_0 - 1),                the target is g = u + delta
    (i)  a_i   = lo_i + (hi_i - lo_i) y_i,            i = 1 .. N - 1
    (N)  a_N   = what is missing to g                 no choice, see `interval_map`

with lo_i, hi_i of the interval map, so every set-point is feasible whatever the networks say. The
policy is the product of N Beta densities,

    pi(a | s) = prod_i pi_i(y_i | s, a_<i) / (hi_i - lo_i)

The factor 1 / (hi_i - lo_i), the Jacobian of y_i -> a_i, depends on s and a_<i only. Both are
stored with an action, so it is the same before and after an update and cancels in the ratio of
PPO; `log_probability` leaves it out.

Networks: a trunk sees the observation s. Its last layer belongs in equal parts to the heads. Head i
adds what it is told of its own factor, x_i = (a_<i, lo_i, hi_i, g - sum a_<i, what will be missing
of the power, the last set-point), and names a set-point t_i, together with a linear map of s:

    t_i = scale P_i (w_i . act(trunk_i(s) + W_i x_i) + v_i . s + b_i) + planned power
    m_i = sigmoid(sharpness (t_i - middle) / (hi_i - lo_i))

m_i is a soft form of "t_i, cut to its interval": the best set-points often lie at an end of the
interval, where a hard cut would have no gradient. Playing, y_i = m_i. Exploring, y_i follows the
Beta density with mode m_i and concentration c, which falls with the wanted noise,

    y_i ~ Beta(1 + c m_i, 1 + c (1 - m_i))

which has a single peak and no pole for any m_i in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from griddispatch.agents.interval_map import IntervalMap, place
from griddispatch.agents.regulation_networks import (
    Choice,
    Draws,
    Policy,
    Trained,
    Whitening,
    beta_shape,
    check_network,
    log_beta,
    soft_cut,
)
from griddispatch.agents.regulation_rules import command_now
from griddispatch.envs.regulation import Regulation, State
from griddispatch.errors import InputError
from griddispatch.learning.networks import ACTIVATIONS, StackedMLP, Streams

_TOLD = 5  # numbers that a head is told beside the choices before it


@dataclass(frozen=True)
class PolicyConfig:
    """Size and shape of the factored policy.

    Raises
    ------
    InputError
        A value is out of range.
    """

    hidden: tuple[int, ...] = (48, 48)
    """Widths of the trunk."""
    head: int = 32
    """Width of each head."""
    activation: str = "silu"
    """Between the layers; see `networks.ACTIVATIONS`."""
    delta_mw: float = 5.0
    """Largest correction of the target. The command moves on within the 4 s of a set-point, by
    about 1 MW; more is needed only to spare the last resource."""
    scale: float = 0.3
    """Set-point in units of the rated power for an output of one. Larger values saturate the
    intervals early in a training."""
    sharpness: float = 4.0
    """Slope of the soft cut; 4 is the slope of the hard one in the middle."""

    def __post_init__(self) -> None:
        check_network((*self.hidden, self.head), self.activation)
        if not (self.delta_mw >= 0 and self.scale > 0 and self.sharpness > 0):
            raise InputError(
                "policy: needs delta_mw >= 0, scale > 0 and sharpness > 0; they are "
                f"{self.delta_mw}, {self.scale}, {self.sharpness}"
            )


class Situation(NamedTuple):
    """What the policy needs of K * B states: the plant's side of a decision.

    seen [K, B, n]; command [K, B] in MW; low, high, output (predicted), before (the last set-point)
    and planned [K, B, R] in MW; power [R] in MW.
    """

    seen: Tensor
    command: Tensor
    low: Tensor
    high: Tensor
    output: Tensor
    before: Tensor
    planned: Tensor
    power: Tensor


class FactoredPolicy(Policy["DeltaNet"]):
    """The policy of K agents, stacked.

    Parameters
    ----------
    config
        Its size.
    mapping
        Interval map, with the order of the resources.
    inputs
        Whitening of the observation, the same for all agents.
    seeds
        K, one agent each; initial weights depend on the agent's seed only.
    """

    def __init__(
        self,
        config: PolicyConfig,
        mapping: IntervalMap,
        inputs: Whitening,
        seeds: Sequence[int],
    ) -> None:
        super().__init__(inputs, len(seeds))
        self.config, self.mapping = config, mapping
        K, M, n, H = len(seeds), len(mapping.order), len(inputs.centre), config.head
        F = M + _TOLD
        weights = Streams(seeds, "weights")
        self.trunk = StackedMLP((n, *config.hidden, M * H), weights, config.activation)
        self.told = nn.Parameter((2 * weights.uniform(M, F, H) - 1) * F**-0.5)
        self.out = nn.Parameter((2 * weights.uniform(M, H) - 1) * 0.1 * H**-0.5)
        self.linear = nn.Parameter(torch.zeros(K, n, M))
        self.bias = nn.Parameter(torch.zeros(K, 1, M))
        self.to(inputs.centre.dtype)

    @property
    def answers(self) -> tuple[int | None, ...]:
        """The correction is no resource's; the last resource is no factor's choice."""
        return (None, *self.mapping.order[:-1])

    def see(self, env: Regulation, state: State) -> Tensor:
        """[K, B, n] whitened observations of K * B states."""
        return self.whitened(env, state)

    def read(self, env: Regulation, state: State) -> Situation:
        """What there is to know about K * B states, agent by agent.

        Raises
        ------
        InputError
            The map is for another number of resources.
        """
        if len(self.mapping.order) != env.n_actions:
            raise InputError(
                f"the interval map orders {len(self.mapping.order)} resources, the fleet has "
                f"{env.n_actions}; make it with IntervalMap.of(env)"
            )
        low, high, output, before, planned = (
            x.unflatten(0, (self.agents, -1))
            for x in (
                *env.feasible_interval(state),
                env.delivered(state),
                state.setpoint,
                env.schedule.index_select(0, state.hour),
            )
        )
        command = command_now(env, state).view(self.agents, -1)
        power = env.constants.power
        return Situation(self.see(env, state), command, low, high, output, before, planned, power)

    def decide(
        self, env: Regulation, state: State, noise: float = 0.0, draws: Draws | None = None
    ) -> Choice:
        """Set-points for K * B states; see `choose`."""
        return self.choose(self.read(env, state), noise, draws)

    def choose(self, now: Situation, noise: float = 0.0, draws: Draws | None = None) -> Choice:
        """Choose set-points, factor by factor.

        Parameters
        ----------
        now
            What there is to know.
        noise, draws
            Exploration, see `beta_shape`; without `draws` the modes are taken.
        """
        M, u, power = len(self.mapping.order), now.command, now.power.tolist()
        hidden, linear = self._trunk(now.seen)
        size, nothing, one = sum(power) / M, torch.zeros_like(u), torch.ones_like(u)
        told: list[Tensor] = []
        y: list[Tensor] = []

        def choose(i: int, earlier: list[Tensor], *own: Tensor) -> Tensor:
            rest = [nothing] * (M - len(earlier))
            told.append(torch.stack([*earlier, *rest, *own], -1))
            mode = self._mode(
                torch.baddbmm(hidden[:, :, i], told[i], self.told[:, i]),
                self.out[:, None, i],
                linear[:, :, i],
                told[i],
            )
            y.append(mode if draws is None else draws.beta(*beta_shape(mode, noise)))
            return y[i]

        # (0) the target
        slow = sorted(self.mapping.order[:-1])
        known = torch.stack([now.output[..., r] for r in slow]).sum(0)
        share = 2 * choose(0, [], -one, one, u / size, (u - known) / size, nothing) - 1
        g = u + self.config.delta_mw * share
        division = self.mapping.divide(now.low, now.high, g, now.output)
        missing = (g - known) / size
        earlier, chosen = [share], []
        placed, arriving = nothing, nothing
        for i in range(M):
            lo, hi = self.mapping.interval(i, division, placed, arriving)
            if i == M - 1:
                chosen.append(lo)  # (N) no choice
                break
            # (i) one resource, in units of its rated power and from its planned power on
            r = self.mapping.order[i]
            base, unit = now.planned[..., r], 1 / power[r]
            ends = ((lo - base) * unit, (hi - base) * unit)
            held = (now.before[..., r] - (lo + hi) / 2) * unit
            a = place(lo, hi, choose(i + 1, earlier, *ends, (g - placed) / size, missing, held))
            chosen.append(a)
            earlier.append((a - base) * unit)
            placed, arriving = placed + a, arriving + self.mapping.output(i, division, a)
        setpoint = self.mapping.in_fleet_order(chosen).flatten(0, 1)
        limits = (now.low.flatten(0, 1), now.high.flatten(0, 1))
        return Choice(setpoint, limits, now.seen, torch.stack(told, 2), torch.stack(y, 2))

    def _trunk(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """[K, B, M, H] the heads' parts of the trunk, [K, B, M] the linear map."""
        hidden = self.trunk(seen).unflatten(2, (len(self.mapping.order), -1))
        return hidden, torch.baddbmm(self.bias, seen, self.linear)

    def _mode(self, hidden: Tensor, out: Tensor, linear: Tensor, told: Tensor) -> Tensor:
        """[...] m of one head or all; hidden, out [..., H], linear [...], told [..., F]."""
        c, M = self.config, len(self.mapping.order)
        aim = c.scale * ((ACTIVATIONS[c.activation](hidden) * out).sum(-1) + linear)
        return soft_cut(aim, told[..., M], told[..., M + 1], c.sharpness)

    def log_probability(self, choice: Choice, noise: float) -> Tensor:
        """[K, B, M] factor by factor, without the Jacobian (see the module's text)."""
        hidden, linear = self._trunk(choice.seen)
        hidden = hidden + (choice.told.transpose(1, 2) @ self.told).transpose(1, 2)
        mode = self._mode(hidden, self.out[:, None], linear, choice.told)
        return log_beta(choice.y, *beta_shape(mode, noise))

    @property
    def settings(self) -> dict[str, Any]:
        """Its size and its interval map."""
        return {"config": asdict(self.config), "mapping": asdict(self.mapping)}

    def agent(self, k: int) -> "DeltaNet":
        """The dispatcher that agent k has become."""
        return DeltaNet.load({**self.settings, "parameters": self.alone(k)})


class DeltaNet(Trained[FactoredPolicy]):
    """A trained dispatcher: the factored policy of one agent, each factor at its mode."""

    @classmethod
    def _untrained(cls, saved: dict[str, Any], inputs: Whitening) -> FactoredPolicy:
        config, mapping = saved["config"], saved["mapping"]
        order, immediate = tuple(mapping["order"]), tuple(mapping["immediate"])
        return FactoredPolicy(
            PolicyConfig(**{**config, "hidden": tuple(config["hidden"])}),
            IntervalMap(order, mapping["balance"], mapping["nested"], immediate),
            inputs,
            [0],
        )
