"""Dividends as three witnesses tell them: the amount, the step of the adjusted close, the move of the price."""

import math
from typing import Final

import polars as pl

from transforms.quality.evidence import spread, surprise
from transforms.quality.series import KEY, Rules

_IMPOSSIBLE: Final = -50.0
_SAME_AMOUNT: Final = math.log(1.5)


def stepped(moves: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Rows with `step`: 1 - (adjusted close / close of the row before) / (adjusted close / close), levels taken out."""
    fold = pl.col("fold") * pl.when("applied").then((-pl.col("level")).exp()).otherwise(1.0)
    error = pl.when("applied").then(0.0).otherwise(pl.col("level")) + pl.col("off_close")
    stepped = moves.with_columns(fold=fold, error=error)
    close = (pl.col("close") * pl.col("fold")).log()
    own = pl.col("adjusted_close").log() - close
    # where the close is wrong the adjusted close need not be: whichever is nearer to the rest counts
    bare = own + pl.col("error")
    typical = own.median().over(KEY)
    factor = pl.when((own - typical).abs() <= (bare - typical).abs()).then(own).otherwise(bare)
    stepped = stepped.with_columns(factor=factor, right=(close - pl.col("error")).exp())
    step = 1 - (pl.col("factor").shift(1) - pl.col("factor")).exp()
    return stepped.with_columns(
        step=step.over(KEY),
        step_next=step.shift(-1).over(KEY),
        before=pl.col("right").shift(1).over(KEY),
        fold_before=pl.col("fold").shift(1).over(KEY),
        plain=pl.col("right").log().diff().over(KEY),
        session_before=pl.col("session").shift(1).over(KEY),
        last_before=pl.col("timestamp").shift(1).over(KEY),
        first=pl.col("timestamp").first().over(KEY),
        place=pl.int_range(pl.len()).over(KEY),
    ).with_columns(spread=spread(pl.col("plain"), rules.least_sigma).over(KEY))


def payouts(rows: pl.DataFrame, actions: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Dividends with a row on or after their ex-date and one before it.

    `d`, `step`: the amount told and the vendor's adjustment as shares of the price before. The step may come a row
    later: of bars longer than a day the ex-date lies inside one. `split`: of a split on or after the ex-date, if any.
    """
    dividends = actions.filter(pl.col("action") == "dividend")
    paid = dividends.group_by("symbol", "ex_date", maintain_order=True).agg(amount=pl.col("value").sum())
    splits = actions.filter(pl.col("action") == "split").select("symbol", split_day="ex_date", split="value")
    nearest = paid.sort("ex_date").join_asof(
        splits.sort("split_day"),
        left_on="ex_date",
        right_on="split_day",
        by="symbol",
        strategy="forward",
        check_sortedness=False,
    )
    placed = (
        nearest.join(rows.select(KEY).unique(), on="symbol")
        .sort("ex_date")
        .join_asof(
            rows.sort("session"),
            left_on="ex_date",
            right_on="session",
            by=list(KEY),
            strategy="forward",
            check_sortedness=False,
        )
        .filter(pl.col("ex_date") > pl.col("session_before"))
        .sort(*KEY, "ex_date")
    )
    alone = (pl.col("place").shift(-1).over(KEY) != pl.col("place") + 1).fill_null(value=True)
    late = alone & (pl.col("step").abs() < rules.least_step) & (pl.col("step_next") > rules.least_step)
    late = late.fill_null(value=False)
    return placed.with_columns(
        d=pl.col("amount") * pl.col("fold_before") / pl.col("before"),
        step=pl.when(late).then("step_next").otherwise("step"),
        last_before=pl.when(late).then("timestamp").otherwise("last_before"),
        place=pl.when(late).then(pl.col("place") + 1).otherwise("place"),
        late=late,
        quiet=(pl.col("volume") == 0) | (pl.col("plain") == 0),
    ).pipe(_paired, rules)


def _paired(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """`paired`: one of two dividends of similar size, days apart where others are not; `pair` numbers the two."""
    gap = pl.col("ex_date").diff().dt.total_days()
    rare = (gap * 4 <= gap.median()) | (pl.len() == 2)
    alike = (pl.col("amount") / pl.col("amount").shift(1)).log().abs() < _SAME_AMOUNT
    second = ((gap <= rules.pair_days) & rare & alike).over(KEY).fill_null(value=False)
    marked = events.with_columns(second=second)
    ahead = pl.col("second").shift(-1).over(KEY).fill_null(value=False)
    return marked.with_columns(paired=pl.col("second") | ahead, pair=(~pl.col("second")).cum_sum().over(KEY))


def fits(share: pl.Expr) -> pl.Expr:
    """Log likelihood of the price's move if `share` of it was paid; 0 where the price is no witness."""
    left = pl.col("plain") - (1 - share).log()
    told = pl.when("quiet").then(0.0).otherwise(-surprise(left, pl.col("spread")))
    return pl.when(share < 1).then(told).otherwise(_IMPOSSIBLE)
