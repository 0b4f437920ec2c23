"""Which column is which."""

import pytest

from flows.sources.columns import FIELDS, NEEDED, SIGNATURES, match
from transforms.errors import SchemaMismatch, UnreadableSource
from transforms.schema import DATASETS, RAW_SCHEMAS, Dataset


@pytest.mark.parametrize(
    ("names", "dataset"),
    [
        ("symbol timestamp price size", "ticks"),
        ("sym,time,last,qty,cond".replace(",", " "), "ticks"),
        ("ticker t price volume", "ticks"),
        ("Date Open High Low Close Volume Ticker", "bars"),
        ("ts o h l c v sym", "bars"),
        ("symbol datetime open high low last volume", "bars"),
        ("id symbol created_at compound conf", "sentiment"),
        ("symbol ex_date action value source method", "actions"),
        ("Ticker Date Type Ratio", "actions"),
    ],
)
def test_a_dataset_is_told_from_its_columns(names: str, dataset: Dataset) -> None:
    assert match(names.split(), None, {}, "f").dataset == dataset


def test_vendors_names_become_ours() -> None:
    names = ["<TICKER>", "<DATE>", "<TIME>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>", "Adj Close", "junk"]
    layout = match(names, None, {}, "f")
    assert layout.columns == {
        "symbol": "<TICKER>",
        "timestamp": "<TIME>",
        "date": "<DATE>",
        "open": "<OPEN>",
        "high": "<HIGH>",
        "low": "<LOW>",
        "close": "<CLOSE>",
        "volume": "<VOL>",
        "adjusted_close": "Adj Close",
    }
    assert layout.unused == ("junk",)


def test_our_own_name_comes_before_an_alias_and_an_exact_one_before_another_case() -> None:
    names = ["symbol", "ticker", "TIMESTAMP", "timestamp", "time", "price", "last", "size"]
    columns = match(names, "ticks", {}, "f").columns
    assert (columns["symbol"], columns["timestamp"], columns["price"]) == ("symbol", "timestamp", "price")


def test_the_mapping_wins_and_spelling_may_differ_in_case() -> None:
    names = ["symbol", "timestamp", "price", "size", "Auction Price"]
    columns = match(names, "ticks", {"auction_price": "price"}, "f").columns
    assert columns["price"] == "Auction Price"
    assert "price" not in columns.values()


def test_the_files_name_can_stand_for_the_symbol() -> None:
    names = ["Date", "Open", "High", "Low", "Close", "Volume"]
    assert match(names, None, {"@file": "symbol"}, "f").columns["symbol"] == "@file"


def test_what_is_missing_is_said_with_what_there_is() -> None:
    with pytest.raises(SchemaMismatch, match=r"day\.csv: no column for volume of bars; it has symbol, Date, open"):
        match(["symbol", "Date", "open", "high", "low", "close"], None, {}, "day.csv")
    with pytest.raises(SchemaMismatch, match=r'no column for symbol .*"@file" = "symbol"'):
        match(["Date", "open", "high", "low", "close", "volume"], None, {}, "day.csv")


def test_columns_of_no_dataset_are_refused_with_what_is_needed() -> None:
    with pytest.raises(
        UnreadableSource, match=r"f: its rows are of no known kind; it has a, b\..*ticks: symbol, timestamp"
    ):
        match(["a", "b"], None, {}, "f")


def test_columns_of_two_datasets_are_refused_until_one_is_named() -> None:
    names = ["symbol", "timestamp", "price", "size", "score", "confidence"]
    with pytest.raises(UnreadableSource, match="could be ticks or sentiment"):
        match(names, None, {}, "f")
    assert match(names, "ticks", {}, "f").unused == ("score", "confidence")


def test_a_mapping_to_nothing_or_from_nothing_is_refused() -> None:
    names = ["symbol", "timestamp", "price", "size"]
    with pytest.raises(SchemaMismatch, match="ticks have no column prize; they have symbol"):
        match(names, "ticks", {"price": "prize"}, "f")
    with pytest.raises(SchemaMismatch, match="name px, but it has symbol"):
        match(names, "ticks", {"px": "price"}, "f")


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_column_of_the_schemas_can_be_read(dataset: Dataset) -> None:
    made = {"ordinal"}
    assert set(RAW_SCHEMAS[dataset]) - made <= set(FIELDS[dataset])
    assert set(SIGNATURES[dataset]) <= set(NEEDED[dataset]) <= set(FIELDS[dataset])
