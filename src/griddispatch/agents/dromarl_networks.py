"""The two actors of DROMARL, stacked for K seeds, and what they see.

They see the environment's observation and, of the coming period's relative demand, the world
model's mean and spread (0 without a world model), the known effect of prices added to the mean. Of
these 44 numbers, the *sight*, networks get
features of order 1, among them the forecast in kW.

Supply actor. As published, a logit for each unit; the unit runs if it is positive. The successor
("enumerated") has no network of its own: a critic values all 128 commitments, and the best feasible
one is taken. Both answer hard statuses, in training as in play, and never break a minimum time.

Load actor. a = kappa_hat a_prev + (1 - kappa_hat) a_new, kappa_hat = sigmoid(f(s)), with a_prev the
last load action, a part of the sight; or a = a_new.
"""

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from griddispatch.agents.dromarl_config import DROMARLConfig
from griddispatch.agents.dromarl_recourse import Expected, Known, expected_of, recourse_of
from griddispatch.assets.vpp import Plant
from griddispatch.data.vpp_demand import BASE_KW, INERTIA, Shift
from griddispatch.envs import vpp_observation as seen
from griddispatch.envs.vpp import Action, State, VirtualPowerPlant
from griddispatch.errors import InputError
from griddispatch.forecasting.demand_models import Carried, DemandModel
from griddispatch.learning.networks import StackedMLP, Streams

MEAN, SPREAD = seen.OBSERVATIONS, seen.OBSERVATIONS + 1
SIGHT = SPREAD + 1
FEATURES = SIGHT + 2


_KAPPA = sum(INERTIA) / 2
_BASE = torch.as_tensor(BASE_KW, dtype=torch.float32)
_SCALE = torch.ones(SIGHT)
_SCALE[seen.DEMAND], _SCALE[seen.CONTROL], _SCALE[MEAN], _SCALE[SPREAD] = 3, 3, 3, 10
_CENTRE_KW, KW, _SPREAD_KW = 22.0, 10.0, 3.0


def features(sight: Tensor) -> Tensor:
    """[..., 46] features of sights [..., 44]: relative numbers enlarged, the forecast in 10 kW."""
    mean, spread = forecast_kw(sight)
    kw = torch.stack([(mean - _CENTRE_KW) / KW, spread / _SPREAD_KW], -1)
    return torch.cat([sight * _SCALE, kw], -1)


def blind(sight: Tensor) -> Tensor:
    """The same sights [..., 44] without what the world model said."""
    return torch.cat([sight[..., :MEAN], torch.zeros_like(sight[..., MEAN:])], -1)


def allowed(sight: Tensor, bits: Tensor) -> Tensor:
    """Statuses [..., 7] with those that minimum times forbid at the sights set right."""
    locked = sight[..., seen.LOCKED]
    return bits.masked_fill(locked > 0, 1.0).masked_fill(locked < 0, 0.0)


