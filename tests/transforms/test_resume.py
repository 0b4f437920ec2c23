"""Resumed in the middle of a series, indicators are what the whole series gives."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.strategies import SYMBOLS, price_series
from tests.transforms.test_catalogue_properties import bars_of_seed
from tests.transforms.test_kernels import walk
from transforms.catalogue import (
    CATALOGUE,
    FAMILIES,
    State,
    columns_of,
    compute,
    compute_from,
    context_rows,
    resolve,
    resumable,
    resume_row,
    scales_of,
    settled,
    travels,
)
from transforms.equal import Within, changed_rows, not_equal
from transforms.errors import PermanentError, SchemaMismatch, UnknownIndicator

SMALL = (
    *("sma_3", "ema_1", "ema_4", "wma_3", "dema_3", "tema_2", "hma_4", "kama_3_2_5", "kama_1_2_3", "vwma_3"),
    *("rsi_1", "rsi_3", "macd_2_4_3", "ppo_2_4_3", "roc_2", "momentum_2", "trix_3", "tsi_4_3_2"),
    *("stochastic_3_2_2", "stoch_rsi_3_4_2_2", "williams_r_3", "cci_3", "ultimate_oscillator_2_3_4"),
    *("aroon_3", "awesome_oscillator_2_4", "bollinger_3_2", "bollinger_b_3_2", "bollinger_width_3_2", "true_range"),
    *("atr_3", "natr_3", "keltner_3_2_2", "donchian_3", "stddev_3", "historical_volatility_3_252"),
    *("parkinson_3_252", "garman_klass_3_252", "ulcer_index_3", "chop_3", "adx_3", "adxr_3", "vortex_3"),
    *("psar", "supertrend_3_2", "ichimoku_2_3_4", "vwap", "anchored_vwap_20240110", "rolling_vwap_3", "obv"),
    *("adl", "chaikin_oscillator_2_4", "cmf_3", "mfi_3", "force_index_3", "ease_of_movement_3", "vpt"),
    *("zscore_3", "drawdown", "max_drawdown", "beta_3", "correlation_3", "sharpe_3"),
)
FADING = tuple(name for name in SMALL if isinstance(reach := resolve(name).reach, State) and not reach.cumulative)
KEPT = ("close", "volume")
KEY = ("symbol", "timestamp")


def prepared(bars: pl.DataFrame) -> pl.DataFrame:
    """With a benchmark's close that depends on the row of the symbol alone."""
    row = pl.col("close").cum_count().over("symbol").cast(pl.Float64)
    return bars.with_columns(benchmark=50 + (row * row) % 13)


def row_of(by: str = "symbol") -> pl.Expr:
    return pl.int_range(pl.len()).over(by)


def differing(found: pl.DataFrame, expected: pl.DataFrame, names: list[str]) -> list[str]:
    """Columns that are not equal in some row; state and what comes of it must be so to the last bit."""
    wrong = []
    for name in names:
        reach = resolve(name).reach
        for column in resolve(name).columns:
            ours, theirs = found[column.name], expected[column.name]
            if isinstance(reach, State) and (reach.spans == 1 or column.name in reach.columns):
                same = ours.equals(theirs)
            else:
                both = found.select(*KEPT, ours.alias("ours"), theirs.alias("theirs"))
                same = not both.select(not_equal(pl.col("ours"), pl.col("theirs"), column.scale).any()).item()
            wrong += [] if same else [column.name]
    return wrong


@pytest.fixture(scope="module")
def walked() -> pl.DataFrame:
    return walk(3, 150, seed=11)


@pytest.mark.parametrize("name", SMALL)
def test_each_indicator_resumes_anywhere(name: str, walked: pl.DataFrame) -> None:
    """By itself, so that its own context is enough; a stretch in each of the symbols, each begun elsewhere."""
    whole = compute(walked, [name], keep=KEPT, engine="compiled")
    context, known, first = context_rows([name]), resume_row([name]), travels([name]).lookback
    for start in (first, first + 1, 61):
        begin = start + 7 * pl.col("symbol").rank("dense").cast(pl.Int64)
        stretches = walked.filter(row_of() >= begin)
        stored = whole.filter(row_of() == begin + known)
        assert resumable(stored, [name]).all()
        found = compute_from(stretches, stored, [name], keep=KEPT)
        # a session has two bars here, and of the first one a part may be missing
        expected = whole.filter(row_of() >= begin + (2 - begin % 2 if name == "vwap" else context))
        assert found.select(KEY).equals(expected.select(KEY))
        assert differing(found, expected, [name]) == []


