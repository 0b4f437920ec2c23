"""pandas-ta-classic, which keeps pandas-ta alive (pandas-ta itself is gone from the registry)."""

from collections.abc import Mapping
from typing import Any

from benchmarks.peers import installed


class PandasTa:
    """The default indicators, each in its own pandas code: TA-Lib, which it would call if asked, is off."""

    name = "pandas-ta-classic"
    threads = 1
    sampled = True
    settled = 400
    """Rows after which its averages, seeded by the first value, have converged."""
    note = "its own pandas code (talib=False)"

    def __init__(self) -> None:
        """Find it."""
        self._ta = installed("pandas_ta_classic")
        self._pandas = installed("pandas")

    def prepared(self, bars: Mapping[str, Any]) -> Any:
        """Its input: a frame indexed by time."""
        index = self._pandas.DatetimeIndex(bars["timestamp"])
        return self._pandas.DataFrame({name: bars[name] for name in ("high", "low", "close", "volume")}, index=index)

    def computed(self, bars: Any) -> dict[str, Any]:
        """Columns by the names of ours."""
        ta, close = self._ta, bars["close"]
        macd, bands = ta.macd(close, 12, 26, 9, talib=False), ta.bbands(close, 20, 2, talib=False)
        return {
            **{f"sma_{window}": ta.sma(close, window, talib=False) for window in (20, 50, 200)},
            **{f"ema_{window}": ta.ema(close, window, talib=False) for window in (12, 26)},
            "rsi_14": ta.rsi(close, 14, talib=False),
            "macd": macd["MACD_12_26_9"],
            "macd_signal": macd["MACDs_12_26_9"],
            "macd_histogram": macd["MACDh_12_26_9"],
            "bollinger_upper": bands["BBU_20_2.0"],
            "bollinger_middle": bands["BBM_20_2.0"],
            "bollinger_lower": bands["BBL_20_2.0"],
            "atr_14": ta.atr(bars["high"], bars["low"], close, 14, talib=False),
            "vwap": ta.vwap(bars["high"], bars["low"], close, bars["volume"]),
            "obv": ta.obv(close, bars["volume"], talib=False),
        }
