"""One refresh transaction: what was claimed is read, computed, compared with what is stored, and written."""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from flows import derive
from flows.batch import KEY, Batch, Revised, outside
from flows.derive import Market, Prices
from flows.graph import market_datasets
from flows.plan import PRICES, leftover, plan_windows
from flows.recompute_correlation import correlations
from flows.recompute_indicators import indicators
from flows.recompute_sentiment import sentiment
from storage.market.derived import Claim, DerivedStore
from storage.market.retention import Frozen
from transforms.equal import Scale
from transforms.schema import BARS, OHLCV, UTC_US, Interval
from transforms.sessions import days_of

_EXACT_BARS: Mapping[str, Scale] = dict.fromkeys(("session", *OHLCV))
_OPEN = {"symbol": pl.String(), "starts_at": UTC_US, "due_at": UTC_US, "dataset": pl.String()}
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


def recompute(store: DerivedStore, claim: Claim, market: Market, as_of: datetime, frozen: Frozen) -> Batch:
    """Bring the derived rows of the claimed symbols to what their raw rows say at `as_of`, and consume the claim."""
    batch = compute(store, claim, market, as_of, frozen)
    listed_anew = _of_messages_alone(batch)
    for changes in batch.changes:
        claim.write(changes)
    nearest = pl.concat(batch.open) if batch.open else pl.DataFrame(schema=_OPEN)
    claim.finish(leftover(claim.windows, nearest))
    if changed := batch.changed:
        unknown = claim.publish(sorted(changed), as_of)
        reached = market_datasets({changes.table for changes in batch.changes}, market.settings.intervals)
        claim.mark_market(as_of, reached | ({"quotes"} if unknown or listed_anew else set()))
    return batch


def _of_messages_alone(batch: Batch) -> bool:
    """Whether messages changed of a symbol that has no quote: it may be the catalogue's by its first, or no more."""
    told = {s for changes in batch.changes if changes.table.startswith("sentiment_") for s in changes.symbols}
    return bool(told) and bool(told - {*batch.store.whole("quotes", sorted(told), ("symbol",))["symbol"]})


def compute(store: DerivedStore, claim: Claim, market: Market, as_of: datetime, frozen: Frozen) -> Batch:
    """What the claimed windows reach and how its rows differ from those that are stored; nothing is written.

    Sessions whose raw rows have expired (`frozen`) are left as they are.
    """
    sessions = market.sessions.collect()
    adjusted = store.vendor_adjusted(claim.symbols)
    restated = _restated(store, claim.windows, adjusted)
    plan = plan_windows(claim.windows, sessions, adjusted, restated, market.sentiment_rules).without(frozen)
    batch = Batch(store, claim, plan, market, as_of)

    batch.factors, readjusted = _factors(batch)
    coarsest = _prices(batch, adjusted, readjusted)
    scores = sentiment(batch)
    correlations(batch, coarsest, readjusted, scores)
    batch.changes = [changes for changes in batch.changes if len(changes)]
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


def _prices(batch: Batch, adjusted: pl.DataFrame, readjusted: list[str]) -> Revised:
    """Bars, indicators and quotes; returns what became of the coarsest bars that are kept."""
    spans = batch.plan.price_spans()
    bar_set = _bars(batch, spans, adjusted)
    again = sorted({*readjusted, *batch.plan.again("indicators")})
    computed = {interval: _tables(interval, bar_set) for interval in batch.market.settings.intervals}
    tables = [table for each in computed.values() for table in each]
    stored = batch.store.inside(dict.fromkeys(tables, spans), BARS.names())
    revised = {interval: _store_bars(batch, interval, computed[interval], stored, spans) for interval in computed}
    coarse: dict[Interval, Revised] = {i: bars for i, bars in revised.items() if i != "1m"}
    if coarse:
        indicators(batch, coarse, again)
    bars = revised[batch.market.settings.intervals[-1]]
    _quotes(batch, bar_set, bars, readjusted)
    return bars


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
    near = batch.market if spans.is_empty() else batch.market.near(spans)
    bar_set = derive.bars(prices, near, batch.as_of)
    batch.is_open(bar_set.open, *PRICES)
    return bar_set


def _tables(interval: Interval, bar_set: derive.BarSet) -> dict[str, pl.DataFrame]:
    """The tables that hold the bars of an interval, and what was computed for each."""
    if interval == "1m":
        return {"bars_1m": bar_set.rollups["1m"]}
    return {f"bars_{interval}_rollup": bar_set.rollups[interval], f"bars_{interval}_fill": bar_set.fills[interval]}


def _store_bars(
    batch: Batch,
    interval: Interval,
    computed: Mapping[str, pl.DataFrame],
    stored: Mapping[str, pl.DataFrame],
    spans: pl.DataFrame,
) -> Revised:
    """Compare one interval's bars with the stored ones."""
    changes = [batch.compare(table, rows, stored[table], KEY, _EXACT_BARS) for table, rows in computed.items()]
    return Revised(
        table=f"bars_{interval}",
        spans=spans,
        computed=pl.concat(computed.values()),
        touched=pl.concat([rows.select(KEY) for each in changes for rows in (each.upserts, each.deletes)]),
        held=pl.concat([stored[table].select("symbol") for table in computed]).group_by("symbol").agg(count=pl.len()),
    )


def _quotes(batch: Batch, bar_set: derive.BarSet, coarsest: Revised, readjusted: list[str]) -> None:
    """Quotes from the minutes, and from the `coarsest` bars kept, which are those of days unless these are not."""
    spans = coarsest.spans
    symbols = sorted({*coarsest.symbols, *readjusted, *spans["symbol"]})
    if not symbols:
        return
    stored = batch.store.whole("quotes", symbols, ("symbol", *_QUOTE_COLUMNS))
    daily = _newest_days(batch, coarsest, symbols)
    kept = outside(stored, spans)
    minutes = pl.concat([bar_set.minutes, _minutes_before(batch, bar_set, daily, kept, spans)])
    computed = derive.quotes(minutes, daily, kept, batch.factors)
    batch.compare("quotes", computed, stored, ("symbol",), dict.fromkeys(_QUOTE_COLUMNS))


def _newest_days(batch: Batch, coarsest: Revised, symbols: list[str]) -> pl.DataFrame:
    """The 1d bars of each symbol that a quote can be made of, in order: at least the newest two."""
    if coarsest.table != "bars_1d":
        return derive.days(coarsest.whole(batch.store, symbols, BARS.names()), batch.market, batch.as_of)
    counts = (
        pl.DataFrame({"symbol": symbols})
        .join(coarsest.held, on="symbol", how="left")
        .select("symbol", count=pl.col("count").fill_null(0) + 2)
    )
    stored = batch.store.newest(coarsest.table, counts, BARS.names())
    mine = coarsest.computed.filter(pl.col("symbol").is_in(symbols))
    return pl.concat([outside(stored, coarsest.spans), mine]).sort(KEY)


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