@settings(max_examples=40)
@given(st.data(), price_series(), st.lists(st.sampled_from(SMALL), min_size=1, max_size=7, unique=True))
def test_any_indicators_together_resume_in_any_series(
    data: st.DataObject, bars: pl.DataFrame, names: list[str]
) -> None:
    """Some symbols from their start, the others from a row that has all state."""
    bars = prepared(bars)
    whole = compute(bars, names, keep=KEPT, engine="compiled")
    context, known = context_rows(names), resume_row(names)
    rows: dict[str, int] = dict(bars.group_by("symbol").len().iter_rows())
    begins = {
        s: data.draw(st.sampled_from([0, *range(travels(names).lookback, rows.get(s, 0) - known)])) for s in SYMBOLS
    }
    begin = pl.col("symbol").replace_strict(begins, return_dtype=pl.Int64)
    stored = whole.filter((begin > 0) & (row_of() == begin + known))
    found = compute_from(bars.filter(row_of() >= begin), stored, names, keep=KEPT)
    expected = whole.filter(row_of() >= pl.when(begin > 0).then(begin + context).otherwise(0))
    assert_frame_equal(found.select(KEY), expected.select(KEY))
    assert differing(found, expected, names) == []


def test_every_family_is_resumed_and_every_recursion_has_a_kernel() -> None:
    assert {name for name in FAMILIES if not any(small.startswith(name) for small in SMALL)} == set()
    tried = {resolve(name).kernel for name in SMALL if resolve(name).state}
    assert None not in tried
    assert all(resolve(name).kernel for name in CATALOGUE if resolve(name).state)


@pytest.mark.parametrize("name", [n for n in SMALL if isinstance(r := resolve(n).reach, State) and r.reads == 1])
def test_what_reads_its_own_bar_alone_does_not_look_back(name: str, walked: pl.DataFrame) -> None:
    """So a change of the bar resumed from, which is in its state, is no concern of the rows after it."""
    stored = compute(walked, [name], engine="compiled")
    part = walked.slice(60, 20)
    other = part.with_columns(
        pl.when(row_of() == 0).then(pl.col(c) * 3).otherwise(c).alias(c)
        for c in ("open", "high", "low", "close", "volume")
    )
    assert compute_from(part, stored, [name]).equals(compute_from(other, stored, [name]))


def refreshed(stored: pl.DataFrame, bars: pl.DataFrame, names: list[str], changed: range) -> tuple[pl.DataFrame, int]:
    """What a store holds after some bars changed, by the rule of `settled`; and how many rows were computed."""
    context = context_rows(names)
    begin = max(changed.start - context, 0)
    known = stored.slice(begin + resume_row(names), 1)
    resumes = begin >= travels(names).lookback and resumable(known, names).item()
    begin = begin if resumes else 0
    computed = compute_from(bars.slice(begin), known.head(int(resumes)), names, keep=KEPT)
    offset = len(bars) - len(computed)
    rests = settled(computed, stored, names) & (
        pl.int_range(len(computed), eager=True) + offset >= changed.stop - 1 + travels(names).window - 1
    )
    last = rests.arg_max() if rests.any() else len(computed) - 1
    assert last is not None
    computed = computed.head(last + 1)
    new = changed_rows(computed.lazy(), stored.lazy(), KEY, scales_of(names)).collect()
    return stored.update(new, on=KEY, how="left", include_nulls=True), len(computed)


