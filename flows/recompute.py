"""One refresh transaction: what was claimed is read, computed, compared with what is stored, and written."""

from collections.abc import Mapping
from datetime import UTC, datetime

import polars as pl

from flows import derive
from flows.batch import KEY, Batch, Series, outside
from flows.derive import Market, Prices
from flows.plan import leftover, plan_windows
from flows.recompute_correlation import correlations
from flows.recompute_sentiment import sentiment
from storage.market.derived import Claim, DerivedStore, MarketDataset
from transforms import catalogue
from transforms.adjust import split_adjust
from transforms.equal import Scale
from transforms.schema import BARS, OHLCV, UTC_US, Interval
from transforms.sessions import days_of

_EXACT_BARS: Mapping[str, Scale] = dict.fromkeys(("session", *OHLCV))
_MARKET_WIDE: Mapping[str, MarketDataset] = {
    "quotes": "quotes",
    "correlations": "correlations",
    "bars_1d_rollup": "returns",
    "bars_1d_fill": "returns",
    "adjustment_factors": "returns",
}
"""Which of the market's windows a change of a table opens; a symbol never published before opens that of quotes."""
_OPEN = {"symbol": pl.String(), "starts_at": UTC_US, "due_at": UTC_US, "dataset": pl.String()}
_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
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


def recompute(store: DerivedStore, claim: Claim, market: Market, as_of: datetime) -> Batch:
    """Bring the derived rows of the claimed symbols to what their raw rows say at `as_of`, and consume the claim."""
    sessions = market.sessions.collect()
    adjusted = store.vendor_adjusted(claim.symbols)
    restated = _restated(store, claim.windows, adjusted)
    plan = plan_windows(claim.windows, sessions, adjusted, restated, market.sentiment_rules)
    batch = Batch(store, claim, plan, market, as_of)

    factors, readjusted = _factors(batch)
    closes = _prices(batch, adjusted, factors, readjusted)
    scores = sentiment(batch)
    correlations(batch, closes, scores)

    for changes in batch.changes:
        claim.write(changes)
    nearest = pl.concat(batch.open) if batch.open else pl.DataFrame(schema=_OPEN)
    claim.finish(leftover(claim.windows, nearest))
    if batch.changed:
        unknown = claim.publish(sorted(batch.changed), as_of)
        reached = {_MARKET_WIDE[changes.table] for changes in batch.changes if changes.table in _MARKET_WIDE}
        claim.mark_market(as_of, reached | ({"quotes"} if unknown else set()))
    return batch


def _restated(store: DerivedStore, windows: pl.DataFrame, adjusted: pl.DataFrame) -> list[str]:
    """Symbols of which a vendor's adjusted series now ends beyond a split it ended before, or the other way round."""
    bars = windows.filter(pl.col("dataset") == "bars").join(adjusted, on="symbol", how="semi")
    return [] if bars.is_empty() else store.crossing_splits(bars)


def _factors(batch: Batch) -> tuple[pl.DataFrame, list[str]]:
    """Adjustment factors of the batch's symbols, and the symbols whose factors changed."""
    stored = batch.store.factors(batch.plan.symbols)
    if not batch.plan.actions:
        return stored, []
    actions = batch.store.actions(batch.plan.actions)
    computed, coming = derive.factors(actions, batch.market, batch.as_of)
    of_changed = pl.col("symbol").is_in(batch.plan.actions)
    scales: Mapping[str, Scale] = {"to_date": None, "price": None, "volume": None}
    changes = batch.compare("adjustment_factors", computed, stored.filter(of_changed), ("symbol", "from_date"), scales)
    batch.is_open(coming, "actions")
    return pl.concat([stored.filter(~of_changed), computed]), sorted(changes.symbols)


def _prices(batch: Batch, adjusted: pl.DataFrame, factors: pl.DataFrame, readjusted: list[str]) -> Series:
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
    since = series.since.filter(~pl.col("symbol").is_in(readjusted))
    return Series(split_adjust(series.bars.lazy(), derive.as_factors(factors)).collect(), series.changed, since)


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
    return Series(pl.concat([outside(before, spans), computed]).sort(KEY), changed, since)


def _indicators(batch: Batch, interval: Interval, series: Series, factors: pl.DataFrame, readjusted: list[str]) -> None:
    """Indicators from the first changed bar on: none of them looks ahead, so what lies before stands.

    By the kernels, however few the rows: values must not depend on which symbols a batch happens to hold.
    """
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
        catalogue.compute(adjusted, chosen, keep=("close", "volume"), engine="compiled")
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
    kept = outside(stored, spans)
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
    return outside(batch.store.stored("bars_1m", wanted, BARS.names()), spans).sort(KEY)
