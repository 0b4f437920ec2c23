"""The part of a refresh that is about correlation: a symbol's sentiment and return, over all sessions and rolling."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import polars as pl

from flows.batch import KEY, Batch, Revised, Series
from storage.settings import Settings
from transforms.correlation import correlations as over_all_sessions
from transforms.correlation import daily_pairs, daily_returns, rolling_correlations
from transforms.equal import Scale
from transforms.schema import BARS, UTC_US

_WHOLE_KEY = ("symbol", "x", "y", "session", "window_sessions", "lag", "method")
_WHOLE: Mapping[str, Scale] = {"r": 1.0, "n": None, "n_effective": 1.0, "p": 1e-6, "ci_low": 1.0, "ci_high": 1.0}
_ROLLING_KEY = (*KEY, "window_sessions", "lag")
_ROLLING: Mapping[str, Scale] = {"session": None, "n": None, "pearson": 1.0, "spearman": 1.0}
_BEGINNING, _END = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_DAY = timedelta(days=1)
"""What the label of a session's sentiment may be away from that of its bar."""


def correlations(batch: Batch, daily: Revised, readjusted: list[str], scores: Series) -> None:
    """Correlations of every symbol whose daily closes, their adjustment or daily sentiment changed."""
    settings = batch.market.settings
    if "1d" not in settings.intervals:
        return
    again = [*readjusted, *batch.plan.again("correlations")]
    symbols = sorted({*daily.symbols, *again, *scores.changed})
    if settings.missing_sentiment == "leave_out":  # without a message there is no pair
        symbols = sorted({*scores.changed, *batch.store.correlated(symbols)})
    if not symbols:
        return
    bars = batch.adjusted(daily.whole(batch.store, symbols, BARS.names()))
    pairs = daily_pairs(
        daily_returns(bars.lazy()), _daily_scores(batch, symbols, scores).lazy(), settings.missing_sentiment
    ).collect()

    computed = over_all_sessions(pairs.lazy(), settings.correlation_lags, settings.correlation_min_n)
    whole = computed.rename({"window": "window_sessions"}).collect()
    stored = batch.store.whole("correlations", symbols, (*_WHOLE_KEY, *_WHOLE))
    batch.compare("correlations", whole, stored, _WHOLE_KEY, _WHOLE)
    since = pl.concat([daily.since.filter(~pl.col("symbol").is_in(again)), scores.since])
    untold = [*again, *({*scores.changed} - {*scores.since["symbol"]})]
    _rolling(batch, bars, pairs, _since(symbols, since, untold))


def _rolling(batch: Batch, bars: pl.DataFrame, pairs: pl.DataFrame, since: pl.DataFrame) -> None:
    """Windows that end on or after the first change; of those before, nothing that they hold has changed."""
    settings = batch.market.settings
    numbered = bars.select(*KEY, "session", number=pl.int_range(pl.len()).over("symbol")).join(since, on="symbol")
    reached = numbered.filter(pl.col("timestamp") >= pl.col("lo"))
    first = reached.group_by("symbol").agg(first=pl.col("number").min() - _lookback(settings))
    needed = numbered.join(first, on="symbol").filter(pl.col("number") >= pl.col("first"))
    rolled = rolling_correlations(
        pairs.join(needed, on=["symbol", "session"], how="semi").lazy(),
        settings.rolling_lags,
        settings.correlation_windows,
        settings.correlation_min_n,
    )
    dated = (
        rolled.rename({"window": "window_sessions"})
        .collect()
        .join(reached.select(*KEY, "session"), on=["symbol", "session"])
    )
    stored = batch.store.stored("rolling_correlations", since, (*_ROLLING_KEY, *_ROLLING))
    batch.compare("rolling_correlations", dated, stored, _ROLLING_KEY, _ROLLING)


def _lookback(settings: Settings) -> int:
    """Sessions before a window's last one that it may read."""
    return max(settings.correlation_windows, default=1) - 1 + max(map(abs, settings.rolling_lags), default=0)


def _since(symbols: list[str], told: pl.DataFrame, untold: list[str]) -> pl.DataFrame:
    """From when on each symbol's daily series may have changed (symbol, lo, hi), the last being for ever."""
    told = told.select("symbol", lo=pl.when(pl.col("lo") > _BEGINNING + _DAY).then(pl.col("lo") - _DAY))
    whole = pl.DataFrame({"symbol": untold}, schema={"symbol": pl.String}).with_columns(lo=pl.lit(None, UTC_US))
    each = pl.concat([told, whole]).with_columns(pl.col("lo").fill_null(pl.lit(_BEGINNING, UTC_US)))
    earliest = each.filter(pl.col("symbol").is_in(symbols)).group_by("symbol").agg(pl.col("lo").min())
    return earliest.with_columns(hi=pl.lit(_END, UTC_US)).sort("symbol")


def _daily_scores(batch: Batch, symbols: list[str], scores: Series) -> pl.DataFrame:
    """Daily sentiment of the symbols as it will be stored: computed where it changed, else as it is."""
    columns = ("symbol", "session", "mean_score", "count")
    unchanged = batch.store.whole("sentiment_1d", [s for s in symbols if s not in scores.changed], columns)
    return pl.concat([unchanged, scores.bars.select(columns)]) if scores.changed else unchanged
