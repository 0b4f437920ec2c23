"""Averages and oscillators against their definitions as plain loops, by expressions and by kernels."""

from collections.abc import Callable
from statistics import fmean

import polars as pl
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal

from tests.strategies import price_series
from transforms.catalogue import compute

Row = dict[str, float]
Values = list[float | None]


def kama(bars: list[Row], window: int, fast: int, slow: int) -> Values:
    y: Values = []
    for t, bar in enumerate(bars):
        before = y[-1] if y else None
        if t < window - 1:
            y.append(None)
        elif before is None:
            y.append(bar["close"])
        else:
            way = sum(abs(bars[i]["close"] - bars[i - 1]["close"]) for i in range(t - window + 1, t + 1))
            straight = abs(bar["close"] - bars[t - window]["close"])
            weight = (straight / way if way else 0) * (2 / (fast + 1) - 2 / (slow + 1)) + 2 / (slow + 1)
            y.append(before + weight**2 * (bar["close"] - before))
    return y


def wma(x: Values, window: int) -> Values:
    known = [value for value in x if value is not None]
    total = window * (window + 1) / 2
    y: Values = [
        sum((n + 1) * value for n, value in enumerate(known[t - window + 1 : t + 1])) / total
        for t in range(window - 1, len(known))
    ]
    return [None] * (len(x) - len(y)) + y


def hma(bars: list[Row], window: int) -> Values:
    closes: Values = [bar["close"] for bar in bars]
    pairs = zip(wma(closes, window // 2), wma(closes, window), strict=True)
    return wma([None if a is None or b is None else 2 * a - b for a, b in pairs], int(window**0.5))


def vwma(bars: list[Row], window: int) -> Values:
    y: Values = []
    for t in range(len(bars)):
        rows = bars[max(t - window + 1, 0) : t + 1]
        traded = sum(bar["volume"] for bar in rows)
        full = t >= window - 1 and traded
        y.append(sum(bar["close"] * bar["volume"] for bar in rows) / traded if full else None)
    return y


def cci(bars: list[Row], window: int) -> Values:
    prices = [(bar["high"] + bar["low"] + bar["close"]) / 3 for bar in bars]
    y: Values = [None] * min(window - 1, len(bars))
    for t in range(window - 1, len(bars)):
        rows = prices[t - window + 1 : t + 1]
        away = fmean(abs(price - fmean(rows)) for price in rows)
        y.append((prices[t] - fmean(rows)) / (0.015 * away) if max(rows) > min(rows) else 0.0)
    return y


def williams_r(bars: list[Row], window: int) -> Values:
    y: Values = [None] * min(window - 1, len(bars))
    for t in range(window - 1, len(bars)):
        rows = bars[t - window + 1 : t + 1]
        top, bottom = max(bar["high"] for bar in rows), min(bar["low"] for bar in rows)
        y.append(-100 * (top - bars[t]["close"]) / (top - bottom) if top > bottom else -50.0)
    return y


def aroon_up(bars: list[Row], window: int) -> Values:
    y: Values = [None] * min(window, len(bars))
    for t in range(window, len(bars)):
        highs = [bar["high"] for bar in bars[t - window : t + 1]]
        y.append(100 * highs.index(max(highs)) / window)
    return y


def aroon_down(bars: list[Row], window: int) -> Values:
    return aroon_up([{"high": -bar["low"]} for bar in bars], window)


def ultimate(bars: list[Row], *windows: int) -> Values:
    pressure, spread = [0.0], [0.0]
    for last, bar in zip(bars, bars[1:], strict=False):
        bottom, top = min(bar["low"], last["close"]), max(bar["high"], last["close"])
        pressure.append(bar["close"] - bottom)
        spread.append(top - bottom)
    y: Values = [None] * min(max(windows), len(bars))
    for t in range(max(windows), len(bars)):
        sums = [(sum(pressure[t - n + 1 : t + 1]), sum(spread[t - n + 1 : t + 1])) for n in windows]
        short, middle, long = (a / b if b else 0.5 for a, b in sums)
        y.append(100 * (4 * short + 2 * middle + long) / 7)
    return y


LOOPS: dict[str, tuple[str, Callable[[list[Row]], Values]]] = {  # indicator -> column, its definition
    "kama_4_2_10": ("kama_4_2_10", lambda bars: kama(bars, 4, 2, 10)),
    "kama_1_2_30": ("kama_1_2_30", lambda bars: kama(bars, 1, 2, 30)),
    "wma_4": ("wma_4", lambda bars: wma([bar["close"] for bar in bars], 4)),
    "hma_9": ("hma_9", lambda bars: hma(bars, 9)),
    "vwma_3": ("vwma_3", lambda bars: vwma(bars, 3)),
    "cci_5": ("cci_5", lambda bars: cci(bars, 5)),
    "williams_r_4": ("williams_r_4", lambda bars: williams_r(bars, 4)),
    "stochastic_4_1_1": (
        "stochastic_4_1_1_k",
        lambda bars: [None if v is None else v + 100 for v in williams_r(bars, 4)],
    ),
    "aroon_6": ("aroon_6_up", lambda bars: aroon_up(bars, 6)),
    "aroon_3": ("aroon_3_down", lambda bars: aroon_down(bars, 3)),
    "ultimate_oscillator_2_3_5": ("ultimate_oscillator_2_3_5", lambda bars: ultimate(bars, 2, 3, 5)),
}
KERNELS = ["dema_1", "dema_3", "tema_3", "trix_1", "trix_3", "ppo_2_4_3", "ppo_4_2_1", "tsi_3_2_2", "tsi_1_1_1"]
KERNELS += ["stochastic_4_3_2", "stochastic_1_1_1", "stoch_rsi_3_4_2_2", "stoch_rsi_1_1_1_1", "cci_1", "aroon_1"]


@pytest.mark.parametrize("engine", ["expressions", "compiled"])
@settings(max_examples=20)
@given(price_series(longest=25))
def test_an_indicator_is_its_definition(engine: str, bars: pl.DataFrame) -> None:
    flat = bars.with_columns(high=pl.col("close"), low=pl.col("close"))  # ranges that can be nothing at all
    for some in (bars.filter(symbol="AA"), flat.filter(symbol="B")):
        found = compute(some, [*LOOPS], engine=engine)  # type: ignore[arg-type]
        for column, loop in LOOPS.values():
            wanted = pl.DataFrame({column: loop(some.rows(named=True))}, schema={column: pl.Float64})
            assert_frame_equal(found.select(column), wanted, rel_tol=1e-11, abs_tol=1e-10)


@settings(max_examples=20)
@given(price_series(longest=25))
def test_kernels_equal_expressions_of_short_windows(bars: pl.DataFrame) -> None:
    flat = bars.with_columns(high=pl.col("close"), low=pl.col("close"))
    for some in (bars, flat):
        made = compute(some, [*KERNELS, *LOOPS], engine="compiled")
        assert_frame_equal(made, compute(some, [*KERNELS, *LOOPS], engine="expressions"), rel_tol=1e-11, abs_tol=1e-8)
