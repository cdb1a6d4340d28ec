"""Network: files in, admittances out, and one clear error for each thing that is wrong."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from hypothesis import given, settings
from networks import networks, random_loads, random_network

from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import solve
from griddispatch.grid.testing import assert_same_voltages

NODES = pd.DataFrame({"NODES": [1, 2, 5, 7], "Tb": [1, 0, 0, 0], "PD": [0, 10, 20, 30.0]})
LINES = pd.DataFrame(
    {
        "FROM": [1, 2, 2, 5],
        "TO": [2, 5, 7, 7],
        "R": [0.1, 0.2, 0.3, 0.4],
        "X": [0.4, 0.3, 0.2, 0.1],
        "B": [1e-6, 0, 0, 0],
        "STATUS": [1, 1, 1, 0],
        "TAP": [1, 1, 1, 1],
    }
)
Change = Callable[[pd.DataFrame, pd.DataFrame], None]


def read(
    folder: Path, nodes: pd.DataFrame = NODES, lines: pd.DataFrame = LINES, **options: float
) -> Network:
    nodes.to_csv(folder / "nodes.csv", index=False)
    lines.to_csv(folder / "lines.csv", index=False)
    return Network.read(folder / "nodes.csv", folder / "lines.csv", **options)


# -- the four feeders -----------------------------------------------------------------------


@pytest.mark.parametrize("count", [25, 34, 69, 123])
def test_the_four_feeders_are_trees_from_node_1(raw_data: Path, count: int) -> None:
    network = Network.read(raw_data / f"Nodes_{count}.csv", raw_data / f"Lines_{count}.csv")
    assert network.nodes.tolist() == list(range(1, count + 1))
    assert network.nodes[network.slack] == 1
    assert network.is_radial
    assert network.is_constant_power
    assert network.b.any() == (count in (25, 69))
    assert network.load_kw.any() == (count == 34)
    assert network.name == f"Nodes_{count}"


def test_the_nominal_load_of_the_34_nodes(raw_data: Path) -> None:
    network = Network.read(raw_data / "Nodes_34.csv", raw_data / "Lines_34.csv", name="34 nodes")
    assert network.name == "34 nodes"
    assert network.load_kw[network.position(2)] == 387.09
    assert network.load_kvar[network.position(2)] == 254.3625


# -- reading --------------------------------------------------------------------------------


def test_units_and_columns(tmp_path: Path) -> None:
    network = read(tmp_path, base_kv=10.0, base_kva=500.0)
    z_base = 10.0**2 * 1000 / 500
    assert network.nodes.tolist() == [1, 2, 5, 7]
    assert [network.position(n) for n in (7, 1)] == [3, 0]
    np.testing.assert_allclose(network.r, np.array([0.1, 0.2, 0.3]) / z_base)
    np.testing.assert_allclose(network.x, np.array([0.4, 0.3, 0.2]) / z_base)
    np.testing.assert_allclose(network.b, np.array([1e-6, 0, 0]) * z_base)
    assert network.load_kw.tolist() == [0, 10, 20, 30]
    assert network.load_kvar.tolist() == [0, 0, 0, 0]
    order, parent, z = network.tree
    assert network.nodes[order].tolist() == [1, 2, 5, 7]
    assert parent.tolist() == [-1, 0, 1, 1]
    np.testing.assert_allclose(z[1:], network.r + 1j * network.x)


def test_zip_shares_and_numbers_like_1_0(tmp_path: Path) -> None:
    nodes = NODES.assign(Pct=0.5, Ict=0.25, Zct=0.25).astype(float)
    network = read(tmp_path, nodes, LINES.astype(float))
    assert network.zip_p.tolist() == [[0.5, 0.25, 0.25]] * 4
    assert not network.is_constant_power


def cell(table: str, row: int, column: str, value: object) -> Change:
    def change(nodes: pd.DataFrame, lines: pd.DataFrame) -> None:
        frame = nodes if table == "nodes" else lines
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value

    return change


def drop(table: str, column: str) -> Change:
    def change(nodes: pd.DataFrame, lines: pd.DataFrame) -> None:
        (nodes if table == "nodes" else lines).drop(columns=column, inplace=True)  # noqa: PD002

    return change


WRONG = {
    "no column Tb": (drop("nodes", "Tb"), r"nodes\.csv: missing column\(s\) \['Tb'\]"),
    "no column TAP": (drop("lines", "TAP"), r"lines\.csv: missing column\(s\) \['TAP'\]"),
    "unknown column": (
        lambda nodes, lines: nodes.insert(0, "KV", 11),
        r"nodes\.csv: .*unknown column\(s\) \['KV'\]",
    ),
    "empty cell": (cell("lines", 1, "R", None), r"lines\.csv, row 3, column R: '' is not a finite"),
    "text": (cell("nodes", 2, "PD", "ten"), r"nodes\.csv, row 4, column PD: 'ten' is not a finite"),
    "infinite": (cell("lines", 0, "X", "inf"), r"row 2, column X: 'inf' is not a finite"),
    "node twice": (cell("nodes", 3, "NODES", 5), r"nodes\.csv, row 5: node 5 stands twice"),
    "node 1.5": (cell("nodes", 3, "NODES", 1.5), r"row 5, column NODES: 1\.5; a node number"),
    "branch to 6.5": (cell("lines", 2, "TO", 6.5), r"row 4, column TO: 6\.5; a node number"),
    "no slack": (cell("nodes", 0, "Tb", 0), r"nodes\.csv: 0 nodes have Tb = 1"),
    "two slacks": (cell("nodes", 1, "Tb", 1), r"nodes\.csv: 2 nodes have Tb = 1"),
    "Tb 2": (cell("nodes", 1, "Tb", 2), r"row 3, column Tb: 2; write 1 \(slack\)"),
    "unknown end": (
        cell("lines", 2, "TO", 9),
        r"lines\.csv, row 4: the branch 2-9 ends at node 9, which does not exist",
    ),
    "to itself": (cell("lines", 2, "TO", 2), r"row 4: the branch joins node 2 to itself"),
    "negative R": (cell("lines", 1, "R", -0.2), r"row 3, column R: -0\.2; a resistance is not"),
    "no impedance": (
        lambda nodes, lines: lines.loc[[1], ["R", "X"]].pipe(lambda zero: lines.update(zero * 0.0)),
        r"row 3, column R: 0; R and X are both zero",
    ),
    "TAP 0": (cell("lines", 1, "TAP", 0), r"row 3, column TAP: 0; a ratio of 1"),
    "STATUS 2": (cell("lines", 1, "STATUS", 2), r"row 3, column STATUS: 2; write 1"),
    "needed branch out of service": (
        cell("lines", 1, "STATUS", 0),
        r"network nodes: node\(s\) 5 have no path to the slack node 1",
    ),
    "ZIP not 1": (
        lambda nodes, lines: nodes.__setitem__(["Pct", "Ict", "Zct"], [[1.0, 0, 0.5]] * 4),
        r"nodes\.csv, row 2: Pct \+ Ict \+ Zct must be 1, they add up to 1\.5",
    ),
    "half of ZIP": (
        lambda nodes, lines: nodes.__setitem__("Pct", 1.0),
        r"nodes\.csv: has Pct only; give Pct, Ict and Zct or none",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_in_a_file_is_named(tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    nodes, lines = NODES.copy(), LINES.copy()
    change(nodes, lines)
    with pytest.raises(InputError, match=message):
        read(tmp_path, nodes, lines)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        Network.read(tmp_path / "nowhere.csv", tmp_path / "nowhere.csv")


@pytest.mark.parametrize("content", [b"", b"NODES,Tb\n1,1\n2,0,3,4\n", b"\xff\xfe\x00,\n"])
def test_a_file_that_is_no_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "nodes.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"nodes\.csv is no table"):
        Network.read(tmp_path / "nodes.csv", tmp_path / "nodes.csv")


def test_a_base_that_is_not_positive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="base_kv, base_kva and v_slack must be positive"):
        read(tmp_path, base_kv=0.0)


def test_a_spare_branch_makes_a_loop_that_opens_again(tmp_path: Path) -> None:
    assert read(tmp_path).is_radial
    closed = read(tmp_path, lines=LINES.assign(STATUS=1))
    assert not closed.is_radial
    with pytest.raises(InputError, match="4 branches for 4 nodes, so it has a loop"):
        closed.tree  # noqa: B018


# -- what a network is ----------------------------------------------------------------------


def test_parallel_branches_are_a_loop_and_an_island_is_no_tree() -> None:
    twin = {"r": np.full(3, 0.02), "x": np.full(3, 0.04), "b": np.zeros(3), "tap": np.ones(3)}
    ends = {"from_bus": np.array([0, 0, 1]), "to_bus": np.array([1, 1, 2])}
    base = random_network(0, 3, charging=False, slack=0)
    double = Network(**base._fields() | ends | twin)
    assert not double.is_radial
    single = {"r": np.array([0.01, 0.02]), "x": np.array([0.02, 0.04]), "b": np.zeros(2)}
    chain = {"from_bus": np.array([0, 1]), "to_bus": np.array([1, 2]), "tap": np.ones(2)}
    equal = Network(**base._fields() | single | chain)
    p, q = random_loads(equal, 5)
    assert_same_voltages(
        solve(double, p, q, backend="dense"), solve(equal, p, q, backend="sweep"), 1e-7
    )
    with pytest.raises(InputError, match="has a loop"):
        solve(double, p, q, backend="sweep")
    # As many branches as a tree has, but two of them are parallel: a node is left alone.
    ends = {"from_bus": np.array([0, 0]), "to_bus": np.array([1, 1])}
    with pytest.raises(InputError, match=r"node\(s\) \d+ have no path to the slack node"):
        Network(**equal._fields() | ends)


@given(networks())
def test_the_tree_has_parents_first_and_chains_unbroken(network: Network) -> None:
    order, parent, z = network.tree
    assert sorted(order.tolist()) == list(range(network.n_nodes))
    assert order[0] == network.slack
    assert parent[0] == -1
    assert z[0] == 0
    ends = {
        frozenset((int(f), int(t))): complex(r, x)
        for f, t, r, x in zip(network.from_bus, network.to_bus, network.r, network.x, strict=True)
    }
    seen_leaf = False
    for place in range(1, network.n_nodes):
        assert parent[place] < place
        assert ends[frozenset((int(order[place]), int(order[parent[place]])))] == z[place]
        is_leaf = place not in parent
        assert parent[place] == place - 1 or seen_leaf  # a jump back comes after a leaf only
        seen_leaf = is_leaf


@given(networks(charging=False))
def test_without_charging_no_current_flows_at_no_load(network: Network) -> None:
    np.testing.assert_allclose(network.y_bus.sum(1), 0, atol=1e-9)
    np.testing.assert_allclose(network.no_load_voltage, network.v_slack, rtol=1e-12)
    np.testing.assert_allclose(network.y_bus, network.y_bus.T, rtol=1e-12)


def test_admittances_of_one_transformer_by_hand() -> None:
    """Branch with 1 / (r + jx) = 2 - 4j, b = 0.4, ratio 0.5j at its `from` end, shunt at node 1."""
    fields = {
        "slack": 0,
        "from_bus": np.array([0]),
        "to_bus": np.array([1]),
        "r": np.array([0.1]),
        "x": np.array([0.2]),
        "b": np.array([0.4]),
        "tap": np.array([0.5j]),
        "shunt": np.array([0, 0.3j]),
    }
    network = random_network(0, 2, **fields)
    np.testing.assert_allclose(
        network.y_bus,
        [[4 * (2 - 3.8j), -(2 - 4j) / -0.5j], [-(2 - 4j) / 0.5j, 2 - 3.8j + 0.3j]],
    )
    ideal = Network(**network._fields() | {"b": np.zeros(1), "shunt": np.zeros(2, np.complex128)})
    np.testing.assert_allclose(ideal.no_load_voltage[1], ideal.v_slack / 0.5j)


def test_position_of_an_unknown_node(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no node 3; its nodes are 1 to 7"):
        read(tmp_path).position(3)


@pytest.mark.parametrize("mix", [(1.0, 0.0), (0.5, 0.2, 0.2), (np.nan, 0.5, 0.5)])
def test_a_wrong_zip_mix(tmp_path: Path, mix: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="three shares that add up to 1"):
        read(tmp_path).replace_loads(mix)


def test_replace_loads_gives_p_and_q_their_own_mix(tmp_path: Path) -> None:
    network = read(tmp_path).replace_loads((0.2, 0.3, 0.5), (1, 0, 0))
    assert network.zip_p.tolist() == [[0.2, 0.3, 0.5]] * 4
    assert network.zip_q.tolist() == [[1, 0, 0]] * 4
    assert network.load_kw.tolist() == [0, 10, 20, 30]


def test_a_pickle_carries_no_cached_matrix() -> None:
    network = random_network(3, 60)
    p, q = random_loads(network, 4)
    before = solve(network, p, q, backend="dense")
    packed = pickle.dumps(network)
    assert len(packed) < 20_000 < network.impedance.nbytes
    again = pickle.loads(packed)
    assert again.name == network.name
    assert again.position(int(network.nodes[5])) == 5
    assert_same_voltages(solve(again, p, q, backend="dense"), before, 0.0)


# -- pandapower -----------------------------------------------------------------------------


@settings(max_examples=15)
@given(networks())
def test_to_pandapower_and_back(network: Network) -> None:
    net = network.to_pandapower()
    again = Network.from_pandapower(net)
    assert again.name == network.name
    assert again.slack == network.slack
    np.testing.assert_allclose(
        again.y_bus * again.base_kva, network.y_bus * network.base_kva, rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(again.v_slack, network.v_slack)


def two_buses() -> object:
    net = pp.create_empty_network("small")
    pp.create_buses(net, 2, vn_kv=20)
    pp.create_ext_grid(net, 0)
    pp.create_line(net, 0, 1, 1.0, "NAYY 4x50 SE")
    return net


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda net: pp.create_ext_grid(net, 1), "exactly one external grid in service, has 2"),
        (
            lambda net: net.ext_grid.__setitem__("in_service", False),
            "exactly one external grid in service, has 0",
        ),
        (lambda net: pp.create_gen(net, 1, 0.1), "a voltage-controlled generator is in service"),
        (lambda net: pp.create_ward(net, 1, 0, 0, 0, 0), "a ward is in service"),
    ],
)
def test_what_cannot_come_from_pandapower(add: Callable[[object], object], message: str) -> None:
    net = two_buses()
    add(net)
    with pytest.raises(InputError, match=f"pandapower net 'small': .*{message}"):
        Network.from_pandapower(net)


@pytest.mark.parametrize(
    "fields",
    [
        {"tap": np.full(7, 1.05 + 0j)},
        {"shunt": np.full(8, 0.1j)},
        {"zip_p": np.tile((0.0, 0.0, 1.0), (8, 1))},
    ],
)
def test_what_a_line_net_cannot_carry(fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match="has taps, shunts or voltage-dependent loads"):
        random_network(0, 8, **fields).to_pandapower()
