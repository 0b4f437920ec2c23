"""One refresh transaction: what was claimed is read, computed, compared with what is stored, and written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from flows import derive
from flows.derive import Market, Prices
from flows.plan import Plan, leftover, plan_windows
from storage.market.derived import Changes, Claim, DerivedStore
from transforms import catalogue, correlation
from transforms.adjust import split_adjust
from transforms.equal import Scale, changed_rows
from transforms.schema import BARS, OHLCV, UTC_US, Interval
from transforms.sessions import days_of

KEY = ("symbol", "timestamp")
_EXACT_BARS: Mapping[str, Scale] = dict.fromkeys(("session", *OHLCV))
_OPEN = {"symbol": pl.String(), "starts_at": UTC_US, "due_at": UTC_US, "dataset": pl.String()}
_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
_SENTIMENT_SCALES: Mapping[str, Scale] = {
    "session": None,
    "count": None,
    "mean_score": 1.0,
    "mean_confidence": 1.0,
    "std_score": 1.0,
}
_CORRELATION_KEY = ("symbol", "x", "y", "session", "window_sessions", "lag", "method")
_QUOTE_COLUMNS = (
    "session",
    "timestamp",
    "last",
    "open",
    "high",
    "low",
    "volume",
    "previous_close",
    "change",
    "change_pct",
)


@dataclass(slots=True)
class Batch:
    """A claim, what it reaches, and the changes found so far."""

    store: DerivedStore
    claim: Claim
    plan: Plan
    market: Market
    as_of: datetime
    changes: list[Changes] = field(default_factory=list)
    open: list[pl.DataFrame] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)

    def compare(
        self,
        table: str,
        computed: pl.DataFrame,
        stored: pl.DataFrame,
        key: Sequence[str],
        scales: Mapping[str, Scale],
    ) -> Changes:
        """Note what has to be written so that `stored` equals `computed`."""
        self.claim.keep_alive()
        upserts = computed  # the first time there is nothing to compare with
        if not stored.is_empty():
            upserts = changed_rows(computed.lazy(), stored.lazy(), key, scales).collect()
        gone = stored.join(computed, on=key, how="anti").select(key)
        replaced = stored.join(upserts, on=key, how="semi").select(key)
        changes = Changes(
            table, upserts.select(*key, *(c for c in scales if c not in key)), pl.concat([gone, replaced])
        )
        if len(changes):
            self.changes.append(changes)
            self.changed |= changes.symbols
        return changes

    def is_open(self, nearest: pl.DataFrame, *datasets: str) -> None:
        """Note buckets that time has yet to close (symbol, starts_at, due_at)."""
        self.open += [nearest.with_columns(dataset=pl.lit(dataset)) for dataset in datasets]


def recompute(store: DerivedStore, claim: Claim, market: Market, as_of: datetime) -> Batch:
    """Bring the derived rows of the claimed symbols to what their raw rows say at `as_of`, and consume the claim."""
    sessions = market.sessions.collect()
    adjusted = store.vendor_adjusted(claim.symbols)
    plan = plan_windows(claim.windows, sessions, adjusted, _restated(store, claim.windows, adjusted))
    batch = Batch(store, claim, plan, market, as_of)

    factors, readjusted = _factors(batch)
    closes = _prices(batch, adjusted, factors, readjusted)
    scores = _sentiment(batch)
    _correlations(batch, closes, scores)

    for changes in batch.changes:
        claim.write(changes)
    nearest = pl.concat(batch.open) if batch.open else pl.DataFrame(schema=_OPEN)
    claim.finish(leftover(claim.windows, nearest))
    if batch.changed:
        claim.publish(sorted(batch.changed), as_of)
        claim.mark_market(as_of)
    return batch


def _restated(store: DerivedStore, windows: pl.DataFrame, adjusted: pl.DataFrame) -> list[str]:
    """Symbols of which a vendor's adjusted series now ends beyond a split it ended before, or the other way round."""
    bars = windows.filter(pl.col("dataset") == "bars").join(adjusted, on="symbol", how="semi")
    return [] if bars.is_empty() else store.crossing_splits(bars)


