"""Raw bars as the rules look at them: one line of time a symbol and source, brought to the prices of today's shares."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from transforms.adjust import adjustment_factors
from transforms.errors import PermanentError, SchemaMismatch
from transforms.schema import ACTIONS, OHLC

KEY: Final = ("symbol", "source")
NEEDED: Final = ("symbol", "session", "timestamp", *OHLC, "volume")


@dataclass(frozen=True, slots=True)
class Rules:
    """Thresholds of the rules, all of them; docs/quality.md says what each is for."""

    units: tuple[float, ...] = (100.0,)
    """Factors between a currency's unit and its part, such as pound and penny."""
    least_sigma: float = 0.01
    """Least daily spread of returns that is reckoned with: quoted prices of thin stocks hardly move."""
    jump_sigmas: float = 5.0
    """A jump is a return larger than this many spreads and than `least_jump`."""
    least_jump: float = 0.18
    """Least log return that is a jump: 20 %."""
    split_odds: float = 1e-2
    """How often prices near a split are adjusted for it wrongly, for once that they are adjusted rightly."""
    split_window: int = 10
    """Rows by which a price may be adjusted too early or too late for a split."""
    settled_rows: int = 5
    """Newest rows after which a new level of prices is taken for the vendor's present one."""
    ratios: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0)
    """Split ratios that companies choose, and their inverses."""
    ratio_tolerance: float = 0.03
    """Log distance from such a ratio at which an unexplained jump is still taken for a split."""
    wild_jump: float = 1.6
    """Log return that is reported whatever it looks like: fivefold."""
    spike_sigmas: float = 10.0
    """A spike leaves and comes back by this many spreads and `least_jump`."""
    spike_return: float = 0.25
    """Share of a spike that may remain after it."""
    wick: float = 0.4
    """Log distance of a high or low from the rest of its row and its neighbours from which it is reported."""
    ohlc_tolerance: float = 1e-6
    """Relative distance that is the rounding of single precision and no violation."""
    carried_rows: int = 5
    """Rows without volume and without any movement, one after the other, from which they are reported."""
    ratio_same: float = 1.25
    """A vendor's dividend adjustment and the dividend agree within this factor."""
    least_step: float = 5e-4
    """Share of the price below which a dividend and its adjustment are not compared."""
    typical_yield: float = 0.015
    """Median of one dividend's share of the price; `yield_spread` is the standard deviation of its logarithm."""
    yield_spread: float = 1.2
    fault_odds: float = 1e-3
    """How often a price, or a dividend that fits its adjustment, is in the wrong unit, before looking at the price."""
    phantom_odds: float = 0.05
    """Of dividends without any adjustment: how many were never paid, for one that was not adjusted for."""
    small_events: int = 4
    """Dividends of implausibly small yield it takes to suspect their unit."""
    pair_days: int = 14
    """Days within which two dividends of similar size are suspected to be one."""
    twice_odds: float = 5.0
    """Where of amount and adjustment one is twice the other: how often the larger is wrong, for once the smaller is."""
    pair_odds: float = 0.05
    """How often such two were both paid, for once that either was not."""


def prepared(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Sorted bars, the last of equal timestamps, with what rules need beside them.

    `line`: place in `bars`. `n`: place in its series. `whole`: four positive prices. `x_open` … `x_close`: their
    logarithms in today's shares. `fold`: by what a raw price is multiplied for that.
    """
    missing = [name for name in NEEDED if name not in bars.columns]
    if missing:
        raise SchemaMismatch(
            f"quality rules need a column {', '.join(missing)}; the bars have {', '.join(bars.columns)}"
        )
    whole = pl.all_horizontal(pl.col(c).is_finite() & (pl.col(c) > 0) for c in OHLC).fill_null(value=False)
    whole = whole & pl.col("timestamp").is_not_null() & pl.col("session").is_not_null()
    timed = pl.col("timestamp").is_not_null()
    known = filled(bars)
    _refuse_mixed(known)
    frame = (
        known.select(*KEY, "granularity", "price_basis", "session", "timestamp", *OHLC, "volume", "adjusted_close")
        .with_row_index("line")
        .filter(~timed | pl.struct(*KEY, "timestamp").is_last_distinct())
        .sort(*KEY, "timestamp")
        .with_columns(whole=whole, n=pl.int_range(pl.len()).over(KEY))
        .pipe(_folded, actions)
    )
    logs = [pl.when("whole").then((pl.col(c) * pl.col("fold")).log()).alias(f"x_{c}") for c in OHLC]
    return frame.with_columns(logs)


def _refuse_mixed(bars: pl.DataFrame) -> None:
    """Rows of 1d between rows of 1m are no line of time."""
    kinds = bars.group_by(KEY).agg(pl.col("granularity").unique().sort()).sort(KEY)
    mixed = kinds.filter(pl.col("granularity").list.len() > 1)
    if not mixed.is_empty():
        symbol, source, found = mixed.row(0)
        raise PermanentError(
            f"quality rules look at bars of one granularity a symbol and source; {symbol} of {source!r} has "
            f"{', '.join(map(str, found))}: look at each granularity by itself"
        )


def filled(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars with the columns that a file may lack: no source, daily, raw, no adjusted close."""
    plain = {
        "source": pl.lit(""),
        "granularity": pl.lit("1d"),
        "price_basis": pl.lit("raw"),
        "adjusted_close": pl.lit(None, pl.Float64),
    }
    absent = {name: value for name, value in plain.items() if name not in bars.columns}
    return bars.with_columns(**absent).with_columns(pl.col("volume").cast(pl.Float64))


def actions_of(rows: pl.DataFrame) -> pl.DataFrame:
    """ACTIONS told in columns beside the bars, as Yahoo's are: `dividends` and `stock_splits`, 0 or null for none."""
    kinds = {"dividends": "dividend", "stock_splits": "split"}
    told = filled(rows)
    parts = [
        told.filter(pl.col(column) > 0).select(
            "symbol", ex_date="session", action=pl.lit(kind), source="source", ordinal=0, value=column
        )
        for column, kind in kinds.items()
        if column in rows.columns
    ]
    typed = [part.select(pl.col(n).cast(t) for n, t in ACTIONS.items()) for part in parts]
    return pl.concat([pl.DataFrame(schema=ACTIONS), *typed])


def _folded(frame: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    factors = adjustment_factors(actions.lazy().filter(pl.col("action") == "split")).collect()
    applying = factors.select("symbol", _from=pl.col("from").fill_null(pl.date(1, 1, 1)), fold="price")
    joined = frame.sort("symbol", "session").join_asof(
        applying.sort("symbol", "_from"), left_on="session", right_on="_from", by="symbol", check_sortedness=False
    )
    raw = pl.col("price_basis") == "raw"
    folded = joined.with_columns(fold=pl.when(raw).then(pl.col("fold").fill_null(1.0)).otherwise(1.0)).drop("_from")
    return folded.sort(*KEY, "timestamp")
