"""TA-Lib: compiled C, called symbol by symbol on arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.peers import installed


class TaLib:
    """The default indicators; the volume-weighted average, which TA-Lib lacks, by numpy's running sums."""

    name = "TA-Lib"
    threads = 2
    sampled = False
    settled = 400
    """Rows after which its MACD, seeded later than ours, has converged."""
    note = "VWAP, which it lacks, by numpy's cumsum per session"

    def __init__(self) -> None:
        """Find it."""
        self._talib = installed("talib")

    def prepared(self, bars: Mapping[str, Any]) -> Mapping[str, Any]:
        """Its input: the arrays as they are, and where sessions start."""
        session = bars["session"]
        return {**bars, "starts": np.flatnonzero(np.append(True, session[1:] != session[:-1]))}

    def computed(self, bars: Mapping[str, Any]) -> dict[str, Any]:
        """Columns by the names of ours."""
        talib = self._talib
        high, low, close, volume = bars["high"], bars["low"], bars["close"], bars["volume"]
        upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
        line, signal, histogram = talib.MACD(close, 12, 26, 9)
        return {
            **{f"sma_{window}": talib.SMA(close, window) for window in (20, 50, 200)},
            **{f"ema_{window}": talib.EMA(close, window) for window in (12, 26)},
            "rsi_14": talib.RSI(close, 14),
            "macd": line,
            "macd_signal": signal,
            "macd_histogram": histogram,
            "bollinger_upper": upper,
            "bollinger_middle": middle,
            "bollinger_lower": lower,
            "atr_14": talib.ATR(high, low, close, 14),
            "vwap": _vwap(high, low, close, volume, bars["starts"]),
            "obv": talib.OBV(close, volume),
        }


def _vwap(high: Any, low: Any, close: Any, volume: Any, starts: Any) -> Any:
    paid, traded = np.cumsum((high + low + close) / 3 * volume), np.cumsum(volume)
    lengths = np.diff(np.append(starts, len(close)))
    before = [np.repeat(np.append(0.0, total[starts[1:] - 1]), lengths) for total in (paid, traded)]
    return (paid - before[0]) / (traded - before[1])
