"""Every file of the shared market data: how many rows are read, how many refused, and why."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.sources.conftest import Read

pytestmark = pytest.mark.data


def test_ticks(shared: Path, read: Read) -> None:
    found = read(shared / "data" / "ticks.parquet")
    raw = pl.read_parquet(shared / "data" / "ticks.parquet")
    assert (found.good.height, found.rejected.height) == (700_015, 0)
    assert found.good["size"].sum() == raw["size"].sum()
    assert found.good["price"].equals(raw["price"])  # the file is sorted, and stays so
    place = pl.int_range(pl.len(), dtype=pl.Int32).over("symbol", "timestamp")
    assert found.good["sequence"].equals(raw.select(place).to_series())
    assert found.good["condition"].equals(raw["condition_hex"].alias("condition"))


def test_minute_bars_with_labels_of_their_own(shared: Path, read: Read) -> None:
    found = read(shared / "data" / "minute_bars.parquet")
    raw = pl.read_parquet(shared / "data" / "minute_bars.parquet")
    assert (found.good.height, found.rejected.height) == (66_334, 0)
    assert found.good["granularity"].unique().to_list() == ["1m"]
    assert set(found.good["source"].unique()) == set(raw["source"].unique())
    regular = found.good.filter(source="pyalgotrade_ninjatrader", symbol="SPY").filter(
        pl.col("timestamp").dt.date() == datetime(2011, 3, 14, tzinfo=UTC).date()
    )
    # end-stamped: the first minute after summer time began is stamped 09:31 in New York
    assert datetime(2011, 3, 14, 13, 30, tzinfo=UTC) in regular["timestamp"].to_list()
    shifted = raw.with_columns(
        pl.when(pl.col("bar_label") == "end")
        .then(pl.col("timestamp") - timedelta(minutes=1))
        .otherwise("timestamp")
        .alias("timestamp")
    )
    key = ["symbol", "timestamp", "source"]
    assert found.good.select(*key, "close").sort(key).equals(shifted.select(*key, "close").sort(key))


def test_hour_bars_are_told_as_such(shared: Path, read: Read) -> None:
    found = read(shared / "data" / "hour_bars.parquet")
    assert (found.good.height, found.rejected.height) == (81_631, 0)
    assert found.good["granularity"].unique().to_list() == ["1h"]


def test_daily_bars_at_their_open(shared: Path, read: Read) -> None:
    """Two rows hold nothing: REX and SNP on 2016-06-29. All other dates are sessions in New York."""
    found = read(shared / "data" / "daily.parquet")
    assert found.good.height == 72_702
    assert found.rejected.select("symbol", "rule").sort("symbol").rows() == [
        ("REX", "null_value"),
        ("SNP", "null_value"),
    ]
    assert all('"open":null' in row for row in found.rejected["row"])
    assert found.good.filter(symbol="AAPL")["timestamp"][0] == datetime(2012, 9, 4, 13, 30, tzinfo=UTC)


def test_daily_bars_with_a_date_only(shared: Path, read: Read) -> None:
    found = read(shared / "data" / "daily_adjusted.parquet")
    assert (found.good.height, found.rejected.height) == (2_518, 0)
    first = found.good.filter(symbol="AAPL").row(0, named=True)
    assert (first["timestamp"], first["close"]) == (datetime(2011, 1, 3, 14, 30, tzinfo=UTC), 329.57)
    assert first["adjusted_close"] == pytest.approx(42.526189, abs=1e-6)


def test_sentiment_with_equal_messages(shared: Path, read: Read) -> None:
    found = read(shared / "data" / "sentiment.parquet")
    raw = pl.read_parquet(shared / "data" / "sentiment.parquet")
    assert (found.good.height, found.rejected.height) == (80_601, 0)
    assert found.good.select("symbol", "timestamp", "source", "external_id", "ordinal").is_unique().all()
    assert found.good["ordinal"].max() == raw.group_by("symbol", "timestamp").len()["len"].max() - 1  # type: ignore[operator]
    assert found.good["sentiment_score"].sum() == pytest.approx(raw["sentiment_score"].sum(), rel=1e-12)
    assert found.good["is_retweet"].sum() == raw["is_retweet"].sum() == 21_510
    assert found.good["is_duplicate"].sum() == raw["is_dup_in_symbol"].sum() == 143


def test_actions_of_several_sources(shared: Path, read: Read) -> None:
    found = read(shared / "data" / "corporate_actions.parquet")
    assert (found.good.height, found.rejected.height) == (1_686, 0)
    same_day = found.good.filter(symbol="QQQ", source="lean_factor_file").filter(pl.col("ordinal") > 0)
    assert same_day.height == 23  # 24 dividends derived for one day


def test_vendor_faults_are_named(shared: Path, read: Read) -> None:
    """`dirty_daily.parquet`: the same days in a bad and a repaired version, of exchanges all over the world.

    Weekly and 15 minute bars are not read. Dates on which New York rests are no sessions, as long as nobody says
    which exchange each symbol is on. Where a day comes twice, the later of the good ones counts.
    """
    found = read(shared / "data" / "dirty_daily.parquet")
    raw = pl.read_parquet(shared / "data" / "dirty_daily.parquet").with_row_index("line", offset=1)
    counts = dict(found.rejected["rule"].value_counts().rows())
    assert found.good.height + found.rejected.height == 16_181
    assert counts["unparseable_granularity"] == raw.filter(pl.col("interval").is_in(["1wk", "15m"])).height == 487
    assert set(counts) == {
        *("unparseable_granularity", "null_value", "not_a_session", "future_time"),
        *("open_outside", "close_outside", "duplicate_key"),
    }
    assert found.good.select("symbol", "timestamp").is_unique().all()
    lines = found.batches[0].frame.join(found.rejected.select("line", "rule"), on="line", how="left")
    twice = lines.filter(pl.col("rule").is_null() | (pl.col("rule") == "duplicate_key"))
    latest = twice.group_by("symbol", "timestamp").agg(pl.col("line").max())
    assert twice.filter(pl.col("rule").is_null()).join(latest, on="line", how="anti").is_empty()
    of_rule = {rule: raw.join(lines, on="line") for (rule,), lines in _lines(found.rejected).items()}
    low, high = pl.col("low"), pl.col("high")
    assert of_rule["open_outside"].filter(pl.col("open").is_between(low, high)).is_empty()
    assert of_rule["close_outside"].filter(pl.col("close").is_between(low, high)).is_empty()
    assert of_rule["null_value"].filter(pl.col("close").is_not_null()).is_empty()


def _lines(rejected: pl.DataFrame) -> dict[tuple[object, ...], pl.DataFrame]:
    lines = rejected.select("rule", pl.col("line").cast(pl.UInt32))
    return lines.partition_by("rule", as_dict=True, include_key=False)


PEAK = """
import json, sys
from datetime import UTC, datetime, date, timedelta
from pathlib import Path
from flows.sources import FileSource, Markets
from storage.settings import SourceSettings
now, rows = datetime(2024, 1, 1, tzinfo=UTC), 0
markets = Markets("XNYS", lambda symbol: None, lambda market: None, lambda market: "America/New_York")
source = FileSource("lean", SourceSettings(path=sys.argv[1]), markets)
for batch in source.batches(now, int(sys.argv[2]), Path(sys.argv[3])):
    good, rejected = batch.checked(now, timedelta(0))
    rows += good.height
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([rows, int(peak)]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "scattered"])
def test_ten_times_the_ticks_take_less_than_twice_the_memory(shuffled: bool, shared: Path, tmp_path: Path) -> None:
    ticks = pl.read_parquet(shared / "data" / "ticks.parquet").gather_every(3)
    week = timedelta(days=7)
    many = pl.concat([ticks.with_columns(pl.col("timestamp") + number * week) for number in range(10)])
    if shuffled:
        many = many.sort("price", maintain_order=True)
    peaks = []
    for name, frame in (("few", ticks), ("many", many)):
        frame.write_parquet(tmp_path / f"{name}.parquet")
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path / f"{name}.parquet"), str(ticks.height), str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        rows, peak = json.loads(done.stdout)
        assert rows == frame.height
        peaks.append(peak)
    assert peaks[1] < 2 * peaks[0]
