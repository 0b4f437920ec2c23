"""The floors of a whole run: what remains when everything but the work itself is left out.

Rows in by COPY, read again over ADBC, the same Polars expressions called directly, derived rows out by COPY, the
bodies into the cache by a pipelined HSET: five stages, in line, each timed. No validation, no dirty windows, no
comparison with what is stored, no versions, no fence, no record of anything; whatever warmbars takes beyond the sum
of these is its own.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import psycopg
import redis

from benchmarks.copying import copy_rows, encoded
from benchmarks.publish import Row, pipelined_hset
from transforms.adjust import adjustment_factors, choose, choose_actions, split_adjust, to_raw
from transforms.catalogue import compute
from transforms.correlation import correlations, daily_pairs, daily_returns, rolling_correlations
from transforms.resample import fill_bars, resample
from transforms.schema import INTERVALS, RAW_BARS, RAW_SCHEMAS, TICKS
from transforms.sentiment import sentiment_buckets
from transforms.sessions import BucketRules
from transforms.ticks import bars_from_ticks

_EVER = (date(1, 1, 1), date(9999, 12, 31))


@dataclass(frozen=True, slots=True)
class Given:
    """What a run begins with: raw rows by table, a market's sessions, settings, the bodies it ends with."""

    raw: Mapping[str, pl.DataFrame]
    sessions: pl.DataFrame
    indicators: tuple[str, ...]
    lags: tuple[int, ...]
    windows: tuple[int, ...]
    rolling_lags: tuple[int, ...]
    min_n: int
    bodies: list[Row]


@dataclass(frozen=True, slots=True)
class Floors:
    """Seconds of each stage, and the derived rows by table."""

    seconds: Mapping[str, float]
    derived: Mapping[str, pl.DataFrame]

    @property
    def total(self) -> float:
        """The sum of the stages."""
        return sum(self.seconds.values())


def floors(given: Given, database: psycopg.Connection, frames: adbc.Connection, cache: redis.Redis) -> Floors:
    """Do it once; the tables of `floors` are empty, the connections open."""
    at = [time.perf_counter()]

    for table, frame in given.raw.items():
        copy_rows(database, f"floors.{table}", frame.columns, encoded(frame))
    at.append(time.perf_counter())

    read = {}
    for table, columns in _READ.items():
        with frames.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(columns)} FROM floors.{table}")
            read[table] = pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table()))
    frames.rollback()
    at.append(time.perf_counter())

    derived = computed(read, given)
    at.append(time.perf_counter())

    for table, frame in derived.items():
        copy_rows(database, f"floors.{table}", frame.columns, encoded(frame))
    at.append(time.perf_counter())

    pipelined_hset(cache, given.bodies, 480)
    at.append(time.perf_counter())

    names = ("COPY in", "ADBC read", "Polars", "COPY out", "HSET")
    return Floors({name: end - start for name, (start, end) in zip(names, pairwise(at), strict=True)}, derived)


_READ = {
    "stock_ticks": TICKS.names(),
    "stock_data": RAW_BARS.names(),
    "sentiment_data": RAW_SCHEMAS["sentiment"].names(),
    "corporate_actions": RAW_SCHEMAS["actions"].names(),
}


def computed(read: Mapping[str, pl.DataFrame], given: Given) -> dict[str, pl.DataFrame]:
    """Every derived table of trades, split-adjusted daily bars, messages and actions, by the same expressions."""
    sessions, rules, stamp = given.sessions.lazy(), BucketRules(), pl.lit(1, dtype=pl.Int64).alias("run_id")
    out: dict[str, pl.LazyFrame] = {}

    actions = choose_actions(read["corporate_actions"].lazy(), ())
    factors = adjustment_factors(actions).collect().lazy()
    bounds = pl.col("from").fill_null(_EVER[0]).alias("from_date"), pl.col("to").fill_null(_EVER[1]).alias("to_date")
    out["adjustment_factors"] = factors.select("symbol", *bounds, "price", "volume")

    ticks = read["stock_ticks"].sort("symbol", "timestamp", "sequence").lazy()
    minutes = bars_from_ticks(ticks, sessions, rules).collect().lazy()
    bars = {interval: resample(minutes, interval, sessions, rules).collect().lazy() for interval in INTERVALS[1:]}
    out["bars_1m"] = minutes
    out |= {f"bars_{interval}_rollup": frame for interval, frame in bars.items()}

    vendor = choose(read["stock_data"].lazy(), ("symbol", "granularity", "timestamp"), ())
    last = vendor.group_by("symbol").agg(_last=pl.col("timestamp").max().dt.date())
    applied = adjustment_factors(actions.join(last, on="symbol").filter(pl.col("ex_date") <= pl.col("_last")))
    daily = vendor.join(sessions.select("session", timestamp="open"), on="timestamp").sort("symbol", "session")
    raw = to_raw(daily, applied).select(RAW_BARS.names())
    out["bars_1d_fill"] = fill_bars(raw, "1d", sessions, rules, bars["1d"]).collect().lazy()
    bars["1d"] = pl.concat([bars["1d"], out["bars_1d_fill"]]).sort("symbol", "timestamp").collect().lazy()

    adjusted = {interval: split_adjust(frame, factors) for interval, frame in bars.items()}
    out |= {f"indicators_{interval}": compute(frame, given.indicators) for interval, frame in adjusted.items()}

    messages = read["sentiment_data"].lazy()
    scores = {per: sentiment_buckets(messages, sessions, per).collect().lazy() for per in ("1h", "1d")}
    out |= {f"sentiment_{per}": frame for per, frame in scores.items()}
    pairs = daily_pairs(daily_returns(adjusted["1d"]), scores["1d"])
    out["correlations"] = correlations(pairs, given.lags, given.min_n).rename({"window": "window_sessions"})
    rolled = rolling_correlations(pairs, given.rolling_lags, given.windows, given.min_n)
    labels = adjusted["1d"].select("symbol", "session", "timestamp")
    out["rolling_correlations"] = rolled.rename({"window": "window_sessions"}).join(labels, on=["symbol", "session"])

    newest_minute = minutes.group_by("symbol", "session").agg(_minute=pl.col("timestamp").last())
    both = bars["1d"].join(adjusted["1d"].select("symbol", "timestamp", _adjusted="close"), on=["symbol", "timestamp"])
    newest = both.sort("symbol", "timestamp").group_by("symbol").tail(2).group_by("symbol", maintain_order=True)
    scale = pl.col("close").last() / pl.col("_adjusted").last()
    quotes = newest.agg(
        pl.col("timestamp", "session", "open", "high", "low", "volume").last(),
        last=pl.col("close").last(),
        previous_close=pl.when(pl.len() > 1).then(pl.col("_adjusted").first() * scale),
    ).join(newest_minute, on=["symbol", "session"], how="left")
    change = pl.col("last") - pl.col("previous_close")
    out["quotes"] = quotes.with_columns(
        timestamp=pl.coalesce("_minute", "timestamp"), change=change, change_pct=100 * change / pl.col("previous_close")
    ).drop("_minute")
    names, frames = list(out), pl.collect_all([frame.with_columns(stamp) for frame in out.values()])
    return dict(zip(names, frames, strict=True))
