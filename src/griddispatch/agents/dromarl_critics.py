"""Critics of DROMARL, and the targets and penalties that shall make them robust.

A robust value is the infimum of the expected value over a Wasserstein-1 ball of radius rho around
the demand. Five forms, of which "none" is no robustness; D is the demand of the period, s'(D) the
sight that follows, Q' the target critic at the target's actions:

- "worst case": y = min over delta of  r(D + delta) + gamma Q'(s'(D + delta)), with delta in
  {0, +-1/2, +-1} rho base. What the demand does to the cost of this very period is part of it.
  Carried on into s', the worst cases of a day add up in sight and forecast; with `carried` off
  they move r alone: y = min over delta of r(D + delta), plus gamma Q'(s'(D)).
- "Lipschitz": y = r + gamma (Q'(s') - rho |dQ'/ds'_D|), no gradient through the norm; for a
  Lipschitz value the infimum is E V - rho Lip(V) (Kantorovich and Rubinstein).
- "one-sided": a penalty (|dQ/ds_D| - K)+^2 on the critic.
- "GP-literal": the gradient penalty (|dQ/ds_D| - 1)^2 of WGAN-GP (Gulrajani et al., 2017), which
  asks for a slope of 1 wherever the value is.

s_D is the part DEMAND of the sight, relative to the base; its slope is in units per relative
demand.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from griddispatch.agents.dromarl_config import DROMARLConfig
from griddispatch.agents.dromarl_networks import (
    FEATURES,
    KW,
    MEAN,
    SPREAD,
    Dispatchers,
    features,
    forecast_after,
    forecast_kw,
)
from griddispatch.agents.dromarl_recourse import Known, Recourse
from griddispatch.data.vpp_demand import BASE_KW
from griddispatch.envs import vpp_observation as seen
from griddispatch.learning.networks import StackedMLP, Streams

_LONGEST = 4.0  # of `vpp_observation`: periods that 1 stands for in LOCKED
_LEAST = 1e-6  # under the root of a norm, whose slope at 0 is infinite


class Batch(NamedTuple):
    """Transitions of K agents.

    sight, after [K, B, 44] before and after; bits [K, B, 7] and load [K, B] what was done; reward
    [K, B] in units; demand [K, B] kW of the period; near [K, B, 2 M] forecasts after it for the M
    demands of the worst case; going [K, B], 0 where the day was over.
    """

    sight: Tensor
    bits: Tensor
    load: Tensor
    reward: Tensor
    demand: Tensor
    after: Tensor
    near: Tensor
    going: Tensor


def moved(config: DROMARLConfig, batch: Batch) -> tuple[Tensor, Tensor]:
    """Demands [K, B, M] of the worst case, and the sights that follow.

    The sights are [K, B, M, 44], or [K, B, 1, 44] if the demand is not carried on.
    """
    radii = torch.tensor(config.radii)
    many = len(radii)
    base = batch.sight[..., None, seen.PERIOD] @ torch.as_tensor(BASE_KW).to(radii)
    demand = (batch.demand[..., None] + base * radii).clamp(min=0)
    if not config.carried:
        return demand, batch.after[:, :, None]
    after = batch.after[:, :, None].repeat(1, 1, many, 1)
    period = batch.sight[:, :, None, seen.PERIOD]
    after[..., seen.DEMAND] += period * radii[:, None]
    after[..., MEAN : SPREAD + 1] = batch.near[..., : 2 * many].view(*demand.shape, 2)
    return demand, after


class Critic(nn.Module):
    """K critics of a sight and what was done; both sides' actions, or those of one side."""

    def __init__(
        self,
        config: DROMARLConfig,
        known: Known,
        units: int,
        streams: Streams,
        own: Literal["both", "supply", "load"],
    ) -> None:
        super().__init__()
        self.known, self.own = known, own
        given = FEATURES + (units + 2) * (own != "load") + (own != "supply")
        self.net = StackedMLP((given, *config.critic, 1), streams, "silu")

    def forward(self, sight: Tensor, bits: Tensor, load: Tensor) -> Tensor:
        """[K, B] value in units, of sights [K, B, 44], bits [K, B, 7] and load actions [K, B]."""
        given = [features(sight)]
        if self.own == "both":
            mean, _ = forecast_after(sight, load, self.known.control)
        else:
            mean, _ = forecast_kw(sight)
        if self.own != "load":
            full = bits @ self.known.power
            room = torch.stack([full - mean, self.known.minimum * full - mean], -1)
            given += [bits, room / KW]
        if self.own != "supply":
            given.append(load[..., None])
        value: Tensor = self.net(torch.cat(given, -1))[..., 0]
        return value if self.own == "load" else value - self.known(sight[..., seen.ON], bits)


