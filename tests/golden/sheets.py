"""Sheets that other people made, brought into the form of BARS, and how our columns are compared with them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from transforms.catalogue import compute
from transforms.schema import BARS


def read_sheet(file: Path) -> pl.DataFrame:
    """Numbers where a column holds nothing else."""
    return pl.read_csv(file, infer_schema_length=None)


def chartschool(shared: Path, name: str) -> pl.DataFrame:
    """A sheet of StockCharts' ChartSchool, with lower-case names."""
    return read_sheet(shared / f"reference/ta_chartschool/{name}.csv").rename(str.lower)


def spy(shared: Path) -> pl.DataFrame:
    """Two years of SPY and the columns that Excel computed from them."""
    return read_sheet(shared / "reference/skender/excel_expected_spy_daily.csv")


def quotes(shared: Path, name: str) -> pl.DataFrame:
    return read_sheet(shared / f"reference/skender/quotes_{name}.csv")


def bars_of(sheet: pl.DataFrame | Mapping[str, Sequence[float]]) -> pl.DataFrame:
    """Daily bars of one symbol; the sheet's own dates do not matter. Prices it lacks are its close, volumes 1."""
    given = pl.DataFrame(sheet)
    start = datetime(2024, 1, 1, 14, 30, tzinfo=UTC)
    moments = pl.Series([start + timedelta(days=n) for n in range(len(given))], dtype=pl.Datetime("us", "UTC"))

    def column(name: str) -> pl.Expr:
        stand_in = pl.lit(1.0) if name == "volume" else pl.col("close" if "close" in given.columns else "high")
        return (pl.col(name) if name in given.columns else stand_in).cast(pl.Float64).alias(name)

    prices = [column(name) for name in ("open", "high", "low", "close", "volume")]
    return given.select(
        pl.lit("A").alias("symbol"), moments.alias("timestamp"), moments.dt.date().alias("session"), *prices
    ).cast(dict(BARS))


def same(found: pl.Series, expected: pl.Series, tolerance: float = 1e-9) -> None:
    """Null where the sheet is, and within the relative tolerance of it elsewhere (absolute below 1)."""
    wanted = expected.cast(pl.Float64)
    assert found.is_null().to_list() == wanted.is_null().to_list()
    near(found, wanted, tolerance)


def equals_sheet(sheet: pl.DataFrame, name: str, columns: Mapping[str, str]) -> None:
    """Every row of two years of SPY: our columns of the indicator `name` are theirs."""
    found = compute(bars_of(sheet), [name])
    assert len(found) == 502
    for ours, theirs in columns.items():
        same(found[ours], sheet[theirs])


def near(found: pl.Series, expected: pl.Series, tolerance: float = 1e-9) -> None:
    """Within the tolerance of every value of the sheet; at least ten of them."""
    wanted = expected.cast(pl.Float64)
    known = wanted.is_not_null()
    assert known.sum() >= 10
    assert not found.filter(known).has_nulls()
    off = (found - wanted).abs() / pl.select(pl.max_horizontal(wanted.abs(), 1.0)).to_series()
    assert off.filter(known).max() <= tolerance  # type: ignore[operator]


DEFAULTS = "DefaultParameters_ReturnsExpectedResults"


def spots(shared: Path, indicator: str, field: str, test: str = DEFAULTS) -> list[tuple[int, float | None, float]]:
    """Row, value (None: null) and tolerance of each value that Stock.Indicators' own tests assert by default."""
    file = shared / "reference/skender/spot_values_from_csharp_tests.json"
    wanted = [
        one
        for one in json.loads(file.read_text())
        if (one["indicator"], one["field"], one["test"]) == (indicator, field, test)
    ]
    assert wanted
    return [
        (one["index"], one["expected"], 0.5 * 10 ** -int((one["tolerance"] or "Money4").removeprefix("Money")))
        for one in wanted
    ]


def at_spots(found: pl.Series, expected: list[tuple[int, float | None, float]]) -> None:
    for row, value, tolerance in expected:
        if value is None:
            assert found[row] is None, row
        else:
            assert abs(found[row] - value) <= tolerance * (1 + 1e-9), row
