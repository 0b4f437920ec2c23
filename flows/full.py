"""The full path: from all raw rows of some symbols straight to every derived row. Pure.

It is what `warmbars verify` holds the stored rows against, so it knows no dirty windows, no stored results and no
state: nothing of how a refresh finds out what to compute. It shares the definitions, in `flows.derive` and
`transforms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from flows import derive
from flows.batch import outside
from flows.derive import Market, Prices
from storage.settings import Settings
from transforms import catalogue
from transforms.adjust import split_adjust
from transforms.correlation import (
    MATRIX,
    correlations,
    daily_pairs,
    daily_returns,
    findings,
    return_matrix,
    rolling_correlations,
)
from transforms.equal import Scale
from transforms.schema import ACTIONS, OHLCV, RAW_BARS, SENTIMENT, TICKS, UTC_US, Interval

ROWS = pl.Schema({**RAW_BARS, "price_basis": pl.String()})
"""Vendors' bars, and how their prices were adjusted."""
COVERAGE = pl.Schema({"symbol": pl.String(), "starts_at": UTC_US, "ends_at": UTC_US})
ADJUSTED = pl.Schema({"symbol": pl.String(), "source": pl.String(), "starts_at": UTC_US, "ends_at": UTC_US})
QUOTE_COLUMNS = ("timestamp", "last", "open", "high", "low", "volume", "previous_close", "change", "change_pct")

FACTORS = "adjustment_factors"

_KEY = ("symbol", "timestamp")
_JUST_AFTER = timedelta(microseconds=1)
_EXACT_BARS: Mapping[str, Scale] = dict.fromkeys(("session", *OHLCV))
_SCORES: Mapping[str, Scale] = {
    **{"session": None, "count": None},
    **dict.fromkeys(("mean_score", "weighted_score", "mean_confidence", "std_score"), 1.0),
    **dict.fromkeys(("positive_share", "negative_share"), 1.0),
}
_QUOTE: Mapping[str, Scale] = {
    **dict.fromkeys(("session", "timestamp", "last", "open", "high", "low")),
    "volume": 1.0,
    **dict.fromkeys(("previous_close", "change"), pl.col("last").abs()),
    "change_pct": 100.0,
}
_CORRELATION: Mapping[str, Scale] = {
    **{"r": 1.0, "n": None, "n_effective": 1.0, "p": 1e-6, "ci_low": 1.0, "ci_high": 1.0},
}
_ROLLING: Mapping[str, Scale] = {"session": None, "n": None, "pearson": 1.0, "spearman": 1.0}
_FINDING: Mapping[str, Scale] = {
    **{"r": 1.0, "n": None, "p": 1e-6, "p_adjusted": 1e-6, "family_size": None, "ci_low": 1.0, "ci_high": 1.0},
}


@dataclass(frozen=True, slots=True)
class RawFrames:
    """All that is known of some symbols of one market: raw rows, whole, in no particular order.

    `ticks` (TICKS), `rows` (ROWS: vendors' bars), `sentiment` (SENTIMENT), `actions` (ACTIONS), and `coverage`
    (COVERAGE): where a source of ticks declared that it is the whole truth. `standing`: by table, what is taken as it
    is stored, because retention may have removed the raw rows it was made of.
    """

    ticks: pl.DataFrame = field(default_factory=TICKS.to_frame)
    rows: pl.DataFrame = field(default_factory=ROWS.to_frame)
    sentiment: pl.DataFrame = field(default_factory=SENTIMENT.to_frame)
    actions: pl.DataFrame = field(default_factory=ACTIONS.to_frame)
    coverage: pl.DataFrame = field(default_factory=COVERAGE.to_frame)
    standing: "Mapping[str, Standing]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """Bars or sentiment buckets that stand: stored `rows`, and the `spans` (SPANS, disjoint) of their timestamps.

    Of what is computed in these spans nothing is kept.
    """

    spans: pl.DataFrame
    rows: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Table:
    """A derived table: what identifies a row, and the columns compared, with their scales (None: exactly)."""

    name: str
    key: tuple[str, ...]
    scales: Mapping[str, Scale]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns stored but for `run_id`."""
        return (*self.key, *self.scales)