def _factors(batch: Batch) -> tuple[pl.DataFrame, list[str]]:
    """Adjustment factors of the batch's symbols, and the symbols whose factors changed."""
    columns = ("symbol", "from_date", "to_date", "price", "volume")
    stored = batch.store.whole("adjustment_factors", batch.plan.symbols, columns)
    if not batch.plan.actions:
        return stored, []
    actions = batch.store.actions(batch.plan.actions)
    computed, coming = derive.factors(actions, batch.market, batch.as_of)
    of_changed = pl.col("symbol").is_in(batch.plan.actions)
    scales: Mapping[str, Scale] = {"to_date": None, "price": None, "volume": None}
    changes = batch.compare("adjustment_factors", computed, stored.filter(of_changed), ("symbol", "from_date"), scales)
    batch.is_open(coming, "actions")
    return pl.concat([stored.filter(~of_changed), computed]), sorted(changes.symbols)


def _prices(batch: Batch, adjusted: pl.DataFrame, factors: pl.DataFrame, readjusted: list[str]) -> "Series":
    """Bars, indicators and quotes; returns what became of the daily bars."""
    spans = batch.plan.price_spans()
    bar_set = _bars(batch, spans, adjusted)
    intervals = batch.market.settings.intervals
    for interval in intervals:
        series = _store_bars(batch, interval, spans, bar_set, readjusted)
        if interval != "1m":
            _indicators(batch, interval, series, factors, readjusted)
    _quotes(batch, bar_set, series, factors, spans)
    if intervals[-1] != "1d":
        return Series(pl.DataFrame(schema=BARS), [])
    return Series(split_adjust(series.bars.lazy(), derive.as_factors(factors)).collect(), series.changed)


@dataclass(frozen=True, slots=True)
class Series:
    """The whole series of the symbols that changed, and since when each did."""

    bars: pl.DataFrame
    changed: list[str]
    since: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"symbol": pl.String(), "lo": UTC_US}))


def _bars(batch: Batch, spans: pl.DataFrame, adjusted: pl.DataFrame) -> derive.BarSet:
    store = batch.store
    rows = store.raw("stock_data", spans)
    split_symbols = rows.filter(pl.col("price_basis") == "split")["symbol"].unique().to_list()
    actions = store.actions(split_symbols)
    prices = Prices(
        ticks=store.raw("stock_ticks", spans),
        rows=derive.raw_prices(rows, actions, adjusted, batch.market),
        coverage=store.coverage(batch.plan.symbols, "ticks"),
    )
    bar_set = derive.bars(prices, batch.market, batch.as_of)
    batch.is_open(bar_set.open, "ticks", "bars")
    return bar_set


def _store_bars(
    batch: Batch, interval: Interval, spans: pl.DataFrame, bar_set: derive.BarSet, readjusted: list[str]
) -> Series:
    """Compare one interval's bars with the stored ones; the whole series of every symbol whose bars changed.

    Of minutes it is only wanted where nothing coarser is kept.
    """
    tables = (
        {"bars_1m": bar_set.rollups["1m"]}
        if interval == "1m"
        else {
            f"bars_{interval}_rollup": bar_set.rollups[interval],
            f"bars_{interval}_fill": bar_set.fills[interval],
        }
    )
    touched: list[pl.DataFrame] = []
    for table, computed in tables.items():
        stored = batch.store.stored(table, spans, BARS.names())
        changes = batch.compare(table, computed, stored, KEY, _EXACT_BARS)
        touched += [changes.upserts.select(KEY), changes.deletes.select(KEY)]
    since = pl.concat(touched).group_by("symbol").agg(lo=pl.col("timestamp").min())
    changed = sorted({*since["symbol"], *readjusted})
    if not changed or (interval == "1m" and len(bar_set.rollups) > 1):
        return Series(pl.DataFrame(schema=BARS), [])
    computed = pl.concat([frame.filter(pl.col("symbol").is_in(changed)) for frame in tables.values()])
    before = batch.store.whole(f"bars_{interval}", changed, BARS.names())
    outside = _outside(before, spans)
    return Series(pl.concat([outside, computed]).sort(KEY), changed, since)


