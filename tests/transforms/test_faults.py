"""Quality rules one by one, on prices made up to have exactly one fault; none on those without."""

from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from transforms.errors import PermanentError, SchemaMismatch
from transforms.quality.faults import FINDINGS, RULES, Faults, Rules, actions_of, corrected_bars, find_faults
from transforms.schema import ACTIONS, OHLC, RAW_BARS

PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
FIRST = date(2024, 1, 1)
ROWS = 120


def calm(symbol: str = "A", rows: int = ROWS, seed: int = 1, basis: str = "split") -> pl.DataFrame:
    """RAW_BARS with session and basis: returns of 1 %, a volume every day, an adjusted close without dividends."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (3, rows))
    close = 50 * np.exp(noise[0].cumsum())
    frame = pl.DataFrame({"symbol": symbol, "k": range(rows), "open": close * np.exp(noise[1]), "close": close})
    session = pl.lit(FIRST).dt.offset_by(pl.format("{}d", "k"))
    return frame.select(
        "symbol",
        granularity=pl.lit("1d"),
        timestamp=session.cast(pl.Datetime("us", "UTC")).dt.offset_by("14h"),
        source=pl.lit("v"),
        open="open",
        high=pl.max_horizontal("open", "close") * 1.003,
        low=pl.min_horizontal("open", "close") * 0.997,
        close="close",
        volume=pl.Series(np.round(1e6 * np.exp(10 * noise[2]))),
        adjusted_close="close",
        session=session,
        price_basis=pl.lit(basis),
        k=pl.col("k"),
    )


def at(*places: int) -> pl.Expr:
    return pl.col("k").is_in(list(places))


def changed(frame: pl.DataFrame, where: pl.Expr, **columns: pl.Expr | float | None) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(where).then(new if isinstance(new, pl.Expr) else pl.lit(new)).otherwise(pl.col(name)).alias(name)
        for name, new in columns.items()
    )


def times(frame: pl.DataFrame, where: pl.Expr, factor: float) -> pl.DataFrame:
    return changed(frame, where, **{c: pl.col(c) * factor for c in (*OHLC, "adjusted_close")})


def day(k: int) -> date:
    return FIRST + timedelta(days=k)


def actions(*rows: tuple[int, str, float], source: str = "w") -> pl.DataFrame:
    return pl.DataFrame(
        [("A", day(k), kind, source, 0, value) for k, kind, value in rows], schema=ACTIONS, orient="row"
    )


def told(faults: Faults) -> list[tuple[str, int, int]]:
    """Rule, and places of the first and last row."""
    start = pl.lit(FIRST)
    found = faults.findings.select(
        "rule",
        (pl.col("start").dt.date() - start).dt.total_days(),
        (pl.col("end").dt.date() - start).dt.total_days(),
    )
    return sorted(found.rows())


def test_nothing_is_found_in_calm_prices() -> None:
    found = find_faults(calm())
    assert found.findings.is_empty()
    assert found.findings.schema == FINDINGS
    assert corrected_bars(calm(), found).is_empty()
    assert found.corrected_actions().is_empty()


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_few_rows_are_no_error(rows: int) -> None:
    bars = calm().head(rows).drop("adjusted_close")
    assert find_faults(bars, actions((1, "dividend", 0.1), (2, "split", 1.2))).findings.is_empty()


def test_columns_that_are_missing_are_named() -> None:
    with pytest.raises(SchemaMismatch, match="a column session"):
        find_faults(calm().drop("session"))
    bare = times(calm(), at(50), 100.0).select("symbol", "session", "timestamp", *OHLC, "volume")
    assert told(find_faults(bare)) == [("currency_unit", 50, 50)]
    assert corrected_bars(bare, find_faults(bare)).columns == bare.columns


def test_one_line_of_time_is_of_one_granularity() -> None:
    """Nothing is found by luck of the order: each granularity is a series of its own."""
    weekly = calm().with_columns(granularity=pl.lit("1w"))
    with pytest.raises(PermanentError, match="A of 'v' has 1d, 1w: look at each"):
        find_faults(pl.concat([calm(), weekly]))
    other = weekly.with_columns(source=pl.lit("w"))
    assert find_faults(pl.concat([calm(), other])).findings.is_empty()


# --- rows that contradict themselves


def test_order_and_duplicates() -> None:
    assert told(find_faults(calm().reverse())) == [("newest_first", 0, ROWS - 1)]
    swapped = pl.concat([calm()[:3], calm()[4:5], calm()[3:4], calm()[5:]])
    assert told(find_faults(swapped)) == [("unsorted", 0, ROWS - 1)]
    doubled = pl.concat([calm()[:6], times(calm()[5:6], at(5), 1.001), calm()[6:]])
    found = find_faults(doubled)
    assert told(found) == [("duplicate_timestamp", 5, 5)]
    assert found.findings["reason"].to_list() == ["2 rows of one time, 2 of them different"]
    assert found.findings["confidence"].to_list() == [1.0]
    assert not found.findings["correctable"].any()


@pytest.mark.parametrize(
    ("wrong", "rule", "words"),
    [
        ({"close": None}, "null_value", "no value for close"),
        ({"volume": None, "open": float("nan")}, "null_value", "no value for open, volume"),
        ({"low": 0.0}, "non_positive_price", "low 0.0"),
        ({"open": -50.0}, "non_positive_price", "open -50.0"),
        ({"high": 1.0}, "ohlc_order", "high 1.0"),
        ({"close": 99.0}, "ohlc_order", "close 99.0"),
    ],
)
def test_impossible_rows(wrong: dict[str, float | None], rule: str, words: str) -> None:
    found = find_faults(changed(calm(), at(40), **wrong))  # type: ignore[arg-type]
    assert (rule, 40, 40) in told(found)
    (reason,) = found.findings.filter(rule=rule)["reason"]
    assert words in reason


def test_a_row_without_a_time_is_a_row_without_a_value() -> None:
    found = find_faults(changed(calm(), at(40), timestamp=pl.lit(None, pl.Datetime("us", "UTC"))))
    assert found.findings.select("rule", "reason").rows() == [("null_value", "no value for timestamp")]


def test_a_price_outside_is_met_by_the_least_change() -> None:
    wrong = changed(calm(), at(40), high=pl.col("close") * 0.999, open=pl.col("close"), low=pl.col("close") * 0.99)
    found = find_faults(wrong)
    (row,) = corrected_bars(wrong, found).rows(named=True)
    assert told(found) == [("ohlc_order", 40, 40)]
    assert row["high"] == pytest.approx(row["close"], rel=1e-15)
    assert {c: row[c] for c in row if c != "high"} == {c: wrong.row(40, named=True)[c] for c in row if c != "high"}
    single = changed(calm(), at(40), high=pl.max_horizontal("open", "close") * (1 - 1e-7))
    assert find_faults(single).findings.is_empty()  # the rounding of single precision


# --- levels


@pytest.mark.parametrize("factor", [100.0, 0.01])
@pytest.mark.parametrize("places", [(50, 50), (30, 60), (0, 70), (116, 119), (119, 119)])
def test_prices_in_the_wrong_unit(factor: float, places: tuple[int, int]) -> None:
    """Up to four new rows are the odd ones out; five would be a new level, and the rest the old one."""
    first, last = places
    wrong = times(calm(), pl.col("k").is_between(first, last), factor)
    found = find_faults(wrong)
    assert told(found) == [("currency_unit", *places)]
    assert found.findings["confidence"][0] > 0.9
    assert found.findings["rows"].to_list() == [last - first + 1]
    right = calm().filter(pl.col("k").is_between(first, last))
    assert_frame_equal(corrected_bars(wrong, found), right, check_exact=False, rel_tol=1e-12, abs_tol=0)


def test_a_new_level_of_some_rows_is_the_vendors_present_one() -> None:
    assert told(find_faults(times(calm(), pl.col("k") >= 115, 100.0))) == [("currency_unit", 0, 114)]
    kept = Rules(settled_rows=20)
    assert told(find_faults(times(calm(), pl.col("k") >= 115, 100.0), rules=kept)) == [("currency_unit", 115, 119)]


@pytest.mark.parametrize("fields_wrong", [("low",), ("close",), ("open", "high"), ("open", "high", "close")])
def test_single_prices_in_the_wrong_unit(fields_wrong: tuple[str, ...]) -> None:
    wrong = changed(calm(), at(40), **{c: pl.col(c) * 100 for c in fields_wrong})
    found = find_faults(wrong)
    assert ("currency_unit_field", 40, 40) in told(found)
    assert {rule for rule, _, _ in told(found)} <= {"currency_unit_field", "ohlc_order"}
    only = found.where(pl.col("rule") == "currency_unit_field")
    right = calm().filter(at(40))
    assert_frame_equal(corrected_bars(wrong, only), right, check_exact=False, rel_tol=1e-12, abs_tol=0)
    assert fields_wrong[0] in only.findings["reason"][0]


def test_rows_that_a_split_was_not_applied_to() -> None:
    wrong = changed(times(calm(), pl.col("k") < 63, 5.0), pl.col("k") < 63, volume=pl.col("volume") / 5)
    found = find_faults(wrong, actions((60, "split", 5.0)))
    assert told(found) == [("split_adjustment", 0, 62)]
    assert "the split of 2024-03-01 is 3 rows away" in found.findings["reason"][0]
    right = calm().filter(pl.col("k") < 63)
    assert_frame_equal(corrected_bars(wrong, found), right, check_exact=False, rel_tol=1e-12, abs_tol=0)
    assert find_faults(wrong).findings["rule"].to_list() == ["missing_split"]  # nobody told of it


def test_raw_prices_that_split_are_right() -> None:
    raw = changed(times(calm(basis="raw"), pl.col("k") < 60, 5.0), pl.col("k") < 60, adjusted_close=pl.col("close") / 5)
    assert find_faults(raw, actions((60, "split", 5.0))).findings.is_empty()
    once = raw.with_columns(adjusted_close=pl.when(pl.col("k") < 60).then(pl.col("close")).otherwise("adjusted_close"))
    assert find_faults(calm(basis="raw"), actions((60, "split", 1.0))).findings.is_empty()
    assert find_faults(once.drop("adjusted_close"), actions((60, "split", 5.0))).findings.is_empty()


def test_a_split_that_raw_prices_do_not_show_is_taken_away() -> None:
    split = actions((60, "split", 5.0))
    found = find_faults(calm(basis="raw"), split)
    assert told(found) == [("split_not_in_prices", 0, 59)]
    assert corrected_bars(calm(), found).is_empty()
    assert found.corrected_actions().rows() == [("A", day(60), "split", "w", 0, 1.0)]
    assert find_faults(calm(basis="raw"), found.corrected_actions()).findings.is_empty()


def test_a_split_that_nobody_told() -> None:
    raw = changed(times(calm(basis="raw"), pl.col("k") < 60, 4.0), pl.col("k") < 60, volume=pl.col("volume") / 4)
    found = find_faults(raw.drop("adjusted_close"))
    assert told(found) == [("missing_split", 60, 60)]
    assert found.corrected_actions().rows() == [("A", day(60), "split", "v", 0, 4.0)]
    other = actions((5, "split", 1.0), source="known")
    assert find_faults(raw.drop("adjusted_close"), other).corrected_actions()["source"].to_list() == ["known"]
    same_volume = raw.with_columns(calm()["volume"]).drop("adjusted_close")
    confidences = [find_faults(x).findings["confidence"][0] for x in (raw, raw.drop("adjusted_close"), same_volume)]
    assert confidences == [pytest.approx(0.8), pytest.approx(0.8), pytest.approx(0.5)]
    adjusted = raw.with_columns(adjusted_close=calm()["close"])
    assert find_faults(adjusted).findings["confidence"].to_list() == [0.95]


def test_spikes_wicks_and_wild_jumps_have_no_correction() -> None:
    spiked = find_faults(times(calm(), at(50), 1.4))
    assert told(spiked) == [("spike", 50, 50)]
    assert spiked.findings["confidence"].to_list() == [0.6]
    assert told(find_faults(times(calm(), at(50), 3.7))) == [("spike", 50, 50)]
    wick = find_faults(changed(calm(), at(50), low=pl.col("low") / 2))
    assert told(wick) == [("wick", 50, 50)]
    wild = find_faults(times(calm(), pl.col("k") < 50, 17.0))
    assert told(wild) == [("unexplained_jump", 50, 50)]
    assert not any(found.findings["correctable"].any() for found in (spiked, wick, wild))


def test_a_crash_and_a_gap_are_no_faults() -> None:
    assert find_faults(times(calm(), pl.col("k") < 50, 1 / 0.63)).findings.is_empty()
    years = times(calm(), pl.col("k") < 50, 1 / 3)
    later = years.with_columns(
        pl.when(pl.col("k") < 50).then(pl.col(c).dt.offset_by("-6y")).otherwise(pl.col(c)).alias(c)
        for c in ("timestamp", "session")
    )
    assert [rule for rule, _, _ in told(find_faults(years))] == ["missing_split"]
    assert find_faults(later).findings.is_empty()


# --- volume


def test_rows_that_say_nothing_new() -> None:
    copied = calm().with_columns(
        pl.when(at(50)).then(pl.col(c).shift(1)).otherwise(pl.col(c)).alias(c) for c in (*OHLC, "volume")
    )
    found = find_faults(copied)
    assert told(found) == [("repeated_row", 50, 50)]
    assert found.findings["confidence"].to_list() == [0.9]
    flat = pl.col("k").is_between(50, 58)
    still = changed(calm(), flat, **dict.fromkeys(OHLC, 50.0), volume=0.0, adjusted_close=50.0)
    found = find_faults(still)
    assert ("carried_forward", 51, 58) in told(found)
    assert found.findings.filter(rule="carried_forward")["confidence"].to_list() == [0.1]
    moving = find_faults(changed(calm(), at(50), volume=0.0))
    assert told(moving) == [("zero_volume_move", 50, 50)]
    assert find_faults(calm().with_columns(volume=0.0)).findings.is_empty()  # an index


# --- dividends


def paid(frame: pl.DataFrame, share: float, k: int) -> pl.DataFrame:
    """Prices from place k on are ex dividend; adjusted closes allow for it."""
    fallen = changed(frame, pl.col("k") >= k, **{c: pl.col(c) * (1 - share) for c in (*OHLC, "adjusted_close")})
    return changed(fallen, pl.col("k") < k, adjusted_close=pl.col("adjusted_close") * (1 - share))


def close_before(frame: pl.DataFrame, k: int) -> float:
    return float(frame["close"][k - 1])


def test_a_dividend_told_and_adjusted_for_is_right() -> None:
    good = paid(calm(), 0.04, 60)
    assert find_faults(good, actions((60, "dividend", 0.04 * close_before(good, 60)))).findings.is_empty()


def test_adjusted_closes_that_do_not_allow_for_a_dividend() -> None:
    good = paid(calm(), 0.04, 60)
    amount = actions((60, "dividend", 0.04 * close_before(good, 60)))
    for wrong_share in (0.0, 0.0004, 1 - 0.96**2):
        ratio = (1 - wrong_share) / 0.96
        wrong = changed(good, pl.col("k") < 60, adjusted_close=pl.col("adjusted_close") * ratio)
        found = find_faults(wrong, amount)
        assert told(found) == [("dividend_adjustment", 0, 59)]
        assert_frame_equal(corrected_bars(wrong, found), good.head(60), check_exact=False, rel_tol=1e-12, abs_tol=0)
        assert found.corrected_actions().is_empty()


@pytest.mark.parametrize("factor", [100.0, 0.01, 7.0])
def test_amounts_that_neither_price_nor_adjustment_knows(factor: float) -> None:
    """The last as of a dividend in shares before a split, beside prices in shares after it."""
    good = paid(calm(), 0.03, 60)
    right = 0.03 * close_before(good, 60)
    told_actions = pl.concat([actions((60, "dividend", right * factor)), actions((900, "split", 7.0))])
    found = find_faults(good, told_actions)
    assert told(found) == [("dividend_amount", 60, 60)]
    assert found.corrected_actions()["value"].to_list() == [pytest.approx(right, rel=1e-6)]
    assert ("a factor of the split of" in found.findings["reason"][0]) == (factor == 7)


def test_amount_and_adjustment_in_the_wrong_unit() -> None:
    good = paid(calm(), 0.004, 60)
    wrong = changed(good, pl.col("k") < 60, adjusted_close=pl.col("adjusted_close") * 0.6 / 0.996)
    found = find_faults(wrong, actions((60, "dividend", 0.4 * close_before(good, 60))))
    assert told(found) == [("dividend_unit", 0, 60)]
    assert found.corrected_actions()["value"][0] == pytest.approx(0.004 * close_before(good, 60))
    assert_frame_equal(corrected_bars(wrong, found), good.head(60), check_exact=False, rel_tol=1e-12, abs_tol=0)
    bare = find_faults(good.drop("adjusted_close"), actions((60, "dividend", 0.4 * close_before(good, 60))))
    assert told(bare) == [("dividend_unit", 60, 60)]


def test_many_small_dividends_are_suspected_together_and_few_are_not() -> None:
    good, rows = calm(), []
    for k in (20, 40, 60, 80, 100):
        good = paid(good, 0.03, k)
        rows.append((k, "dividend", 0.0003 * close_before(good, k)))
    bare = good.drop("adjusted_close")
    found = find_faults(bare, actions(*rows))
    assert told(found) == [("dividend_unit", k, k) for k in (20, 40, 60, 80, 100)]
    assert found.findings["confidence"].unique().len() == 1
    assert find_faults(bare, actions(*rows[:3])).findings.is_empty()


def test_a_dividend_nobody_knows_of_and_one_told_twice() -> None:
    good = paid(calm(), 0.04, 60)
    amount = 0.04 * close_before(good, 60)
    phantom = find_faults(calm(), actions((60, "dividend", amount)))
    assert told(phantom) == [("phantom_dividend", 60, 60)]
    assert phantom.corrected_actions()["value"].to_list() == [0.0]
    twice = find_faults(good, actions((60, "dividend", amount), (62, "dividend", amount)))
    assert told(twice) == [("duplicate_dividend", 62, 62)]
    assert twice.corrected_actions().rows() == [("A", day(62), "dividend", "w", 0, 0.0)]
    untold = find_faults(paid(good, 0.04, 90), actions((60, "dividend", amount)))
    assert told(untold) == [("missing_dividend", 90, 90)]
    (row,) = untold.corrected_actions().rows(named=True)
    assert (row["ex_date"], row["source"]) == (day(90), "w")
    assert row["value"] == pytest.approx(0.04 * close_before(good, 90), rel=1e-5)


def test_two_dividends_of_one_day_keep_their_shares() -> None:
    good = paid(calm(), 0.03, 60)
    right = 0.03 * close_before(good, 60)
    rows = actions((60, "dividend", 75 * right), (60, "dividend", 25 * right)).with_columns(
        ordinal=pl.int_range(2, dtype=pl.Int32, eager=True)
    )
    found = find_faults(good, rows)
    assert found.corrected_actions()["value"].to_list() == [pytest.approx(0.75 * right), pytest.approx(0.25 * right)]


@pytest.mark.parametrize("times_the_price", [1.01, 1.5, 90.0])
@pytest.mark.parametrize("volume", [0.0, 1e6])
def test_a_dividend_larger_than_the_price_is_reported(times_the_price: float, volume: float) -> None:
    bars = changed(calm(), at(60), volume=volume)
    amount = actions((60, "dividend", times_the_price * close_before(bars, 60)))
    assert ("phantom_dividend", 60, 60) in told(find_faults(bars, amount))
    assert ("dividend_unit", 60, 60) in told(find_faults(bars.drop("adjusted_close"), amount))


def test_columns_beside_the_prices_are_actions() -> None:
    told_in_columns = calm().with_columns(
        dividends=pl.when(at(60)).then(0.5).otherwise(0.0), stock_splits=pl.when(at(70)).then(2.0)
    )
    assert actions_of(told_in_columns).rows() == [
        ("A", day(60), "dividend", "v", 0, 0.5),
        ("A", day(70), "split", "v", 0, 2.0),
    ]
    assert actions_of(calm()).schema == ACTIONS


# --- all of them


def faulty(kind: int, symbol: str, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars with one of several faults, and the symbol's actions."""
    good = calm(symbol, seed=seed)
    split = actions((60, "split", 5.0)).with_columns(symbol=pl.lit(symbol))
    return [
        (good, split.clear()),
        (times(good, at(50), 100.0), split.clear()),
        (times(good, pl.col("k") < 62, 5.0), split),
        (times(good, at(70), 1.5), split.clear()),
        (changed(good, at(30), close=None), split.clear()),
        (paid(good, 0.2, 80), pl.concat([split.clear(), split.with_columns(action=pl.lit("dividend"), value=20.0)])),
    ][kind]


