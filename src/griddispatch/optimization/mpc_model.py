"""The rolling-horizon program: which columns and rows it has, and the numbers of a decision.

The equations stand in `griddispatch.optimization.mpc`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from griddispatch.errors import InputError
from griddispatch.optimization.mpc_plant import AGE, DAY, Float, Grid, Outlook, Plant, State
from griddispatch.optimization.mpc_program import Columns, Program, Term


class Numbers(NamedTuple):
    """What a decision puts into the program, and the coefficients that change with it."""

    cost: Float
    low: Float
    high: Float
    row_low: Float
    row_high: Float
    rows: Columns
    columns: Columns
    values: Float


class Pair(NamedTuple):
    """Two directions of one flow [W, K], their binary (1 = forth), and the largest flow in kW."""

    forth: Columns
    back: Columns
    way: Columns
    most: float


@dataclass(frozen=True)
class Shape:
    """What fixes the structure of a program; arguments as of `mpc.Dispatch`.

    periods [K] is the billing period of each block, 0, 1, ...; signed adds the direction binaries.
    """

    plant: Plant
    grid: Grid
    scenarios: int
    demand: float
    risk: float
    tail: float
    periods: tuple[int, ...]
    signed: bool


class Model:
    """Columns, rows and coefficients of one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        plant, grid = shape.plant, shape.grid
        W, K = shape.scenarios, len(grid.sizes)
        p = self.program = Program()
        dt = np.broadcast_to(grid.hours, (W, K))
        self.buy, self.sell = p.columns(W, K), p.columns(W, K)
        self.charge, self.give, self.energy = (p.columns(W, K, shared=True) for _ in range(3))
        balance: list[Term] = [
            (1.0, self.buy),
            (-1.0, self.sell),
            (1.0, self.give),
            (-1.0, self.charge),
        ]
        keep = np.broadcast_to(-((1 - plant.leak) ** grid.hours[1:]), (W, K - 1))
        flow: list[Term] = [
            (1.0, self.energy),
            (-plant.eta * dt, self.charge),
            (dt / plant.eta, self.give),
        ]
        self._battery = p.rows("battery", flow, before=(keep, self.energy), shared=True)
        self.later = self.caught_up = self.backlog = self.cut = None
        if plant.shift_share:
            self.later, self.caught_up, self.backlog = (
                p.columns(W, K, shared=True) for _ in range(3)
            )
            balance += [(1.0, self.later), (-1.0, self.caught_up)]
            self._shift_rows(p, dt)
        if plant.cut_share:
            self.cut = p.columns(W, K, shared=True)
            balance.append((1.0, self.cut))
            # Whatever the clock says, a block begins in one of two calendar days.
            self._days = (grid.steps + DAY - 1) // DAY + 1
            self._per_day = p.rows("cut of a day", [], shape=(W, self._days))
        self._balance = p.rows("balance", balance)
        self.peak = None
        if shape.demand:
            self.peak = p.columns(W, 1 + max(shape.periods))
            least = [(1.0, self.peak[:, list(shape.periods)]), (-1.0, self.buy)]
            self._least = p.rows("peak", least)
        if shape.risk:
            self._threshold, self._excess = p.columns(1, 1), p.columns(W, 1)
            tail = [(1.0, self._excess), (1.0, np.repeat(self._threshold, W, axis=0))]
            self._tail = p.rows("CVaR", tail)
        self.pairs: list[Pair] = []
        if shape.signed:
            self._directions(p)

    def _shift_rows(self, p: Program, dt: Float) -> None:
        plant, grid = self.shape.plant, self.shape.grid
        assert self.later is not None
        assert self.caught_up is not None
        assert self.backlog is not None
        move: list[Term] = [
            (1.0, self.backlog),
            (-dt, self.later),
            (dt / (1 + plant.payback), self.caught_up),
        ]
        self._moved = p.rows("backlog", move, before=(-1.0, self.backlog), shared=True)
        self._age = p.rows("age of the backlog", [(1.0, self.backlog)], shared=True)
        end = grid.start + grid.sizes
        # A block counts from its first step on, so that no load waits longer than it may.
        young = grid.start[None] >= end[:, None] - AGE
        young &= grid.start[None] <= grid.start[:, None]
        k, j = np.nonzero(young)
        p.add(self._age[:, k], self.later[:, j], -grid.hours[j])

    def _directions(self, p: Program) -> None:
        plant, (W, K) = self.shape.plant, self.buy.shape
        grid_kw = max(plant.import_kw, plant.export_kw)
        for forth, back, most, shared in (
            (self.charge, self.give, plant.power_kw, True),
            (self.buy, self.sell, grid_kw, False),
        ):
            way = p.columns(W, K, shared=shared)
            self.pairs.append(Pair(forth, back, way, most))
        self._forth = [
            p.rows("direction", [(1.0, x.forth), (-x.most, x.way)], shared=n == 0)
            for n, x in enumerate(self.pairs)
        ]
        self._back = [
            p.rows("direction", [(1.0, x.back), (x.most, x.way)], shared=n == 0)
            for n, x in enumerate(self.pairs)
        ]

    def numbers(
        self, state: State, outlook: Outlook, buy: Float, sell: Float, value: float
    ) -> Numbers:
        """Fill in a decision: bounds, costs, sides of rows, and coefficients that move."""
        shape, plant, grid = self.shape, self.shape.plant, self.shape.grid
        pv, load = grid.mean(outlook.pv), grid.mean(outlook.load)
        weight = outlook.weight[:, None]
        p = self.program
        cost, low, high = np.zeros(p.width), np.zeros(p.width), np.full(p.width, np.inf)
        row_low, row_high = np.full(p.height, -np.inf), np.full(p.height, np.inf)
        rows: list[Columns] = []
        columns: list[Columns] = []
        values: list[Float] = []

        each = self._costs(grid.mean(buy), grid.mean(sell), value)
        for at, price in each:
            np.add.at(cost, at, weight * price)
            if shape.risk:
                rows.append(np.broadcast_to(self._tail, at.shape).ravel())
                columns.append(at.ravel())
                values.append(np.broadcast_to(-price, at.shape).ravel())
        if shape.risk:
            cost[self._threshold] = shape.risk
            low[self._threshold] = -np.inf
            cost[self._excess] = shape.risk / shape.tail * weight
            row_low[self._tail] = 0.0

        high[self.buy], high[self.sell] = plant.import_kw, plant.export_kw
        high[self.charge] = high[self.give] = plant.power_kw
        low[self.energy], high[self.energy] = plant.lowest_kwh, plant.energy_kwh
        begin = np.zeros(self.energy.shape)
        begin[:, 0] = (1 - plant.leak) ** grid.hours[0] * state.energy
        row_low[self._battery] = row_high[self._battery] = begin
        row_low[self._balance], row_high[self._balance] = load - pv, load
        usable = load.clip(min=0)
        usable[:, 0] = usable[:, 0].min()  # one decision for all scenarios
        if self.later is not None and self.caught_up is not None and self.backlog is not None:
            due = np.asarray(state.due)
            held = np.zeros(self.later.shape)
            held[:, 0] = due.sum()
            row_low[self._moved] = row_high[self._moved] = held
            end = grid.start + grid.sizes
            left = np.append(due[::-1].cumsum()[::-1], 0.0)[end.clip(max=AGE)]
            row_high[self._age] = left
            high[self.later] = plant.shift_share * usable
            high[self.caught_up] = plant.shift_up_kw
            # What the state brings along may exceed the limit by the rounding of the state.
            high[self.backlog] = max(plant.backlog_kwh, due.sum())
            high[self.backlog[:, -1]] = 0.0
        if self.cut is not None:
            high[self.cut] = plant.cut_share * usable
            allowed = np.full(self._per_day.shape, plant.cut_kwh)
            allowed[:, 0] = max(plant.cut_kwh - state.cut, 0.0)
            row_high[self._per_day] = allowed
            for day, share in self._day_shares(state.clock):
                rows.append(self._per_day[:, day].ravel())  # [W, K], as `cut`
                columns.append(self.cut.ravel())
                values.append(np.broadcast_to(share * grid.hours, self.cut.shape).ravel())
        if self.peak is not None:
            row_low[self._least] = 0.0
            low[self.peak[:, 0]] = state.peak
        for pair, forth, back in zip(self.pairs, *self._pair_rows(), strict=True):
            high[pair.way] = 1.0
            row_high[forth], row_high[back] = 0.0, pair.most
        return Numbers(cost, low, high, row_low, row_high, *_joined(rows, columns), _flat(values))

    def _pair_rows(self) -> tuple[list[Columns], list[Columns]]:
        return (self._forth, self._back) if self.pairs else ([], [])

    def _day_shares(self, clock: int) -> list[tuple[Columns, Float]]:
        """Day [K] and the share [K] of each block in it, for both days that it may lie in."""
        grid = self.shape.grid
        day = grid.start // DAY
        inside = np.clip((day + 1) * DAY - clock - grid.start, 0, grid.sizes) / grid.sizes
        return [(day, inside), (day + 1, 1 - inside)]

    def _costs(self, buy: Float, sell: Float, value: float) -> list[tuple[Columns, Float]]:
        """Columns [W, ...] and EUR per unit of each, without the weights of the scenarios."""
        plant, dt = self.shape.plant, self.shape.grid.hours
        each = [
            (self.buy, dt * buy),
            (self.sell, -dt * sell),
            (self.charge, dt * plant.wear),
            (self.give, dt * plant.wear),
            (self.energy[:, -1:], np.array([-value])),
        ]
        if self.later is not None and self.caught_up is not None:
            each += [(self.later, dt * plant.shift_cost), (self.caught_up, dt * plant.shift_cost)]
        if self.cut is not None:
            each.append((self.cut, dt * plant.cut_cost))
        if self.peak is not None:
            each.append((self.peak, np.full(self.peak.shape[1], self.shape.demand)))
        return each


