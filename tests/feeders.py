"""Small feeders for tests: a chain of nodes, and days made of smooth loads and prices."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.assets.storage import Storage
from griddispatch.data.series import Days, Series
from griddispatch.envs.feeder import Feeder
from griddispatch.grid.network import Network


def chain(nodes: int = 5, ohm: float = 0.5) -> Network:
    """Return the chain 1 - 2 - ... of equal lines, r = x = `ohm`, node 1 the slack, 11 kV."""
    lines = nodes - 1
    z_base = 11.0**2
    return Network(
        name=f"chain of {nodes}",
        nodes=np.arange(1, nodes + 1),
        slack=0,
        from_bus=np.arange(lines),
        to_bus=np.arange(1, nodes),
        r=np.full(lines, ohm / z_base),
        x=np.full(lines, ohm / z_base),
        b=np.zeros(lines),
        tap=np.ones(lines, np.complex128),
        shunt=np.zeros(nodes, np.complex128),
        zip_p=np.tile((1.0, 0.0, 0.0), (nodes, 1)),
        zip_q=np.tile((1.0, 0.0, 0.0), (nodes, 1)),
        load_kw=np.zeros(nodes),
        load_kvar=np.zeros(nodes),
    )


def synthetic_days(
    nodes: tuple[int, ...],
    count: int = 3,
    *,
    hours: float = 3.0,
    total_kw: float = 1000.0,
    reactive: float = 0.0,
    seed: int = 0,
) -> Days:
    """Return days with about `total_kw` on the feeder, no two values alike, every price positive.

    The reactive load is the share `reactive` of the load.
    """
    random = np.random.default_rng(seed)
    shape = (count, round(24 / hours), len(nodes))
    load = total_kw / len(nodes) * random.uniform(0.5, 1.5, shape)
    price: NDArray[np.float64] = random.uniform(10, 90, shape[:2])
    return Days(
        dates=tuple(f"2030-01-{day + 1:02d}" for day in range(count)),
        nodes=nodes,
        load=load,
        pv=load * random.uniform(0, 0.4, shape),
        reactive=reactive * load,
        price=price,
        step_hours=hours,
    )


def made_up_days(days: int = 8, nodes: int = 6, seed: int = 0, load_kw: float = 100.0) -> Days:
    """Hourly prices with a cheap night and a dear evening, loads that follow them."""
    rng = np.random.default_rng(seed)
    hour = np.arange(96) / 4
    shape = 1 - 0.5 * np.cos(2 * np.pi * (hour - 4) / 24)
    price = 40 * np.repeat(shape[::4], 4) + 5 * np.repeat(rng.normal(size=(days, 24)), 4, axis=1)
    load = load_kw * shape[None, :, None] * rng.uniform(0.5, 1.5, (days, 1, nodes))
    return Days(
        dates=tuple(f"2021-01-{d + 1:02d}" for d in range(days)),
        nodes=tuple(range(1, nodes + 1)),
        load=load + rng.normal(scale=5, size=load.shape),
        pv=np.zeros_like(load),
        reactive=np.zeros_like(load),
        price=price,
        step_hours=0.25,
    )


def small_feeder(**options: Any) -> Feeder:
    """Two batteries on a chain of six nodes, on the made-up days unless others are given."""
    storage = options.pop("storage", Storage(nodes=(3, 6)))
    days = options.pop("days", made_up_days())
    return Feeder(chain(6, ohm=1.2), storage, days, **options)


def half_year() -> Series:
    """Days of the published half-year, so that its splits apply, on the small feeder's nodes."""
    index = pd.date_range("2020-09-29", "2020-10-12", freq="15min", inclusive="left", tz="UTC")
    days = made_up_days(len(index) // 96)
    flat = {
        name: getattr(days, name).reshape(len(index), -1) for name in ("load", "pv", "reactive")
    }
    return Series(
        name="made up",
        index=index,
        nodes=days.nodes,
        price=days.price.ravel(),
        repairs=pd.DataFrame(),
        **flat,
    )
