"""Indicators against the same definitions written as plain loops, and the promises the catalogue makes."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from statistics import fmean

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal

from tests.strategies import SYMBOLS, price_series
from transforms.catalogue import CATALOGUE, RestOfSession, State, Window, compute, resolve
from transforms.schema import BARS

Values = list[float | None]
Resume = Callable[[dict[str, float], dict[str, float], dict[str, float]], dict[str, float]]
"""State of the row before, its bar, and the row's own bar -> state of the row."""
NAMES = ("sma_3", "ema_4", "rsi_3", "macd_2_4_3", "bollinger_4_2", "atr_3", "vwap", "obv")
EVERY = [*NAMES, *CATALOGUE, "anchored_vwap_20240101"]


def computed(bars: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    return compute(with_benchmark(bars).lazy(), names).collect()


def with_benchmark(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars that know a benchmark's close too: one that depends on the row of the symbol alone."""
    row = pl.col("close").cum_count().over("symbol").cast(pl.Float64)
    return bars if "benchmark" in bars.columns else bars.with_columns(benchmark=100 + (row * row) % 13)


def series(closes: list[float], volumes: list[float] | None = None) -> pl.DataFrame:
    """Daily bars of one symbol, high and low half a unit away from the close."""
    start = datetime(2024, 1, 1, 14, 30, tzinfo=UTC)
    rows = [
        ("A", start + timedelta(days=n), date(2024, 1, 1) + timedelta(days=n), c, c + 0.5, c - 0.5, c, v)
        for n, (c, v) in enumerate(zip(closes, volumes or [1.0] * len(closes), strict=True))
    ]
    return pl.DataFrame(rows, schema=BARS, orient="row")


def loop_sma(x: list[float], n: int) -> Values:
    return [None if t < n - 1 else fmean(x[t - n + 1 : t + 1]) for t in range(len(x))]


def loop_recursion(x: list[float], n: int, alpha: float) -> Values:
    y: Values = [None] * min(n - 1, len(x))
    for t in range(n - 1, len(x)):
        before = y[-1] if t >= n else None
        y.append(fmean(x[:n]) if before is None else before + alpha * (x[t] - before))
    return y


def loop_ema(x: list[float], n: int) -> Values:
    return loop_recursion(x, n, 2 / (n + 1))


def loop_wilder(x: list[float], n: int) -> Values:
    return loop_recursion(x, n, 1 / n)


def loop_rsi(x: list[float], n: int) -> Values:
    changes = [b - a for a, b in zip(x, x[1:], strict=False)]
    gains = loop_wilder([max(c, 0) for c in changes], n)
    losses = loop_wilder([max(-c, 0) for c in changes], n)
    pairs = [
        None if up is None or down is None else (100 - 100 / (1 + up / down) if down else 100.0 if up else 50.0)
        for up, down in zip(gains, losses, strict=True)
    ]
    return [None, *pairs] if x else []


def loop_macd(x: list[float], fast: int, slow: int, signal: int) -> tuple[Values, Values]:
    averages = zip(loop_ema(x, fast), loop_ema(x, slow), strict=True)
    line = [None if a is None or b is None else a - b for a, b in averages]
    known = [value for value in line if value is not None]
    return line, [None] * (len(line) - len(known)) + loop_ema(known, signal)


def loop_bollinger(x: list[float], n: int, width: float) -> Values:
    middle = loop_sma(x, n)
    spread = [
        0.0 if m is None else math.sqrt(sum((v - m) ** 2 for v in x[t - n + 1 : t + 1]) / n)
        for t, m in enumerate(middle)
    ]
    return [None if m is None else m + width * s for m, s in zip(middle, spread, strict=True)]


def loop_atr(bars: pl.DataFrame, n: int) -> Values:
    rows = bars.rows(named=True)
    ranges = [max(b["high"], a["close"]) - min(b["low"], a["close"]) for a, b in zip(rows, rows[1:], strict=False)]
    return [None, *loop_wilder(ranges, n)] if rows else []


def loop_vwap(bars: pl.DataFrame) -> Values:
    """One bar a session: its own typical price, or nothing where nothing traded."""
    return [(row["high"] + row["low"] + row["close"]) / 3 if row["volume"] else None for row in bars.rows(named=True)]


def loop_obv(bars: pl.DataFrame) -> Values:
    total, y = 0.0, []
    before = None
    for row in bars.rows(named=True):
        if before is not None:
            total += row["volume"] * ((row["close"] > before) - (row["close"] < before))
        before = row["close"]
        y.append(total)
    return list(y)


def close_to(found: pl.Series, expected: Values) -> None:
    wanted = pl.Series(found.name, expected, dtype=pl.Float64)
    assert_series_equal(found, wanted, check_exact=False, rel_tol=1e-12, abs_tol=1e-11)


@given(price_series())
def test_every_indicator_is_its_definition_symbol_by_symbol(bars: pl.DataFrame) -> None:
    frame = computed(bars, [*NAMES])
    for symbol in SYMBOLS:
        mine, found = bars.filter(symbol=symbol), frame.filter(symbol=symbol)
        x = mine["close"].to_list()
        line, signal = loop_macd(x, 2, 4, 3)
        close_to(found["sma_3"], loop_sma(x, 3))
        close_to(found["ema_4"], loop_ema(x, 4))
        close_to(found["rsi_3"], loop_rsi(x, 3))
        close_to(found["macd_2_4_3"], line)
        close_to(found["macd_2_4_3_signal"], signal)
        close_to(found["bollinger_4_2_upper"], loop_bollinger(x, 4, 2))
        close_to(found["bollinger_4_2_lower"], loop_bollinger(x, 4, -2))
        close_to(found["atr_3"], loop_atr(mine, 3))
        close_to(found["vwap"], loop_vwap(mine))
        close_to(found["obv"], loop_obv(mine))


@settings(max_examples=8)
@given(price_series())
def test_many_symbols_at_once_equal_one_by_one(bars: pl.DataFrame) -> None:
    alone = [computed(bars.filter(symbol=symbol), EVERY) for symbol in SYMBOLS]
    assert_frame_equal(computed(bars, EVERY), pl.concat(alone))


@settings(max_examples=5)
@given(price_series())
def test_both_engines_agree(bars: pl.DataFrame) -> None:
    lazy = compute(with_benchmark(bars).lazy(), EVERY)
    assert_frame_equal(lazy.collect(engine="streaming"), lazy.collect(engine="in-memory"))


@settings(max_examples=8)
@given(price_series(), st.integers(1, 40))
def test_later_rows_change_no_earlier_value(bars: pl.DataFrame, known: int) -> None:
    before = bars.group_by("symbol", maintain_order=True).head(known)
    after = computed(bars, EVERY).group_by("symbol", maintain_order=True).head(known)
    assert_frame_equal(computed(before, EVERY), after, check_exact=False, rel_tol=1e-13, abs_tol=1e-13)


@pytest.mark.parametrize("name", EVERY)
def test_lookback_is_the_number_of_rows_until_nothing_is_null(name: str) -> None:
    frame = computed(series([100.0 + n % 7 for n in range(260)]), [name]).drop("symbol", "timestamp", "session")
    nulls = frame.select(pl.any_horizontal(pl.all().is_null())).to_series()
    lookback = resolve(name).lookback
    assert nulls[:lookback].all()
    assert not nulls[lookback:].any()


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=12)
@given(st.integers(0, 259), st.sampled_from(["open", "high", "low", "close", "volume", "benchmark"]))
def test_a_change_reaches_as_far_as_declared(name: str, row: int, column: str) -> None:
    indicator = resolve(name)
    bars = with_benchmark(series([100.0 + (n * n) % 11 for n in range(260)]))
    other = bars.with_columns(pl.when(pl.int_range(pl.len()) == row).then(pl.col(column) + 3).otherwise(column))
    before, after = computed(bars, [name]), computed(other, [name])
    moved = before.select(
        pl.any_horizontal(
            before[c.name].ne_missing(after[c.name]) & ((before[c.name] - after[c.name]).abs() > 1e-9).fill_null(True)
            for c in indicator.columns
        )
    ).to_series()
    reached = moved.arg_true().to_list()
    if column not in indicator.inputs:
        assert reached == []
    if isinstance(indicator.reach, Window):
        assert all(row <= n < row + indicator.reach.rows for n in reached)
    if isinstance(indicator.reach, RestOfSession):
        assert reached in ([], [row])  # one bar a session here
    assert all(n >= row for n in reached)


def averages_again(name: str, times: tuple[str, ...], window: int) -> Resume:
    """Each of the averages goes on from the one before it; the first from the close."""

    def resume(state: dict[str, float], _: dict[str, float], bar: dict[str, float]) -> dict[str, float]:
        value, found = bar["close"], {}
        for column in (f"{name}_{time}" for time in times):
            value = found[column] = state[column] + 2 / (window + 1) * (value - state[column])
        return found

    return resume


def resumed_ppo(state: dict[str, float], _: dict[str, float], bar: dict[str, float]) -> dict[str, float]:
    fast = state["ppo_fast"] + 2 / 13 * (bar["close"] - state["ppo_fast"])
    slow = state["ppo_slow"] + 2 / 27 * (bar["close"] - state["ppo_slow"])
    line = 100 * (fast / slow - 1)
    signal = state["ppo_signal"] + 2 / 10 * (line - state["ppo_signal"])
    return {"ppo_fast": fast, "ppo_slow": slow, "ppo_signal": signal}


def resumed_tsi(state: dict[str, float], last: dict[str, float], bar: dict[str, float]) -> dict[str, float]:
    found = {}
    step = bar["close"] - last["close"]
    for part, value in (("change", step), ("size", abs(step))):
        once = state[f"tsi_{part}"] + 2 / 26 * (value - state[f"tsi_{part}"])
        twice = state[f"tsi_{part}_twice"] + 2 / 14 * (once - state[f"tsi_{part}_twice"])
        found |= {f"tsi_{part}": once, f"tsi_{part}_twice": twice}
    line = 100 * found["tsi_change_twice"] / found["tsi_size_twice"] if found["tsi_size_twice"] else 0.0
    return found | {"tsi_signal": state["tsi_signal"] + 2 / 8 * (line - state["tsi_signal"])}


def true_range(last: dict[str, float], bar: dict[str, float]) -> float:
    return max(bar["high"], last["close"]) - min(bar["low"], last["close"])


def typical(bar: dict[str, float]) -> float:
    return (bar["high"] + bar["low"] + bar["close"]) / 3


def money_flow(bar: dict[str, float]) -> float:
    within = bar["high"] - bar["low"]
    moved = (bar["close"] - bar["low"]) - (bar["high"] - bar["close"])
    return bar["volume"] * moved / within if within else 0.0


def resumed_adx(state: dict[str, float], last: dict[str, float], bar: dict[str, float]) -> dict[str, float]:
    rise, fall = bar["high"] - last["high"], last["low"] - bar["low"]
    least = 1e-12 * bar["high"]
    up = rise if rise > 0 and rise - fall > least else 0.0
    down = fall if fall > 0 and fall - rise > least else 0.0
    steps = {"adx_14_ranges": true_range(last, bar), "adx_14_up": up, "adx_14_down": down}
    found = {name: (state[name] * 13 + step) / 14 for name, step in steps.items()}
    both = found["adx_14_up"] + found["adx_14_down"]
    dx = 100 * abs(found["adx_14_up"] - found["adx_14_down"]) / both if both else 0.0
    return found | {"adx_14": (state["adx_14"] * 13 + dx) / 14}


def resumed_adxr(state: dict[str, float], last: dict[str, float], bar: dict[str, float]) -> dict[str, float]:
    theirs = {"adx_14": "adxr_14_adx", "adx_14_up": "adxr_14_up", "adx_14_down": "adxr_14_down"}
    known = {name: state[mine] for name, mine in theirs.items()}
    found = resumed_adx(known | {"adx_14_ranges": 0.0}, last, bar)
    return {mine: found[name] for name, mine in theirs.items()}


def resumed_rsi(name: str) -> Resume:
    """Averages of rises and falls."""

    def resume(state: dict[str, float], last: dict[str, float], bar: dict[str, float]) -> dict[str, float]:
        step = bar["close"] - last["close"]
        steps = {f"{name}_gain": max(step, 0), f"{name}_loss": max(-step, 0)}
        return {column: (state[column] * 13 + size) / 14 for column, size in steps.items()}

    return resume


def resumed_psar(state: dict[str, float], last: dict[str, float], bar: dict[str, float]) -> dict[str, float]:
    side, extreme, factor, stop = (state[f"psar_{part}"] for part in ("direction", "extreme", "factor", "next"))
    near, far = ("low", "high") if side > 0 else ("high", "low")
    if side * (bar[near] - stop) <= 0:  # turns: the stop is the old extreme
        side, near, far = -side, far, near
        stop, extreme, factor = held(side, extreme, last[near], bar[near]), bar[far], 0.02
    elif side * (bar[far] - extreme) > 0:
        extreme, factor = bar[far], min(factor + 0.02, 0.2)
    following = held(side, stop + factor * (extreme - stop), last[near], bar[near])
    return {"psar_direction": side, "psar_extreme": extreme, "psar_factor": factor, "psar_next": following}


def held(side: float, stop: float, *bounds: float) -> float:
    """Below all bounds while rising, above them while falling."""
    return min(stop, *bounds) if side > 0 else max(stop, *bounds)


def resumed_supertrend(state: dict[str, float], last: dict[str, float], bar: dict[str, float]) -> dict[str, float]:
    average = (state["supertrend_atr"] * 9 + true_range(last, bar)) / 10
    middle = (bar["high"] + bar["low"]) / 2
    upper, lower = middle + 3 * average, middle - 3 * average
    if state["supertrend_lower"] <= last["close"]:
        lower = max(lower, state["supertrend_lower"])
    if state["supertrend_upper"] >= last["close"]:
        upper = min(upper, state["supertrend_upper"])
    falls = bar["close"] <= (lower if state["supertrend_direction"] > 0 else upper)
    found = {"direction": -1.0 if falls else 1.0, "upper": upper, "lower": lower, "atr": average}
    return {f"supertrend_{part}": value for part, value in found.items()}


RESUME: dict[str, Resume] = {
    "dema_20": averages_again("dema_20", ("once", "twice"), 20),
    "tema_20": averages_again("tema_20", ("once", "twice", "thrice"), 20),
    "trix_15": averages_again("trix_15", ("once", "twice", "thrice"), 15),
    "ppo": resumed_ppo,
    "tsi": resumed_tsi,
    "ema_12": lambda state, _, bar: {"ema_12": state["ema_12"] + 2 / 13 * (bar["close"] - state["ema_12"])},
    "rsi_14": resumed_rsi("rsi_14"),
    "stoch_rsi": resumed_rsi("stoch_rsi"),
    "macd": lambda state, _, bar: {
        "macd_fast": (fast := state["macd_fast"] + 2 / 13 * (bar["close"] - state["macd_fast"])),
        "macd_slow": (slow := state["macd_slow"] + 2 / 27 * (bar["close"] - state["macd_slow"])),
        "macd_signal": state["macd_signal"] + 2 / 10 * (fast - slow - state["macd_signal"]),
    },
    "atr_14": lambda state, last, bar: {
        "atr_14": (state["atr_14"] * 13 + max(bar["high"], last["close"]) - min(bar["low"], last["close"])) / 14
    },
    "natr_14": lambda state, last, bar: {"natr_14_atr": (state["natr_14_atr"] * 13 + true_range(last, bar)) / 14},
    "keltner": lambda state, last, bar: {
        "keltner_middle": state["keltner_middle"] + 2 / 21 * (bar["close"] - state["keltner_middle"]),
        "keltner_atr": (state["keltner_atr"] * 9 + true_range(last, bar)) / 10,
    },
    "adx_14": resumed_adx,
    "adxr_14": resumed_adxr,
    "psar": resumed_psar,
    "supertrend": resumed_supertrend,
    "anchored_vwap_20240101": lambda state, _, bar: {
        "anchored_vwap_20240101_value": state["anchored_vwap_20240101_value"] + typical(bar) * bar["volume"],
        "anchored_vwap_20240101_volume": state["anchored_vwap_20240101_volume"] + bar["volume"],
    },
    "adl": lambda state, _, bar: {"adl": state["adl"] + money_flow(bar)},
    "chaikin_oscillator": lambda state, _, bar: {
        "chaikin_oscillator_adl": (line := state["chaikin_oscillator_adl"] + money_flow(bar)),
        "chaikin_oscillator_fast": (state["chaikin_oscillator_fast"] + line) / 2,
        "chaikin_oscillator_slow": state["chaikin_oscillator_slow"]
        + 2 / 11 * (line - state["chaikin_oscillator_slow"]),
    },
    "force_index_13": lambda state, last, bar: {
        "force_index_13": state["force_index_13"]
        + 2 / 14 * ((bar["close"] - last["close"]) * bar["volume"] - state["force_index_13"])
    },
    "vpt": lambda state, last, bar: {"vpt": state["vpt"] + bar["volume"] * (bar["close"] / last["close"] - 1)},
    "drawdown": lambda state, _, bar: {"drawdown_peak": max(state["drawdown_peak"], bar["close"])},
    "max_drawdown": lambda state, _, bar: {
        "max_drawdown_peak": (peak := max(state["max_drawdown_peak"], bar["close"])),
        "max_drawdown": min(state["max_drawdown"], 100 * (bar["close"] / peak - 1)),
    },
    "obv": lambda state, last, bar: {
        "obv": state["obv"]
        + math.copysign(bar["volume"], bar["close"] - last["close"]) * (bar["close"] != last["close"])
    },
}


@pytest.mark.parametrize("name", RESUME)
@given(price_series(longest=80))
def test_the_state_of_a_row_is_enough_to_go_on(name: str, bars: pl.DataFrame) -> None:
    reach = resolve(name).reach
    assert isinstance(reach, State)
    mine = bars.filter(symbol="AA").rows(named=True)
    states = computed(bars.filter(symbol="AA"), [name]).select(reach.columns).rows(named=True)
    usable = [n for n in range(1, len(mine)) if None not in states[n - 1].values()]
    for n in usable:
        assert RESUME[name](states[n - 1], mine[n - 1], mine[n]) == pytest.approx(states[n], rel=1e-12, abs=1e-12)


def test_every_recursion_of_the_catalogue_has_been_resumed() -> None:
    recursive = {name for name, indicator in CATALOGUE.items() if isinstance(indicator.reach, State)}
    many_rows = {name for name in recursive if isinstance(reach := resolve(name).reach, State) and reach.reads > 2}
    assert many_rows == {"kama"}  # a loop of it stands in test_momentum_definitions.py
    assert recursive - {"ema_26"} - many_rows == set(RESUME) - {"anchored_vwap_20240101"}


def test_where_nothing_moves_rsi_is_neutral_and_bands_have_no_width() -> None:
    frame = computed(series([13.81] * 60), ["rsi_14", "bollinger", "macd", "atr_14", "obv"])
    last = frame.row(-1, named=True)
    assert last["rsi_14"] == 50
    assert last["bollinger_upper"] == last["bollinger_lower"] == pytest.approx(13.81, rel=1e-15)
    assert (last["obv"], last["atr_14"]) == (0, pytest.approx(1))
    assert last["macd_histogram"] == pytest.approx(0, abs=1e-14)


def test_a_spike_leaves_no_trace_once_it_is_out_of_the_window() -> None:
    calm = [13.81] * 40
    frame = computed(series([*calm, 1e7, *calm]), ["sma_20", "bollinger"])
    last = frame.row(-1, named=True)
    assert last["sma_20"] == pytest.approx(13.81, rel=1e-9)
    assert last["bollinger_upper"] == pytest.approx(13.81, rel=1e-9)


def test_only_rises_are_100_and_only_falls_0() -> None:
    rises = computed(series([float(n) for n in range(1, 40)]), ["rsi_14"])
    falls = computed(series([float(n) for n in range(40, 1, -1)]), ["rsi_14"])
    assert set(rises["rsi_14"][14:]) == {100.0}
    assert set(falls["rsi_14"][14:]) == {0.0}


def test_vwap_starts_anew_every_session_and_waits_for_the_first_volume() -> None:
    bars = series([10.0, 20.0, 30.0, 40.0, 50.0], [0.0, 1.0, 3.0, 0.0, 2.0]).with_columns(
        session=pl.Series([date(2024, 1, 1)] * 3 + [date(2024, 1, 2)] * 2)
    )
    assert computed(bars, ["vwap"])["vwap"].to_list() == [None, 20.0, 27.5, None, 50.0]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_series_shorter_than_every_window_gives_nulls(rows: int) -> None:
    frame = computed(series([100.0, 101.0][:rows]), list(CATALOGUE))
    assert len(frame) == rows
    assert frame.select("sma_20", "ema_12", "rsi_14", "macd", "bollinger_upper", "atr_14").null_count().row(0) == (
        *([rows] * 6),
    )
    assert set(frame.drop("symbol", "timestamp", "session").dtypes) == {pl.Float64}


@given(price_series())
def test_columns_of_the_bars_can_be_kept(bars: pl.DataFrame) -> None:
    assume(len(bars))
    kept = compute(bars.lazy(), ["obv"], keep=["close"]).collect()
    assert kept.columns == ["symbol", "timestamp", "session", "close", "obv"]
    assert_frame_equal(kept.select("close"), bars.select("close"))
