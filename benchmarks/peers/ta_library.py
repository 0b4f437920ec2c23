"""ta, technical analysis in pandas."""

from collections.abc import Mapping
from typing import Any

from benchmarks.peers import installed


class Ta:
    """The default indicators but VWAP, of which it has only a rolling one: less work than ours."""

    name = "ta"
    threads = 1
    sampled = True
    settled = 400
    """Rows after which its averages, seeded by the first value, have converged."""
    note = "without VWAP, of which it has only a rolling one"

    def __init__(self) -> None:
        """Find it."""
        self._trend, self._momentum, self._volatility, self._volume = (
            installed(f"ta.{module}") for module in ("trend", "momentum", "volatility", "volume")
        )
        self._pandas = installed("pandas")

    def prepared(self, bars: Mapping[str, Any]) -> Any:
        """Its input: a frame."""
        return self._pandas.DataFrame({name: bars[name] for name in ("high", "low", "close", "volume")})

    def computed(self, bars: Any) -> dict[str, Any]:
        """Columns by the names of ours."""
        close = bars["close"]
        macd = self._trend.MACD(close, 26, 12, 9)
        bands = self._volatility.BollingerBands(close, 20, 2)
        return {
            **{f"sma_{window}": self._trend.SMAIndicator(close, window).sma_indicator() for window in (20, 50, 200)},
            **{f"ema_{window}": self._trend.EMAIndicator(close, window).ema_indicator() for window in (12, 26)},
            "rsi_14": self._momentum.RSIIndicator(close, 14).rsi(),
            "macd": macd.macd(),
            "macd_signal": macd.macd_signal(),
            "macd_histogram": macd.macd_diff(),
            "bollinger_upper": bands.bollinger_hband(),
            "bollinger_middle": bands.bollinger_mavg(),
            "bollinger_lower": bands.bollinger_lband(),
            "atr_14": self._volatility.AverageTrueRange(bars["high"], bars["low"], close, 14).average_true_range(),
            "obv": self._volume.OnBalanceVolumeIndicator(close, bars["volume"]).on_balance_volume(),
        }
