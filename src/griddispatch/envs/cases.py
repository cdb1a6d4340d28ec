"""The feeders of the published data, ready to use: networks, and environments on chosen days."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from griddispatch.assets.storage import Storage
from griddispatch.data.series import Series
from griddispatch.envs.feeder import Feeder
from griddispatch.envs.variants import spread
from griddispatch.errors import InputError
from griddispatch.grid.network import Network

RAW = "raw/rl_adn"
PROCESSED = "processed"

Dates = Iterable[str] | Callable[[Series], Iterable[str]]


def load_network(raw_folder: Path | str, nodes: int = 34) -> Network:
    """Read the published network of 25, 34, 69 or 123 nodes.

    Parameters
    ----------
    raw_folder
        The folder of ``Nodes_34.csv`` and ``Lines_34.csv``: data/raw/rl_adn in the project.
    nodes
        Which of them, by its number of nodes.

    Raises
    ------
    InputError
        A file is missing, or wrong (see `Network.read`).
    """
    tables = [Path(raw_folder) / f"{kind}_{nodes}.csv" for kind in ("Nodes", "Lines")]
    for table in tables:
        _require(table, "fetch")
    return Network.read(*tables, name=f"{nodes} nodes")


def load_feeder(
    data: Path | str,
    dates: Dates,
    nodes: int = 34,
    storage: Storage | None = None,
    *,
    network: Network | Sequence[Network] | None = None,
    series: int | None = None,
    **options: Any,
) -> Feeder:
    """Return the environment of a published feeder on chosen days.

    Parameters
    ----------
    data
        The project's data folder, which holds ``raw/rl_adn`` and ``processed``.
    dates
        Which days: dates "YYYY-MM-DD", or a rule of `griddispatch.data.splits` that picks them
        from the series, such as `test_days`.
    nodes
        The published network: 34 or 25 nodes, which come with a series of loads and prices, or 69
        or 123 with the series of another one.
    storage
        The batteries; by default those of the paper, at the nodes 12, 16, 27 and 34.
    network
        Any other network instead of the published one, or several topologies to draw from.
    series
        34 or 25, the series that the days come from; by default that of `nodes`. If it is for
        other nodes than the network's, its loads are spread over them (`variants.spread`).
    **options
        Of `Feeder`: sigma, voltage_scope, end_soc, power_factor, zip_shares, backend, ...

    Notes
    -----
    Observations are scaled by the days given here. To judge a learner on other days, take
    ``feeder.on(other_days)``, which keeps the scale that it was trained with.

    Raises
    ------
    InputError
        A file is missing: the message says how to make it. Or see `Feeder` and `Series.days`.
    """
    path = Path(data) / PROCESSED / f"feeder_{series or nodes}.csv"
    _require(path, "data_preparation")
    network = load_network(Path(data) / RAW, nodes) if network is None else network
    table = Series.read(path)
    days = table.days(dates(table) if callable(dates) else dates)
    first = network if isinstance(network, Network) else next(iter(network), None)
    if first is not None and tuple(int(n) for n in first.nodes) != days.nodes:
        days = spread(days, first)
    return Feeder(network, storage or Storage(), days, **options)


def _require(path: Path, stage: str) -> None:
    """Raise InputError unless the file is there."""
    if not path.is_file():
        raise InputError(
            f"{path.absolute()} does not exist; run `make reproduce` or `dvc repro {stage}` in the "
            "project folder, or name the project's data folder (there are networks of 25, 34, 69 "
            "and 123 nodes, and series for 25 and 34: the others take one with series=34)"
        )
