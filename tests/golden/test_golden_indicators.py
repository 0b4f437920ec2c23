"""Indicators against spreadsheets other people made: every row, null rows included, to 1e-9."""

from collections.abc import Iterable
from datetime import time
from pathlib import Path

import polars as pl
import pytest

from transforms.catalogue import compute

pytestmark = pytest.mark.data

SPY = {  # our column -> theirs
    "sma_20": "sma_20",
    "ema_20": "ema_20",
    "ema_12": "ema_12",
    "ema_26": "ema_26",
    "rsi_14": "rsi_14",
    "rsi_14_gain": "rsi_avg_gain",
    "rsi_14_loss": "rsi_avg_loss",
    "macd": "macd_12_26",
    "macd_signal": "macd_signal_9",
    "macd_histogram": "macd_hist",
    "bollinger_upper": "bb_upper_20_2",
    "bollinger_middle": "bb_mid_20",
    "bollinger_lower": "bb_lower_20_2",
    "atr_14": "atr_14",
    "obv": "obv",
}
NAMES = ("sma_20", "ema_20", "ema_12", "ema_26", "rsi_14", "macd", "bollinger", "atr_14", "obv")


def as_bars(sheet: pl.DataFrame) -> pl.LazyFrame:
    """A sheet of one symbol in the form of BARS."""
    moment = pl.col("date").str.to_datetime(time_unit="us").dt.replace_time_zone("America/New_York")
    return sheet.lazy().select(
        pl.lit("SPY").alias("symbol"),
        moment.dt.convert_time_zone("UTC").alias("timestamp"),
        moment.dt.date().alias("session"),
        pl.col("open", "high", "low", "close", "volume").cast(pl.Float64),
    )


def same(found: pl.Series, expected: pl.Series) -> None:
    expected = expected.cast(pl.Float64)
    assert found.is_null().to_list() == expected.is_null().to_list()
    assert (found - expected).abs().max() < 1e-9  # type: ignore[operator]


@pytest.fixture(scope="module")
def spy(shared: Path) -> pl.DataFrame:
    file = shared / "reference/skender/excel_expected_spy_daily.csv"
    return pl.read_csv(file, infer_schema_length=None)


@pytest.fixture(scope="module")
def ours(spy: pl.DataFrame) -> pl.DataFrame:
    sheet = spy.with_columns(pl.col("date") + " 16:00:00")
    return compute(as_bars(sheet), NAMES).collect()


@pytest.mark.parametrize("column", SPY)
def test_two_years_of_spy_equal_the_spreadsheet(column: str, ours: pl.DataFrame, spy: pl.DataFrame) -> None:
    assert len(ours) == 502
    same(ours[column], spy[SPY[column]])


def test_vwap_of_a_session_equals_the_spreadsheet(shared: Path) -> None:
    sheet = pl.read_csv(shared / "reference/skender/excel_expected_vwap_intraday_20201215.csv")
    assert len(sheet) == 391
    same(compute(as_bars(sheet), ["vwap"]).collect()["vwap"], sheet["VWAP"])


def test_vwap_starts_anew_in_each_of_four_sessions(shared: Path) -> None:
    quotes = pl.read_csv(shared / "reference/skender/quotes_intraday.csv").with_columns(pl.col("date") + ":00")
    found = compute(as_bars(quotes), ["vwap"]).collect()
    expected = pl.read_csv(shared / "reference/skender/excel_expected_vwap_intraday_20201215.csv")
    assert found["session"].n_unique() == 4
    same(found["vwap"].head(391), expected["VWAP"])
    typical = quotes.select((pl.col("high") + pl.col("low") + pl.col("close")) / 3).to_series()
    first = found["session"].is_first_distinct()
    same(found.filter(first)["vwap"], typical.filter(first))


def test_vwap_from_another_anchor_equals_the_spreadsheet(shared: Path) -> None:
    file = shared / "reference/skender/excel_expected_vwap_intraday_anchor1000.csv"
    sheet = pl.read_csv(file, infer_schema_length=None)
    local = pl.col("date").str.to_datetime().dt.time()
    later = sheet.filter(local >= time(10))
    same(compute(as_bars(later), ["vwap"]).collect()["vwap"], later["VWAP"])


def chartschool(shared: Path, name: str, columns: Iterable[str]) -> pl.DataFrame:
    sheet = pl.read_csv(shared / f"reference/ta_chartschool/{name}.csv", infer_schema_length=None)
    return sheet.select(pl.col(*columns).cast(pl.Float64))


def test_bollinger_bands_equal_the_chartschools_too(shared: Path) -> None:
    sheet = chartschool(shared, "cs-bbands", ("Close", "MiddleBand", "HighBand", "LowBand"))
    day = pl.datetime_range(pl.datetime(2009, 5, 1), interval="1d", eager=False, end=pl.datetime(2030, 1, 1))
    days = pl.select(day.head(len(sheet)).dt.strftime("%Y-%m-%d 16:00:00").alias("date"))["date"]
    prices = {name: pl.col("Close") for name in ("open", "high", "low", "close")}
    bars = as_bars(sheet.select(days, volume=pl.lit(1.0), **prices))
    found = compute(bars, ["bollinger"]).collect()
    for ours, theirs in (("middle", "MiddleBand"), ("upper", "HighBand"), ("lower", "LowBand")):
        expected = sheet[theirs]
        known = expected.is_not_null()
        assert known.sum() > 10
        assert (found[f"bollinger_{ours}"] - expected).filter(known).abs().max() < 1e-6  # type: ignore[operator]
