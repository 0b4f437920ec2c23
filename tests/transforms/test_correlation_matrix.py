"""Correlation of many symbols' returns with each other."""

import itertools
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from transforms.correlation import (
    MATRIX,
    correlation_matrix,
    daily_returns,
    display_order,
    return_matrix,
    rolling_correlation_matrices,
    wide_returns,
)
from transforms.errors import SchemaMismatch

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(400)]


def noise(rows: int, columns: int, missing: float, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    values = 0.01 * draw.standard_normal((rows, columns)) + 0.005 * draw.standard_normal((rows, 1))
    values[draw.random(values.shape) < missing] = np.nan
    return values


def frame(values: np.ndarray) -> pl.DataFrame:
    columns = {f"S{i:02}": values[:, i] for i in range(values.shape[1])}
    return pl.DataFrame({"session": DAYS[: len(values)], **columns}, nan_to_null=True)


def test_complete_columns_are_numpys() -> None:
    values = noise(252, 12, 0.0)
    assert correlation_matrix(values, 20) == pytest.approx(np.corrcoef(values.T), abs=1e-13)
    assert correlation_matrix(values + 1000.0, 20) == pytest.approx(np.corrcoef(values.T), abs=1e-9)


@pytest.mark.parametrize("missing", [0.02, 0.3, 0.8])
def test_incomplete_columns_are_pandas(missing: float) -> None:
    values = noise(120, 10, missing)
    theirs = frame(values).drop("session").to_pandas().corr(min_periods=20).to_numpy()
    assert correlation_matrix(values, 20) == pytest.approx(theirs, abs=1e-12, nan_ok=True)
    assert np.isnan(theirs).any() == (missing == 0.8)


ENTRIES = st.one_of(st.just(np.nan), st.integers(-2, 2).map(float), st.floats(-1, 1).map(lambda v: round(v, 3)))


@settings(max_examples=60, deadline=None)
@given(values=arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=ENTRIES))
def test_every_two_columns_are_numpys_on_the_rows_they_share(values: np.ndarray) -> None:
    found = correlation_matrix(values, 3)
    assert np.array_equal(found, found.T, equal_nan=True)
    for i, j in itertools.product(range(values.shape[1]), repeat=2):
        both = ~(np.isnan(values[:, i]) | np.isnan(values[:, j]))
        a, b = values[both, i], values[both, j]
        if both.sum() < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
            assert np.isnan(found[i, j])
        else:
            assert found[i, j] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_rolling_matrices_are_those_of_each_window(missing: float) -> None:
    values = noise(50, 7, missing)
    rolled = list(rolling_correlation_matrices(frame(values), 20, 10))
    assert [session for session, _ in rolled] == DAYS[19:50]
    theirs = frame(values).drop("session").to_pandas().rolling(20, min_periods=10).corr()
    for n, (_, r) in enumerate(rolled):
        assert r == pytest.approx(theirs.loc[n + 19].to_numpy(), abs=1e-9, nan_ok=True)


def test_rolling_matrices_come_one_at_a_time() -> None:
    rolled = rolling_correlation_matrices(frame(noise(400, 3, 0.0)), 100, 20)
    first, second = next(rolled)[1], next(rolled)[1]
    assert not np.shares_memory(first, second)
    assert sum(1 for _ in rolled) == 299
    assert list(rolling_correlation_matrices(frame(noise(99, 3, 0.0)), 100, 20)) == []


def test_a_frame_without_sessions_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="expected 'session'"):
        next(rolling_correlation_matrices(pl.DataFrame({"A": [1.0]}), 1, 1))


def test_wide_returns_have_a_column_a_symbol() -> None:
    bars = pl.DataFrame({"symbol": ["B", "B", "A"], "session": [DAYS[0], DAYS[1], DAYS[1]], "close": [1.0, 2.0, 3.0]})
    wide = wide_returns(daily_returns(bars.sort("symbol", "session").lazy()).collect())
    assert wide.rows() == [(DAYS[0], None, None), (DAYS[1], None, 1.0)]
    assert wide.columns == ["session", "A", "B"]


def groups(missing: float = 0.0) -> np.ndarray:
    """Three groups of four that move together, shuffled."""
    draw = np.random.default_rng(3)
    common = draw.standard_normal((300, 3))
    values = common[:, np.arange(12) % 3] + 0.5 * draw.standard_normal((300, 12))
    values[draw.random(values.shape) < missing] = np.nan
    return values


def test_those_that_move_together_are_shown_together() -> None:
    r = correlation_matrix(groups(0.05), 20)
    order = display_order(r)
    assert sorted(order) == list(range(12))
    assert [len(set(np.array(order)[at : at + 4] % 3)) for at in (0, 4, 8)] == [1, 1, 1]
    assert display_order(r.copy()) == order
    r[0, 5] = r[5, 0] = np.nan
    assert sorted(display_order(r)) == list(range(12))
    assert display_order(np.full((4, 4), np.nan)) is not None
    assert [display_order(np.eye(n)) for n in range(3)] == [[], [0], [0, 1]]


def bars(values: np.ndarray, volume: list[float]) -> pl.DataFrame:
    """Bars of which the returns are these; the first has none."""
    parts = []
    for i, size in enumerate(volume):
        close = 10 * np.cumprod(1 + np.concatenate([[0.0], values[:, i]]))
        day = pl.DataFrame({"session": DAYS[: len(close)], "close": close, "volume": size})
        parts.append(day.filter(pl.col("close").is_not_nan()).with_columns(symbol=pl.lit(f"S{i:02}")))
    return pl.concat(parts)


def test_the_matrix_is_of_the_symbols_most_traded_in_the_window() -> None:
    values = noise(100, 5, 0.0)
    found = return_matrix(bars(values, [1.0, 9.0, 5.0, 0.5, 7.0]), DAYS[41], 3, 20)
    assert found.schema == MATRIX
    assert sorted(found["symbol"]) == ["S01", "S02", "S04"]
    assert found["position"].to_list() == [0, 1, 2]
    assert found["n"].to_list() == [60] * 3
    place = [int(name[1:]) for name in found["symbol"]]
    expected = np.corrcoef(values[40:].T)[np.ix_(place, place)]
    assert np.array(found["r"].to_list()) == pytest.approx(expected, abs=5.1e-5)
    assert all(round(v, 4) == v for row in found["r"] for v in row)


def test_symbols_with_few_returns_are_left_out_of_the_matrix() -> None:
    values = noise(100, 4, 0.0)
    rows = bars(values, [1.0] * 4)
    short = rows.filter((pl.col("symbol") != "S03") | (pl.col("session") >= DAYS[90]))
    assert sorted(return_matrix(short, DAYS[1], 10, 20)["symbol"]) == ["S00", "S01", "S02"]
    apart = rows.filter(
        ((pl.col("symbol") != "S00") | (pl.col("session") < DAYS[50]))
        & ((pl.col("symbol") != "S01") | (pl.col("session") >= DAYS[50]))
    )
    found = return_matrix(apart, DAYS[1], 10, 20)
    together = dict(zip(found["symbol"], found["r"], strict=True))
    assert together["S00"].to_list().count(None) == 1
    assert together["S02"].null_count() == 0
    assert return_matrix(rows.clear(), DAYS[1], 10, 20).equals(pl.DataFrame(schema=MATRIX))