def tables(settings: Settings) -> list[Table]:
    """The tables that hold a symbol's results under these settings; those of all symbols are `MARKET_TABLES`."""
    values = {column.name: column.scale for column in catalogue.columns_of(settings.indicators)}
    coarse = settings.intervals[1:]
    daily = "1d" in settings.intervals
    return [
        Table(FACTORS, ("symbol", "from_date"), dict.fromkeys(("to_date", "price", "volume"))),
        *(Table(name, _KEY, _EXACT_BARS) for name in bar_tables(settings)),
        *(Table(f"indicators_{interval}", _KEY, {"session": None, **values}) for interval in coarse),
        Table("quotes", ("symbol",), _QUOTE),
        Table("sentiment_1h", _KEY, _SCORES),
        Table("sentiment_1d", _KEY, {**_SCORES, "momentum": 1.0}),
        *([Table("correlations", _WHOLE_KEY, _CORRELATION)] if daily else []),
        *([Table("rolling_correlations", (*_KEY, "window_sessions", "lag"), _ROLLING)] if daily else []),
    ]


_WHOLE_KEY = ("symbol", "x", "y", "session", "window_sessions", "lag", "method")
FINDINGS = Table("correlation_findings", ("symbol", "x", "y", "lag", "method"), _FINDING)
RETURNS = Table("return_matrix", ("symbol",), {"position": None, "n": None, "r": 1.0})
MARKET_TABLES = (FINDINGS, RETURNS)
"""What is made of all symbols together; `r` of the matrix is a list, compared element by element."""


def bar_tables(settings: Settings) -> list[str]:
    """The tables of bars under these settings."""
    coarse = settings.intervals[1:]
    return ["bars_1m", *(f"bars_{interval}_{kind}" for interval in coarse for kind in ("rollup", "fill"))]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of every kept interval, by table, and the minutes of which some may still be running."""

    minutes: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]

    def series(self, interval: Interval) -> pl.DataFrame:
        """All bars of an interval, in order."""
        names = ["bars_1m"] if interval == "1m" else [f"bars_{interval}_rollup", f"bars_{interval}_fill"]
        return pl.concat([self.tables[name] for name in names]).sort(_KEY)


def full(raw: RawFrames, market: Market, as_of: datetime) -> dict[str, pl.DataFrame]:
    """Every derived row of the symbols of `raw`, as they were closed at `as_of`: table -> rows, without run_id.

    The columns of each table are those of `tables`; rows are in no particular order. `indicators_…` have the
    columns `close` and `volume` of the bar too, which scales are made of.
    """
    return results(raw, bars(raw, market, as_of), market, as_of)


def bars(raw: RawFrames, market: Market, as_of: datetime, adjusted: pl.DataFrame | None = None) -> Bars:
    """Bars from ticks and vendors' rows; `raw` may hold those of some whole local days only.

    `adjusted` (`vendor_adjusted` of all rows) is then to be given.
    """
    told = vendor_adjusted(raw.rows) if adjusted is None else adjusted
    rows = derive.raw_prices(raw.rows, raw.actions, told, market)
    made = derive.bars(Prices(raw.ticks, rows, raw.coverage), market, as_of)
    found = {"bars_1m": made.rollups["1m"]}
    for interval in market.settings.intervals[1:]:
        found[f"bars_{interval}_rollup"] = made.rollups[interval]
        found[f"bars_{interval}_fill"] = made.fills[interval]
    return Bars(made.minutes, found)


def vendor_adjusted(rows: pl.DataFrame) -> pl.DataFrame:
    """Where vendors' prices are not raw: ADJUSTED, `ends_at` just after the newest row."""
    adjusted = rows.filter(pl.col("price_basis") != "raw")
    ends = pl.col("timestamp").max() + _JUST_AFTER
    return adjusted.group_by("symbol", "source").agg(starts_at=pl.col("timestamp").min(), ends_at=ends)


def results(raw: RawFrames, made: Bars, market: Market, as_of: datetime) -> dict[str, pl.DataFrame]:
    """Everything else from bars, messages and actions; see `full`."""
    made = _with_standing(made, raw.standing)
    factors, _ = derive.factors(raw.actions, market, as_of)
    found = {FACTORS: factors, **made.tables}
    for interval in market.settings.intervals[1:]:
        found[f"indicators_{interval}"] = _indicators(made.series(interval), factors, market.settings)
    found["quotes"] = _quotes(made, factors, market, as_of)
    buckets, _ = derive.sentiment(raw.sentiment, market, as_of)
    hourly, daily = (_beside(buckets[i], raw.standing.get(f"sentiment_{i}")) for i in ("1h", "1d"))
    found["sentiment_1h"], found["sentiment_1d"] = hourly, derive.with_momentum(daily, market)
    if "1d" in market.settings.intervals:
        found |= _correlations(made.series("1d"), factors, found["sentiment_1d"], market.settings)
    return found


