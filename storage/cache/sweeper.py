"""Finds what the cache should have and has not: lower or missing heads, lost bodies, a server started anew."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import redis

from storage.cache.entries import HEAD_FIELDS, read_head
from storage.cache.errors import cache_errors
from storage.cache.keys import Keys, parse_key
from storage.cache.publisher import CachePublisher

_BATCH: Final = 256
"""Symbols asked about in one round trip."""
_SCAN_COUNT: Final = 1000

Versions = Mapping[str, tuple[int, int]]


class ServerIdentity(NamedTuple):
    """Changes when the server restarts (`run_id`) or its data comes from elsewhere (`replication_id`)."""

    run_id: str
    replication_id: str


def server_identity(client: redis.Redis) -> ServerIdentity:
    """Who answers; a sweep is due whenever this is not what it was."""
    with cache_errors("asking the server who it is"):
        info: dict[str, Any] = {**client.info("server"), **client.info("replication")}
    return ServerIdentity(str(info["run_id"]), str(info["master_replid"]))


def missing_or_lower(heads: Mapping[str, tuple[int, int] | None], expected: Versions) -> list[str]:
    """Symbols whose head is missing or older than `expected`; a newer one was published meanwhile."""
    return [symbol for symbol, version in expected.items() if (heads.get(symbol) or (-1, -1)) < version]


def lost_bodies(client: redis.Redis, keys: Keys, symbols: Sequence[str]) -> list[str]:
    """Symbols of which a key that head lists does not exist (evicted, or deleted by hand)."""
    lost: list[str] = []
    with cache_errors("looking for lost bodies"):
        for some in _in_batches(symbols):
            listed = _listed(client, keys, some)
            with client.pipeline(transaction=False) as pipe:
                for names in listed.values():
                    pipe.exists(*names)
                found = pipe.execute()
            lost += [s for (s, names), n in zip(listed.items(), found, strict=True) if n < len(names)]
    return lost


def to_republish(client: redis.Redis, keys: Keys, expected: Versions) -> list[str]:
    """Everything a sweep has to send again, in the order of `expected`."""
    symbols = list(expected)
    heads = CachePublisher(client, keys).heads(symbols)
    due = {*missing_or_lower(heads, expected), *lost_bodies(client, keys, symbols)}
    return [symbol for symbol in symbols if symbol in due]


def unknown(client: redis.Redis, keys: Keys, expected: Versions) -> dict[str, datetime]:
    """Symbols that have keys though the database never published them, and the as-of that their heads say.

    They are left from what a database held before it was restored to an earlier moment. Walks the key space in small
    steps (SCAN).
    """
    found: dict[str, datetime] = {}
    with cache_errors("looking for symbols that were never published"):
        heads = [key.decode() for key in client.scan_iter(match=keys.head_pattern(), count=_SCAN_COUNT)]
        strange = [key for key in heads if parse_key(key).symbol not in expected]
        for key in strange:
            fields: Any = client.hgetall(key)
            head = read_head(key, fields)
            if head is not None and head.listed:
                found[parse_key(key).symbol] = head.as_of
    return found


def _listed(client: redis.Redis, keys: Keys, symbols: Sequence[str]) -> dict[str, list[str]]:
    """The keys each head lists; symbols that list none are left out."""
    with client.pipeline(transaction=False) as pipe:
        for symbol in symbols:
            pipe.hkeys(keys.head(symbol))
        fields = pipe.execute()
    listed = {
        symbol: [keys.of(symbol, name.decode()) for name in names if name.decode() not in HEAD_FIELDS]
        for symbol, names in zip(symbols, fields, strict=True)
    }
    return {symbol: names for symbol, names in listed.items() if names}


def _in_batches(symbols: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(symbols), _BATCH):
        yield symbols[start : start + _BATCH]
