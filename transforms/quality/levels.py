"""Prices at a wrong level: in a currency's hundredth, on the wrong side of a split, or for one row only.

Returns of a series without faults are continuous once splits and dividends are taken out. A jump close to a known
factor (a unit, a split nearby) is explained by it; what is left is the market's own move. The product of the factors
of all later jumps is a row's level against the newest rows, so a single row, a run of rows and a switch for good are
found in one way. Source of the idea: yfinance's price repair, whose test data are the cases of docs/quality.md.
"""

import math

import polars as pl

from transforms.quality.evidence import probability, spread, surprise
from transforms.quality.fields import UNIT_SLACK, with_sides
from transforms.quality.report import ACTION_EDITS, Faults, edits, findings
from transforms.quality.series import KEY, Rules
from transforms.schema import OHLC

_DECIMALS = 9
"""Sums of equal factors agree to this many decimals."""


def levelled(series: pl.DataFrame, actions: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Whole rows of `series` with what is known of their level.

    `side` and `off_…` of `fields.with_sides`. `r`: log return of the side, dividends put back where that makes it
    smaller. `sigma`: spread of the returns, larger after a gap. `jump`: log factor that explains a jump, `kind`: of a
    unit or a split, `off`: rows between jump and split. `level`: log factor by which the row is off. `run`: number of
    the row's run of one level. `applied`: raw rows before a split that they do not show.
    """
    whole = series.filter("whole").pipe(with_sides, rules).with_columns(m=pl.int_range(pl.len()).over(KEY))
    moves = _returns(whole, actions, rules)
    return moves.pipe(_explained, actions, rules).pipe(_with_levels, rules)


def _returns(whole: pl.DataFrame, actions: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    paid = (
        actions.filter(pl.col("action") == "dividend")
        .group_by("symbol", session="ex_date")
        .agg(paid=pl.col("value").sum())
    )
    frame = whole.join(paid, on=["symbol", "session"], how="left", maintain_order="left")
    before = pl.col("side").shift(1).over(KEY)
    plain = pl.col("side") - before
    with_paid = (pl.col("side").exp() + pl.col("paid") * pl.col("fold")).log() - before
    r = pl.when(with_paid.abs() < plain.abs()).then(with_paid).otherwise(plain)
    days = pl.col("session").diff().dt.total_days().fill_null(0)
    longer = pl.max_horizontal(days / pl.max_horizontal(days.median(), pl.lit(1.0)), pl.lit(1.0)).sqrt()
    return frame.with_columns(r=r).with_columns(sigma=(spread(pl.col("r"), rules.least_sigma) * longer).over(KEY))


def _explained(moves: pl.DataFrame, actions: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Add `jump`, `kind`, `off` and `split_on` where a jump is near a factor."""
    large = pl.col("r").abs() > pl.max_horizontal(pl.lit(rules.least_jump), rules.jump_sigmas * pl.col("sigma"))
    jumps = moves.filter(large).select(*KEY, "m", "r", "sigma")
    units = [math.log(unit) * sign for unit in rules.units for sign in (1, -1)]
    by_unit = jumps.join(
        pl.DataFrame(
            {"jump": units, "kind": "unit", "off": 0, "split_on": None, "undone": False},
            schema_overrides={"split_on": pl.Date},
        ),
        how="cross",
    )
    candidates = pl.concat([by_unit, _near_splits(jumps, moves, actions, rules)], how="vertical_relaxed")
    left = (pl.col("r") - pl.col("jump")).abs()
    unit = pl.col("kind") == "unit"
    slack = pl.max_horizontal(pl.lit(UNIT_SLACK), rules.jump_sigmas * pl.col("sigma"))
    allowed = pl.when(unit).then(slack).otherwise(pl.col("jump").abs() / 3)
    prior = pl.when(unit).then(math.log(rules.fault_odds)).otherwise(math.log(rules.split_odds))
    best = (
        candidates.with_columns(left=left)
        .with_columns(odds=surprise(pl.col("r"), pl.col("sigma")) - surprise(pl.col("left"), pl.col("sigma")) + prior)
        .filter((pl.col("left") <= allowed) & (pl.col("odds") > 0))
        .sort("left", pl.col("off").abs(), "kind")
        .unique([*KEY, "m"], keep="first", maintain_order=True)
    )
    chosen = best.select(*KEY, "m", "jump", "kind", "off", "split_on", "undone", "odds")
    return moves.join(chosen, on=[*KEY, "m"], how="left", maintain_order="left")


def _near_splits(jumps: pl.DataFrame, moves: pl.DataFrame, actions: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Each jump with the splits of its symbol nearby, both ways round; `undone` if it is the split's own factor."""
    splits = actions.filter(pl.col("action") == "split", pl.col("value").log().abs() > rules.least_jump)
    dated = splits.unique(["symbol", "ex_date"]).select("symbol", "ex_date", "value")
    places = moves.select(*KEY, "session", place="m").sort("session")
    placed = (
        dated.join(moves.group_by(KEY).agg(rows=pl.len().cast(pl.Int64)), on="symbol")
        .sort("ex_date")
        .join_asof(
            places,
            left_on="ex_date",
            right_on="session",
            by=list(KEY),
            strategy="forward",
            check_sortedness=False,
        )
        .with_columns(place=pl.coalesce("place", "rows"))
    )
    both = pl.concat([placed.with_columns(jump=sign * pl.col("value").log(), undone=sign > 0) for sign in (1, -1)])
    near = jumps.join(both.select(*KEY, "jump", "place", "undone", split_on="ex_date"), on=list(KEY))
    near = near.with_columns(off=pl.col("m") - pl.col("place"), kind=pl.lit("split"))
    columns = (*KEY, "m", "r", "sigma", "jump", "kind", "off", "split_on", "undone")
    return near.filter(pl.col("off").abs() <= rules.split_window).select(columns)


def _with_levels(moves: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """`level`, counted from the newest rows if there are enough of them, else from where most rows are; its `run`."""
    steps = pl.col("jump").fill_null(0.0).cum_sum()
    counted = moves.with_columns(level=(steps - steps.last()).over(KEY))
    since = pl.col("jump").is_not_null().cum_sum()
    newest = (since == since.last()).sum()
    settled = (newest >= rules.settled_rows) | (pl.len() < 2 * rules.settled_rows)
    rounded = pl.col("level").round(_DECIMALS)
    usual = pl.col("level").filter(rounded == rounded.mode(maintain_order=True).last()).first()
    exact = pl.col("level") - pl.when(settled).then(0.0).otherwise(usual)
    level = pl.when(exact.abs() < 10.0**-_DECIMALS).then(0.0).otherwise(exact).over(KEY)
    placed = counted.with_columns(level=level)
    placed = placed.with_columns(run=pl.col("level").round(_DECIMALS).rle_id().over(KEY))
    applied = runs_of(placed).filter("applied").select(*KEY, "run", applied=True)
    flagged = placed.join(applied, on=[*KEY, "run"], how="left", maintain_order="left")
    return flagged.with_columns(pl.col("applied").fill_null(value=False))


def wrong_levels(moves: pl.DataFrame, actions: pl.DataFrame) -> Faults:
    """`currency_unit`, `split_adjustment`, `split_not_in_prices`: runs of rows that are off by a known factor.

    The correction divides prices by the factor; the volume is multiplied by it where that brings it nearer to the rows
    around, the adjusted close where it is off as the close is. Of raw prices that do not move on a split's ex-date the
    correction is a split of 1: they are adjusted already, or it never happened.
    """
    runs = runs_of(moves).filter(pl.col("level") != 0).with_columns(_factor=pl.col("level").exp().round_sig_figs(12))
    told = runs.with_columns(
        rule=pl.when(pl.col("is_unit"))
        .then(pl.lit("currency_unit"))
        .when("applied")
        .then(pl.lit("split_not_in_prices"))
        .otherwise(pl.lit("split_adjustment")),
        confidence=probability(pl.col("odds")),
        reason=_level_reason(),
    ).with_row_index("finding")
    return Faults(findings(told), _level_edits(told, moves), _no_split(told, actions))


def runs_of(moves: pl.DataFrame) -> pl.DataFrame:
    """Runs of one level: where, how far off, and the surer of the jumps at its ends."""
    about = ("r", "odds", "kind", "off", "split_on", "undone", "session")
    jump = pl.struct(pl.when(pl.col("jump").is_not_null()).then(c).alias(c) for c in about)
    frame = moves.with_columns(begin=jump, finish=jump.shift(-1).over(KEY))
    runs = frame.group_by(*KEY, "run", maintain_order=True).agg(
        pl.col("begin").first(),
        pl.col("finish").last(),
        pl.col("level").first(),
        start=pl.col("timestamp").first(),
        end=pl.col("timestamp").last(),
        rows=pl.len(),
        oldest=pl.col("m").first() == 0,
        volume=pl.col("volume").median(),
        raw=(pl.col("price_basis") == "raw").all(),
    )
    at_end = pl.col("finish").struct.field("odds").fill_null(-1.0) >= pl.col("begin").struct.field("odds").fill_null(
        -1.0
    )
    surer = runs.with_columns(pl.when(at_end).then("finish").otherwise("begin").alias("jump")).unnest("jump")
    return surer.rename({"session": "at"}).with_columns(
        applied=pl.col("raw") & pl.col("undone") & (pl.col("off") == 0) & pl.col("oldest") & at_end,
        is_unit=pl.col("kind") == "unit",
    )


def _level_reason() -> pl.Expr:
    move = pl.col("r").exp().round_sig_figs(4)
    factor = pl.col("_factor").round_sig_figs(4)
    size = pl.format("prices {} times those of the rows around; on {} they move by a factor of {}", factor, "at", move)
    near = pl.format("{}, the split of {} is {} rows away", size, "split_on", pl.col("off").abs())
    absent = pl.format(
        "the split of {} is not in the raw prices: they move by a factor of {} after it is taken out; "
        "they are adjusted already, or it never happened",
        "split_on",
        move,
    )
    return (
        pl.when("is_unit")
        .then(pl.format("{}, as between a currency and its hundredth", size))
        .when("applied")
        .then(absent)
        .otherwise(near)
    )


def _level_edits(told: pl.DataFrame, moves: pl.DataFrame) -> pl.DataFrame:
    """Prices of the run by 1/factor; volume and adjusted close where they are off as well."""
    right = moves.filter(pl.col("level") == 0)
    ratio = (pl.col("adjusted_close").log() - pl.col("side")).median()
    usual = right.group_by(KEY).agg(
        usual_volume=pl.col("volume").filter(pl.col("volume") > 0).median(), usual_ratio=ratio
    )
    runs = moves.join(told.select(*KEY, "run", "finding"), on=[*KEY, "run"])
    own = runs.group_by("finding").agg(own_ratio=ratio)
    frame = told.filter(~pl.col("applied")).join(usual, on=list(KEY), how="left").join(own, on="finding", how="left")
    distance = (pl.col("volume") / pl.col("usual_volume")).log()
    with_split = ~pl.col("is_unit") & (pl.col("volume") > 0) & ((distance + pl.col("level")).abs() < distance.abs())
    same = (pl.col("own_ratio") - pl.col("usual_ratio")).abs() < pl.col("level").abs() / 2
    price = 1 / pl.col("_factor")
    frame = frame.with_columns(
        *(price.alias(c) for c in OHLC),
        volume=pl.when(with_split.fill_null(value=False)).then("_factor"),
        adjusted_close=pl.when(same.fill_null(value=False)).then(price),
    )
    return edits(frame, [*OHLC, "volume", "adjusted_close"])


def _no_split(told: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    rows = told.filter("applied").select("symbol", "finding", ex_date="split_on").with_columns(action=pl.lit("split"))
    stored = rows.join(actions, on=["symbol", "ex_date", "action"]).with_columns(value=pl.lit(1.0))
    return stored.select(pl.col(n).cast(t) for n, t in ACTION_EDITS.items())