def unequal(stored: pl.DataFrame, whole: pl.DataFrame, names: list[str]) -> list[str]:
    """Columns that differ from a computation of the whole series by more than equal things do."""
    both = whole.hstack(stored.select(pl.col(c.name).alias(f"_{c.name}") for c in columns_of(names)).get_columns())
    wrong = both.select(
        not_equal(pl.col(c.name), pl.col(f"_{c.name}"), c.scale).any().alias(c.name) for c in columns_of(names)
    )
    return [name for name, differs in wrong.row(0, named=True).items() if differs]


@settings(max_examples=12)
@given(st.data(), st.integers(0, 2**32 - 1), st.lists(st.sampled_from(SMALL), min_size=1, max_size=4, unique=True))
def test_changes_in_the_past_leave_what_the_whole_series_gives(
    data: st.DataObject, seed: int, names: list[str]
) -> None:
    """A few changes one after the other, large and tiny ones: what is off in stored state must not add up."""
    bars = bars_of_seed(seed).filter(symbol="A").with_columns(pl.lit(1000.0).alias("volume"))
    stored = compute(bars, names, keep=KEPT, engine="compiled")
    for _ in range(3):
        at = data.draw(st.integers(0, len(bars) - 3))
        changed = range(at, at + data.draw(st.integers(1, 3)))
        factor = data.draw(st.sampled_from([1.01, 0.9, 1 + 3e-12, 1 + 1e-8]))
        some = pl.int_range(pl.len()).is_between(changed.start, changed.stop - 1)
        bars = bars.with_columns(
            pl.when(some).then(pl.col(c) * factor).otherwise(c).alias(c) for c in ("high", "low", "close")
        )
        bars = bars.with_columns(pl.max_horizontal("high", "close"))
        stored = stored.with_columns(bars["close"])
        stored, _ = refreshed(stored, bars, names, changed)
        whole = compute(bars, names, keep=KEPT, engine="compiled")
        assert unequal(stored, whole, names) == []


@pytest.mark.parametrize("name", FADING)
def test_a_change_that_fades_is_followed_no_further(name: str) -> None:
    """How a price moves is what some of these divide by, and it moves by a millionth of itself here."""
    random = np.random.default_rng(4)
    bars = prepared(walk(1, 900, seed=4)).with_columns(volume=1000.0)
    close = 1e6 + random.normal(0, 1, 900).cumsum()
    bars = bars.with_columns(close=pl.Series(close), high=pl.Series(close + 0.3), low=pl.Series(close - 0.4))
    stored = compute(bars, [name], keep=KEPT, engine="compiled")
    moved = pl.when(pl.int_range(pl.len()) == 200).then(2.0).otherwise(0.0)
    bars = bars.with_columns(pl.col("high", "low", "close") + moved)
    found, rows = refreshed(stored, bars, [name], range(200, 201))
    assert unequal(found, compute(bars, [name], keep=KEPT, engine="compiled"), [name]) == []
    assert rows < 600, "the state never settled"


def test_a_sum_keeps_a_change_for_good() -> None:
    bars = prepared(walk(1, 300, seed=4))
    names = ["obv", "vpt"]
    stored = compute(bars, names, keep=KEPT, engine="compiled")
    volume = pl.when(pl.int_range(pl.len()) == 100).then(pl.col("volume") + 50).otherwise("volume")
    found, rows = refreshed(stored, bars.with_columns(volume), names, range(100, 101))
    assert rows == 200
    assert travels([*names, "ema_4"]).cumulative == ("obv", "vpt")
    assert unequal(found, compute(bars.with_columns(volume), names, keep=KEPT), names) == []


def resume_some(
    bars: pl.DataFrame, names: list[str], *, change: Callable[[pl.DataFrame], pl.DataFrame] = lambda stored: stored
) -> pl.DataFrame:
    """From row 40 of each symbol on, with all of what is stored at hand."""
    stored = change(compute(bars, names, engine="compiled"))
    return compute_from(bars.filter(row_of() >= 40), stored, names)