def check(
    plant: Plant,
    grid: Grid,
    W: int,
    state: State,
    outlook: Outlook,
    buy: Float,
    sell: Float,
    value: float,
) -> None:
    """Raise InputError where shapes, signs or numbers of a question make no sense."""
    steps = grid.steps
    for name, array, expected in (
        ("PV", outlook.pv, (W, steps)),
        ("load", outlook.load, (W, steps)),
        ("weight", outlook.weight, (W,)),
        ("buy", buy, (steps,)),
        ("sell", sell, (steps,)),
    ):
        if array.shape != expected or not np.isfinite(array).all():
            raise InputError(
                f"{name} has shape {array.shape} and {(~np.isfinite(array)).sum()} values that "
                f"are not finite; the dispatch needs {expected}, all finite"
            )
    if (outlook.pv < 0).any() or (outlook.weight < 0).any():
        raise InputError("PV and the weights of scenarios must not be negative")
    if abs(outlook.weight.sum() - 1) > 1e-6:
        raise InputError(f"the weights of the scenarios sum to {outlook.weight.sum()}, not 1")
    if not plant.lowest_kwh - 1e-6 <= state.energy <= plant.energy_kwh + 1e-6:
        raise InputError(
            f"the battery holds {state.energy} kWh, outside {plant.lowest_kwh} .. "
            f"{plant.energy_kwh}"
        )
    if len(state.due) != AGE or min(state.due) < 0 or not np.isfinite([*state.due, value]).all():
        raise InputError(f"due needs {AGE} entries, none negative, and value must be finite")


def _joined(rows: list[Columns], columns: list[Columns]) -> tuple[Columns, Columns]:
    empty = np.empty(0, dtype=np.intp)
    return np.concatenate([empty, *rows]), np.concatenate([empty, *columns])


def _flat(values: list[Float]) -> Float:
    return np.concatenate([np.empty(0), *values])
