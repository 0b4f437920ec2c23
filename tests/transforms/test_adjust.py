"""Which source counts, and what splits and dividends do to prices."""

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from transforms.adjust import (
    DividendRule,
    adjust,
    adjustment_factors,
    choose,
    choose_actions,
    split_adjust,
    to_raw,
    to_raw_dividends,
)
from transforms.schema import ACTIONS

SPLIT, DIVIDEND = "split", "dividend"


def actions(*rows: tuple[str, str, str, str, float]) -> pl.LazyFrame:
    """ACTIONS of (symbol, ex-date, action, source, value)."""
    made = [(s, date.fromisoformat(day), action, source, 0, value) for s, day, action, source, value in rows]
    return pl.LazyFrame(made, schema=ACTIONS, orient="row")


def factors(*rows: tuple[str, str, str, str, float], **options: object) -> list[tuple[object, ...]]:
    return adjustment_factors(actions(*rows), **options).collect().rows()  # type: ignore[arg-type]


def bars(*days: tuple[str, str, float]) -> pl.LazyFrame:
    rows = [(s, date.fromisoformat(day), p, p + 1, p - 1, p, 100.0, "x") for s, day, p in days]
    names = ("symbol", "session", "open", "high", "low", "close", "volume", "note")
    return pl.LazyFrame(rows, schema=names, orient="row")


@pytest.mark.parametrize(("rank", "winner"), [((), "a"), (("c",), "c"), (("b", "c"), "b"), (("z", "c", "a"), "c")])
def test_the_best_ranked_source_wins_and_unranked_ones_by_name(rank: tuple[str, ...], winner: str) -> None:
    rows = pl.LazyFrame({"key": [1, 1, 1], "source": ["c", "a", "b"], "value": [30, 10, 20]})
    chosen = choose(rows, ["key"], rank).collect()
    assert chosen["source"].to_list() == [winner]
    assert chosen["value"].to_list() == [{"a": 10, "b": 20, "c": 30}[winner]]


def test_each_key_has_its_own_winner_and_keys_come_sorted() -> None:
    rows = pl.LazyFrame({"key": [2, 1, 1], "source": ["b", "b", "a"]})
    assert choose(rows, ["key"], ["a"]).collect().rows() == [(1, "a"), (2, "b")]


def test_an_event_told_twice_is_applied_once() -> None:
    told = [
        ("A", "2014-06-09", SPLIT, "y", 7.0),
        ("A", "2014-06-09", SPLIT, "x", 7.0),
        ("A", "2005-02-28", SPLIT, "y", 2.0),
        ("A", "2014-08-07", DIVIDEND, "x", 0.47),
        ("B", "2014-08-07", SPLIT, "x", 3.0),
    ]
    by_rank = choose_actions(actions(*told), ["y"]).collect()
    assert by_rank.select("symbol", "action", "source", "value").rows() == [
        ("A", SPLIT, "y", 7.0),
        ("A", SPLIT, "y", 2.0),
        ("A", DIVIDEND, "x", 0.47),
        ("B", SPLIT, "x", 3.0),
    ]
    assert choose_actions(actions(*told), []).collect()["source"].unique().to_list() == ["x"]


def test_factors_multiply_backwards_from_today() -> None:
    found = factors(("A", "2005-02-28", SPLIT, "x", 2.0), ("A", "2014-06-09", SPLIT, "x", 8.0))
    first, second = date(2005, 2, 28), date(2014, 6, 9)
    assert found == [
        ("A", None, first, 1 / 16, 16.0),
        ("A", first, second, 1 / 8, 8.0),
        ("A", second, None, 1.0, 1.0),
    ]


def test_a_reverse_split_raises_prices_and_two_on_one_day_multiply() -> None:
    day = "2020-01-02"
    found = factors(("A", day, SPLIT, "x", 0.25), ("A", day, SPLIT, "x", 2.0), ("B", day, DIVIDEND, "x", 1.0))
    assert found == [("A", None, date(2020, 1, 2), 2.0, 0.5), ("A", date(2020, 1, 2), None, 1.0, 1.0)]


def test_what_is_announced_has_not_happened() -> None:
    rows = [("A", "2005-02-28", SPLIT, "x", 2.0), ("A", "2014-06-09", SPLIT, "x", 8.0)]
    assert factors(*rows, until=date(2014, 6, 8)) == factors(rows[0])
    assert factors(*rows, until=date(2014, 6, 9)) == factors(*rows)
    assert factors(*rows, until=date(2000, 1, 1)) == []