def test_one_symbol_may_have_several_stretches(walked: pl.DataFrame) -> None:
    names = ["ema_4", "sma_3", "vwap", "zscore_3"]
    whole = compute(walked, names, engine="compiled")
    parts = [(40, 20), (90, 30), (0, 10)]
    stretches = pl.concat(
        walked.filter(symbol="S001").slice(*part).with_columns(stretch=pl.lit(n)) for n, part in enumerate(parts)
    )
    label = pl.when(row_of() < 50).then(0).otherwise(1).alias("stretch")
    stored = whole.filter(symbol="S001").with_columns(label)
    found = compute_from(stretches, stored, names, by="stretch")
    assert found.columns[:4] == ["symbol", "timestamp", "session", "stretch"]
    mine = whole.filter(symbol="S001")
    expected = pl.concat([mine.slice(42, 18), mine.slice(92, 28), mine.slice(0, 10)])
    assert found["timestamp"].to_list() == expected["timestamp"].to_list()
    assert found["ema_4"].equals(expected["ema_4"])
    assert_frame_equal(found.drop("stretch"), expected)


def test_many_stretches_are_the_same_as_few() -> None:
    """Enough rows for several threads."""
    bars = walk(200, 160, seed=2)
    names = ["ema_12", "rsi_14", "psar", "obv", "sma_20"]
    found = resume_some(bars, names)
    assert len(found) == 200 * (160 - 40 - context_rows(names))
    one = resume_some(bars.filter(symbol="S123"), names)
    assert found.filter(symbol="S123").equals(one)


def test_a_session_begun_before_the_stretch_is_not_returned() -> None:
    bars = walk(1, 20, seed=3).with_columns(session=pl.lit("2024-01-02").str.to_date())
    later = pl.int_range(pl.len()) >= 12
    bars = bars.with_columns(pl.when(later).then(pl.col("session").dt.offset_by("1d")).otherwise("session"))
    stored = compute(bars, ["vwap", "ema_2"])
    found = compute_from(bars.slice(5), stored, ["vwap", "ema_2"])
    assert_frame_equal(found, stored.slice(12))
    assert len(compute_from(bars.slice(5), stored, ["ema_2"])) == 14
    assert compute_from(bars.slice(5, 7), stored, ["vwap"]).is_empty()


def test_a_stretch_of_mere_context_gives_no_row(walked: pl.DataFrame) -> None:
    stored = compute(walked, ["sma_20"])
    assert compute_from(walked.slice(40, 19), stored, ["sma_20"]).is_empty()
    assert len(compute_from(walked.slice(40, 20), stored, ["sma_20"])) == 1
    assert compute_from(walked.head(0), stored, ["sma_20", "vwap"]).is_empty()


@pytest.mark.parametrize("gap", [None, np.nan])
def test_around_a_row_that_takes_no_part_nothing_is_resumed(walked: pl.DataFrame, gap: float | None) -> None:
    holed = walked.with_columns(close=pl.when(row_of() == 60).then(pl.lit(gap)).otherwise("close"))
    stored = compute(walked, ["ema_4", "obv"])
    with pytest.raises(PermanentError, match=r"row of 'S000' at 1970-01-31 .* has no close.*compute the whole series"):
        compute_from(holed.slice(50, 20), stored, ["ema_4"])
    assert len(compute_from(holed.slice(50, 20), stored, ["aroon_3"])) == 17


def test_what_cannot_be_resumed_says_why(walked: pl.DataFrame) -> None:
    names = ["ema_30", "kama_9_2_30"]
    part = walked.slice(60, 30)
    stored = compute(walked, names, engine="compiled")
    early = walked.slice(10, 60)
    with pytest.raises(PermanentError, match=r"of 'S000' at 1970-01-10 .* has no ema_30 yet; compute the series from"):
        compute_from(early, stored, names)
    assert resumable(stored.slice(18, 12), names).to_list() == [False] * 11 + [True]
    with pytest.raises(PermanentError, match=r"of 'S000' at 1970-02-04 .* is not among the stored ones"):
        compute_from(part, stored.head(68), names)
    with pytest.raises(PermanentError, match="'S000' has no row 8 .*more context"):
        compute_from(part.head(8), stored, names)
    with pytest.raises(PermanentError, match="symbol and timestamp twice"):
        compute_from(part, pl.concat([stored, stored]), names)
    with pytest.raises(SchemaMismatch, match="the stored rows lack the columns ema_30, which say where to resume"):
        compute_from(part, stored.drop("ema_30"), names)
    with pytest.raises(PermanentError, match="rows of one side stand apart"):
        compute_from(part.with_columns(side=row_of() % 2), stored.with_columns(side=0), names, by="side")
    with pytest.raises(UnknownIndicator, match="emma_30"):
        compute_from(part, stored, ["emma_30"])


