"""From rows of the market store to the bodies of the cache contract: which keys a symbol has and what is in each."""

from collections.abc import Iterator, Sequence

import polars as pl

from storage.cache.codec import encode
from storage.cache.publisher import Publication
from storage.market.outbox import Outbox, SymbolRows
from storage.settings import Settings
from transforms.schema import MARKET_SYMBOL

Frames = Iterator[tuple[str, pl.DataFrame]]
"""Key suffix and the rows of every symbol that go under it."""


class PublicationLoader:
    """Reads what is to be published, for the publisher and for a reader that finds a key never published."""

    def __init__(self, outbox: Outbox, settings: Settings, indicator_columns: Sequence[str]) -> None:
        """Publish `indicator_columns`, and as many rows a key as the settings say."""
        self._outbox = outbox
        self._settings = settings
        self._columns = indicator_columns

    def load(self, symbol: str) -> Publication | None:
        """The newest publication of one symbol; None when it was never refreshed."""
        return next(iter(self.load_many([symbol])), None)

    def load_many(self, symbols: Sequence[str]) -> list[Publication]:
        """The newest publications of some symbols, all read at one moment."""
        with self._outbox.rows(symbols) as rows:
            publications = {
                version.symbol: Publication(
                    version.symbol, version.epoch, version.version, version.as_of, version.run_id, {}
                )
                for version in rows.versions()
            }
            for suffix, frame in self._frames(rows):
                for (symbol,), part in frame.partition_by("symbol", as_dict=True, include_key=False).items():
                    if str(symbol) in publications:
                        publications[str(symbol)].bodies[suffix] = encode(part)
            if MARKET_SYMBOL in publications:
                publications[MARKET_SYMBOL].bodies["quotes"] = encode(rows.board())
                publications[MARKET_SYMBOL].bodies["catalogue"] = encode(rows.catalogue())
                for name, frame in (("correlations", rows.findings()), ("matrix", rows.matrix())):
                    if not frame.is_empty():
                        publications[MARKET_SYMBOL].bodies[name] = encode(frame)
        return list(publications.values())

    def _frames(self, rows: SymbolRows) -> Frames:
        settings = self._settings
        yield "quote", rows.quotes()
        for interval in settings.intervals:
            yield f"bars:{interval}", _dated(rows.bars(interval, settings.published_bars), interval)
        for interval in settings.intervals[1:]:
            values = rows.indicators(interval, settings.published_bars, self._columns)
            yield f"indicators:{interval}", _dated(values, interval)
        hourly, daily = (rows.sentiment(interval, settings.published_sentiment) for interval in ("1h", "1d"))
        yield "sentiment:1h", hourly
        yield "sentiment:1d", daily
        yield "sentiment:current", _current(hourly, daily)
        yield "correlation", rows.correlations()
        yield "correlation:rolling", rows.rolling_correlations(settings.published_rolling)
        yield "forecast", rows.forecasts()


def _dated(frame: pl.DataFrame, interval: str) -> pl.DataFrame:
    """Only daily rows carry their session's date; an intraday bar's instant says as much."""
    return frame if interval == "1d" else frame.drop("session")


def _current(hourly: pl.DataFrame, daily: pl.DataFrame) -> pl.DataFrame:
    """The newest closed hour and the newest closed session of each symbol; an hour has no momentum."""
    newest = [
        frame.group_by("symbol", maintain_order=True).last().insert_column(1, pl.lit(interval).alias("interval"))
        for interval, frame in (("1h", hourly), ("1d", daily))
    ]
    return pl.concat(newest, how="diagonal")
