"""Holds what the cache has of symbols against what is to be published of them, body by body."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import redis

from storage.cache.codec import Body
from storage.cache.entries import BODY_FIELDS, Head, Stored, Version, read_head, read_stored
from storage.cache.errors import CorruptEntry, cache_errors
from storage.cache.keys import HEAD, Keys
from storage.cache.publisher import Publication

Fault = Literal[
    "missing",
    "unlisted",
    "outdated",
    "altered",
    "unreadable",
    "behind",
    "ahead",
]
"""What is wrong with a key.

`missing`: it should be there. `unlisted`: it should not, or its head does not list it. `outdated`: its head lists other
content than the database has. `altered`: it does not hold the content that its head lists. `unreadable`: no head or
body of ours. `behind`, `ahead` (of heads): the cache has an older or a newer version than it was given.
"""

_SCAN_COUNT: Final = 1000


@dataclass(frozen=True, slots=True)
class KeyFault:
    """A key that is not what it should be. `stored`: what it holds, where that is a body; `expected` likewise."""

    symbol: str
    name: str
    fault: Fault
    said: str
    stored: Body | None = None
    expected: Body | None = None
    run: str | None = None


class CacheChecker:
    """Reads of one namespace, and the removal of keys that hold what they should not."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        """Read through `client`."""
        self._client = client
        self._keys = keys

    def faults(self, publications: Sequence[Publication]) -> list[KeyFault]:
        """What is wrong with the keys of these symbols, all of which the cache was given."""
        with cache_errors("reading heads"), self._client.pipeline(transaction=False) as pipe:
            for publication in publications:
                pipe.hgetall(self._keys.head(publication.symbol))
            heads = pipe.execute(raise_on_error=False)
        found: list[KeyFault] = []
        for publication, fields in zip(publications, heads, strict=True):
            found += self._faults_of(publication, fields)
        return found

    def unlisted(self) -> Iterator[tuple[str, str]]:
        """Symbol and name of every key of the namespace that no head lists, the heads too; walks the key space."""
        with cache_errors("looking for keys that no head lists"):
            some: list[bytes] = []
            for key in self._client.scan_iter(match=f"{self._keys.prefix}{{*}}:*", count=_SCAN_COUNT):
                some.append(key)
                if len(some) == _SCAN_COUNT:
                    yield from self._unlisted_among(some)
                    some = []
            yield from self._unlisted_among(some)

    def remove(self, faults: Sequence[KeyFault]) -> int:
        """Delete what is there and should not be, so that the next publication puts it right; how many keys."""
        wrong = [self._key(f.symbol, f.name) for f in faults if f.fault in ("unlisted", "altered", "unreadable")]
        with cache_errors("removing keys"):
            return sum(int(self._client.unlink(key)) for key in dict.fromkeys(wrong))

    def _unlisted_among(self, keys: Sequence[bytes]) -> Iterator[tuple[str, str]]:
        """Asked in one step a key: a key that came or went since it was found is as its head says."""
        named = [self._parts(key) for key in keys]
        for symbol, name in named:
            if name == HEAD:
                yield symbol, name
        bodies = [(symbol, name) for symbol, name in named if name != HEAD]
        with self._client.pipeline(transaction=False) as pipe:
            for symbol, name in bodies:
                pipe.hexists(self._key(symbol, HEAD), name)
            listed = pipe.execute(raise_on_error=False)
        for (symbol, name), there in zip(bodies, listed, strict=True):
            if there != 1 and self._is_stray(symbol, name):
                yield symbol, name

    def _is_stray(self, symbol: str, name: str) -> bool:
        """Whether a key exists and its head does not list it, at one moment."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.exists(self._key(symbol, name))
            pipe.hexists(self._key(symbol, HEAD), name)
            exists, listed = pipe.execute(raise_on_error=False)
        return bool(exists == 1 and listed != 1)

    def _parts(self, key: bytes) -> tuple[str, str]:
        """Symbol and name, whatever they look like."""
        symbol, _, name = key.decode(errors="replace").removeprefix(self._keys.prefix)[1:].partition("}:")
        return symbol, name

    def _key(self, symbol: str, name: str) -> str:
        return f"{self._keys.prefix}{{{symbol}}}:{name}"

    def _faults_of(self, publication: Publication, fields: Any) -> Iterator[KeyFault]:
        symbol = publication.symbol
        try:
            head = _head(self._keys.head(symbol), fields)
        except CorruptEntry as exc:
            yield KeyFault(symbol, HEAD, "unreadable", str(exc))
            return
        if head is None:
            yield KeyFault(symbol, HEAD, "missing", "nothing of this symbol is in the cache")
            return
        given = Version(publication.epoch, publication.version)
        if head.version != given:
            fault: Fault = "behind" if head.version < given else "ahead"
            said = f"the cache has version {_shown(head.version)}, it was given {_shown(given)}"
            yield KeyFault(symbol, HEAD, fault, said, run=head.run)
            return
        yield from self._bodies(publication, head)

    def _bodies(self, publication: Publication, head: Head) -> Iterator[KeyFault]:
        """What is wrong with the bodies under a head of the right version."""
        symbol = publication.symbol
        for name, body, error in self._read(symbol, sorted({*publication.bodies, *head.listed})):
            expected, listed = publication.bodies.get(name), head.listed.get(name)
            stored = None if body is None else body.body
            run = None if body is None else body.run

            def told(fault: Fault, said: str, *, name: str = name, pair: Any = (stored, expected, run)) -> KeyFault:
                return KeyFault(symbol, name, fault, said, *pair)

            if error is not None:
                yield told("unreadable", error)
            elif expected is None:
                yield told("unlisted", "the database has nothing for it, but the head lists it")
            elif listed is None:
                yield told("missing", "the head does not list it")
            elif listed.etag != expected.etag:
                yield told("outdated", f"the head lists etag {listed.etag}, the database makes {expected.etag}")
            elif stored is None:
                yield told("missing", "the head lists it, but it is not there")
            elif (stored.etag, _etag(stored), stored.encoding, stored.type) != (
                *(listed.etag, listed.etag),
                *(expected.encoding, expected.type),
            ):
                yield told("altered", f"the content has etag {_etag(stored)}, the head lists {listed.etag}")

    def _read(self, symbol: str, names: Sequence[str]) -> Iterator[tuple[str, Stored | None, str | None]]:
        """Each key's body, or why it cannot be read."""
        keys = [self._key(symbol, name) for name in names]
        with cache_errors(f"reading the keys of {symbol}"), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, *BODY_FIELDS)
            replies = pipe.execute(raise_on_error=False)
        for name, key, reply in zip(names, keys, replies, strict=True):
            try:
                yield name, read_stored(key, _hash(key, reply)), None
            except CorruptEntry as exc:
                yield name, None, str(exc)


def _head(key: str, fields: Any) -> Head | None:
    found: Mapping[bytes, bytes] = _hash(key, fields)
    return read_head(key, found)


def _hash(key: str, reply: Any) -> Any:
    """A reply that is a hash; `CorruptEntry` where somebody put another type."""
    if isinstance(reply, redis.ResponseError) and str(reply).startswith("WRONGTYPE"):
        raise CorruptEntry(f"{key} is not a hash")
    if isinstance(reply, redis.RedisError):
        raise reply
    return reply


def _etag(body: Body) -> str:
    return hashlib.sha256(body.content).hexdigest()[:32]


def _shown(version: Version) -> str:
    return f"{version.epoch}-{version.n}"
