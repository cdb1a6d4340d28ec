"""Gymnasium faces of the batched feeder: one day, or B days side by side.

Both are thin: spaces, seeds, numpy in and out. The physics, the reward and the observation are
those of `griddispatch.envs.feeder.Feeder`, and are changed there.

    import gymnasium, griddispatch
    env = gymnasium.make("griddispatch/Feeder-v0", data="data")
    envs = gymnasium.make_vec("griddispatch/Feeder-v0", num_envs=64, feeder=feeder)

The end of the day is `terminated`, never `truncated`. The task has a finite horizon: its return is
the money of that day, the time of day is observed, and energy left in a battery at midnight is
worth nothing (or, with end_soc="initial", there is none to choose). A learner must therefore not
add the value of the state after the last step, which is what `truncated` would ask it to do.

info, in `reset` and `step` (arrays [B], power_kw and soc [B, M], in the vector environment)

    date, slot   day "YYYY-MM-DD" and step 0 .. S of the returned observation; S: the day is over
    topology     place in `feeder.networks` of the network that the day is played on
    soc          states of charge in 0 .. 1, at the returned observation
    power_kw     powers that the batteries took in the step before it, + = charging; at a reset 0
    profit       what that step earned, EUR; at a reset 0
    penalty      voltage penalty of that step, EUR; at a reset 0
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from griddispatch.data.splits import fit_days
from griddispatch.envs.cases import load_feeder
from griddispatch.envs.feeder import Feeder, Outcome, State
from griddispatch.errors import InputError

Array = NDArray[np.float32]
Info = dict[str, Any]

LEARNING_DAYS = partial(fit_days, primary="all")


class FeederEnv(gymnasium.Env[Array, Array]):
    """One day of the feeder per episode, drawn at random.

    Parameters
    ----------
    feeder
        A ready environment.
    **case
        Instead of it, what makes one: the arguments of `griddispatch.envs.cases.load_feeder`. By
        default data="data", and the days are those that an agent may learn from: no validation,
        test or stress day.

    `reset` takes the options "date", the day to play, "topology", the place in `feeder.networks`
    to play it on, and "soc" [M], where its batteries start.

    Raises
    ------
    InputError
        A data file is missing, or see `Feeder`.
    TypeError
        Both a feeder and a case are given, or the case has an unknown argument.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (as in the base class)

    def __init__(self, feeder: Feeder | None = None, **case: Any) -> None:
        self.feeder = _feeder(feeder, case)
        self._dates = np.array(self.feeder.days.dates)
        self.observation_space, self.action_space = _spaces(self.feeder)
        self._state: State | None = None

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Array, Info]:
        """Start a day; InputError if an option or the date is unknown."""
        super().reset(seed=seed)
        self._state = _start(self.feeder, self.np_random, 1, options)
        return _observation(self.feeder, self._state)[0], self._info(self._state)

    def step(self, action: ArrayLike) -> tuple[Array, float, bool, bool, Info]:
        """Take one step with an action [M] in [-1, 1]; errors as in `Feeder.step`."""
        state = _running(self._state)
        self._state, reward, outcome = _step(self.feeder, state, np.asarray(action)[None])
        observation = _observation(self.feeder, self._state)[0]
        over = bool(self._state.t[0] >= self.feeder.steps)
        return observation, float(reward[0]), over, False, self._info(self._state, outcome)

    def _info(self, state: State, outcome: Outcome | None = None) -> Info:
        scalars = {"date": str, "slot": int, "topology": int, "profit": float, "penalty": float}
        info = _info(self.feeder, self._dates, state, outcome)
        return {k: scalars[k](v[0]) if k in scalars else v[0] for k, v in info.items()}


class FeederVectorEnv(VectorEnv[Array, Array, NDArray[Any]]):
    """B days of the feeder side by side in one batch.

    Parameters as in `FeederEnv`; `reset` takes the options "date" and "topology", one for all or B,
    and "soc", [M] or [B, M].

    All days have the same length and end together. The call of `step` after the end ignores the
    actions and starts B new days (the mode "next step" of Gymnasium): its reward is 0.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (as in the base class)
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(self, num_envs: int = 1, feeder: Feeder | None = None, **case: Any) -> None:
        self.num_envs = num_envs
        self.feeder = _feeder(feeder, case)
        self._dates = np.array(self.feeder.days.dates)
        self.single_observation_space, self.single_action_space = _spaces(self.feeder)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: State | None = None

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Array, Info]:
        """Start B days; InputError if an option or a date is unknown."""
        super().reset(seed=seed)
        self._state = _start(self.feeder, self.np_random, self.num_envs, options)
        return _observation(self.feeder, self._state), self._info(self._state)

    def step(
        self, actions: ArrayLike
    ) -> tuple[Array, NDArray[Any], NDArray[Any], NDArray[Any], Info]:
        """Take one step with actions [B, M] in [-1, 1]; errors as in `Feeder.step`."""
        state = _running(self._state)
        no = np.zeros(self.num_envs, np.bool_)
        if int(state.t[0]) >= self.feeder.steps:
            observation, info = self.reset()
            return observation, np.zeros(self.num_envs), no, no.copy(), info
        self._state, reward, outcome = _step(self.feeder, state, actions)
        over = _numpy(self._state.t >= self.feeder.steps)
        observation = _observation(self.feeder, self._state)
        return observation, _numpy(reward), over, no, self._info(self._state, outcome)

    def _info(self, state: State, outcome: Outcome | None = None) -> Info:
        """Every value with its mask, as Gymnasium's vector environments give them."""
        info = _info(self.feeder, self._dates, state, outcome)
        return info | {f"_{key}": np.ones(self.num_envs, np.bool_) for key in info}


