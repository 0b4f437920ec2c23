"""Adjusted prices against two vendors' own columns, row by row, and against a third party's dividends."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from transforms.adjust import DividendRule, adjust, adjustment_factors, split_adjust, to_raw_dividends
from transforms.schema import ACTIONS, OHLC

pytestmark = pytest.mark.data

LATER = date(2013, 1, 1)
QUANDL = [("AAPL", 2011, 2012), ("AES", 2008, 2011), ("IBM", 2008, 2009), ("IBM", 2011, 2011), ("YHOO", 2011, 2012)]
"""Stretches without a gap: IBM's and AES' rows of 2010 are not in the file, and so are the dividends of that year."""


@pytest.fixture(scope="module")
def quandl(shared: Path) -> pl.DataFrame:
    frame = pl.read_parquet(shared / "data/daily_adjusted.parquet").rename({"date": "session"})
    return frame.sort("symbol", "session")


@pytest.fixture(scope="module")
def told(shared: Path) -> pl.DataFrame:
    frame = pl.read_parquet(shared / "data/corporate_actions.parquet").with_columns(ordinal=0)
    return frame.select(pl.col(n).cast(t) for n, t in ACTIONS.items())


def of_columns(rows: pl.DataFrame, dividends: str, split: str | None = None) -> pl.LazyFrame:
    """ACTIONS told beside the prices."""
    parts = [rows.filter(pl.col(dividends) > 0).select("symbol", "session", action=pl.lit("dividend"), value=dividends)]
    if split:
        splits = rows.filter(~pl.col(split).is_in([0.0, 1.0]))
        parts.append(splits.select("symbol", "session", action=pl.lit("split"), value=split))
    frame = pl.concat(parts).rename({"session": "ex_date"}).with_columns(source=pl.lit("vendor"), ordinal=0)
    return frame.lazy().select(pl.col(n).cast(t) for n, t in ACTIONS.items())


def furthest(ours: pl.Series, theirs: pl.Series) -> float:
    return float((ours / theirs - 1).abs().max())  # type: ignore[arg-type]


@pytest.mark.parametrize(("symbol", "first", "last"), QUANDL)
def test_quandls_columns_on_every_row(quandl: pl.DataFrame, symbol: str, first: int, last: int) -> None:
    """Up to one constant a stretch: what happened after it, which the vendor knew and the file does not tell."""
    rows = quandl.filter(pl.col("symbol") == symbol, pl.col("session").dt.year().is_between(first, last))
    ours = adjust(rows.lazy(), of_columns(rows, "ex_dividend", "split_ratio"), LATER, "close_ex").collect()
    assert len(ours) == len(rows) > 250
    later = rows["adj_close"][-1] / rows["close"][-1]
    for column in OHLC:
        assert furthest(ours[column] * later, rows[f"adj_{column}"]) < 1e-12
    assert (ours["volume"] * {"AAPL": 7}.get(symbol, 1) == rows["adj_volume"]).all()


@pytest.mark.parametrize(
    ("symbol", "apart"), [("AAPL", (1.7e-4, 1.9e-4)), ("AES", (0.022, 0.023)), ("IBM", (2e-4, 3e-4))]
)
def test_the_rules_differ_by_the_ex_days_own_return(
    quandl: pl.DataFrame, symbol: str, apart: tuple[float, float]
) -> None:
    rows = quandl.filter(pl.col("symbol") == symbol, pl.col("session").dt.year() < 2010 if symbol == "IBM" else True)
    actions = of_columns(rows, "ex_dividend")
    rules: tuple[DividendRule, ...] = ("close_ex", "close_before")
    by_ex, by_before = (adjust(rows.lazy(), actions, LATER, rule).collect()["close"] for rule in rules)
    assert apart[0] < furthest(by_before, by_ex) < apart[1]


def test_apples_volume_knows_the_split_of_2014_from_its_day_on(quandl: pl.DataFrame, told: pl.DataFrame) -> None:
    apple = quandl.filter(symbol="AAPL")
    splits = told.lazy().filter(pl.col("symbol") == "AAPL", source="reactstockcharts_splithistory")
    for day, times in ((date(2014, 6, 8), 1), (date(2014, 6, 9), 7)):
        ours = adjust(apple.lazy(), splits, day).collect()
        assert (ours["volume"] == apple["volume"] * times).all()
    assert (ours["volume"] == apple["adj_volume"]).all()


def test_ibms_level_is_that_of_a_day_in_2017(shared: Path, quandl: pl.DataFrame, told: pl.DataFrame) -> None:
    """Lean's dividends and closes of hourly bars: the constants above are dividends up to a day, 2010 among them."""
    hours = pl.read_parquet(shared / "data/hour_bars.parquet").filter(symbol="IBM").sort("timestamp")
    local = pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.date()
    closes = hours.group_by("symbol", session=local, maintain_order=True).agg(pl.col("close").last())
    actions = told.lazy().filter(pl.col("symbol") == "IBM", source="lean_factor_file")
    ibm = quandl.filter(symbol="IBM")

    def apart(day: date) -> float:
        factors = adjustment_factors(actions, closes.lazy(), day, "close_ex")
        return furthest(split_adjust(ibm.lazy(), factors).collect()["close"], ibm["adj_close"])

    assert apart(date(2017, 5, 8)) < 1e-5
    assert apart(date(2017, 8, 7)) < 1e-5
    assert apart(date(2017, 5, 7)) > 0.009
    assert apart(date(2017, 8, 8)) > 0.009


@pytest.mark.parametrize(
    ("case", "state", "tolerance"),
    [
        ("EWG-1d-no-bad-divs", "clean", 2e-6),
        ("IBE-MC-1d-no-bad-divs", "clean", 2e-6),
        ("TISG-MI-1d-no-bad-divs", "clean", 2e-6),
        ("1398-HK-1d-bad-div", "fixed", 2e-6),
        ("RGL-L-1d-bad-div", "fixed", 2e-6),
    ],
)
def test_yahoos_adjusted_close_on_every_row(shared: Path, case: str, state: str, tolerance: float) -> None:
    """Splits are in Yahoo's prices already; of the dividends it publishes rounded amounts."""
    rows = pl.read_parquet(shared / "data/dirty_daily.parquet").filter(case=case, state=state).drop_nulls("close")
    rows = rows.with_columns(session=pl.col("timestamp_local").str.slice(0, 10).str.to_date())
    ours = adjust(rows.lazy(), of_columns(rows, "dividends"), date(2030, 1, 1)).collect()
    assert furthest(ours["close"], rows["adjusted_close"]) < tolerance
    assert (rows["close"] / rows["adjusted_close"]).max() > 1.05  # type: ignore[operator]
    assert (ours["volume"] == rows["volume"]).all()


def test_raw_dividends_of_two_vendors_are_the_same_cash(told: pl.DataFrame) -> None:
    """Stocknet's are per share of 2017; brought back over Apple's split of 2014 they are Lean's."""
    apple = told.filter(symbol="AAPL")
    split = apple.filter(source="reactstockcharts_splithistory")
    theirs = pl.concat([apple.filter(source="stocknet_yahoo"), split])
    raw = to_raw_dividends(theirs.lazy()).filter(pl.col("action") == "dividend").collect()
    both = raw.join(apple.filter(source="lean_factor_file", action="dividend"), on="ex_date", suffix="_lean")
    assert both.filter(pl.col("ex_date") < date(2014, 6, 9)).height == 7
    assert both.height == 20
    assert furthest(both["value"], both["value_lean"]) < 0.002
