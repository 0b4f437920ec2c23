"""What volume says about prices."""

import polars as pl


def typical_price(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """(high + low + close) / 3."""
    return (high + low + close) / 3


def vwap(price: pl.Expr, volume: pl.Expr) -> pl.Expr:
    """Volume-weighted average price since the first row.

    Definition: sum(price * volume) / sum(volume) over the rows so far; null until something traded (0 / 0).
    Units: those of `price`. Input: typical prices of one session of one symbol, sorted; for many sessions,
    `.over("symbol", "session")`. Lookback: none. Reach of a change: to the end of its session.
    Source: reference column VWAP of the intraday sheet.
    """
    traded = volume.cum_sum()
    return pl.when(traded > 0).then((price * volume).cum_sum() / traded)


def obv(close: pl.Expr, volume: pl.Expr) -> pl.Expr:
    """On-balance volume.

    Definition: y[t] = y[t-1] + sign(close[t] - close[t-1]) * volume[t], y[0] = 0 (TA-Lib starts at
    volume[0]). Units: those of `volume`. Input: adjusted prices and volumes of one symbol, sorted, no nulls
    inside; for many, `.over("symbol")`. Lookback: none. State: itself; a change moves every later row.
    Source: J. Granville (1963); reference column obv.
    """
    return (close.diff().sign().fill_null(0) * volume).cum_sum()
