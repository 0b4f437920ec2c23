"""Rows of two units: one or two of their prices are a currency's unit away from the rest."""

import math
from typing import Final

import polars as pl

from transforms.quality.report import Faults, edits, findings
from transforms.quality.series import KEY, Rules
from transforms.schema import OHLC

LOGS: Final = tuple(f"x_{c}" for c in OHLC)
UNIT_SLACK: Final = 0.3
"""Log distance from a unit's factor that a row's own range, or the move of a day, may make."""


def with_sides(whole: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Add `side`, the log price of a row without fields in another unit, and `off_open` … `off_close`, their errors.

    A row is of two units if its high and low are one apart; right is the side nearer to the row before it.
    """
    high, low = pl.max_horizontal(LOGS), pl.min_horizontal(LOGS)
    units = [math.log(unit) for unit in rules.units]
    unit = pl.coalesce(pl.when((high - low - log).abs() < UNIT_SLACK).then(log) for log in units)
    middle = pl.when(unit.is_null()).then(pl.concat_list(LOGS).list.median())
    nearby = pl.coalesce(pl.col("middle").forward_fill(), pl.col("middle").backward_fill()).over(KEY)
    upper = (high - nearby).abs() < (low - nearby).abs()
    side = pl.coalesce("middle", pl.when(upper).then(high).otherwise(low))
    sided = whole.with_columns(unit=unit, middle=middle).with_columns(side=side).drop("middle")
    away = [pl.col(log) - pl.col("side") for log in LOGS]
    off = [pl.when(x.abs() > pl.col("unit") / 2).then(x.sign() * pl.col("unit")).otherwise(0.0) for x in away]
    return sided.with_columns(e.alias(f"off_{c}") for c, e in zip(OHLC, off, strict=True))


def mixed_fields(moves: pl.DataFrame) -> Faults:
    """`currency_unit_field`: single prices of a row in another unit than the rest of it, as its neighbours show."""
    rows = moves.filter(pl.any_horizontal(pl.col(f"off_{c}") != 0 for c in OHLC)).with_row_index("finding")
    wrong = [pl.when(pl.col(f"off_{c}") != 0).then(pl.format(c + " {}", pl.col(c).round_sig_figs(6))) for c in OHLC]
    told = rows.with_columns(
        rule=pl.lit("currency_unit_field"),
        start="timestamp",
        end="timestamp",
        rows=1,
        confidence=0.95,
        reason=pl.format(
            "{} against {} in the rest of the row and the rows around",
            pl.concat_str(wrong, separator=", ", ignore_nulls=True),
            (pl.col("side").exp() / pl.col("fold")).round_sig_figs(6),
        ),
    )
    factors = [(-pl.col(f"off_{c}")).exp().round_sig_figs(12).alias(c) for c in OHLC]
    return Faults(findings(told), edits(told.select("finding", *KEY, "start", "end", *factors), OHLC))
