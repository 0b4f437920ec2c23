"""Moves of the price that no known factor explains: a split nobody told, a spike, a wick."""

import math

import polars as pl

from transforms.quality.fields import LOGS
from transforms.quality.report import Faults, findings, new_actions
from transforms.quality.series import KEY, Rules


def unknown_jumps(moves: pl.DataFrame, actions: pl.DataFrame, rules: Rules) -> Faults:
    """`missing_split`: a jump by a ratio that companies choose, for good, overnight; `unexplained_jump`: a wild one.

    No split nearby and no unit explains them. The correction of the first is the split; it is more certain where the
    vendor's adjusted close has it, or the volume changes by the ratio too, since a crash to a half looks alike. A jump
    is wild beyond `wild_jump`.
    """
    large = pl.col("r").abs() > pl.max_horizontal(pl.lit(2 * rules.least_jump), rules.jump_sigmas * pl.col("sigma"))
    found = moves.with_columns(_around()).filter(large & pl.col("jump").is_null() & (pl.col("kept") - 1).abs().lt(0.25))
    ratios = [sign * math.log(ratio) for ratio in rules.ratios for sign in (1, -1)]
    nearest = pl.concat_list((pl.col("r") + ratio).abs() for ratio in ratios).list
    value = nearest.arg_min().replace_strict(dict(enumerate(ratios)), return_dtype=pl.Float64)
    near = nearest.min() <= pl.min_horizontal(pl.lit(rules.ratio_tolerance), 2 * pl.col("sigma"))
    quiet = (pl.max_horizontal(LOGS) - pl.min_horizontal(LOGS)) < pl.col("r").abs() / 3
    by_adjusted = ((pl.col("adjusted") + pl.col("r")).abs() < pl.col("r").abs() / 3).fill_null(value=False)
    by_volume = ((pl.col("volumes") - pl.col("log_value")).abs() < pl.col("log_value").abs() / 2).fill_null(value=False)
    told = (
        found.with_columns(log_value=value, is_split=near & quiet)
        .filter(pl.col("is_split") | (pl.col("r").abs() > rules.wild_jump))
        .with_columns(value=pl.col("log_value").exp().round_sig_figs(6))
        .with_columns(
            start="timestamp",
            end="timestamp",
            rows=1,
            rule=pl.when("is_split").then(pl.lit("missing_split")).otherwise(pl.lit("unexplained_jump")),
            confidence=pl.when(pl.col("is_split") & by_adjusted)
            .then(0.95)
            .when(pl.col("is_split") & by_volume)
            .then(0.8)
            .when("is_split")
            .then(0.5)
            .otherwise(0.7),
            reason=_jump_reason(),
        )
        .with_row_index("finding")
    )
    splits = told.filter("is_split").with_columns(ex_date="session")
    return Faults(findings(told), actions=new_actions(splits, "split", actions))


def _around() -> list[pl.Expr]:
    """`kept`: share of the jump between the means of three rows; `volumes`, `adjusted`: log changes of these."""
    x = pl.col("side") - pl.col("level")
    before = pl.mean_horizontal(x.shift(k) for k in range(1, 4))
    kept = (pl.mean_horizontal(x.shift(-k) for k in range(3)) - before) / pl.col("r")
    volume = pl.col("volume").replace(0.0, None).log()
    later = pl.mean_horizontal(volume.shift(-k) for k in range(5))
    volumes = later - pl.mean_horizontal(volume.shift(k) for k in range(1, 6))
    adjusted = (pl.col("adjusted_close").log() - pl.col("x_close")).diff()
    named = {"kept": kept, "volumes": volumes, "adjusted": adjusted}
    return [expr.over(KEY).alias(name) for name, expr in named.items()]


def _jump_reason() -> pl.Expr:
    move = pl.col("r").exp().round_sig_figs(4)
    split = pl.format("the price moves by a factor of {} and stays there, as after a split of {}", move, "value")
    wild = pl.format("the price moves by a factor of {} and stays there", move)
    return pl.format("{}; no split is known nearby", pl.when("is_split").then(split).otherwise(wild))


def spikes(moves: pl.DataFrame, rules: Rules) -> Faults:
    """`spike`: a row far from both neighbours, which agree; `wick`: a high or a low far from its row and theirs.

    No correction: what was traded is not known, and no bar is made up.
    """
    x = pl.col("side") - pl.col("level")
    there, back = x - x.shift(1), x.shift(-1) - x
    smaller = pl.min_horizontal(there.abs(), back.abs())
    far = pl.max_horizontal(pl.lit(rules.least_jump), rules.spike_sigmas * pl.col("sigma"))
    spike = (there * back < 0) & (smaller > far) & ((there + back).abs() < rules.spike_return * smaller)
    body_top, body_bottom = pl.max_horizontal("x_open", "x_close"), pl.min_horizontal("x_open", "x_close")
    over = pl.col("x_high") - pl.max_horizontal(body_top, body_top.shift(1), body_top.shift(-1))
    under = pl.min_horizontal(body_bottom, body_bottom.shift(1), body_bottom.shift(-1)) - pl.col("x_low")
    wick = pl.max_horizontal(over, under) > pl.max_horizontal(pl.lit(rules.wick), rules.spike_sigmas * pl.col("sigma"))
    marked = moves.with_columns(
        spike=spike.over(KEY).fill_null(value=False),
        wick=wick.over(KEY).fill_null(value=False),
        size=smaller.over(KEY).exp(),
        there=there.over(KEY),
        shadow=pl.max_horizontal(over, under).over(KEY).exp(),
    ).filter(pl.col("unit").is_null())
    told = marked.filter(pl.col("spike") | pl.col("wick")).with_columns(
        start="timestamp",
        end="timestamp",
        rows=1,
        rule=pl.when("spike").then(pl.lit("spike")).otherwise(pl.lit("wick")),
        confidence=pl.when("spike").then(pl.when(pl.col("size") > 2).then(0.9).otherwise(0.6)).otherwise(0.4),
        reason=pl.when("spike")
        .then(
            pl.format(
                "the price moves by a factor of {} for one row and comes back", pl.col("there").exp().round_sig_figs(4)
            )
        )
        .otherwise(
            pl.format(
                "the high or the low is {} times away from the row's other prices", pl.col("shadow").round_sig_figs(4)
            )
        ),
    )
    return Faults(findings(told))
