"""What a dispatcher of frequency regulation sees: a plain function, to be replaced at will."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from griddispatch.assets.regulation_resources import DISPATCH_S, STEP_S, SUBSTEPS
from griddispatch.envs.regulation_hours import DECISIONS, PREVIEW_S

if TYPE_CHECKING:
    from griddispatch.envs.regulation import Regulation, State

Observation = Callable[["Regulation", "State"], Tensor]

HISTORY_S = (0, 4, 8, 12, 20, 40, 60, 120)  # how old the shown samples of the signal are
KNOWN = 5  # decisions ahead for which the output that is on its way is added up
_MEMORY_S = 900.0  # of the sum of the signal


def plain_observation(env: "Regulation", state: "State") -> Tensor:
    """[B, K] without units: signal, known output, state of each resource.

    In this order: the signal now and 4 .. 120 s ago; its decaying sum over 15 min; the part of the
    hour that is left; the planned charging; power limits of the S storages; if the environment
    gives a preview, the signal in 4, 8, .. 40 s; the output ahead of the dead time and the last
    set-point of R resources; the total power that is on its way for the coming 5 decisions (what is
    not yet decided: as it is now); the place of each energy within its limits.
    """
    seen = env.table(_features)[state.t].index_select(0, state.hour)
    S = state.energy.shape[1]
    seen, empty, per_width = seen.split([seen.shape[1] - 2 * S, S, S], 1)
    scale = 1 / env.constants.power
    return torch.cat(
        [
            seen,
            state.output * scale,
            state.setpoint * scale,
            state.line.flatten(1) @ env.table(_on_its_way),
            (state.energy - empty) * per_width,
        ],
        1,
    )


def _features(env: "Regulation") -> Tensor:
    """[T, H, F] all of the observation that depends on no action, and the energy limits."""
    first = len(env.fleet.generators)
    before = round(max(HISTORY_S) / STEP_S)
    padded = torch.cat([env.signal[:, :1].expand(-1, before), env.signal], 1)
    last = DECISIONS * SUBSTEPS

    def shifted(seconds: float) -> Tensor:
        at = before + round(seconds / STEP_S)
        return padded[:, at : at + last : SUBSTEPS].T

    columns = [shifted(-age) for age in HISTORY_S]
    columns += [_sum_so_far(env.signal)[:, :last:SUBSTEPS].T]
    left = 1 - torch.arange(DECISIONS, device=env.device, dtype=env.dtype) / DECISIONS
    columns += [left[:, None].expand_as(columns[0])]
    columns += [(env.schedule.sum(1) / env.capacity_mw).expand_as(columns[0])]
    _, high, empty, full = env.window_table
    columns += (high[..., first:] / env.constants.power[first:]).unbind(-1)
    if env.preview:
        ahead = range(1, round(PREVIEW_S / DISPATCH_S) + 1)
        columns += [shifted(DISPATCH_S * k) for k in ahead]
    return torch.cat([torch.stack(columns, -1), empty, 1 / (full - empty)], -1)


def _sum_so_far(signal: Tensor) -> Tensor:
    """[H, n] the sum of the samples before each, forgotten over 15 min."""
    total, rows = torch.zeros_like(signal[:, 0]), []
    for sample in signal.unbind(1):
        rows.append(total)
        total = total + (STEP_S / _MEMORY_S) * (sample - total)
    return torch.stack(rows, 1)


def _on_its_way(env: "Regulation") -> Tensor:
    """[L R, 5] weights that add up the flattened line to the power of the coming decisions."""
    R, L = env.n_actions, env.depth
    weight = torch.zeros(L, R, KNOWN, device=env.device, dtype=env.dtype)
    for i, dead in enumerate(env.believed.dead_steps):
        for step in range(KNOWN * SUBSTEPS):
            at = min(L - 1, L + step - dead)
            weight[at, i, step // SUBSTEPS] += 1 / (SUBSTEPS * env.capacity_mw)
    return weight.flatten(0, 1)
