"""Every rule has a row that fails it; what passes every rule comes out as it went in."""

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from transforms.errors import SchemaMismatch
from transforms.schema import RAW_SCHEMAS, Dataset
from transforms.validate import KEYS, REJECTED, rules, validate

AS_OF = datetime(2024, 3, 8, 20, 0, tzinfo=UTC)
TOLERANCE = timedelta(minutes=5)
NAN = float("nan")

GOOD: dict[Dataset, dict[str, Any]] = {
    "ticks": {
        "symbol": "BRK.B",
        "timestamp": AS_OF,
        "source": "x",
        "sequence": 0,
        "price": 10.5,
        "size": 0.0,
        "condition": None,
    },
    "bars": {
        "symbol": "^GSPC",
        "granularity": "1m",
        "timestamp": AS_OF + TOLERANCE,
        "source": "x",
        "open": 10.0,
        "high": 10.0,
        "low": 10.0,
        "close": 10.0,
        "volume": 0.0,
        "adjusted_close": None,
    },
    "sentiment": {
        "symbol": "A",
        "timestamp": AS_OF,
        "source": "x",
        "external_id": "",
        "ordinal": 0,
        "sentiment_score": -1.0,
        "confidence": 1.0,
        "is_retweet": None,
        "is_duplicate": True,
    },
    "actions": {
        "symbol": "A",
        "ex_date": date(2024, 6, 10),
        "action": "split",
        "source": "x",
        "ordinal": 0,
        "value": 0.1,
    },
}

FAILING: list[tuple[Dataset, str, dict[str, Any]]] = [
    ("ticks", "null_value", {"price": None}),
    ("ticks", "null_value", {"symbol": None}),
    ("ticks", "non_finite", {"size": math.inf}),
    ("ticks", "bad_symbol", {"symbol": "A{B"}),
    ("ticks", "bad_symbol", {"symbol": "A B"}),
    ("ticks", "bad_symbol", {"symbol": "A\n"}),
    ("ticks", "bad_symbol", {"symbol": ""}),
    ("ticks", "bad_symbol", {"symbol": "A" * 33}),
    ("ticks", "bad_symbol", {"symbol": "@market"}),
    ("ticks", "time_out_of_range", {"timestamp": datetime(1699, 12, 31, tzinfo=UTC)}),
    ("ticks", "future_time", {"timestamp": AS_OF + TOLERANCE + timedelta(microseconds=1)}),
    ("ticks", "non_positive_price", {"price": 0.0}),
    ("ticks", "negative_volume", {"size": -1.0}),
    ("bars", "null_value", {"volume": None}),
    ("bars", "non_finite", {"open": NAN}),
    ("bars", "non_finite", {"adjusted_close": -math.inf}),
    ("bars", "bad_symbol", {"symbol": "wb:1"}),
    ("bars", "time_out_of_range", {"timestamp": datetime(1, 1, 1, tzinfo=UTC)}),
    ("bars", "future_time", {"timestamp": AS_OF + timedelta(days=1)}),
    ("bars", "unknown_granularity", {"granularity": "5m"}),
    ("bars", "non_positive_price", {"open": -1.0, "high": 10.0, "low": -1.0, "close": 10.0}),
    ("bars", "non_positive_price", {"adjusted_close": 0.0}),
    ("bars", "negative_volume", {"volume": -0.5}),
    ("bars", "high_below_low", {"high": 9.0}),
    ("bars", "open_outside", {"open": 10.000001}),
    ("bars", "open_outside", {"open": 9.0}),
    ("bars", "close_outside", {"close": 10.000001}),
    ("bars", "close_outside", {"close": 9.0}),
    ("sentiment", "null_value", {"confidence": None}),
    ("sentiment", "non_finite", {"sentiment_score": NAN}),
    ("sentiment", "bad_symbol", {"symbol": "$A"}),
    ("sentiment", "time_out_of_range", {"timestamp": datetime(1600, 1, 1, tzinfo=UTC)}),
    ("sentiment", "future_time", {"timestamp": AS_OF + timedelta(hours=1)}),
    ("sentiment", "score_out_of_range", {"sentiment_score": 1.01}),
    ("sentiment", "score_out_of_range", {"sentiment_score": -1.01}),
    ("sentiment", "confidence_out_of_range", {"confidence": -0.01}),
    ("sentiment", "confidence_out_of_range", {"confidence": 1.01}),
    ("actions", "null_value", {"ex_date": None}),
    ("actions", "non_finite", {"value": NAN}),
    ("actions", "bad_symbol", {"symbol": "A*"}),
    ("actions", "time_out_of_range", {"ex_date": date(1650, 1, 1)}),
    ("actions", "unknown_action", {"action": "merger"}),
    ("actions", "bad_split_value", {"value": 0.0}),
    ("actions", "negative_dividend", {"action": "dividend", "value": -0.1}),
]


def frame(dataset: Dataset, *changes: dict[str, Any]) -> pl.DataFrame:
    """Good rows with changes, lines counted from 1."""
    schema = pl.Schema([*RAW_SCHEMAS[dataset].items(), ("line", pl.Int64)])
    rows = [{**GOOD[dataset], **change, "line": line} for line, change in enumerate(changes, start=1)]
    return pl.DataFrame(rows, schema=schema)