def test_a_dividend_lowers_prices_by_its_share_of_the_close_before() -> None:
    closes = bars(("A", "2020-01-02", 40.0), ("A", "2020-01-03", 50.0), ("A", "2020-01-06", 49.0))
    paid = [("A", "2020-01-06", DIVIDEND, "x", 5.0), ("A", "2019-01-02", DIVIDEND, "x", 5.0)]
    found = adjustment_factors(actions(*paid), closes=closes).collect().rows()
    assert found[1:] == [
        ("A", date(2019, 1, 2), date(2020, 1, 6), 0.9, 1.0),
        ("A", date(2020, 1, 6), None, 1.0, 1.0),
    ]
    assert found[0][3] == 0.9  # no close before it: nothing to compare it with


def test_adjusting_applies_from_the_ex_date_on_and_leaves_the_rest_alone() -> None:
    split = adjustment_factors(actions(("A", "2020-01-03", SPLIT, "x", 2.0)))
    raw = bars(("A", "2020-01-02", 40.0), ("A", "2020-01-03", 20.0), ("B", "2020-01-02", 7.0))
    adjusted = split_adjust(raw, split).collect()
    assert adjusted["close"].to_list() == [20.0, 20.0, 7.0]
    assert adjusted["high"].to_list() == [20.5, 21.0, 8.0]
    assert adjusted["volume"].to_list() == [200.0, 100.0, 100.0]
    assert adjusted.columns == raw.collect_schema().names()


def test_without_factors_nothing_changes() -> None:
    raw = bars(("A", "2020-01-02", 40.0))
    assert_frame_equal(split_adjust(raw, adjustment_factors(actions())), raw)


@given(st.lists(st.tuples(st.integers(1, 27), st.sampled_from([2.0, 3.0, 0.1, 1.5])), max_size=4))
def test_raw_and_adjusted_are_inverse(splits: list[tuple[int, float]]) -> None:
    told = actions(*[("A", f"2020-01-{day:02}", SPLIT, "x", value) for day, value in splits])
    raw = bars(*[("A", f"2020-01-{day:02}", 10.0 + day) for day in range(1, 29)])
    back = to_raw(split_adjust(raw, adjustment_factors(told)), adjustment_factors(told))
    assert_frame_equal(back, raw, check_exact=False, rel_tol=1e-14, abs_tol=0)


def test_bringing_to_raw_says_so() -> None:
    rows = bars(("A", "2020-01-02", 40.0)).with_columns(price_basis=pl.lit("split"))
    assert to_raw(rows, adjustment_factors(actions())).collect()["price_basis"].to_list() == ["raw"]


# --- fully adjusted series

WEEK = [("A", f"2020-01-{day:02}", 50.0) for day in (2, 3, 6, 7, 8)]


def closes(rows: pl.LazyFrame) -> list[float]:
    return rows.collect()["close"].to_list()


def test_a_dividend_comes_off_all_before_its_ex_date_and_leaves_volume() -> None:
    paid = actions(("A", "2020-01-06", DIVIDEND, "x", 5.0))
    adjusted = adjust(bars(*WEEK), paid, date(2020, 1, 8)).collect()
    assert adjusted["close"].to_list() == [45.0, 45.0, 50.0, 50.0, 50.0]
    assert adjusted["high"].to_list() == [pytest.approx(51 * 0.9), pytest.approx(51 * 0.9), 51.0, 51.0, 51.0]
    assert adjusted["volume"].unique().to_list() == [100.0]
    assert adjusted["note"].to_list() == ["x"] * 5
    assert closes(adjust(bars(*WEEK), paid, date(2020, 1, 8), dividends=None)) == [50.0] * 5


def test_the_rules_reinvest_at_the_close_before_or_at_the_ex_days_own() -> None:
    days = bars(("A", "2020-01-02", 50.0), ("A", "2020-01-03", 48.0))
    paid = actions(("A", "2020-01-03", DIVIDEND, "x", 2.0))
    before, after = (closes(adjust(days, paid, date(2020, 1, 3), rule)) for rule in ("close_before", "close_ex"))
    assert before == [pytest.approx(48.0), 48.0]  # the fall is the dividend: no return
    assert after == [pytest.approx(50 * 48 / 50), 48.0]  # (48 + 2) / 50: no return either
    risen = bars(("A", "2020-01-02", 50.0), ("A", "2020-01-03", 53.0))
    first, last = closes(adjust(risen, paid, date(2020, 1, 3), "close_ex"))
    assert last / first == pytest.approx((53 + 2) / 50)
    first, last = closes(adjust(risen, paid, date(2020, 1, 3)))
    assert last / first == pytest.approx(53 / (50 - 2))