def _with_standing(made: Bars, standing: Mapping[str, Standing]) -> Bars:
    if not standing:
        return made
    minutes = _beside(made.minutes, standing.get("bars_1m"))
    return Bars(minutes, {name: _beside(frame, standing.get(name)) for name, frame in made.tables.items()})


def _beside(computed: pl.DataFrame, standing: Standing | None) -> pl.DataFrame:
    """What was computed outside of the spans, and what stands inside."""
    if standing is None:
        return computed
    rows = standing.rows.select(pl.col(name).cast(dtype) for name, dtype in computed.schema.items())
    return pl.concat([outside(computed, standing.spans), rows]).sort(_KEY)


def _indicators(series: pl.DataFrame, factors: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    adjusted = split_adjust(series.lazy(), derive.as_factors(factors)).collect()
    return catalogue.compute(adjusted, settings.indicators, keep=("close", "volume"), engine="compiled")


def _quotes(made: Bars, factors: pl.DataFrame, market: Market, as_of: datetime) -> pl.DataFrame:
    coarsest = market.settings.intervals[-1]
    daily = made.series(coarsest)
    if coarsest != "1d":
        daily = derive.days(daily, market, as_of)
    nothing = pl.DataFrame(schema={"symbol": pl.String(), "session": pl.Date(), **_quote_schema()})
    return derive.quotes(made.minutes, daily, nothing, factors)


def _quote_schema() -> dict[str, pl.DataType]:
    return {"timestamp": UTC_US, **dict.fromkeys(QUOTE_COLUMNS[1:], pl.Float64())}


def _correlations(
    daily: pl.DataFrame, factors: pl.DataFrame, scores: pl.DataFrame, settings: Settings
) -> dict[str, pl.DataFrame]:
    """Sentiment against the daily return: over all sessions, and over windows that end with each bar."""
    returns = daily_returns(split_adjust(daily.lazy(), derive.as_factors(factors)))
    pairs = daily_pairs(returns, scores.lazy(), settings.missing_sentiment).collect()
    least = settings.correlation_min_n
    whole = correlations(pairs.lazy(), settings.correlation_lags, least)
    rolled = rolling_correlations(pairs.lazy(), settings.rolling_lags, settings.correlation_windows, least)
    dates = daily.lazy().select(*_KEY, "session")
    return {
        "correlations": whole.rename({"window": "window_sessions"}).collect(),
        "rolling_correlations": rolled.rename({"window": "window_sessions"})
        .join(dates, on=["symbol", "session"])
        .collect(),
    }


@dataclass(frozen=True, slots=True)
class AllSymbols:
    """What market-wide results are made of: stored `correlations`, `bars_1d` (BARS) and `factors` of every symbol."""

    correlations: pl.DataFrame
    bars_1d: pl.DataFrame
    factors: pl.DataFrame


def full_market(every: AllSymbols, market: Market) -> dict[str, pl.DataFrame]:
    """What is made of all symbols together, from their derived rows; `market` is that of the setting `market`."""
    return {
        FINDINGS.name: findings(every.correlations.lazy()).collect(),
        RETURNS.name: _matrix(every, market),
    }


def _matrix(every: AllSymbols, market: Market) -> pl.DataFrame:
    """Returns of the `matrix_window` sessions that end where most symbols end, and of those that traded in them."""
    settings = market.settings
    newest = every.bars_1d.group_by("symbol").agg(pl.col("session").sort_by("timestamp").last())
    if newest.is_empty():
        return MATRIX.to_frame()
    ends: list[tuple[object, int]] = newest.group_by("session").len().rows()
    last = max(ends, key=lambda end: (end[1], str(end[0])))[0]
    window = market.sessions.filter(pl.col("session") <= pl.lit(last)).tail(settings.matrix_window + 1).collect()
    if window.height < 2:
        return MATRIX.to_frame()
    since = window["session"][1]
    traded = newest.filter(pl.col("session") >= since)
    inside = (pl.col("timestamp") >= window["day_start"][0]) & (pl.col("timestamp") < window["day_end"][-1])
    bars_1d = every.bars_1d.filter(inside).join(traded, on="symbol", how="semi").sort(_KEY)
    adjusted = split_adjust(bars_1d.lazy(), derive.as_factors(every.factors)).collect()
    return return_matrix(adjusted, since, settings.matrix_symbols, settings.correlation_min_n)
