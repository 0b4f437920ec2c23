"""A file larger than a batch gives the same rows as one read whole, in chunks of whole symbol-days."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from flows.sources import Batch, FileSource, Markets, tables
from flows.sources.chunks import GROUP, counted, cut, planned
from storage.settings import SourceSettings
from tests.sources.conftest import AS_OF, Read, Reading
from transforms.schema import Dataset
from transforms.validate import KEYS

START = datetime(2022, 3, 7, 14, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PIECE_ROWS", 700)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 4_000)


def ticks() -> pl.DataFrame:
    """Trades of three symbols on ten days, many of them at one time, some of them bad."""
    draw = random.Random(5)
    rows = [
        {
            "symbol": symbol,
            "timestamp": START + timedelta(days=day, seconds=draw.randrange(200)),
            "price": draw.choice([1.0, 2.0, 3.0, -1.0]) if draw.random() < 0.05 else 1.5,
            "size": draw.randrange(1, 99),
        }
        for symbol in ("A", "B", "X.T")
        for day in range(10)
        for _ in range(100)
    ]
    return pl.DataFrame(rows)


def bars() -> pl.DataFrame:
    frame = ticks().select(
        "symbol", "timestamp", *(pl.col("price").abs().alias(c) for c in ("o", "h", "l", "c")), v="size"
    )
    return frame.with_columns(pl.col("timestamp").dt.truncate("1m"))


def sentiment() -> pl.DataFrame:
    return ticks().select("symbol", "timestamp", score=pl.col("price") / 2, confidence=pl.lit(1.0))


def actions() -> pl.DataFrame:
    return ticks().select("symbol", ex_date=pl.col("timestamp").dt.date(), action=pl.lit("dividend"), value="price")


MADE = {"ticks": ticks, "bars": bars, "sentiment": sentiment, "actions": actions}
ORDERS = {
    "by symbol": ["symbol", "timestamp"],
    "by time": ["timestamp"],
    "newest first": ["timestamp"],
    "shuffled": [],
}


def in_order(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    if name == "shuffled":
        return frame.sample(fraction=1.0, shuffle=True, seed=3)
    column = [c if c in frame.columns else "ex_date" for c in ORDERS[name]]
    return frame.sort(column, descending=name == "newest first", maintain_order=True)


def by_key(found: Reading, dataset: Dataset) -> pl.DataFrame:
    return found.good.sort(KEYS[dataset])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dataset", MADE)
def test_chunks_hold_what_the_whole_holds(dataset: Dataset, order: str, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    in_order(MADE[dataset](), order).write_parquet(path)
    whole, parts = read(path, 100_000, granularity="1m"), read(path, 900, granularity="1m")
    assert len(parts.batches) > 3
    assert_frame_equal(by_key(parts, dataset), by_key(whole, dataset))
    assert_frame_equal(parts.rejected.sort("line"), whole.rejected.sort("line"))
    assert whole.rejected.height > (0 if dataset != "actions" else -1)


def test_chunks_of_text_hold_what_the_whole_holds(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    frame = in_order(ticks(), "shuffled")
    text = frame.with_columns(pl.col("price").cast(pl.String).replace("2.0", "two"))
    text.write_csv(path, datetime_format="%FT%TZ")
    whole, parts = read(path, 100_000), read(path, 900)
    assert len(parts.batches) > 3
    assert_frame_equal(by_key(parts, "ticks"), by_key(whole, "ticks"))
    assert_frame_equal(parts.rejected.sort("line"), whole.rejected.sort("line"))
    assert set(whole.reasons.values()) == {"unparseable_price", "non_positive_price"}


@pytest.mark.parametrize("order", ORDERS)
def test_a_symbol_day_is_never_cut(order: str, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    in_order(ticks(), order).write_parquet(path)
    seen: dict[tuple[object, ...], int] = {}
    for number, batch in enumerate(read(path, 900).batches):
        assert batch.frame.height <= 450
        zone = batch.time_zone or "UTC"
        days = batch.frame.select("symbol", pl.col("timestamp").dt.convert_time_zone(zone).dt.date().alias("day"))
        for key in days.unique().rows():
            assert seen.setdefault(key, number) == number
        assert batch.frame.equals(batch.frame.sort(*KEYS["ticks"]))
    assert len(seen) == 30


def test_a_symbol_day_too_large_for_a_batch_comes_alone(read: Read, tmp_path: Path) -> None:
    frame = pl.concat([ticks().filter(symbol="A").head(300)] * 10 + [ticks().filter(symbol="B").head(50)])
    day = frame["timestamp"].dt.date()
    frame.filter(day <= START.date() + timedelta(days=1)).write_parquet(tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet", 600)
    held = [batch.frame.select("symbol", pl.col("timestamp").dt.date()).unique().height for batch in found.batches]
    assert [batch.frame.height for batch in found.batches] == [1000, 1000, 50]
    assert held == [1, 1, 1]


def test_a_file_of_bad_rows_only_is_all_rejected(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("symbol,timestamp,price,size\n" + "A,never,1,1\n" * 3_000)
    found = read(path, 1_000)
    assert found.good.is_empty()
    assert set(found.reasons) == set(range(1, 3_001))


def test_scratch_is_left_empty_when_reading_is_given_up(tmp_path: Path, markets: Markets) -> None:
    in_order(ticks(), "shuffled").write_parquet(tmp_path / "t.parquet")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    source = FileSource("vendor", SourceSettings(path=str(tmp_path / "t.parquet")), markets)
    batches = source.batches(AS_OF, 900, scratch)
    assert isinstance(next(batches), Batch)
    assert len(list(scratch.iterdir())) == 1
    batches.close()  # type: ignore[attr-defined]
    assert list(scratch.iterdir()) == []


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30), batch_rows=st.integers(1, 20))
def test_chunks_are_filled_in_order_and_as_far_as_they_go(sizes: list[int], batch_rows: int) -> None:
    symbols = [f"S{n}" for n, size in enumerate(sizes) for _ in range(size)]
    piece = pl.DataFrame({"symbol": symbols, GROUP[1]: [0] * len(symbols), "line": range(1, len(symbols) + 1)})
    plan = planned([counted(piece)], batch_rows)
    assert plan.ends is not None
    chunks = list(cut([piece.head(7), piece.slice(7, 5), piece.slice(12)], plan.ends))
    assert_frame_equal(pl.concat(chunks), piece)
    assert len(chunks) == plan.count
    for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
        assert chunk.height <= batch_rows or chunk["symbol"].n_unique() == 1
        if following is not None:
            next_group = following.filter(symbol=following["symbol"][0]).height
            assert chunk.height + next_group > batch_rows
