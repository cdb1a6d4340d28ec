"""Batteries: energy is conserved, limits are kept, units are right."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from griddispatch.assets.storage import Storage, energy_kwh
from griddispatch.errors import InputError

# Rounding of a state of charge, which is near 1, in either precision.
ROUNDING = {torch.float64: 1e-13, torch.float32: 1e-5}


@st.composite
def storages(draw: st.DrawFn, batteries: int = 3) -> Storage:
    """Storages of any size, narrow and wide, every battery another."""

    def each(low: float, high: float) -> tuple[float, ...]:
        values = st.floats(low, high)
        return tuple(draw(values) for _ in range(batteries))

    low, width, place = each(0, 0.5), each(0.01, 0.5), each(0, 1)
    high = tuple(min(a + b, 1.0) for a, b in zip(low, width, strict=True))
    return Storage(
        nodes=tuple(range(2, 2 + batteries)),
        power_kw=each(1, 2000),
        capacity_kwh=each(5, 5000),
        soc_min=low,
        soc_max=high,
        soc_initial=tuple(
            min(max(a + p * (b - a), a), b) for a, b, p in zip(low, high, place, strict=True)
        ),
        eta_charge=each(0.5, 1),
        eta_discharge=each(0.5, 1),
    )


precisions = st.sampled_from([torch.float64, torch.float32])
step_hours = st.sampled_from([1 / 12, 0.25, 1.0])
seeds = st.integers(0, 2**31)


def start(storage: Storage, dtype: torch.dtype) -> Tensor:
    return storage.limits(torch.zeros((), dtype=dtype)).soc_initial


def stored_kwh(storage: Storage, power_kw: Tensor, hours: float) -> np.ndarray:
    """Energy that a power brings into the batteries, written down a second time in numpy."""
    power = power_kw.double().numpy()
    charge, discharge = np.array(storage.eta_charge), np.array(storage.eta_discharge)
    return np.where(power > 0, power * charge, power / discharge) * hours


@given(storages(), precisions, step_hours, seeds)
def test_the_charge_changes_by_the_energy_that_went_in(
    storage: Storage, dtype: torch.dtype, hours: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    soc = start(storage, dtype)
    capacity = np.array(storage.capacity_kwh)
    for share in torch.rand(30, 3, generator=generator, dtype=dtype):
        low, high = storage.feasible_interval(soc, hours)
        power = low + share * (high - low)
        after = storage.step(soc, power, hours)
        change = (after.double() - soc.double()).numpy()
        gain = stored_kwh(storage, power, hours) / capacity
        np.testing.assert_allclose(change, gain, rtol=0, atol=ROUNDING[dtype])
        soc = after


@given(storages(), precisions, step_hours, st.floats(0, 1))
def test_the_feasible_interval_is_what_limits_and_rated_power_allow(
    storage: Storage, dtype: torch.dtype, hours: float, place: float
) -> None:
    k = storage.limits(torch.zeros((), dtype=dtype))
    soc = torch.minimum(
        torch.maximum(k.soc_min + place * (k.soc_max - k.soc_min), k.soc_min), k.soc_max
    )
    low, high = storage.feasible_interval(soc, hours)
    assert bool((low <= 0).all())
    assert bool((high >= 0).all())
    assert bool((low >= -k.power_kw).all())
    assert bool((high <= k.power_kw).all())
    capacity = np.array(storage.capacity_kwh)
    for power, limit, rated in ((low, k.soc_min, -k.power_kw), (high, k.soc_max, k.power_kw)):
        end = soc.double().numpy() + stored_kwh(storage, power, hours) / capacity
        beyond = np.sign(rated.numpy()) * (end - limit.double().numpy())
        assert (beyond <= ROUNDING[dtype]).all(), "the interval leads beyond a limit"
        used = (power == rated).numpy() | (np.abs(beyond) <= ROUNDING[dtype])
        assert used.all(), "the interval is narrower than it must be"


@given(storages(), precisions, seeds)
def test_the_wanted_end_is_reached_whatever_is_done_before(
    storage: Storage, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    steps, hours = 24, 1.0
    target = soc = start(storage, dtype)
    k = storage.limits(soc)
    for t in range(steps):
        low, high = storage.feasible_interval(
            soc, hours, end_soc=target, hours_after=(steps - 1 - t) * hours
        )
        assert bool((low <= high).all())
        wanted = (2 * torch.rand(3, generator=generator, dtype=dtype) - 1) * k.power_kw
        soc = storage.step(soc, torch.minimum(torch.maximum(wanted, low), high), hours)
    torch.testing.assert_close(soc, target, rtol=0, atol=10 * ROUNDING[dtype])


def test_fifty_kilowatts_for_four_quarters_of_an_hour_are_fifty_kilowatt_hours() -> None:
    storage = Storage()
    soc = start(storage, torch.float64)
    for _ in range(4):
        soc = storage.step(soc, torch.full((4,), 50.0, dtype=torch.float64), 0.25)
    torch.testing.assert_close(soc, torch.full((4,), 0.4 + 1 / 6, dtype=torch.float64))
    assert float(energy_kwh(torch.tensor(50.0), 0.25)) == 12.5


def test_losses_are_paid_in_either_direction() -> None:
    storage = Storage(nodes=(2, 3), eta_charge=0.9, eta_discharge=0.8)
    soc = torch.tensor([0.5, 0.5], dtype=torch.float64)
    after = storage.step(soc, torch.tensor([30.0, -30.0], dtype=torch.float64), 1.0)
    expected = torch.tensor([0.5 + 27 / 300, 0.5 - 37.5 / 300], dtype=torch.float64)
    torch.testing.assert_close(after, expected)


@given(storages(), st.floats(0, 1), st.floats(0, 1))
def test_power_for_a_target_leads_to_it(storage: Storage, here: float, there: float) -> None:
    k = storage.limits(torch.zeros((), dtype=torch.float64))
    soc, target = (k.soc_min + place * (k.soc_max - k.soc_min) for place in (here, there))
    after = storage.step(soc, storage.power_for(soc, target, 0.25), 0.25)
    torch.testing.assert_close(after, target, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (7, 4), (2, 3, 4)])
def test_any_batch_has_the_result_of_its_rows(shape: tuple[int, ...]) -> None:
    storage = Storage(eta_charge=0.9, soc_min=(0.1, 0.2, 0.2, 0.3))
    random = torch.Generator().manual_seed(0)
    soc = 0.3 + 0.4 * torch.rand(shape, dtype=torch.float64, generator=random)
    low, high = storage.feasible_interval(soc, 0.25)
    after = storage.step(soc, high, 0.25)
    assert low.shape == high.shape == after.shape == shape
    rows = soc.reshape(-1, 4)
    for row, expected in zip(rows, after.reshape(-1, 4), strict=True):
        _, power = storage.feasible_interval(row, 0.25)
        assert torch.equal(storage.step(row, power, 0.25), expected)


def test_every_battery_has_its_own_size() -> None:
    storage = Storage(nodes=(2, 3), power_kw=(10, 20), capacity_kwh=(100, 50))
    low, high = storage.feasible_interval(start(storage, torch.float64), 1.0)
    assert low.tolist() == pytest.approx([-10, -10])  # 0.2 of 50 kWh is left above soc_min
    assert high.tolist() == pytest.approx([10, 20])


def test_wear_is_paid_for_every_kilowatt_hour_either_way() -> None:
    power = torch.tensor([[40.0, -20.0], [0.0, 0.0]], dtype=torch.float64)
    one = Storage(nodes=(2, 3), wear_eur_per_kwh=0.1).wear_eur(power, 0.25)
    assert one.tolist() == pytest.approx([0.1 * (10 + 5), 0])
    each = Storage(nodes=(2, 3), wear_eur_per_kwh=(0.1, 0.2)).wear_eur(power, 0.25)
    assert each.tolist() == pytest.approx([0.1 * 10 + 0.2 * 5, 0])
    assert Storage(nodes=(2, 3)).wear_eur(power, 0.25).tolist() == [0, 0]


def test_limits_follow_precision_and_are_made_once() -> None:
    storage = Storage()
    single, double = (torch.zeros((), dtype=d) for d in (torch.float32, torch.float64))
    assert storage.limits(single).power_kw.dtype == torch.float32
    assert storage.limits(double).soc_max.tolist() == [0.8] * 4
    assert storage.limits(double) is storage.limits(double)


@pytest.mark.parametrize("power", [[10, 20], np.array([10.0, 20.0]), (10, 20)])
def test_lists_and_arrays_are_as_good_as_tuples(power: Any) -> None:
    storage = Storage(nodes=[2, 3], power_kw=power)  # type: ignore[arg-type]  # YAML gives lists
    assert storage == Storage(nodes=(2, 3), power_kw=(10, 20))
    assert storage.limits(torch.zeros(())).power_kw.tolist() == [10, 20]
    assert Storage(nodes=2) == Storage(nodes=(2,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"nodes": ()}, "at least one"),
        ({"nodes": (12, 12)}, "each only once"),
        ({"power_kw": (50, 50)}, "power_kw has 2 values for 4 batteries"),
        ({"power_kw": 0}, "node 12: power and capacity must be positive"),
        ({"capacity_kwh": (300, 300, -1, 300)}, "node 27: power and capacity must be positive"),
        ({"power_kw": math.nan}, "must be positive"),
        ({"capacity_kwh": math.inf}, "finite"),
        ({"wear_eur_per_kwh": -0.1}, "wear not negative"),
        ({"soc_min": 0.5}, "soc_min <= soc_initial"),
        ({"soc_max": 1.1}, "<= 1"),
        ({"soc_max": 0.3}, "soc_initial <= soc_max"),
        ({"soc_min": 0.4, "soc_max": 0.4}, "soc_min < soc_max"),
        ({"soc_initial": math.nan}, "soc_initial"),
        ({"eta_charge": 0}, "efficiencies"),
        ({"eta_discharge": 1.1}, "efficiencies"),
    ],
)
def test_a_wrong_parameter_is_one_clear_error(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Storage(**fields)