def _within(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Rows that lie in one of the (disjoint) spans."""
    return _marked(rows, spans).filter("inside").select(rows.columns)


def _outside(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Rows that lie in none of the (disjoint) spans."""
    return _marked(rows, spans).filter(~pl.col("inside")).select(rows.columns)


def _marked(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    starts = spans.sort("symbol", "lo").with_columns(timestamp="lo")
    found = rows.sort(KEY).join_asof(starts, on="timestamp", by="symbol", check_sortedness=False)
    return found.with_columns(inside=(pl.col("timestamp") < pl.col("hi")).fill_null(value=False))


def _indicators(batch: Batch, interval: Interval, series: Series, factors: pl.DataFrame, readjusted: list[str]) -> None:
    """Indicators from the first changed bar on: none of them looks ahead, so what lies before stands."""
    if not series.changed:
        return
    chosen = batch.market.settings.indicators
    scales: dict[str, Scale] = {column.name: column.scale for column in catalogue.columns_of(chosen)}
    whole = pl.DataFrame({"symbol": readjusted}, schema={"symbol": pl.String})
    since = pl.concat(
        [
            series.since.filter(~pl.col("symbol").is_in(readjusted)),
            whole.with_columns(lo=pl.lit(datetime(1, 1, 1, tzinfo=UTC), dtype=UTC_US)),
        ]
    )
    adjusted = split_adjust(series.bars.lazy(), derive.as_factors(factors))
    values = (
        catalogue.compute(adjusted, chosen, keep=("close", "volume"))
        .join(since.lazy(), on="symbol")
        .filter(pl.col("timestamp") >= pl.col("lo"))
        .drop("lo")
        .collect()
    )
    table = f"indicators_{interval}"
    spans = since.with_columns(hi=pl.lit(_FOREVER, dtype=UTC_US))
    stored = batch.store.stored(table, spans, (*KEY, "session", *scales))
    batch.compare(table, values, stored, KEY, {"session": None, **scales})


def _quotes(batch: Batch, bar_set: derive.BarSet, coarsest: Series, factors: pl.DataFrame, spans: pl.DataFrame) -> None:
    """Quotes from the minutes, and from the `coarsest` bars kept, which are those of days unless these are not."""
    symbols = sorted({*coarsest.changed, *spans["symbol"]})
    if not symbols:
        return
    interval = batch.market.settings.intervals[-1]
    stored = batch.store.whole("quotes", symbols, ("symbol", *_QUOTE_COLUMNS))
    unchanged = batch.store.whole(f"bars_{interval}", sorted({*symbols} - {*coarsest.changed}), BARS.names())
    daily = pl.concat([coarsest.bars, unchanged]).sort(KEY)
    if interval != "1d":
        daily = derive.days(daily, batch.market, batch.as_of)
    kept = _outside(stored, spans)
    minutes = pl.concat([bar_set.minutes, _minutes_before(batch, bar_set, daily, kept, spans)])
    computed = derive.quotes(minutes, daily, kept, factors)
    batch.compare("quotes", computed, stored, ("symbol",), dict.fromkeys(_QUOTE_COLUMNS))


def _minutes_before(
    batch: Batch, bar_set: derive.BarSet, daily: pl.DataFrame, kept: pl.DataFrame, spans: pl.DataFrame
) -> pl.DataFrame:
    """Stored minutes of the newest day of each symbol that has none as new among those computed and no kept quote."""
    known = pl.concat([frame.select("symbol", "session") for frame in (bar_set.minutes, kept)])
    newest = daily.group_by("symbol").agg(pl.col("session").max())
    behind = (
        newest.join(known, on="symbol", how="left", suffix="_known")
        .group_by("symbol", "session")
        .agg(pl.col("session_known").max())
        .filter((pl.col("session") > pl.col("session_known")).fill_null(value=True))
    )
    days = days_of(batch.market.sessions).select("session", lo="_day_start", hi="_day_end").collect()
    wanted = behind.join(days, on="session").select("symbol", "lo", "hi")
    return _outside(batch.store.stored("bars_1m", wanted, BARS.names()), spans).sort(KEY)


def _sentiment(batch: Batch) -> Series:
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
    return _within(buckets, plan.hour_spans())


def _daily_scores(batch: Batch, symbols: list[str], changes: Changes | None) -> pl.DataFrame:
    """Daily sentiment of symbols as it will be stored once `changes` are written."""
    columns = (*KEY, *_SENTIMENT_SCALES)
    stored = batch.store.whole("sentiment_1d", symbols, columns)
    if changes is None:
        return stored
    kept = stored.join(changes.deletes, on=KEY, how="anti")
    return pl.concat([kept, changes.upserts.filter(pl.col("symbol").is_in(symbols)).select(columns)])


def _correlations(batch: Batch, closes: Series, scores: Series) -> None:
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
