"""From rows of the market store to the bodies of the cache contract: which keys a symbol has and what is in each."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Final, NamedTuple

import polars as pl

from storage.cache.codec import encode
from storage.cache.publisher import Publication
from storage.market.outbox import Outbox, SymbolRows, Version
from storage.settings import Settings
from transforms.schema import MARKET_SYMBOL

RECIPE: Final = 1
"""Raise it with every change of what a body holds: bodies made by another recipe are not left as they are."""

Frames = Mapping[str, pl.DataFrame]
"""Key suffix and the rows of every symbol that go under it."""


class Part(NamedTuple):
    """Keys that are read together, the tables their bodies are made of, and how they are read."""

    names: tuple[str, ...]
    tables: frozenset[str]
    read: Callable[[SymbolRows], Frames]


class PublicationLoader:
    """Reads what is to be published, for the publisher and for a reader that finds a key never published."""

    def __init__(self, outbox: Outbox, settings: Settings, indicator_columns: Sequence[str]) -> None:
        """Publish `indicator_columns`, and as many rows a key as the settings say."""
        self._outbox = outbox
        self._settings = settings
        self._columns = indicator_columns
        self._parts = tuple(self._all_parts())
        shown = (settings.published_bars, settings.published_sentiment, settings.published_rolling)
        told = repr((RECIPE, version("warmbars"), settings.intervals, shown, tuple(indicator_columns)))
        self.recipe = hashlib.sha256(told.encode()).hexdigest()[:16]

    def load(self, symbol: str) -> Publication | None:
        """The newest publication of one symbol; None when it was never refreshed."""
        return next(iter(self.load_many([symbol])), None)

    def load_many(self, symbols: Sequence[str], *, whole: bool = True) -> list[Publication]:
        """The newest publications of some symbols, all read at one moment.

        Unless they are to be `whole`, a body is left as it is (`Publication.standing`) where no table that it is made
        of has changed since the version that the cache was given last, by this recipe.
        """
        with self._outbox.rows(symbols) as rows:
            versions = rows.versions()
            standing = {v.symbol: set() if whole else self._standing(v) for v in versions}
            standing.pop(MARKET_SYMBOL, None)
            publications = {
                v.symbol: Publication(
                    v.symbol,
                    v.epoch,
                    v.version,
                    v.as_of,
                    v.run_id,
                    standing=tuple(sorted(standing.get(v.symbol, ()))),
                    since=v.published_version,
                )
                for v in versions
            }
            for part in self._parts:
                asked = [symbol for symbol, names in standing.items() if not names.issuperset(part.names)]
                if asked:
                    _add(publications, part.read(rows.of(asked)))
            if MARKET_SYMBOL in publications:
                _add_market(publications[MARKET_SYMBOL], rows)
        return list(publications.values())

    def _standing(self, version: Version) -> set[str]:
        """The keys of a symbol that the cache has as they are now, if it has what it was given."""
        if version.recipe != self.recipe:
            return set()
        return {name for part in self._parts if version.stands(part.tables) for name in part.names}

    def _all_parts(self) -> Iterator[Part]:
        settings = self._settings
        bars, factors = settings.published_bars, "adjustment_factors"
        yield Part(("quote",), frozenset({"quotes"}), lambda rows: {"quote": rows.quotes()})
        for interval in settings.intervals:
            yield Part(
                (f"bars:{interval}",),
                frozenset({factors, *_tables_of(interval)}),
                lambda rows, i=interval: {f"bars:{i}": rows.bars(i, bars)},  # type: ignore[misc]
            )
        for interval in settings.intervals[1:]:
            yield Part(
                (f"indicators:{interval}",),
                frozenset({f"indicators_{interval}"}),
                lambda rows, i=interval: {f"indicators:{i}": rows.indicators(i, bars, self._columns)},  # type: ignore[misc]
            )
        yield Part(_SENTIMENT, frozenset({"sentiment_1h", "sentiment_1d"}), self._sentiment)
        yield Part(("correlation",), frozenset({"correlations"}), lambda rows: {"correlation": rows.correlations()})
        yield Part(
            ("correlation:rolling",),
            frozenset({"rolling_correlations", *_tables_of("1d")}),
            lambda rows: {"correlation:rolling": rows.rolling_correlations(settings.published_rolling)},
        )
        yield Part(
            ("forecast",),
            frozenset({"forecasts", *_tables_of("1d")}),
            lambda rows: {"forecast": rows.forecasts()},
        )

    def _sentiment(self, rows: SymbolRows) -> Frames:
        hourly, daily = (rows.sentiment(interval, self._settings.published_sentiment) for interval in ("1h", "1d"))
        return dict(zip(_SENTIMENT, (hourly, daily, _current(hourly, daily)), strict=True))


_SENTIMENT: Final = ("sentiment:1h", "sentiment:1d", "sentiment:current")


def _tables_of(interval: str) -> tuple[str, ...]:
    """Where the bars of an interval are stored."""
    return ("bars_1m",) if interval == "1m" else (f"bars_{interval}_rollup", f"bars_{interval}_fill")


def _add(publications: Mapping[str, Publication], frames: Frames) -> None:
    for name, frame in frames.items():
        for symbol, part in _by_symbol(frame):
            publications[symbol].bodies[name] = encode(part)


def _by_symbol(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each symbol's rows without it; rows come in order of their symbol, which is the first column."""
    if frame.is_empty():
        return
    column, *rest = frame.get_columns()
    if column[0] == column[-1]:
        yield column[0], pl.DataFrame(rest)
        return
    for (symbol,), part in frame.partition_by("symbol", as_dict=True, include_key=False).items():
        yield str(symbol), part


def _add_market(publication: Publication, rows: SymbolRows) -> None:
    publication.bodies["quotes"] = encode(rows.board())
    publication.bodies["catalogue"] = encode(rows.catalogue())
    for name, frame in (("correlations", rows.findings()), ("matrix", rows.matrix())):
        if not frame.is_empty():
            publication.bodies[name] = encode(frame)


def _current(hourly: pl.DataFrame, daily: pl.DataFrame) -> pl.DataFrame:
    """The newest closed hour and the newest closed session of each symbol; an hour has no momentum."""
    newest = [
        frame.group_by("symbol", maintain_order=True).last().insert_column(1, pl.lit(interval).alias("interval"))
        for interval, frame in (("1h", hourly), ("1d", daily))
    ]
    return pl.concat(newest, how="diagonal")
