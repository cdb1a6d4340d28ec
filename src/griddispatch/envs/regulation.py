"""Dispatch of frequency regulation: the environment, batched and differentiable.

Every 4 s a set-point goes to each of R resources; the simulation runs in steps of 2 s. At decision
t of an hour, t = 0 .. 899, with R_mw the regulation capacity and b the planned EV charging,

    u      = R_mw s + b                   command in MW, held for 2 s
    power  = delivered power of the resources, behind their dead times
    cost   = sum_i cost_i |a_i - a_i before| + wear                                     [$]
    reward = -mean over two steps |sum power - u| / R_mw - w cost,  w = 0.002 per $

A set-point outside the feasible interval is a violation. It is counted first, in number and in MW,
and only then cut back to the interval, since the plant cannot do otherwise.

Nothing is kept between steps. All B rows of a batch stand at the same decision t of their hours. A
`State` holds outputs and energies ahead of the dead times, where they are known exactly (see
`assets.regulation`).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from griddispatch.assets.limits import within
from griddispatch.assets.regulation import Fleet, Window
from griddispatch.assets.regulation_resources import STEP_S, SUBSTEPS
from griddispatch.envs.episodes import chosen, observation_length
from griddispatch.envs.regulation_hours import DECISIONS, Hours
from griddispatch.envs.regulation_observation import Observation, plain_observation
from griddispatch.errors import InputError

CAPACITY_MW = 100.0
MILEAGE_WEIGHT = 0.002  # of a $ in the reward
TOLERANCE = 1e-6  # of a resource's range; less outside its interval is rounding


class State(NamedTuple):
    """Where B episodes stand at decision t: hour [B] (int64) of the environment's hours.

    line [B, L, R] is the output in MW after each of the last L steps, ahead of the dead time, the
    newest last; setpoint [B, R] the last one given, in MW; energy [B, S] in MWh, ahead as well.
    """

    hour: Tensor
    t: int
    line: Tensor
    setpoint: Tensor
    energy: Tensor

    @property
    def output(self) -> Tensor:
        """[B, R] newest output, ahead of the dead time."""
        return self.line[:, -1]


class Outcome(NamedTuple):
    """What a step did.

    command [B, 2] and power [B, 2, R] in MW in each of the two simulation steps, setpoint [B, R]
    what was carried out, excess [B, R] in MW how far the wanted set-point lay outside its
    interval, mileage [B, R] the movement of the set-points in MW, error [B] the mean of
    |sum power - command| in MW, cost [B] in $ (mileage and wear).
    """

    state: State
    command: Tensor
    power: Tensor
    setpoint: Tensor
    excess: Tensor
    mileage: Tensor
    error: Tensor
    cost: Tensor


class Regulation:
    """The environment. All tensors are on one device and in one precision.

    Parameters
    ----------
    fleet, hours
        The resources, and the hours that episodes are played on.
    capacity_mw
        R_mw, the regulation that was promised.
    mileage_weight
        w of the reward.
    believed
        A fleet with the dead times that the dispatcher believes in, where they differ from the
        true ones; it decides on `feasible_interval`, `delivered` and the observation.
    preview
        Whether the observation shows the signal of the next 40 s.
    observation
        A plain function [B, K] of environment and state.

    Raises
    ------
    InputError
        The hours are for another fleet, the believed fleet has other resources, or a number is out
        of range.
    """

    def __init__(
        self,
        fleet: Fleet,
        hours: Hours,
        *,
        capacity_mw: float = CAPACITY_MW,
        mileage_weight: float = MILEAGE_WEIGHT,
        believed: Fleet | None = None,
        preview: bool = False,
        observation: Observation | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if (hours.schedule_mw.shape[1], hours.start_mwh.shape[1]) != (
            len(fleet),
            len(fleet.storages),
        ):
            raise InputError("the hours were drawn for another fleet; draw them for this one")
        if not capacity_mw > 0 or not mileage_weight >= 0:
            raise InputError(
                "needs capacity_mw > 0 and mileage_weight >= 0; they are "
                f"{capacity_mw}, {mileage_weight}"
            )
        if believed is not None and believed.names != fleet.names:
            raise InputError("the believed fleet has other resources; change dead times only")
        self.fleet, self.hours, self.believed = fleet, hours, believed or fleet
        self.capacity_mw, self.mileage_weight, self.preview = capacity_mw, mileage_weight, preview
        self.observation = observation or plain_observation
        self.device, self.dtype = torch.device(device), dtype
        self.depth = max(1, *fleet.dead_steps, *self.believed.dead_steps)
        self.constants = fleet.constants(self._tensor([0.0]))
        self.schedule = self._tensor(hours.schedule_mw)  # [H, R]
        self.start = self._start()  # [H, S]
        self.signal = self._tensor(hours.signal)  # [H, n]
        command = capacity_mw * self.signal + self.schedule.sum(1, keepdim=True)
        steps = DECISIONS * SUBSTEPS
        self.command = command[:, :steps].view(len(hours), DECISIONS, SUBSTEPS).transpose(0, 1)
        self.command = self.command.contiguous()  # [T, H, 2]
        self._limits = self._window_table(fleet)
        same = self.believed == fleet
        self._believed_limits = self._limits if same else self._window_table(self.believed)
        self._read = self._delay(fleet)
        self._arriving = self._delay(self.believed)[: len(fleet) * SUBSTEPS].clamp(
            max=self.depth * len(fleet) - 1
        )
        self._tables: dict[Callable[[Regulation], Tensor], Tensor] = {}

    def _start(self) -> Tensor:
        """[H, S] energy at the start, ahead of the dead time in which the plan is carried out."""
        first = len(self.fleet.generators)
        planned = self.schedule[:, None, first:].expand(-1, SUBSTEPS, -1)
        dead = self._tensor(self.fleet.dead_steps[first:])
        drawn = self.fleet.drawn_mwh(planned) / SUBSTEPS * dead
        return self._tensor(self.hours.start_mwh) - drawn

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(values).to(self.device, self.dtype)

    def _window_table(self, fleet: Fleet) -> Tensor:
        """[T, H, 2 R + 2 S] low, high, empty, full of a set-point that is given at decision t."""
        hours, first = self.hours, len(fleet.generators)
        power = self.constants.power.expand(DECISIONS, len(hours), -1).clone()
        empty = self.start.expand(DECISIONS, -1, -1).clone()
        full = empty.clone()
        for s, dead in enumerate(fleet.dead_steps[first:]):
            late = dead // SUBSTEPS
            works, after = slice(late, late + DECISIONS), slice(late + 1, late + 1 + DECISIONS)
            power[..., first + s] = self._tensor(hours.power_mw[:, works, s].T.copy())
            empty[..., s] = self._tensor(hours.empty_mwh[:, after, s].T.copy())
            full[..., s] = self._tensor(hours.full_mwh[:, after, s].T.copy())
        return torch.cat([-power, power, empty, full], -1)

    def _delay(self, fleet: Fleet) -> Tensor:
        """[2 R] where in (line, new outputs), flattened, the power of the two steps stands."""
        R = len(fleet)
        return torch.tensor(
            [
                (self.depth + step - dead) * R + i
                for step in range(SUBSTEPS)
                for i, dead in enumerate(fleet.dead_steps)
            ],
            device=self.device,
        )

    # -- episodes -------------------------------------------------------------------------

    @property
    def n_actions(self) -> int:
        """R, the number of resources."""
        return len(self.fleet)

    @property
    def steps(self) -> int:
        """Decisions of an hour."""
        return DECISIONS

    def reset(self, hour: Tensor | None = None) -> State:
        """Start of an hour, every resource at rest: all hours once by default.

        Raises
        ------
        InputError
            There is no such hour.
        """
        hour = chosen(hour, len(self.hours), self.device, "an hour")
        rest = self.schedule[hour]
        line = rest[:, None].expand(-1, self.depth, -1)
        return State(hour, 0, line, rest, self.start[hour])

    @property
    def window_table(self) -> Window:
        """[T, H, R or S] limits of a set-point of decision t as the dispatcher believes them."""
        return self._split(self._believed_limits)

    def _split(self, limits: Tensor) -> Window:
        R, S = self.n_actions, self.start.shape[1]
        return Window(*limits.split([R, R, S, S], -1))

    def _interval(self, table: Tensor, state: State) -> tuple[Tensor, Tensor]:
        window = self._split(table[state.t].index_select(0, state.hour))
        return self.fleet.feasible_interval(state.output, state.energy, window)

    def feasible_interval(self, state: State) -> tuple[Tensor, Tensor]:
        """[B, R] lowest and highest set-point in MW as the dispatcher believes them to be."""
        return self._interval(self._believed_limits, state)

    def delivered(self, state: State) -> Tensor:
        """[B, R] mean power in the coming 4 s as far as it is on its way, believed.

        Of a resource with a dead time below 4 s it is the last output.
        """
        arriving = state.line.flatten(1).index_select(1, self._arriving)
        return arriving.unflatten(1, (SUBSTEPS, -1)).mean(1)

    def step(
        self, state: State, setpoint: Tensor, limits: tuple[Tensor, Tensor] | None = None
    ) -> tuple[State, Tensor, Outcome]:
        """Take one step of B episodes with set-points [B, R] in MW.

        Parameters
        ----------
        state, setpoint
            Where the episodes stand, what the dispatcher wants.
        limits
            What `feasible_interval` gave for this state, to save computing it again; not to be
            given where the believed fleet differs from the true one.

        Returns
        -------
        state, reward, outcome
            The next state, the reward [B], what happened.

        Raises
        ------
        InputError
            The shape is wrong, a value is not a number, or the hour is over.
        """
        if setpoint.shape != state.setpoint.shape:
            raise InputError(
                f"set-point has shape {tuple(setpoint.shape)}; this fleet needs "
                f"{tuple(state.setpoint.shape)}: one value per episode and resource"
            )
        if state.t >= DECISIONS:
            raise InputError(f"the hour is over after {DECISIONS} decisions; reset it")
        if not bool(torch.isfinite(setpoint).all()):
            raise InputError(f"a set-point at decision {state.t} is not a finite number")
        if limits is None:
            limits = self._interval(self._limits, state)
        carried_out = within(setpoint, *limits)
        new = self.fleet.respond(state.output, carried_out)
        line = torch.cat([state.line, new], 1)
        power = line.flatten(1).index_select(1, self._read).unflatten(1, (SUBSTEPS, -1))
        command = self.command[state.t].index_select(0, state.hour)
        error = (power.sum(-1) - command).abs().mean(1)
        mileage = (carried_out - state.setpoint).abs()
        stored = new[..., len(self.fleet.generators) :]
        drawn = self.fleet.drawn_mwh(stored)
        wear = (stored.abs().sum(1) * self.constants.wear).sum(-1) * (STEP_S / 3600)
        cost = mileage @ self.constants.cost + wear
        reward = -error / self.capacity_mw - self.mileage_weight * cost
        outcome = Outcome(
            state=state,
            command=command,
            power=power,
            setpoint=carried_out,
            excess=(setpoint - carried_out).detach().abs(),
            mileage=mileage,
            error=error,
            cost=cost,
        )
        after = State(
            state.hour, state.t + 1, line[:, SUBSTEPS:], carried_out, state.energy - drawn
        )
        return after, reward, outcome

    # -- what the dispatcher sees ---------------------------------------------------------

    def table(self, made: Callable[["Regulation"], Tensor]) -> Tensor:
        """`made(environment)`, computed only once: what depends on no action."""
        if made not in self._tables:
            self._tables[made] = made(self)
        return self._tables[made]

    def observe(self, state: State) -> Tensor:
        """[B, K] observation of a state."""
        return self.observation(self, state)

    @property
    def n_observations(self) -> int:
        """K, the length of an observation."""
        return observation_length(self)

    def on(self, hours: Hours) -> "Regulation":
        """The same task on other hours of the same fleet."""
        return Regulation(
            self.fleet,
            hours,
            capacity_mw=self.capacity_mw,
            mileage_weight=self.mileage_weight,
            believed=self.believed,
            preview=self.preview,
            observation=self.observation,
            device=self.device,
            dtype=self.dtype,
        )