def forecast_kw(sight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread [...] in kW of the coming demand, if control stays as it is."""
    ahead = sight[..., seen.PERIOD] @ _BASE
    mean = ahead * (1 + sight[..., MEAN] + sight[..., seen.CONTROL])
    return mean, ahead * sight[..., SPREAD]


def forecast_after(sight: Tensor, load: Tensor, control: float) -> tuple[Tensor, Tensor]:
    """As `forecast_kw`, after load actions [...], with the plant's limit of control."""
    mean, spread = forecast_kw(sight)
    change = (1 - _KAPPA) * (control * load - sight[..., seen.CONTROL])
    return mean + sight[..., seen.PERIOD] @ _BASE * change, spread


@torch.no_grad()
def start_small(network: StackedMLP, factor: float) -> None:
    """Scale the first answers of a network: a policy starts near what is known without it."""
    network.weights[-1].mul_(factor)
    network.biases[-1].mul_(factor)


class Dispatchers(nn.Module):
    """K pairs of a supply and a load actor.

    Parameters
    ----------
    config, plant
        See there.
    streams
        Initial weights.
    """

    patterns: Tensor

    def __init__(self, config: DROMARLConfig, plant: Plant, streams: Streams) -> None:
        super().__init__()
        self.config, self.agents, units = config, len(streams), plant.units
        self.known = Known(plant, config.unit)
        self.load = StackedMLP((FEATURES, *config.hidden, 2), streams, "silu")
        self.recourse = recourse_of(plant, config.unit)
        self.register_buffer("patterns", self.recourse.patterns, persistent=False)
        if config.supply == "bernoulli":
            self.supply = StackedMLP((FEATURES, *config.hidden, units), streams, "silu")
        else:
            sizes = (FEATURES - 2 * units + 1, *config.critic, len(self.patterns))
            self.supply = StackedMLP(sizes, streams, "silu")
            self.nominal = StackedMLP(sizes, streams, "silu")
            self.robust_cost = expected_of(plant, config.unit, max(config.radii))
            self.nominal_cost = expected_of(plant, config.unit, 0.0)
            for judge in (self.supply, self.nominal):
                start_small(judge, 0.0)
        start_small(self.load, 0.1)

    def supply_features(self, sight: Tensor) -> Tensor:
        """[K, B, 46] what the supply side sees, with the forecast or without."""
        return features(sight if self.config.uncertainty else blind(sight))

    def inertia(self, sight: Tensor) -> Tensor:
        """[K, B] kappa_hat."""
        raw: Tensor = self.load(features(sight))
        return raw[..., 1].sigmoid()

    def load_action(self, sight: Tensor) -> Tensor:
        """[K, B] load actions in [-1, 1]."""
        raw: Tensor = self.load(features(sight))
        new = raw[..., 0].tanh()
        if not self.config.inertia:
            return new
        return torch.lerp(new, sight[..., seen.LOAD], raw[..., 1].sigmoid())

    def logits(self, sight: Tensor) -> Tensor:
        """[K, B, 7] of the bits."""
        raw: Tensor = self.supply(self.supply_features(sight))
        return raw

    def robust(self, sight: Tensor, load: Tensor) -> Tensor:
        """[K, B, 128] robust value in units of each commitment, before starts."""
        return self._judged(self.supply, self.robust_cost, sight, load)

    def plain(self, sight: Tensor, load: Tensor) -> Tensor:
        """[K, B, 128] nominal value in units of each commitment, before starts."""
        return self._judged(self.nominal, self.nominal_cost, sight, load)

    def _judged(self, judge: StackedMLP, cost: Expected, sight: Tensor, load: Tensor) -> Tensor:
        """What a network adds to what is known.

        What follows a commitment depends on the statuses before it through starts, which are known,
        and through minimum times that are still running, which is neglected: the network does not
        see statuses. With a forecast, the expected cost of the period at a normal demand is known;
        without, only that of running.
        """
        x = self.supply_features(sight)
        free = torch.cat([x[..., : seen.ON.start], x[..., seen.LOCKED.stop :]], -1)
        rest: Tensor = judge(torch.cat([free, load[..., None]], -1))
        if not self.config.uncertainty:
            return rest - self.patterns @ self.known.running
        period = sight[..., seen.PERIOD].argmax(-1)
        return rest - cost(period, *forecast_after(sight, load, self.known.control))

    def barred(self, on: Tensor, locked: Tensor) -> Tensor:
        """[..., 128] cost in units of the starts of each commitment after statuses on [..., 7].

        It is infinite where minimum times, locked [..., 7] as in the sight, forbid a commitment.
        """
        bits = self.patterns
        starts = self.known.start * ((1 - on) @ bits.T)
        broken = (locked > 0).to(bits) @ (1 - bits).T + (locked < 0).to(bits) @ bits.T
        return starts.masked_fill(broken > 0, torch.inf)

    def values(self, sight: Tensor, load: Tensor) -> Tensor:
        """[K, B, 128] value in units of each commitment; -inf where a minimum time forbids it."""
        return self.robust(sight, load) - self.barred_at(sight)

    def barred_at(self, sight: Tensor) -> Tensor:
        """`barred` at sights [..., 44]."""
        return self.barred(sight[..., seen.ON], sight[..., seen.LOCKED])

    def commitment(self, sight: Tensor, load: Tensor) -> Tensor:
        """[K, B, 7] hard, feasible statuses: the greedy policy."""
        if self.config.supply == "bernoulli":
            return allowed(sight, (self.logits(sight) > 0).to(sight))
        return self.patterns[self.values(sight, load).argmax(-1)]

    def act(self, sight: Tensor) -> Action:
        """Greedy action of K * B rows for sights [K, B, 44]."""
        load = self.load_action(sight)
        return Action(self.commitment(sight, load).flatten(0, 1), load.flatten())


class Forecast:
    """Mean and spread of the coming period's relative demand, as the world model sees it in play.

    Several world models count as one: the mixture of all of them.
    """

    def __init__(self, world: DemandModel | None) -> None:
        self.world, self.carried = world, Carried(0, torch.zeros(1, 0))

    def at(self, state: State) -> Tensor:
        """[B, 2] mean and spread at the states; zeros without a world model.

        Raises
        ------
        InputError
            A period was left out: the model goes through a day in order.
        """
        rows, t = len(state.day), state.t
        if self.world is None:
            return state.load.new_zeros(rows, 2)
        if t == 0:
            self.carried = self.world.start(rows)
        else:
            if self.carried.t != t - 1 or self.carried.memory.shape[1] != rows:
                raise InputError(
                    f"asked for period {t} without period {t - 1}; the world model goes through "
                    "days in order, so play them from their start"
                )
            came = state.free[:, t - 1].expand(self.world.seeds, -1)
            self.carried = self.world.update(self.carried, came)
        return predicted(self.world, self.carried).to(state.load)


def predicted(world: DemandModel, carried: Carried) -> Tensor:
    """[B, 2] mean and spread of the coming relative demand, over all the world models."""
    ahead = world.predict(carried)
    mean = ahead.centre.mean(0)
    second = (ahead.spread.square() + ahead.centre.square()).mean(0)
    spread = (second - mean.square()).clamp(min=0).sqrt()
    return torch.stack([mean, spread], -1)


class Player:
    """K greedy policies at play; of one agent, the trained policy that `train` gives back.

    A dispatcher of `evaluation.vpp_rollout`: asked for the periods of a day in order.
    """

    def __init__(self, dispatchers: Dispatchers, world: DemandModel | None) -> None:
        self.dispatchers = dispatchers
        self.forecast = Forecast(world if dispatchers.config.world else None)

    def sight(self, env: VirtualPowerPlant, state: State) -> Tensor:
        """[K, B, 44] what is seen at K * B states."""
        ahead = self.forecast.at(state)
        ahead[:, 0] += env.response[state.t]
        x = torch.cat([env.observe(state), ahead], 1)
        return x.view(self.dispatchers.agents, -1, SIGHT)

    @torch.no_grad()
    def act(self, env: VirtualPowerPlant, state: State) -> Action:
        """Greedy actions at the states."""
        return self.dispatchers.act(self.sight(env, state))

    @property
    def saved(self) -> dict[str, Any]:
        """What `load` takes, beside plant and world model: plain values and tensors."""
        parameters = {n: p.detach().clone() for n, p in self.dispatchers.state_dict().items()}
        return {"config": asdict(self.dispatchers.config), "parameters": parameters}

    @classmethod
    def load(cls, saved: dict[str, Any], plant: Plant, world: DemandModel | None) -> "Player":
        """The policy that `saved` was made of.

        Raises
        ------
        InputError
            The policy needs a world model, and there is none.
        """
        settings = dict(saved["config"])
        for name in ("hidden", "critic"):
            settings[name] = tuple(settings[name])
        settings["shifts"] = tuple(Shift(**s) for s in settings["shifts"])
        config = DROMARLConfig(**settings)
        check_world(config, world)
        agents = len(next(p for n, p in saved["parameters"].items() if n.endswith("weights.0")))
        made = Dispatchers(config, plant, Streams([0] * agents))
        made.load_state_dict(saved["parameters"])
        return cls(made, world)


def check_world(config: DROMARLConfig, world: DemandModel | None) -> None:
    """Refuse settings that need a world model where there is none.

    Raises
    ------
    InputError
        They do.
    """
    if config.world and world is None:
        raise InputError(
            "these settings use a world model (uncertainty or imagined days); give one as world=, "
            "or take the preset 'no world model'"
        )


def one_agent(dispatchers: Dispatchers, plant: Plant, k: int) -> Dispatchers:
    """Agent k alone."""
    made = Dispatchers(replace(dispatchers.config), plant, Streams([0]))
    own = {
        n: p.detach()[k : k + 1].clone()
        if n.startswith(("supply", "load", "nominal"))
        else p.detach().clone()
        for n, p in dispatchers.state_dict().items()
    }
    made.load_state_dict(own)
    return made
