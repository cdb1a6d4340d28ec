"""The virtual power plant as a PettingZoo environment of two agents that act at the same time.

"supply" commits units, "load" moves load; both see the same observation and share the reward, the
cost of the period with a minus sign. Other libraries' multi-agent learners can so be tried; the
library's own ones use the batched `envs.vpp`.
"""

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, MultiBinary, Space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from griddispatch.envs.vpp import COSTS, Action, State, VirtualPowerPlant
from griddispatch.envs.vpp_observation import OBSERVATIONS
from griddispatch.errors import InputError

AGENTS = ("supply", "load")
Observations = dict[str, NDArray[np.float32]]


class ParallelVirtualPowerPlant(ParallelEnv[str, NDArray[np.float32], NDArray[Any]]):
    """One day per episode, drawn from the days of an environment.

    Parameters
    ----------
    env
        The batched environment, of a plant with recourse.

    Raises
    ------
    InputError
        The plant has no recourse.
    """

    metadata = {"name": "virtual_power_plant_v0", "render_modes": []}  # noqa: RUF012

    def __init__(self, env: VirtualPowerPlant) -> None:
        if not env.plant.recourse:
            raise InputError(
                "the PettingZoo face is for plants with recourse; take preset repaired"
            )
        self.env = env
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.render_mode = None
        self._observed = Box(-np.inf, np.inf, (OBSERVATIONS,), np.float32)
        self._actions = {
            "supply": MultiBinary(env.units),
            "load": Box(-1.0, 1.0, (1,), np.float32),
        }
        self._random = np.random.default_rng()
        self._state: State | None = None

    def observation_space(self, agent: str) -> Space[Any]:
        """The 42 columns of `envs.vpp_observation`."""
        return self._observed

    def action_space(self, agent: str) -> Space[Any]:
        """7 bits for "supply", a number in [-1, 1] for "load"."""
        return self._actions[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, dict[str, Any]]]:
        """Start a day: options["day"], or one drawn at random.

        Raises
        ------
        InputError
            There is no such day.
        """
        if seed is not None:
            self._random = np.random.default_rng(seed)
        drawn = int(self._random.integers(len(self.env.days)))
        day = int((options or {}).get("day", drawn))
        self._state = self.env.reset(torch.tensor([day], device=self.env.device))
        self.agents = list(AGENTS)
        return self._observation(), {agent: {"day": day} for agent in self.agents}

    def step(
        self, actions: dict[str, NDArray[Any]]
    ) -> tuple[
        Observations,
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Play one period; info holds the costs and the number of forbidden commitments.

        Raises
        ------
        InputError
            The day is over or was never started, or an agent's action is missing.
        """
        if self._state is None or not self.agents:
            raise InputError("the day is over; call reset first")
        missing = [agent for agent in AGENTS if agent not in actions]
        if missing:
            raise InputError(f"no action of agent {missing[0]!r}; give one for each agent")
        commit, load = (
            torch.as_tensor(np.asarray(actions[agent]), device=self.env.device)
            .to(self.env.dtype)
            .flatten()
            for agent in AGENTS
        )
        self._state, reward, outcome = self.env.step(self._state, Action(commit[None], load))
        over = self._state.t == self.env.steps
        info: dict[str, Any] = {name: float(getattr(outcome, name)) for name in COSTS}
        info |= {
            "imbalance_kw": float(outcome.imbalance_kw),
            "violations": int(outcome.violations),
        }
        answer = (
            self._observation(),
            dict.fromkeys(AGENTS, float(reward)),
            dict.fromkeys(AGENTS, over),
            dict.fromkeys(AGENTS, False),
            {agent: dict(info) for agent in AGENTS},
        )
        if over:
            self.agents = []
        return answer

    def render(self) -> None:
        """Nothing is drawn."""

    def _observation(self) -> Observations:
        assert self._state is not None
        row = self.env.observe(self._state)[0].float().cpu().numpy()
        return {agent: row.copy() for agent in AGENTS}