@settings(max_examples=15)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_many_series_in_any_order_are_one_by_one(kinds: list[int], random: "np.random.Generator") -> None:
    parts = [faulty(kind, f"S{n}", n) for n, kind in enumerate(kinds)]
    bars = pl.concat([frame for frame, _ in parts])
    order = list(range(len(bars)))
    random.shuffle(order)
    order_free = ~pl.col("rule").is_in(["unsorted", "newest_first"])
    together = find_faults(bars[order], pl.concat([a for _, a in parts])).where(order_free)
    apart = [find_faults(frame, a) for frame, a in parts]
    key = ["symbol", "start", "rule"]
    assert_frame_equal(together.findings.sort(key), pl.concat([one.findings for one in apart]).sort(key))
    fixed = pl.concat([corrected_bars(frame, one) for (frame, _), one in zip(parts, apart, strict=True)])
    assert_frame_equal(corrected_bars(bars, together).sort("symbol", "timestamp"), fixed.sort("symbol", "timestamp"))


@settings(max_examples=15)
@given(st.integers(1, 5), st.sampled_from([1e-3, 0.37, 1e4]))
def test_the_unit_of_prices_does_not_matter(kind: int, factor: float) -> None:
    frame, told_actions = faulty(kind, "A", 4)
    cash = pl.when(pl.col("action") == "dividend").then(pl.col("value") * factor).otherwise("value")
    scaled = times(frame, pl.lit(value=True), factor)
    one, other = find_faults(frame, told_actions), find_faults(scaled, told_actions.with_columns(value=cash))
    columns = ("rule", "start", "end", "rows", "correctable")
    assert_frame_equal(one.findings.select(columns), other.findings.select(columns))
    assert one.findings["confidence"].to_list() == pytest.approx(other.findings["confidence"].to_list(), rel=1e-6)


def test_findings_are_in_order_and_choosing_keeps_their_corrections() -> None:
    wrong = times(times(calm(), at(50), 100.0), at(70), 1.4)
    found = find_faults(wrong)
    assert told(found) == [("currency_unit", 50, 50), ("spike", 70, 70)]
    assert found.findings["confidence"].is_sorted(descending=True)
    assert found.at_least(0.9).findings["rule"].to_list() == ["currency_unit"]
    assert corrected_bars(wrong, found.at_least(0.9)).height == 1
    assert corrected_bars(wrong, found.where(pl.col("rule") == "spike")).is_empty()
    assert set(RAW_BARS) <= set(corrected_bars(wrong, found).columns)


def test_every_rule_and_every_threshold_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [rule for rule in RULES if f"| `{rule}` |" not in page] == []
    assert [field.name for field in fields(Rules) if f"| `{field.name}` |" not in page] == []
