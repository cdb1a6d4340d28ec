import numpy as np
import pytest

from griddispatch.data.regulation import HOUR_STEPS, SIGNALS, read_signal, statistics, synthesise
from griddispatch.errors import InputError

HOURS = 200
# std, mileage per hour, |hourly mean| as the specification states them
STATED = {"RegA": (0.63, 6.1, None), "RegD": (0.41, 19.7, 0.03), "fast": (None, 37.0, 0.03)}


def per_hour(signal):
    return {
        "square": (signal**2).mean(1),
        "mileage": np.abs(np.diff(signal, axis=1)).sum(1),
        "drift": np.abs(signal.mean(1)),
    }


def inside(values, stated, slack):
    """Whether the stated value lies within 3 standard errors of the mean, plus a relative slack."""
    error = 3 * values.std(ddof=1) / np.sqrt(len(values))
    return abs(values.mean() - stated) <= error + slack * stated


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_signal_has_the_stated_statistics(kind):
    signal = synthesise(kind, HOURS, seed=7)
    std, miles, drift = STATED[kind]
    found = per_hour(signal)
    if std:
        assert inside(found["square"], std**2, 0.02)
    assert inside(found["mileage"], miles, 0.02)
    if drift:
        assert inside(found["drift"], drift, 0.1)
    summary = statistics(signal)
    assert summary.std == pytest.approx(np.sqrt(found["square"].mean() - signal.mean() ** 2))
    assert summary.mileage == pytest.approx(found["mileage"].mean(), rel=1e-3)
    assert np.abs(signal).max() <= 1


def test_the_mileage_ratio_of_the_two_signals_is_about_three():
    a, d = (statistics(synthesise(kind, HOURS, seed=3)).mileage for kind in ("RegA", "RegD"))
    assert 2.9 < d / a < 3.5


def test_the_return_to_neutral_energy_lowers_the_drift_of_regd(monkeypatch):
    drift = statistics(synthesise("RegD", 50, seed=1)).drift
    loose = SIGNALS["RegD"].__class__(fast=True, kappa=0.0)
    monkeypatch.setitem(SIGNALS, "loose", loose)
    assert drift < 0.9 * statistics(synthesise("loose", 50, seed=1)).drift


def test_an_hour_depends_on_the_seed_and_its_number_only():
    few, many = synthesise("RegD", 2, seed=5), synthesise("RegD", 4, seed=5, steps=HOUR_STEPS + 9)
    assert few.tobytes() == synthesise("RegD", 2, seed=5).tobytes()
    assert not np.array_equal(few, synthesise("RegD", 2, seed=6))
    assert not np.array_equal(many[0], many[1])
    # Longer rows draw another noise, but more hours do not change the first ones.
    assert np.array_equal(few, synthesise("RegD", 4, seed=5)[:2])


def test_a_recorded_signal_is_cut_into_hours(tmp_path):
    signal = np.sin(np.arange(2 * HOUR_STEPS + 30) / 50).round(6)
    path = tmp_path / "signal.csv"
    path.write_text("time_s,signal\n" + "\n".join(f"{2 * i},{s}" for i, s in enumerate(signal)))
    assert np.array_equal(read_signal(path), signal[: 2 * HOUR_STEPS].reshape(2, -1))
    longer = read_signal(path, steps=HOUR_STEPS + 22)
    assert np.array_equal(longer[1], signal[HOUR_STEPS : 2 * HOUR_STEPS + 22])


def lines(change):
    rows = [[2 * i, 0.5] for i in range(HOUR_STEPS)]
    change(rows)
    return "time_s,signal\n" + "\n".join(f"{t},{s}" for t, s in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[4].__setitem__(1, 1.2), "row 6, signal is 1.2, outside"),
        (lambda rows: rows[4].__setitem__(1, "nan"), "row 6 is not a number"),
        (lambda rows: rows[4].__setitem__(1, "x"), "row 6 is not a number"),
        (lambda rows: rows[4].__setitem__(0, 9), "row 6, time_s rises by 3 s"),
        (lambda rows: rows.pop(), "1799 samples; 1800 are needed"),
    ],
)
def test_a_bad_signal_file_is_named_with_its_row(tmp_path, change, message):
    path = tmp_path / "signal.csv"
    path.write_text(lines(change))
    with pytest.raises(InputError, match=message):
        read_signal(path)


def test_a_file_with_other_columns_or_none_at_all_is_refused(tmp_path):
    path = tmp_path / "signal.csv"
    with pytest.raises(InputError, match="no file"):
        read_signal(path)
    path.write_text("value\n1")
    with pytest.raises(InputError, match="needs signal"):
        read_signal(path)


def test_an_unknown_signal_or_no_hours_are_refused():
    with pytest.raises(InputError, match="RegA, RegD, fast"):
        synthesise("RegB", 1, 0)
    with pytest.raises(InputError, match="positive"):
        synthesise("RegA", 0, 0)