@pytest.mark.parametrize("rule", ["close_before", "close_ex"])
def test_a_dividend_on_a_splits_day_is_cash_per_old_share(rule: DividendRule) -> None:
    """50 before; 10 % paid, then 2 for 1: 22.5 is no return, by either rule."""
    days = bars(("A", "2020-01-02", 50.0), ("A", "2020-01-03", 22.5))
    both = actions(("A", "2020-01-03", DIVIDEND, "x", 5.0), ("A", "2020-01-03", SPLIT, "x", 2.0))
    adjusted = adjust(days, both, date(2020, 1, 3), rule).collect()
    assert adjusted["close"].to_list() == [pytest.approx(22.5), 22.5]
    assert adjusted["volume"].to_list() == [200.0, 100.0]


def test_two_dividends_of_a_day_are_one_sum() -> None:
    told = actions(("A", "2020-01-06", DIVIDEND, "x", 5.0), ("A", "2020-01-06", DIVIDEND, "x", 10.0))
    assert closes(adjust(bars(*WEEK), told, date(2020, 1, 8)))[0] == pytest.approx(50 * (1 - 15 / 50))


@pytest.mark.parametrize("amount", [50.0, 80.0])
def test_a_dividend_as_large_as_the_price_is_left_out(amount: float) -> None:
    paid = actions(("A", "2020-01-06", DIVIDEND, "x", amount))
    assert closes(adjust(bars(*WEEK), paid, date(2020, 1, 8))) == [50.0] * 5
    by_ex = closes(adjust(bars(*WEEK), paid, date(2020, 1, 8), "close_ex"))
    assert by_ex[0] == pytest.approx(50 / (1 + amount / 50))


def test_without_the_close_it_needs_a_dividend_is_left_out() -> None:
    early, late = (actions(("A", day, DIVIDEND, "x", 5.0)) for day in ("2020-01-02", "2020-01-09"))
    as_of = date(2020, 1, 31)
    assert closes(adjust(bars(*WEEK), early, as_of)) == [50.0] * 5
    assert closes(adjust(bars(*WEEK), late, as_of, "close_ex")) == [50.0] * 5
    assert closes(adjust(bars(*WEEK), late, as_of)) == [45.0] * 5  # it has come off, though no bar shows it yet


@pytest.mark.parametrize("unusable", [None, float("nan"), float("inf"), 0.0, -1.0])
def test_a_close_that_is_no_price_is_no_close_of_a_dividend(unusable: float | None) -> None:
    paid = actions(("A", "2020-01-06", DIVIDEND, "x", 5.0))

    def adjusted(day: int, rule: DividendRule) -> list[float]:
        """Without the unusable day, the third or the sixth."""
        bad = pl.col("session") == date(2020, 1, day)
        week = bars(*WEEK).with_columns(close=pl.when(bad).then(unusable).otherwise("close"))
        return closes(adjust(week, paid, date(2020, 1, 8), rule).filter(~bad))

    assert adjusted(3, "close_before") == [45.0, 50.0, 50.0, 50.0]
    assert adjusted(6, "close_ex")[:2] == [pytest.approx(50 / (1 + 5 / 50))] * 2


def test_an_action_on_a_day_without_a_session_applies_to_the_sessions_around_it() -> None:
    sunday = actions(("A", "2020-01-05", DIVIDEND, "x", 5.0), ("A", "2020-01-05", SPLIT, "x", 2.0))
    for rule in ("close_before", "close_ex"):
        found = closes(adjust(bars(*WEEK), sunday, date(2020, 1, 8), rule))
        assert found[2:] == [50.0] * 3
        assert found[0] == found[1] < 25


def test_bars_after_the_day_have_not_happened_and_the_newest_is_what_was_traded() -> None:
    told = actions(("A", "2020-01-06", SPLIT, "x", 2.0), ("A", "2020-01-08", SPLIT, "x", 10.0))
    assert closes(adjust(bars(*WEEK), told, date(2020, 1, 7))) == [25.0, 25.0, 50.0, 50.0]
    assert closes(adjust(bars(*WEEK), told, date(2020, 1, 5))) == [50.0, 50.0]
    assert closes(adjust(bars(*WEEK), told, date(2019, 1, 1))) == []


def test_other_symbols_and_empty_frames_pass() -> None:
    told = actions(("B", "2020-01-06", SPLIT, "x", 2.0))
    assert_frame_equal(adjust(bars(*WEEK), told, date(2020, 1, 8)), bars(*WEEK))
    assert_frame_equal(adjust(bars(*WEEK), actions(), date(2020, 1, 8)), bars(*WEEK))
    assert adjust(bars(*WEEK).clear(), told, date(2020, 1, 8)).collect().is_empty()


