"""Typed reads of the cache, one round trip each; the database only for what it never had or lost."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

import polars as pl
import redis

from storage.cache.codec import Body, decode_body
from storage.cache.entries import Cached, Head, Heading, Listed, Version, corrupt
from storage.cache.errors import CorruptEntry
from storage.cache.fetch import Fetcher, Found, Missing, Together
from storage.cache.freshness import Freshness
from storage.cache.keys import (
    CATALOGUE,
    CORRELATION,
    FINDINGS,
    FORECAST,
    MATRIX,
    QUOTE,
    QUOTES,
    ROLLING,
    SENTIMENT_CURRENT,
    Keys,
    bars_name,
    indicators_name,
    sentiment_name,
)
from storage.cache.publisher import CachePublisher, Publication
from transforms.errors import PipelineError, StoreUnavailable, UnknownSymbol
from transforms.schema import BARS, MARKET_SYMBOL, OHLCV

log = logging.getLogger(__name__)

Frame = Cached[pl.DataFrame]
Answer = TypeVar("Answer")
Read = TypeVar("Read", Found, Together)


class Loader(Protocol):
    """Where values come from when the cache never had them, lost them or cannot be reached."""

    def load(self, symbol: str) -> Publication | None:
        """The newest publication of a symbol; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Several keys of a symbol, by name, as one publication left them."""

    symbol: str
    version: Version
    as_of: datetime
    values: Mapping[str, Frame]


class Reader:
    """Reads one namespace.

    A key that the symbol's last publication did not have is an empty frame. A symbol never published, a body
    that was lost and a cache out of reach are answered by `loader`; `Cached.origin` then says "database", and
    the cache is filled through the publisher's own fenced function.
    """

    def __init__(self, client: redis.Redis, keys: Keys, freshness: Freshness, loader: Loader | None = None) -> None:
        """Read through `client`; without a `loader` the database is never asked."""
        self._fetcher = Fetcher(client, keys)
        self._publisher = CachePublisher(client, keys)
        self._keys = keys
        self._freshness = freshness
        self._loader = loader

    def bars(self, symbol: str, interval: str) -> Frame:
        """Newest closed bars, split-adjusted: timestamp, OHLC and volume (`1d`: session too)."""
        return self.read(symbol, bars_name(interval))

    def indicators(self, symbol: str, interval: str) -> Frame:
        """Indicators of the newest closed bars."""
        return self.read(symbol, indicators_name(interval))

    def quote(self, symbol: str) -> Frame:
        """Last trade and running bar; one row."""
        return self.read(symbol, QUOTE)

    def sentiment_current(self, symbol: str) -> Frame:
        """Sentiment of the newest hour and of the newest session."""
        return self.read(symbol, SENTIMENT_CURRENT)

    def sentiment_history(self, symbol: str, interval: str) -> Frame:
        """Sentiment by hour (`1h`) or by session (`1d`)."""
        return self.read(symbol, sentiment_name(interval))

    def correlations(self, symbol: str) -> Frame:
        """Correlation of sentiment and return over all sessions, by lag, with p-value and interval."""
        return self.read(symbol, CORRELATION)

    def rolling_correlations(self, symbol: str) -> Frame:
        """Correlation of sentiment and return over the sessions up to each of the newest ones."""
        return self.read(symbol, ROLLING)

    def forecast(self, symbol: str) -> Frame:
        """Return and volatility of the next session: a row a target and model, with scores.

        Stale too once the market has traded after the session that is forecast.
        """
        return self.read(symbol, FORECAST)

    def quotes(self) -> Frame:
        """The board: every symbol's quote."""
        return self.read(MARKET_SYMBOL, QUOTES)

    def catalogue(self) -> Frame:
        """Which symbols there are."""
        return self.read(MARKET_SYMBOL, CATALOGUE)

    def findings(self) -> Frame:
        """Every correlation tested, of all symbols, adjusted for their number; the surest first."""
        return self.read(MARKET_SYMBOL, FINDINGS)

    def matrix(self) -> Frame:
        """How the daily returns of symbols move together: `r` of a row is with each row in turn."""
        return self.read(MARKET_SYMBOL, MATRIX)

    def head(self, symbol: str) -> Head | None:
        """What was published last for a symbol, and which keys; None for nothing."""
        return self._fetcher.head(symbol)

    def checked(self) -> datetime | None:
        """The moment up to which everything was checked; None for never."""
        return self._fetcher.checked()

    def read(self, symbol: str, name: str) -> Frame:
        """Any key, by its name."""
        return self._answer(
            symbol,
            fetch=lambda: self._fetcher.one(symbol, name),
            present=lambda found: self._present(symbol, name, found),
            loaded=lambda publication, checked: self._loaded(publication, name, checked),
        )

    def snapshot(self, symbol: str, *names: str) -> Snapshot:
        """Read keys of one moment; all that are published if none is named.

        Raises `TornRead` when they do not fit their head, which no publication of ours can cause.
        """
        return self._answer(
            symbol,
            fetch=lambda: self._fetcher.together(symbol, names),
            present=lambda found: self._present_together(symbol, found),
            loaded=lambda publication, checked: self._loaded_together(publication, names, checked),
        )

    def _answer(
        self,
        symbol: str,
        fetch: Callable[[], Read | Missing],
        present: Callable[[Read], Answer],
        loaded: Callable[[Publication, datetime | None], Answer],
    ) -> Answer:
        """From the cache if it has an answer, else from the database, filling the cache where it can be reached."""
        found = self._tried(fetch, symbol)
        if found is not None and not isinstance(found, Missing):
            return present(found)
        publication = self._load(symbol, lost=found is not None and found.lost)
        if found is not None and self._overtaken(publication):
            again = self._tried(fetch, symbol)
            if again is not None and not isinstance(again, Missing):
                return present(again)
        return loaded(publication, None if found is None else found.checked)

    def _tried(self, fetch: Callable[[], Read | Missing], symbol: str) -> Read | Missing | None:
        """What the cache says; None when it is out of reach and there is a loader to turn to."""
        try:
            return fetch()
        except StoreUnavailable as exc:
            if self._loader is None:
                raise
            log.warning("%s is read from the database: %s", symbol, exc)
            return None

    def _load(self, symbol: str, *, lost: bool) -> Publication:
        where = f"namespace {self._keys.namespace!r}"
        if self._loader is None and lost:
            raise StoreUnavailable(f"a key of {symbol} was lost from {where}; the next sweep writes it again")
        publication = None if self._loader is None else self._loader.load(symbol)
        if publication is None:
            raise UnknownSymbol(
                f"nothing was ever published for {symbol} in {where}; ingest its rows, then run `warmbars run`"
            )
        return publication

    def _overtaken(self, publication: Publication) -> bool:
        """Fill the cache; whether it turned out to have something newer by now."""
        log.info("%s was missing from the cache and is filled from the database", publication.symbol)
        try:
            (outcome,) = self._publisher.send([publication])
        except PipelineError as exc:  # the reader has its answer, and may not be allowed to write
            log.warning("%s could not be filled: %s", publication.symbol, exc)
            return False
        return outcome.status == "refused"

    def _present(self, symbol: str, name: str, found: Found) -> Frame:
        """A value from the cache. While head lists this very content, it is as good as head's as-of."""
        stored, heading = found.stored, found.heading
        if stored is None:
            nothing = _nothing(name)
            stale = self._stale(symbol, name, nothing, found.checked)
            return Cached(nothing, heading.as_of, heading.version, "", stale, "cache")
        listed = Listed(stored.version, stored.body.etag) == heading.listed
        as_of = heading.as_of if listed else stored.as_of
        frame = self._decoded(symbol, name, stored.body)
        stale = self._stale(symbol, name, frame, found.checked)
        return Cached(frame, as_of, stored.version, stored.body.etag, stale, "cache")

    def _present_together(self, symbol: str, found: Together) -> Snapshot:
        head = found.head
        values = {
            name: self._present(
                symbol,
                name,
                Found(stored, Heading(head.version, head.as_of, head.listed.get(name)), found.checked),
            )
            for name, stored in found.stored.items()
        }
        return Snapshot(symbol, head.version, head.as_of, values)

    def _loaded(self, publication: Publication, name: str, checked: datetime | None) -> Frame:
        """A value from the database; where the last check is unknown, its as-of stands for it."""
        symbol, body = publication.symbol, publication.bodies.get(name)
        frame = _nothing(name) if body is None else self._decoded(symbol, name, body)
        etag = "" if body is None else body.etag
        stale = self._stale(symbol, name, frame, checked or publication.as_of)
        version = Version(publication.epoch, publication.version)
        return Cached(frame, publication.as_of, version, etag, stale, "database")

    def _loaded_together(self, publication: Publication, names: Sequence[str], checked: datetime | None) -> Snapshot:
        values = {name: self._loaded(publication, name, checked) for name in names or publication.bodies}
        version = Version(publication.epoch, publication.version)
        return Snapshot(publication.symbol, version, publication.as_of, values)

    def _stale(self, symbol: str, name: str, frame: pl.DataFrame, checked: datetime | None) -> bool:
        """By the last check; a forecast, which no check speaks of, also by the session it is of."""
        if self._freshness.stale(symbol, name, checked):
            return True
        if name != FORECAST or frame.is_empty():
            return False
        return any(self._freshness.outlived(symbol, day) for day in frame["session"].unique().drop_nulls())

    def _decoded(self, symbol: str, name: str, body: Body) -> pl.DataFrame:
        try:
            return decode_body(body)
        except CorruptEntry as exc:
            raise corrupt(self._keys.of(symbol, name), str(exc)) from exc


def _nothing(name: str) -> pl.DataFrame:
    """What a key without a body stands for: no rows."""
    family, _, interval = name.partition(":")
    if family != "bars":
        return pl.DataFrame()
    dated = {"session": BARS["session"]} if interval == "1d" else {}
    return pl.DataFrame(schema={"timestamp": BARS["timestamp"], **dated, **{c: BARS[c] for c in OHLCV}})
