"""Typed reads of the cache: one round trip each; the database only for what was never published or was lost."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import polars as pl
import redis

from storage.cache.codec import Body, decode_body
from storage.cache.entries import Cached, Head, Origin, Stored, Version, corrupt
from storage.cache.errors import CorruptEntry
from storage.cache.fetch import Fetcher, Found, Together
from storage.cache.freshness import Freshness
from storage.cache.keys import (
    CATALOGUE,
    CORRELATION,
    QUOTE,
    QUOTES,
    SENTIMENT_CURRENT,
    Keys,
    bars_name,
    indicators_name,
    sentiment_name,
)
from storage.cache.publisher import CachePublisher, Publication
from transforms.errors import PipelineError, StoreUnavailable, UnknownSymbol
from transforms.schema import BARS, MARKET_SYMBOL

log = logging.getLogger(__name__)

Frame = Cached[pl.DataFrame]

_BAR_COLUMNS: Final = {name: dtype for name, dtype in BARS.items() if name not in ("symbol", "session")}


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

    A key that the symbol's last publication did not have is an empty frame. A symbol never published, a body that
    was lost and a cache out of reach are answered by `loader`; `Cached.origin` then says "database", and the cache
    is filled through the publisher's own fenced function.
    """

    def __init__(
        self, client: redis.Redis, keys: Keys, freshness: Freshness, loader: Loader | None = None
    ) -> None:
        """Read through `client`; without a `loader` the database is never asked."""
        self._fetcher = Fetcher(client, keys)
        self._publisher = CachePublisher(client, keys)
        self._keys = keys
        self._freshness = freshness
        self._loader = loader

    def bars(self, symbol: str, interval: str) -> Frame:
        """Newest closed bars, split-adjusted: timestamp, open, high, low, close, volume (`1d`: session too)."""
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
        """Correlation of sentiment and return, by lag."""
        return self.read(symbol, CORRELATION)

    def quotes(self) -> Frame:
        """The board: every symbol's quote."""
        return self.read(MARKET_SYMBOL, QUOTES)

    def catalogue(self) -> Frame:
        """Which symbols there are."""
        return self.read(MARKET_SYMBOL, CATALOGUE)

    def head(self, symbol: str) -> Head | None:
        """What was published last for a symbol, and which keys; None for nothing."""
        return self._fetcher.head(symbol)

    def checked(self) -> datetime | None:
        """The moment up to which everything was checked; None for never."""
        return self._fetcher.checked()

    def read(self, symbol: str, name: str) -> Frame:
        """Any key, by its name."""
        try:
            found = self._fetcher.one(symbol, name)
            if found.published and not found.lost:
                return self._present(symbol, name, found)
            publication = self._load(symbol, lost=found.lost)
            if self._overtaken(publication):
                found = self._fetcher.one(symbol, name)
                if found.published and not found.lost:
                    return self._present(symbol, name, found)
            checked = found.checked
        except StoreUnavailable as exc:
            publication, checked = self._load_instead(symbol, exc), None
        return self._loaded(publication, name, checked)

    def snapshot(self, symbol: str, *names: str) -> Snapshot:
        """Read keys of one moment; all that are published if none is named.

        Raises `TornRead` when they do not fit their head, which no publication of ours can cause.
        """
        try:
            found = self._fetcher.together(symbol, names)
            if found.head is not None and not found.lost:
                return self._present_together(symbol, found.head, found)
            publication = self._load(symbol, lost=found.lost)
            if self._overtaken(publication):
                found = self._fetcher.together(symbol, names)
                if found.head is not None and not found.lost:
                    return self._present_together(symbol, found.head, found)
            checked = found.checked
        except StoreUnavailable as exc:
            publication, checked = self._load_instead(symbol, exc), None
        return self._loaded_together(publication, names, checked)

    def _present(self, symbol: str, name: str, found: Found) -> Frame:
        """A value from the cache. Where head still lists this content, the value is as good as head's as-of."""
        stale = self._freshness.stale(symbol, name, found.checked)
        if found.stored is None:
            assert found.version is not None
            assert found.as_of is not None
            return Cached(_nothing(name), found.as_of, found.version, "", stale, "cache")
        unchanged = found.listed is not None and found.listed.etag == found.stored.body.etag
        as_of = found.as_of if unchanged and found.as_of is not None else found.stored.as_of
        return self._valued(symbol, name, found.stored, as_of, stale=stale)

    def _present_together(self, symbol: str, head: Head, found: Together) -> Snapshot:
        values: dict[str, Frame] = {}
        for name, stored in found.stored.items():
            stale = self._freshness.stale(symbol, name, found.checked)
            if stored is None:
                values[name] = Cached(_nothing(name), head.as_of, head.version, "", stale, "cache")
            else:
                values[name] = self._valued(symbol, name, stored, head.as_of, stale=stale)
        return Snapshot(symbol, head.version, head.as_of, values)

    def _valued(self, symbol: str, name: str, stored: Stored, as_of: datetime, *, stale: bool) -> Frame:
        frame = self._decoded(symbol, name, stored.body)
        return Cached(frame, as_of, stored.version, stored.body.etag, stale, "cache")