def _feeder(feeder: Feeder | None, case: dict[str, Any]) -> Feeder:
    if feeder is None:
        return load_feeder(**{"data": "data", "dates": LEARNING_DAYS, **case})
    if case:
        raise TypeError(f"a ready feeder is given, so {sorted(case)} would have no effect")
    return feeder


def _spaces(feeder: Feeder) -> tuple[Box[np.float32], Box[np.float32]]:
    """Spaces of one observation and one action.

    An observation is scaled, not bounded, and a user may replace it; the limits are those of
    float32.
    """
    limit = float(np.finfo(np.float32).max)
    return (
        Box(-limit, limit, (feeder.n_observations,), np.float32),
        Box(-1.0, 1.0, (feeder.n_actions,), np.float32),
    )


def _start(
    feeder: Feeder, random: np.random.Generator, count: int, options: Mapping[str, Any] | None
) -> State:
    """State of `count` episodes at midnight: days drawn at random, or those of the options."""
    options = options or {}
    unknown = set(options) - {"date", "topology", "soc"}
    if unknown:
        raise InputError(
            f"unknown reset option {sorted(unknown)}; there are 'date', 'topology' and 'soc'"
        )
    dates = len(feeder.days) // len(feeder.networks)  # the days stand there once per topology
    topology, day = np.divmod(random.integers(len(feeder.days), size=count), dates)
    if "date" in options:
        day = _places(feeder, options["date"], count)
    if "topology" in options:
        topology = _topologies(feeder, options["topology"], count)
    day = topology * dates + day
    soc = None
    if "soc" in options:
        value = np.asarray(options["soc"], np.float64)
        soc = torch.tensor(np.broadcast_to(value, (count, feeder.n_actions)), device=feeder.device)
    return feeder.reset(torch.as_tensor(day, device=feeder.device), soc)


def _places(feeder: Feeder, date: str | Sequence[str], count: int) -> NDArray[np.int64]:
    """Return the place of each date among the feeder's days."""
    dates = (date,) * count if isinstance(date, str) else tuple(date)
    once = feeder.days.dates[: len(feeder.days) // len(feeder.networks)]
    at = {name: place for place, name in enumerate(once)}
    for name in dates:
        if name not in at:
            raise InputError(f"{name!r} is no day of this feeder; see feeder.days.dates")
    if len(dates) != count:
        raise InputError(f"{len(dates)} dates for {count} episodes; give one for all or one each")
    return np.array([at[name] for name in dates])


def _topologies(feeder: Feeder, given: ArrayLike, count: int) -> NDArray[np.int64]:
    """Return B places in the feeder's networks."""
    places = np.asarray(given)
    known = np.isin(places, np.arange(len(feeder.networks)))
    if places.shape not in ((), (count,)) or not known.all():
        raise InputError(
            f"topology is {given!r}; give a number from 0 to {len(feeder.networks) - 1} for all "
            f"{count} episodes or one each"
        )
    return np.broadcast_to(places.astype(np.int64), (count,))


def _running(state: State | None) -> State:
    if state is None:
        raise InputError("the first step needs a day; call reset() before it")
    return state


@torch.no_grad()
def _step(feeder: Feeder, state: State, actions: ArrayLike) -> tuple[State, Tensor, Outcome]:
    return feeder.step(state, torch.tensor(np.asarray(actions), device=feeder.device))


@torch.no_grad()
def _observation(feeder: Feeder, state: State) -> Array:
    """Return [B, K] float32."""
    return _numpy(feeder.observe(state)).astype(np.float32, copy=False)


def _info(feeder: Feeder, dates: NDArray[np.str_], state: State, outcome: Outcome | None) -> Info:
    """Arrays of B values; see the module's text."""
    nothing = state.soc.new_zeros(len(state.day))
    return {
        "date": dates[_numpy(state.day)],
        "slot": _numpy(state.t),
        "topology": _numpy(feeder.topology[state.day]),
        "soc": _numpy(state.soc),
        "power_kw": _numpy(outcome.power_kw if outcome else torch.zeros_like(state.soc)),
        "profit": _numpy(outcome.profit if outcome else nothing),
        "penalty": _numpy(outcome.penalty if outcome else nothing),
    }


def _numpy(value: Tensor) -> NDArray[Any]:
    """Return a copy: what a caller does to it must not reach the state of the environment."""
    return value.detach().cpu().numpy().copy()