def test_of_no_indicator_there_is_nothing_to_resume(walked: pl.DataFrame) -> None:
    assert travels([]).window == 1
    assert resumable(walked.head(2), ["sma_3"]).to_list() == [True, True]
    assert settled(walked.head(2), walked.slice(1, 1), ["sma_3"]).to_list() == [False, True]


def test_how_far_a_change_travels() -> None:
    found = travels(["sma_20", "rsi_14", "ema_3", "vwap"])
    assert (found.window, found.session, found.cumulative) == (20, True, ())
    assert found.state_columns == ("rsi_14_gain", "rsi_14_loss", "ema_3")
    assert found.lookback == 14
    assert (13 / 14) ** found.settling_rows <= 1e-9 < (13 / 14) ** (found.settling_rows - 1)
    assert (context_rows(["sma_20", "rsi_14"]), resume_row(["sma_20", "rsi_14"])) == (19, 0)
    assert (context_rows(["kama"]), resume_row(["kama"]), travels(["kama"]).window) == (10, 9, 11)
    assert (context_rows(["rsi_14"]), context_rows(["stoch_rsi"])) == (1, 17)
    assert travels(["ema_1"]).settling_rows == 1


def test_state_is_kept_finer_than_what_is_shown() -> None:
    scales = scales_of(["ema_3", "rsi_3", "obv", "psar"])
    assert isinstance(scales["ema_3"], Within)
    assert scales["ema_3"].tolerance == 1e-12
    assert scales["rsi_3"] == 100.0
    assert [scales[name] for name in ("obv", "psar_direction", "psar_next")] == [None] * 3
    assert list(scales) == [column.name for column in columns_of(["ema_3", "rsi_3", "obv", "psar"])]


def states(rows: dict[str, list[float | None]]) -> pl.DataFrame:
    count = len(next(iter(rows.values())))
    moments = pl.Series("timestamp", range(count)).cast(pl.Datetime("us", "UTC"))
    schema = dict.fromkeys(rows, pl.Float64())
    return pl.DataFrame(rows, schema=schema).with_columns(moments, symbol=pl.lit("A"), close=100.0, volume=1.0)


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "expected"),
    [
        ("ema_3", {"ema_3": [1.0, 1.0, None, None]}, {"ema_3": [1 + 0.9e-10, 1 + 1.1e-10, None, 1.0]}, [1, 0, 1, 0]),
        ("obv", {"obv": [1.0, 1.0]}, {"obv": [1.0, 1 + 1e-15]}, [1, 0]),
        (
            "rsi_3",  # of small moves only their sum says what is little
            {"rsi_3_gain": [1e-3, 1e-3, 1.0], "rsi_3_loss": [1e-3, 1e-3, 0.0]},
            {"rsi_3_gain": [1e-3 + 1.9e-15, 1e-3 + 2.1e-15, 1.0], "rsi_3_loss": [1e-3, 1e-3, 0.9e-12]},
            [1, 0, 1],
        ),
        (
            "adxr_3",  # made of the last three
            {"adxr_3_adx": [9.0, 9, 9, 9, 9], "adxr_3_up": [1.0] * 5, "adxr_3_down": [1.0] * 5},
            {"adxr_3_adx": [9.0, 8, 9, 9, 9], "adxr_3_up": [1.0] * 5, "adxr_3_down": [1.0] * 5},
            [1, 0, 0, 0, 1],
        ),
    ],
)
def test_settled_is_within_the_tolerance_of_the_state(
    name: str, ours: dict[str, list[float | None]], theirs: dict[str, list[float | None]], expected: list[int]
) -> None:
    assert settled(states(ours), states(theirs), [name]).cast(pl.Int64).to_list() == expected
