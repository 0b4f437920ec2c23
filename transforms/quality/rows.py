"""Rules that look at a row, or at a row and the one before: what is missing, out of order, impossible or repeated."""

import polars as pl

from transforms.quality.report import Faults, edits, findings
from transforms.quality.series import KEY, Rules, filled
from transforms.schema import OHLC, OHLCV

_ROW_KEY = (*KEY, "granularity", "timestamp")


def order(bars: pl.DataFrame) -> Faults:
    """`newest_first`, `unsorted`: series whose rows are not in the order of time. No value is wrong by it."""
    back = (pl.col("timestamp") < pl.col("timestamp").shift(1)).over(KEY)
    on = (pl.col("timestamp") > pl.col("timestamp").shift(1)).over(KEY)
    series = (
        filled(bars)
        .with_columns(_back=back, _on=on)
        .group_by(KEY, maintain_order=True)
        .agg(
            start=pl.col("timestamp").min(),
            end=pl.col("timestamp").max(),
            rows=pl.len(),
            back=pl.col("_back").sum(),
            on=pl.col("_on").sum(),
        )
        .filter(pl.col("back") > 0)
    )
    newest = pl.col("on") == 0
    told = series.with_columns(
        rule=pl.when(newest).then(pl.lit("newest_first")).otherwise(pl.lit("unsorted")),
        reason=pl.format("{} of {} rows are older than the row above; ingest sorts them", "back", "rows"),
        confidence=1.0,
    )
    return Faults(findings(told))


def duplicates(bars: pl.DataFrame) -> Faults:
    """`duplicate_timestamp`: more than one row of a series with one timestamp; of these the last counts."""
    groups = (
        filled(bars)
        .group_by(_ROW_KEY, maintain_order=True)
        .agg(rows=pl.len(), kinds=pl.struct(OHLCV).n_unique())
        .filter((pl.col("rows") > 1) & pl.col("timestamp").is_not_null())
    )
    told = groups.with_columns(
        start="timestamp",
        end="timestamp",
        rule=pl.lit("duplicate_timestamp"),
        reason=pl.format("{} rows of one time, {} of them different", "rows", "kinds"),
        confidence=1.0,
    )
    return Faults(findings(told))


def values(series: pl.DataFrame, rules: Rules) -> Faults:
    """`null_value`, `non_positive_price`, `ohlc_order`: rows that contradict themselves.

    A price outside low and high is met by moving the low or the high to it: the least change that makes a bar.
    """
    top, bottom = pl.max_horizontal(OHLC), pl.min_horizontal(OHLC)
    slack = 1 + rules.ohlc_tolerance
    absent = pl.col("timestamp").is_null() | pl.any_horizontal(_blank(c) for c in OHLCV)
    impossible = ~absent & ~pl.col("whole")
    outside = pl.col("whole") & ((top > pl.col("high") * slack) | (bottom * slack < pl.col("low")))
    prices = pl.format("open {} high {} low {} close {}", *(_short(pl.col(c)) for c in OHLC))
    told = (
        series.with_columns(
            rule=pl.when(absent)
            .then(pl.lit("null_value"))
            .when(impossible)
            .then(pl.lit("non_positive_price"))
            .when(outside)
            .then(pl.lit("ohlc_order")),
            reason=pl.when(absent)
            .then(pl.format("no value for {}", _names_of_nulls()))
            .when(impossible)
            .then(pl.format("{} is no set of prices", prices))
            .otherwise(pl.format("{}: a price lies outside low and high", prices)),
            high=pl.when(outside).then(top / pl.col("high")),
            low=pl.when(outside).then(bottom / pl.col("low")),
        )
        .drop_nulls("rule")
        .with_columns(start="timestamp", end="timestamp", rows=1, confidence=1.0)
        .with_row_index("finding")
    )
    widened = edits(told.filter(pl.col("rule") == "ohlc_order"), ["high", "low"])
    return Faults(findings(told), widened)


def volumes(series: pl.DataFrame, rules: Rules) -> Faults:
    """`zero_volume_move`, `repeated_row`, `carried_forward`: rows that say nothing new, or move without a trade.

    A series that never has volume (an index) is not asked for it. Equal prices and an equal volume above 0 do not
    happen twice where anything moves; without volume a vendor carries the last price forward, which is no fault.
    """
    same = pl.all_horizontal((pl.col(c) == pl.col(c).shift(1)).over(KEY) for c in OHLCV).fill_null(value=False)
    before = pl.col("close").shift(1).over(KEY)
    has_volume = ((pl.col("volume") == 0).mean() < 0.5).over(KEY)
    moved = (pl.col("high") > pl.col("low")) | (pl.col("close") != before)
    rule = (
        pl.when(same & (pl.col("volume") > 0))
        .then(pl.lit("repeated_row"))
        .when(same)
        .then(pl.lit("carried_forward"))
        .when((pl.col("volume") == 0) & moved & has_volume)
        .then(pl.lit("zero_volume_move"))
    )
    marked = series.filter("whole").with_columns(rule=rule, _before=before, _flat=pl.col("high") == pl.col("low"))
    runs = (
        marked.with_columns(_run=pl.col("rule").rle_id().over(KEY))
        .drop_nulls("rule")
        .group_by(*KEY, "_run", "rule", maintain_order=True)
        .agg(
            start=pl.col("timestamp").first(),
            end=pl.col("timestamp").last(),
            rows=pl.len(),
            close=pl.col("close").first(),
            last=pl.col("close").last(),
            before=pl.col("_before").first(),
            volume=pl.col("volume").first(),
            flat=pl.col("_flat").first(),
        )
        .filter((pl.col("rule") != "carried_forward") | (pl.col("rows") >= rules.carried_rows))
    )
    return Faults(findings(runs.pipe(_volume_reasons)))


def _volume_reasons(runs: pl.DataFrame) -> pl.DataFrame:
    repeated, carried = (pl.col("rule") == name for name in ("repeated_row", "carried_forward"))
    return runs.with_columns(
        reason=pl.when(repeated)
        .then(pl.format("all prices and the volume of {} as in the row before", _short(pl.col("volume"))))
        .when(carried)
        .then(pl.format("{} repeated for {} rows without volume", _short(pl.col("close")), "rows"))
        .otherwise(
            pl.format("volume 0, but the price moves: {} after {}", _short(pl.col("last")), _short(pl.col("before")))
        ),
        confidence=pl.when(repeated & ~pl.col("flat"))
        .then(0.9)
        .when(repeated)
        .then(pl.when(pl.col("rows") > 2).then(0.9).otherwise(0.4))
        .when(carried)
        .then(0.1)
        .otherwise(0.3),
    )


def _short(number: pl.Expr) -> pl.Expr:
    return number.round_sig_figs(6)


def _blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | pl.col(column).is_nan()


def _names_of_nulls() -> pl.Expr:
    untimed = pl.when(pl.col("timestamp").is_null()).then(pl.lit("timestamp"))
    names = [untimed, *(pl.when(_blank(c)).then(pl.lit(c)) for c in OHLCV)]
    return pl.concat_str(names, separator=", ", ignore_nulls=True)
