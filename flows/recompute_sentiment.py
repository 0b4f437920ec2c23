"""The part of a refresh that is about sentiment: buckets, and how they correlate with returns."""

from collections.abc import Mapping

import polars as pl

from flows import derive
from flows.batch import KEY, Batch, Series, within
from flows.plan import Plan
from storage.market.derived import Changes
from transforms import correlation
from transforms.adjust import split_adjust
from transforms.equal import Scale
from transforms.schema import BARS

_SENTIMENT_SCALES: Mapping[str, Scale] = {
    "session": None,
    "count": None,
    "mean_score": 1.0,
    "mean_confidence": 1.0,
    "std_score": 1.0,
}
_CORRELATION_KEY = ("symbol", "x", "y", "session", "window_sessions", "lag", "method")


def sentiment(batch: Batch) -> Series:
    """Sentiment buckets; the whole daily series of the symbols whose daily sentiment changed."""
    spans = batch.plan.sentiment_spans()
    if spans.is_empty():
        return Series(pl.DataFrame(), [])
    computed, still_open = derive.sentiment(batch.store.raw("sentiment_data", spans), batch.market, batch.as_of)
    batch.is_open(still_open, "sentiment")
    changes = {}
    for interval, frame in computed.items():
        table = f"sentiment_{interval}"
        columns = (*KEY, *_SENTIMENT_SCALES)
        stored, mine = (
            _counted(batch.plan, interval, rows)
            for rows in (batch.store.stored(table, spans, columns), frame.select(columns))
        )
        changes[interval] = batch.compare(table, mine, stored, KEY, _SENTIMENT_SCALES)
    symbols = sorted(changes["1d"].symbols)
    return Series(_daily_scores(batch, symbols, changes["1d"]), symbols)


def _counted(plan: Plan, interval: str, buckets: pl.DataFrame) -> pl.DataFrame:
    """Only buckets whose messages were all read: the planned sessions, and every clock hour that meets one."""
    if interval == "1d":
        return buckets.join(plan.sentiment.select("symbol", "session"), on=["symbol", "session"], how="semi")
    return within(buckets, plan.hour_spans())


def _daily_scores(batch: Batch, symbols: list[str], changes: Changes | None) -> pl.DataFrame:
    """Daily sentiment of symbols as it will be stored once `changes` are written."""
    columns = (*KEY, *_SENTIMENT_SCALES)
    stored = batch.store.whole("sentiment_1d", symbols, columns)
    if changes is None:
        return stored
    kept = stored.join(changes.deletes, on=KEY, how="anti")
    return pl.concat([kept, changes.upserts.filter(pl.col("symbol").is_in(symbols)).select(columns)])


def correlations(batch: Batch, closes: Series, scores: Series) -> None:
    """Correlations of every symbol whose daily closes or daily sentiment changed."""
    settings = batch.market.settings
    symbols = sorted({*closes.changed, *scores.changed})
    if not symbols or "1d" not in settings.intervals:
        return
    more_bars = [s for s in symbols if s not in closes.changed]
    more_scores = [s for s in symbols if s not in scores.changed]
    bars = pl.concat([closes.bars, _adjusted_daily(batch, more_bars)])
    daily = pl.concat(
        [f for f in (scores.bars, _daily_scores(batch, more_scores, None)) if f.width], how="vertical_relaxed"
    )
    pairs = correlation.daily_pairs(
        correlation.daily_returns(bars.lazy().sort(KEY)), daily.lazy().sort(KEY), settings.missing_sentiment
    )
    computed = (
        correlation.correlations(pairs, settings.correlation_lags, settings.correlation_min_n)
        .rename({"window": "window_sessions"})
        .collect()
    )
    scales: Mapping[str, Scale] = {"r": 1.0, "n": None}
    stored = batch.store.whole("correlations", symbols, (*_CORRELATION_KEY, *scales))
    batch.compare("correlations", computed, stored, _CORRELATION_KEY, scales)


def _adjusted_daily(batch: Batch, symbols: list[str]) -> pl.DataFrame:
    bars = batch.store.whole("bars_1d", symbols, BARS.names()).sort(KEY)
    factors = batch.store.whole("adjustment_factors", symbols, ("symbol", "from_date", "to_date", "price", "volume"))
    return split_adjust(bars.lazy(), derive.as_factors(factors)).collect()
