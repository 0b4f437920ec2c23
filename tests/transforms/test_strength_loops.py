"""Recursions that no expression can say, against their definitions as plain loops."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden.sheets import bars_of
from transforms.catalogue import compute
from transforms.indicators import strength

Bars = list[tuple[float, float, float]]
"""High, low and close."""


@st.composite
def bars(draw: st.DrawFn) -> Bars:
    """Wide and narrow bars, with gaps between them and stretches where nothing moves."""
    rows, middle = [], 100.0
    for step in draw(st.lists(st.sampled_from([0, 0, 1, 2, -1, -2, 9, -9]), max_size=60)):
        middle = max(20.0, middle + step)
        above, below = draw(st.sampled_from([(0, 0), (0.5, 0.5), (3, 0.25), (0.25, 3)]))
        rows.append((middle + above, middle - below, middle + draw(st.sampled_from([0, above, -below]))))
    return rows


def loop_psar(rows: Bars, step: float, most: float) -> list[tuple[float, int] | None]:
    """Stop and direction, from the state of the bar before."""
    found: list[tuple[float, int] | None] = [None] * min(1, len(rows))
    if len(rows) < 2:
        return found
    (high, low, _), (next_high, next_low, _) = rows[:2]
    side = -1 if low - next_low > max(0, next_high - high) else 1
    stop, extreme = (low, next_high) if side > 0 else (high, next_low)
    factor = step
    for before, bar in zip(rows[1:2] + rows[1:], rows[1:], strict=False):
        if side > 0 and bar[1] <= stop:
            side, stop, extreme, factor = -1, max(extreme, before[0], bar[0]), bar[1], step
            shown = stop
        elif side < 0 and bar[0] >= stop:
            side, stop, extreme, factor = 1, min(extreme, before[1], bar[1]), bar[0], step
            shown = stop
        else:
            shown = stop
            if side > 0 and bar[0] > extreme:
                extreme, factor = bar[0], min(factor + step, most)
            if side < 0 and bar[1] < extreme:
                extreme, factor = bar[1], min(factor + step, most)
        found.append((shown, side))
        stop += factor * (extreme - stop)
        stop = min(stop, before[1], bar[1]) if side > 0 else max(stop, before[0], bar[0])
    return found


def loop_supertrend(rows: Bars, window: int, width: float) -> list[tuple[float, int] | None]:
    """Line and direction."""
    ranges = [max(b[0], a[2]) - min(b[1], a[2]) for a, b in zip(rows, rows[1:], strict=False)]
    found: list[tuple[float, int] | None] = [None] * min(window, len(rows))
    average = upper = lower = 0.0
    side = 1
    for t in range(window, len(rows)):
        high, low, close = rows[t]
        middle, before = (high + low) / 2, rows[t - 1][2]
        if t == window:
            average = sum(ranges[:window]) / window
            upper, lower = middle + width * average, middle - width * average
            side = 1 if close >= middle else -1
        else:
            average += (ranges[t - 1] - average) / window
            above, below = middle + width * average, middle - width * average
            upper = above if above < upper or before > upper else upper
            lower = below if below > lower or before < lower else lower
        side = -1 if close <= (lower if side > 0 else upper) else 1
        found.append((lower if side > 0 else upper, side))
    return found


def frame_of(rows: Bars) -> pl.DataFrame:
    columns = {name: [row[n] for row in rows] for n, name in enumerate(("high", "low", "close"))}
    return bars_of(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64)))


def equal(found: pl.DataFrame, expected: list[tuple[float, int] | None]) -> None:
    assert len(found) == len(expected)
    for (value, side), wanted in zip(found.rows(), expected, strict=True):
        assert (value, side) == ((None, None) if wanted is None else (pytest.approx(wanted[0], rel=1e-11), wanted[1]))


@given(bars(), st.sampled_from([(0.02, 0.2), (0.5, 0.5), (0.3, 1.0)]))
def test_psar_is_its_loop(rows: Bars, parameters: tuple[float, float]) -> None:
    name = "psar_{:g}_{:g}".format(*parameters)
    found = compute(frame_of(rows), [name])
    equal(found.select(name, f"{name}_direction"), loop_psar(rows, *parameters))


@given(bars(), st.sampled_from([(1, 1.0), (3, 0.5), (10, 3.0)]))
def test_supertrend_is_its_loop(rows: Bars, parameters: tuple[int, float]) -> None:
    name = "supertrend_{}_{:g}".format(*parameters)
    found = compute(frame_of(rows), [name])
    equal(found.select(name, f"{name}_direction"), loop_supertrend(rows, *parameters))


@settings(max_examples=10)
@given(bars(), bars())
def test_both_work_ungrouped_and_over_symbols_eager_and_lazy(first: Bars, second: Bars) -> None:
    high, low, close = (pl.col(name) for name in ("high", "low", "close"))
    exprs = {"psar": strength.psar(high, low).stop, "supertrend": strength.supertrend(high, low, close, 3, 1).line}
    both = pl.concat([frame_of(first), frame_of(second).with_columns(symbol=pl.lit("B"))])
    alone = pl.concat([frame_of(rows).select(**exprs) for rows in (first, second)])
    grouped = {name: expr.over("symbol") for name, expr in exprs.items()}
    assert both.select(**grouped).equals(alone)
    assert both.lazy().select(**grouped).collect(engine="streaming").equals(alone)
