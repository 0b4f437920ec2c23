"""What is worth showing of the cache: one symbol's chart, and the relation that stands out."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from flows.chart import Candle, Chart, Series, daily_marks, intraday_marks
from storage.cache.reader import Reader
from transforms.errors import UnknownSymbol

MOST_SYMBOLS = 50
"""Symbols looked at in search of something to show."""
CLEAR = 3.0
"""Standard errors from which a pooled correlation is told; of eleven lags, chance reaches it in one search of 34."""
_ENOUGH_CANDLES = 20
_COARSEST_FIRST = ("1d", "1h", "15m", "5m", "1m")


@dataclass(frozen=True, slots=True)
class Spotlight:
    """One symbol to look at: its chart, and what its quote says."""

    symbol: str
    interval: str
    chart: Chart
    last: float | None = None
    change_pct: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A lag at which sentiment and return move together.

    `r`: tanh of the mean of atanh(r) over the symbols, weighted by n - 3 (Fisher); for one symbol, its own r.
    `n`: pairs of all symbols. `score`: atanh(r) in standard errors, the symbols taken as independent.
    """

    lag: int
    r: float
    n: int
    symbols: int
    score: float

    def sentence(self) -> str:
        """`sentiment leads return by 1 session: r = 0.35, n = 295 (5 symbols)`."""
        sessions = f"{abs(self.lag)} session{'' if abs(self.lag) == 1 else 's'}"
        how = "sentiment and return move together in the same session"
        if self.lag > 0:
            how = f"sentiment leads return by {sessions}"
        elif self.lag < 0:
            how = f"return leads sentiment by {sessions}"
        several = f" ({self.symbols} symbols)" if self.symbols > 1 else ""
        return f"{how}: r = {self.r:.2f}, n = {self.n:,}{several}"


def spotlight(reader: Reader) -> tuple[Spotlight | None, Finding | None]:
    """A symbol worth a look, the one that shows the finding best if there is a finding."""
    names = symbols(reader)[:MOST_SYMBOLS]
    related = {name: pairs_by_lag(reader.correlations(name).value) for name in names}
    finding = strongest(related)
    if finding is not None:
        lag = finding.lag
        names = sorted(names, key=lambda name: -abs(related[name].get(lag, (0.0, 0))[0]))
    for name in names:
        shown = look_at(reader, name)
        if shown is not None:
            return shown, finding
    return None, finding


def symbols(reader: Reader) -> list[str]:
    """Every symbol published, in order; none when nothing ever was."""
    try:
        catalogue = reader.catalogue().value
    except UnknownSymbol:
        return []
    return [] if catalogue.is_empty() else catalogue["symbol"].to_list()


def look_at(reader: Reader, symbol: str) -> Spotlight | None:
    """The coarsest interval that fills a chart, or the one with most bars; None where there are no bars."""
    best: tuple[str, pl.DataFrame] | None = None
    for interval in _COARSEST_FIRST:
        bars = reader.bars(symbol, interval).value
        if bars.height > (0 if best is None else best[1].height):
            best = interval, bars
        if best is not None and best[1].height >= _ENOUGH_CANDLES:
            break
    if best is None:
        return None
    return Spotlight(symbol, best[0], chart_of(best[1], best[0]), *move(reader.quote(symbol).value))


def move(quote: pl.DataFrame) -> tuple[float | None, float | None]:
    """Last price and change in percent of a quote."""
    if quote.is_empty():
        return None, None
    row = quote.row(0, named=True)
    return row["last"], row["change_pct"]


def chart_of(bars: pl.DataFrame, interval: str, lines: Series | None = None, panels: Series | None = None) -> Chart:
    """The chart of some bars in order, in their own time zone."""
    candles = [Candle(*row) for row in bars.select("open", "high", "low", "close", "volume").iter_rows()]
    daily = interval == "1d"
    times = bars["session" if daily else "timestamp"].to_list()
    return Chart(candles, daily_marks(times) if daily else intraday_marks(times), lines or {}, panels or {})


def strongest(related: Mapping[str, Mapping[int, tuple[float, int]]]) -> Finding | None:
    """The lag that stands out most of all symbols taken together, if it is clear; `related`: symbol, lag = r, n."""
    lags = {lag for by_lag in related.values() for lag in by_lag}
    found = [f for lag in lags if (f := _pooled(lag, [v[lag] for v in related.values() if lag in v])) is not None]
    best = max(found, key=lambda finding: abs(finding.score), default=None)
    return best if best is not None and abs(best.score) >= CLEAR else None


def _pooled(lag: int, values: Iterable[tuple[float, int]]) -> Finding | None:
    usable = [(r, n) for r, n in values if n > 3 and abs(r) < 1]
    weight = sum(n - 3 for _, n in usable)
    if not weight:
        return None
    z = sum((n - 3) * math.atanh(r) for r, n in usable) / weight
    return Finding(lag, math.tanh(z), sum(n for _, n in usable), len(usable), z * math.sqrt(weight))


def pairs_by_lag(correlations: pl.DataFrame) -> dict[int, tuple[float, int]]:
    """Lag = Pearson's r, n of mean sentiment and return over all sessions."""
    if correlations.is_empty():
        return {}
    rows = correlations.filter(
        (pl.col("x") == "sentiment_mean")
        & (pl.col("y") == "return_1d")
        & (pl.col("method") == "pearson")
        & pl.col("r").is_not_null()
    )
    return {lag: (r, n) for lag, r, n in rows.select("lag", "r", "n").iter_rows()}
