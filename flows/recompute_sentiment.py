"""The part of a refresh that is about sentiment: buckets by hour and by session."""

from collections.abc import Mapping

import polars as pl

from flows import derive
from flows.batch import KEY, Batch, Series, within
from flows.plan import SCORES, Plan
from transforms.equal import Scale, changed_rows

_SENTIMENT_SCALES: Mapping[str, Scale] = {
    "session": None,
    "count": None,
    "mean_score": 1.0,
    "weighted_score": 1.0,
    "mean_confidence": 1.0,
    "std_score": 1.0,
    "positive_share": 1.0,
    "negative_share": 1.0,
}
_DAILY_SCALES: Mapping[str, Scale] = {**_SENTIMENT_SCALES, "momentum": 1.0}


def sentiment(batch: Batch) -> Series:
    """Sentiment buckets; the whole daily series of the symbols whose daily sentiment changed."""
    spans = batch.plan.sentiment_spans()
    if spans.is_empty():
        return Series(pl.DataFrame(), [])
    computed, still_open = derive.sentiment(batch.store.raw("sentiment_data", spans), batch.market, batch.as_of)
    batch.is_open(still_open, *SCORES)
    columns = (*KEY, *_SENTIMENT_SCALES)
    hours = batch.plan.hour_spans()
    stored = batch.store.stored("sentiment_1h", hours, columns)
    mine = within(computed["1h"].select(columns), hours)
    batch.compare("sentiment_1h", mine, stored, KEY, _SENTIMENT_SCALES)
    return _daily(batch, _counted(batch.plan, computed["1d"].select(columns)))


def _daily(batch: Batch, computed: pl.DataFrame) -> Series:
    """Compare the sessions that were counted again, then the momentum of those from the first changed one on."""
    stored = batch.store.stored("sentiment_1d", batch.plan.label_spans(), computed.columns)
    stored = _counted(batch.plan, stored)
    fresh = changed_rows(computed.lazy(), stored.lazy(), KEY, _SENTIMENT_SCALES).collect()
    touched = pl.concat([fresh.select(KEY), stored.join(computed, on=KEY, how="anti").select(KEY)])
    again = computed.filter(pl.col("symbol").is_in(batch.plan.again("scores")))  # its momentum may be another
    touched = pl.concat([touched, again.select(KEY)]).unique()
    since = touched.group_by("symbol").agg(lo=pl.col("timestamp").min())
    if since.is_empty():
        return Series(pl.DataFrame(), [])
    symbols = since["symbol"].sort().to_list()
    before = batch.store.whole("sentiment_1d", symbols, (*KEY, *_DAILY_SCALES))
    kept = before.drop("momentum").join(touched, on=KEY, how="anti")
    mine = computed.join(touched, on=KEY, how="semi")
    after = derive.with_momentum(pl.concat([kept, mine]), batch.market).select(before.columns)
    batch.compare("sentiment_1d", _from(after, since), _from(before, since), KEY, _DAILY_SCALES)
    return Series(after, symbols, since)


def _counted(plan: Plan, buckets: pl.DataFrame) -> pl.DataFrame:
    """Only the sessions that were planned: of those beside them not all messages were read."""
    return buckets.join(plan.sentiment.select("symbol", "session"), on=["symbol", "session"], how="semi")


def _from(rows: pl.DataFrame, since: pl.DataFrame) -> pl.DataFrame:
    """Each symbol's rows from its moment on; its momentum before it cannot have changed."""
    return rows.join(since, on="symbol").filter(pl.col("timestamp") >= pl.col("lo")).drop("lo")