def test_dividends_per_share_of_today_become_what_was_paid() -> None:
    told = actions(
        ("A", "2020-01-02", DIVIDEND, "x", 1.0),
        ("A", "2020-01-06", DIVIDEND, "x", 1.0),
        ("A", "2020-01-07", DIVIDEND, "x", 1.0),
        ("A", "2020-01-06", SPLIT, "x", 2.0),
        ("A", "2020-01-03", SPLIT, "x", 3.0),
        ("B", "2020-01-02", DIVIDEND, "x", 1.0),
    )
    raw = to_raw_dividends(told).filter(pl.col("action") == DIVIDEND).sort("symbol", "ex_date").collect()
    assert raw["value"].to_list() == [6.0, 2.0, 1.0, 1.0]


FIRST = date(2020, 1, 1)
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.one_of(
            st.tuples(st.just(SPLIT), st.sampled_from([2.0, 3.0, 0.1, 1.5])),
            st.tuples(st.just(DIVIDEND), st.floats(0.01, 3.0)),
        ),
    ),
    max_size=6,
)
MOVES = st.lists(st.floats(-0.05, 0.05), min_size=25, max_size=25)
RULES = st.sampled_from(["close_before", "close_ex"])


def series(moves: list[float], symbol: str = "A") -> pl.LazyFrame:
    """Raw bars of 25 days, wherever the splits are: only their factors are looked at."""
    price, days = 40.0, []
    for number, move in enumerate(moves):
        price *= 1 + move
        days.append((symbol, (FIRST + timedelta(days=number)).isoformat(), price))
    return bars(*days)


def happened(events: list[tuple[int, tuple[str, float]]]) -> pl.LazyFrame:
    days = [(FIRST + timedelta(days=n)).isoformat() for n, _ in events]
    rows = [
        ("A", day, kind, f"{n}", value) for n, (day, (_, (kind, value))) in enumerate(zip(days, events, strict=True))
    ]
    return actions(*rows)


@given(MOVES, EVENTS, st.integers(0, 30), RULES)
def test_what_comes_later_changes_nothing(
    moves: list[float], events: list[tuple[int, tuple[str, float]]], day: int, rule: DividendRule
) -> None:
    """As of a day all bars and actions give what only those up to the day give."""
    as_of = FIRST + timedelta(days=day)
    raw, told = series(moves), happened(events)
    truncated = raw.filter(pl.col("session") <= as_of), told.filter(pl.col("ex_date") <= as_of)
    assert_frame_equal(adjust(raw, told, as_of, rule), adjust(*truncated, as_of, rule), check_exact=True)
    newest = adjust(raw, told, as_of, rule).tail(1).collect()
    if day >= max([n for n, _ in events if n <= day], default=0) and day < 25:
        assert_frame_equal(newest, raw.filter(pl.col("session") == as_of).collect())


@given(MOVES, EVENTS, RULES)
def test_raw_comes_back(moves: list[float], events: list[tuple[int, tuple[str, float]]], rule: DividendRule) -> None:
    raw, told, as_of = series(moves), happened(events), FIRST + timedelta(days=40)
    factors = adjustment_factors(told, raw, as_of, rule)
    assert_frame_equal(
        to_raw(adjust(raw, told, as_of, rule), factors), raw, check_exact=False, rel_tol=1e-12, abs_tol=0
    )


@given(MOVES, st.integers(1, 24), st.sampled_from([2.0, 3.0, 0.1, 1.5]), RULES)
def test_a_split_changes_no_return(moves: list[float], day: int, ratio: float, rule: DividendRule) -> None:
    """A stock that splits has, adjusted, the closes of one that does not, up to one factor, and the same turnover."""
    ex_date = FIRST + timedelta(days=day)
    whole, before = series(moves), pl.col("session") < ex_date
    price = pl.when(before).then(ratio).otherwise(1.0)
    raw = whole.with_columns(pl.col("open", "high", "low", "close") * price, volume=pl.col("volume") / price)
    told = actions(("A", ex_date.isoformat(), SPLIT, "x", ratio))
    as_of = FIRST + timedelta(days=24)
    assert_frame_equal(adjust(raw, told, as_of, rule), whole, check_exact=False, rel_tol=1e-12, abs_tol=0)


@given(MOVES, MOVES, EVENTS, RULES)
def test_many_symbols_at_once_are_one_by_one(
    moves: list[float], others: list[float], events: list[tuple[int, tuple[str, float]]], rule: DividendRule
) -> None:
    told = happened(events)
    both = pl.concat([told, told.with_columns(symbol=pl.lit("B"))])
    as_of = FIRST + timedelta(days=24)
    apart = [adjust(series(m, s), both, as_of, rule) for m, s in ((moves, "A"), (others, "B"))]
    together = adjust(pl.concat([series(moves, "A"), series(others, "B")]), both, as_of, rule)
    assert_frame_equal(together, pl.concat(apart), check_exact=True)
