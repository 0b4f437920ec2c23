"""Moving averages."""

import polars as pl


def sma(x: pl.Expr, window: int) -> pl.Expr:
    """Simple moving average.

    Definition: y[t] = mean of x[t-window+1 .. t]. Units: those of `x`. Input: adjusted prices of one
    symbol, sorted, no nulls inside; for many, `.over("symbol")`. Lookback: `window - 1` null rows. Reach of
    a change: `window` rows. Source: Excel's AVERAGE, in the reference column sma_20.
    """
    return x.rolling_mean(window)


def ema(x: pl.Expr, window: int) -> pl.Expr:
    """Exponential moving average.

    Definition: y[t] = y[t-1] + a * (x[t] - y[t-1]) with a = 2 / (window + 1). Seed: simple mean of the
    first `window` values, as in TA-Lib; a bare `ewm_mean` starts from the first value. Units and input: as
    `sma`; leading nulls are skipped. State: y. Lookback: `window - 1` null rows. Warm-up: 3.5 * window more
    until the seed weighs under 0.1 %. Source: TA-Lib, ta_EMA.c; reference column ema_20.
    """
    return _seeded(x, window, alpha=2 / (window + 1))


def wilder(x: pl.Expr, window: int) -> pl.Expr:
    """Wilder's moving average (also RMA, SMMA).

    Definition: y[t] = (y[t-1] * (window - 1) + x[t]) / window. Seed: simple mean of the first `window`
    values. Units and input: as `ema`. State: y. Lookback: `window - 1` null rows. Warm-up: 7 * window more.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978).
    """
    return _seeded(x, window, alpha=1 / window)


def _seeded(x: pl.Expr, window: int, alpha: float) -> pl.Expr:
    """y[t] = y[t-1] + alpha * (x[t] - y[t-1]), from the simple mean of the first `window` values on."""
    seen = x.cum_count()
    seeded = pl.when(seen == window).then(x.rolling_mean(window)).when(seen > window).then(x)
    return seeded.ewm_mean(alpha=alpha, adjust=False)