@pytest.mark.parametrize("dataset", GOOD)
def test_a_row_at_the_edge_of_every_rule_passes(dataset: Dataset) -> None:
    rows = frame(dataset, {})
    good, rejected = validate(dataset, rows, AS_OF, TOLERANCE)
    assert_frame_equal(good, rows)
    assert rejected.schema == REJECTED
    assert rejected.is_empty()


@pytest.mark.parametrize(("dataset", "rule", "change"), FAILING)
def test_a_row_that_fails_is_set_aside_with_the_rules_name(dataset: Dataset, rule: str, change: dict[str, Any]) -> None:
    later = {"symbol": "ZZZ"}
    good, rejected = validate(dataset, frame(dataset, change, later), AS_OF, TOLERANCE)
    assert good["line"].to_list() == [2]
    assert rejected.select("line", "rule", "dataset").rows() == [(1, rule, dataset)]


@pytest.mark.parametrize("dataset", GOOD)
def test_no_rule_is_left_without_a_failing_row(dataset: Dataset) -> None:
    assert set(rules(dataset, AS_OF)) == {rule for of, rule, _ in FAILING if of == dataset}


def test_a_row_has_one_reason_the_first_it_fails() -> None:
    _, rejected = validate("bars", frame("bars", {"high": 9.0, "volume": -1.0, "symbol": "a b"}), AS_OF, TOLERANCE)
    assert rejected["rule"].to_list() == ["bad_symbol"]


def test_of_rows_with_one_key_the_last_good_one_is_kept() -> None:
    rows = frame("bars", {"volume": 1.0}, {"volume": 2.0}, {"volume": None}, {"symbol": "^VIX"})
    good, rejected = validate("bars", rows, AS_OF, TOLERANCE)
    assert good["line"].to_list() == [2, 4]
    assert rejected.select("line", "rule").rows() == [(1, "duplicate_key"), (3, "null_value")]


def test_equal_trades_and_equal_messages_are_different_rows() -> None:
    trades = frame("ticks", {"sequence": 0}, {"sequence": 1})
    assert validate("ticks", trades, AS_OF, TOLERANCE)[0].height == 2
    messages = frame("sentiment", {"ordinal": 0}, {"ordinal": 1})
    assert validate("sentiment", messages, AS_OF, TOLERANCE)[0].height == 2


def test_a_message_whose_id_comes_twice_is_kept_once() -> None:
    messages = frame("sentiment", {"external_id": "7"}, {"external_id": "7"}, {"external_id": "8"})
    good, rejected = validate("sentiment", messages, AS_OF, TOLERANCE)
    assert good["line"].to_list() == [2, 3]
    assert rejected["rule"].to_list() == ["duplicate_key"]


def test_a_rejected_row_is_json_whatever_it_holds() -> None:
    change = {"open": NAN, "close": math.inf, "symbol": 'a"\n' + "x" * 500, "source": None}
    _, rejected = validate("bars", frame("bars", change), AS_OF, TOLERANCE)
    row = json.loads(rejected["row"][0])
    assert (row["open"], row["close"], row["high"], row["source"]) == ("NaN", "inf", 10.0, None)
    assert row["symbol"] == ('a"\n' + "x" * 500)[:80]
    assert row["timestamp"].startswith("2024-03-08T20:05:00")
    assert len(rejected["symbol"][0]) == 80


def test_an_empty_frame_is_no_failure() -> None:
    good, rejected = validate("ticks", frame("ticks"), AS_OF, TOLERANCE)
    assert good.is_empty()
    assert rejected.is_empty()


def test_a_frame_of_other_columns_is_refused_by_name() -> None:
    wrong = frame("ticks", {}).drop("price").with_columns(pl.col("size").cast(pl.Int64))
    with pytest.raises(SchemaMismatch, match=r"price \(missing instead of Float64\), size \(Int64 instead"):
        validate("ticks", wrong, AS_OF, TOLERANCE)


numbers = st.one_of(st.none(), st.sampled_from([NAN, math.inf, 0.0, -1.0]), st.floats(1, 3))


@given(cells=st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers), max_size=12))
def test_bars_are_judged_as_row_by_row_python_would(cells: list[tuple[float | None, ...]]) -> None:
    names = ("open", "high", "low", "close", "volume")
    changes = [{"symbol": f"S{n:02}", **dict(zip(names, row, strict=True))} for n, row in enumerate(cells)]
    good, rejected = validate("bars", frame("bars", *changes), AS_OF, TOLERANCE)
    expected = {line: _judged(row) for line, row in enumerate(cells, start=1)}
    assert dict(rejected.select("line", "rule").rows()) == {n: rule for n, rule in expected.items() if rule}
    assert good["line"].to_list() == [line for line, rule in expected.items() if rule is None]


def _judged(row: tuple[float | None, ...]) -> str | None:
    values = [value for value in row if value is not None]
    if len(values) < len(row):
        return "null_value"
    if not all(map(math.isfinite, values)):
        return "non_finite"
    first, high, low, last, volume = values
    failed = {
        "non_positive_price": min(first, high, low, last) <= 0,
        "negative_volume": volume < 0,
        "high_below_low": high < low,
        "open_outside": not low <= first <= high,
        "close_outside": not low <= last <= high,
    }
    return next((rule for rule, fails in failed.items() if fails), None)


def test_keys_are_the_leading_columns_of_the_schemas() -> None:
    for dataset, key in KEYS.items():
        assert set(key) <= set(RAW_SCHEMAS[dataset])