def slope(value: Tensor, sight: Tensor, graph: bool) -> Tensor:
    """[K, B] norm of the gradient of values [K, B] by the demand part of their sights."""
    (found,) = torch.autograd.grad(value.sum(), sight, create_graph=graph)
    return (found[..., seen.DEMAND].square().sum(-1) + _LEAST).sqrt()


def penalty(config: DROMARLConfig, value: Tensor, sight: Tensor) -> Tensor:
    """[K, B] what the form of `config` adds to the error of values [K, B]."""
    steep = slope(value, sight, graph=True)
    if config.robust == "one-sided":
        return config.penalty * (steep - config.slope).clamp(min=0).square()
    return config.penalty * (steep - 1).square()


def target(
    config: DROMARLConfig,
    critics: Iterable[nn.Module],
    dispatchers: Dispatchers,
    recourse: Recourse,
    batch: Batch,
    noise: Tensor,
) -> Tensor:
    """[K, B] what the critics (two of the same kind) are to say of the transitions.

    Parameters
    ----------
    config, recourse, batch
        See there.
    critics, dispatchers
        The targets that follow the online networks.
    noise
        [K, B] on the target's load action.
    """
    steep = config.robust == "Lipschitz" and config.rho > 0
    with torch.no_grad():
        demand, wide = moved(config, batch)
        many, rows = wide.shape[2], wide.flatten(1, 2)
        load = (dispatchers.load_action(rows) + noise.repeat_interleave(many, 1)).clamp(-1, 1)
        bits = dispatchers.commitment(rows, load)
    with torch.set_grad_enabled(steep):
        rows.requires_grad_(steep)
        future = torch.minimum(*(q(rows, bits, load) for q in critics))
        if steep:
            future = future - config.rho * slope(future, rows, graph=False)
    future = future.detach().view(*batch.reward.shape, many)
    index = recourse.index(batch.bits)[..., None].expand_as(demand)
    paid = recourse.cost(index, demand)
    # Of the reward only this depends on the demand.
    reward = batch.reward[..., None] + paid[..., :1] - paid
    return (reward + config.gamma * batch.going[..., None] * future).amin(-1)


def pattern_targets(
    config: DROMARLConfig,
    dispatchers: Dispatchers,
    batch: Batch,
    chosen: Tensor,
    least: Tensor,
) -> tuple[Tensor, Tensor]:
    """What is to be said of the commitments at places chosen [K, B, P], robustly and nominally.

    The demand does not depend on the commitment, so every transition tells what each would have
    paid, and where each would have led: statuses and minimum times follow from the plant. The
    nominal value is that of the commitments that are robustly the best.

    Parameters
    ----------
    config, batch
        See there.
    dispatchers
        The target that follows the online networks.
    chosen
        Places among all patterns.
    least
        [2, 7] minimum down (0) and up (1) times.

    Returns
    -------
    robust, nominal
        [K, B, P] in units.
    """
    d, recourse, on = dispatchers, dispatchers.recourse, batch.sight[..., seen.ON]
    demand, wide = moved(config, batch)
    rows = wide.flatten(1, 2)
    ahead = d.robust(rows, d.load_action(rows)).view(*wide.shape[:3], -1)
    bits = d.patterns[chosen]  # [K, B, P, 7]
    barred = d.barred(bits, left_after(batch.sight, bits, least))
    best = (ahead[:, :, None] - barred[:, :, :, None]).amax(-1)  # [K, B, P, M or 1]
    each = demand[:, :, None].expand(-1, -1, chosen.shape[2], -1)
    paid = recourse.cost(chosen[..., None].expand_as(each), each)
    done = recourse.cost(recourse.index(batch.bits), batch.demand)
    starts, started = d.known.starts(on[:, :, None], bits), d.known.starts(on, batch.bits)
    comfort = -(batch.reward + done + started)  # what is left of the cost
    reward = -(comfort[..., None, None] + paid + starts[..., None])
    going = config.gamma * batch.going[..., None]
    robust: Tensor = (reward + going[..., None] * best).amin(-1)
    unmoved = wide[:, :, 0]
    plain = d.plain(unmoved, d.load_action(unmoved))[:, :, None] - barred
    taken = (ahead[:, :, None, 0] - barred).argmax(-1, keepdim=True)
    nominal: Tensor = reward[..., 0] + going * plain.gather(-1, taken)[..., 0]
    return robust, nominal


def left_after(sight: Tensor, bits: Tensor, least: Tensor) -> Tensor:
    """[K, B, P, 7] the part LOCKED of the next sight, after bits [K, B, P, 7] at sights [K, B, 44].

    least [2, 7] is as of `pattern_targets`.
    """
    on, locked = sight[..., None, seen.ON], sight[..., None, seen.LOCKED].abs()
    new = torch.where(bits > 0.5, least[1], least[0]).to(sight) / _LONGEST
    step = 1 / _LONGEST
    left = torch.where(bits == on, locked, new).sub(step).clamp(min=0)
    return torch.where(bits > 0.5, left, -left)
