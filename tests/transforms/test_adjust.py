"""Which source counts, and what splits and dividends do to prices."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from transforms.adjust import adjustment_factors, choose, choose_actions, split_adjust, to_raw
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
