"""Round trips to the cache: one key with its head, or several in one step, checked to belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis

from storage.cache.entries import (
    BODY_FIELDS,
    HEADING_FIELDS,
    Head,
    Heading,
    Listed,
    Stored,
    corrupt,
    read_head,
    read_heading,
    read_stored,
)
from storage.cache.errors import TornRead, cache_errors, translated
from storage.cache.keys import Keys

_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Missing:
    """The cache has no answer: the symbol was never published, or a listed body was `lost`."""

    lost: bool
    checked: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """What one round trip brought. `stored` is None when the last publication did not have the key."""

    stored: Stored | None
    heading: Heading
    checked: datetime | None


@dataclass(frozen=True, slots=True)
class Together:
    """A head and bodies of one moment, by name; None for keys the publication did not have."""

    head: Head
    stored: Mapping[str, Stored | None]
    checked: datetime | None


class Fetcher:
    """Reads keys of one namespace."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        """Read through `client`."""
        self._client = client
        self._keys = keys

    def one(self, symbol: str, name: str) -> Found | Missing:
        """A key, its line in the head and the last check, in one round trip."""
        found = self._one(symbol, name, atomic=False)
        if isinstance(found, Missing) and found.lost:
            # perhaps a publication came between body and head: look at both at one moment
            return replace(self._one(symbol, name, atomic=True), checked=found.checked)
        return found

    def together(self, symbol: str, names: Sequence[str]) -> Together | Missing:
        """The head and several keys (all it lists if none is named) in one MULTI; `TornRead` if they differ."""
        checked = self.checked()
        names = names or self._listed_names(symbol)
        key, keys = self._keys.head(symbol), [self._keys.of(symbol, name) for name in names]
        with cache_errors(f"reading {key}"), self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(key)
            for body_key in keys:
                pipe.hmget(body_key, *BODY_FIELDS)
            fields, *bodies = pipe.execute(raise_on_error=False)
        head = read_head(key, _usable(key, fields))
        stored = [read_stored(k, _usable(k, body)) for k, body in zip(keys, bodies, strict=True)]
        for body_key, name, body in zip(keys, names, stored, strict=True):
            _belongs(body_key, name, head, body)
        by_name = dict(zip(names, stored, strict=True))
        if head is None:
            return Missing(lost=False, checked=checked)
        if any(body is None and name in head.listed for name, body in by_name.items()):
            return Missing(lost=True, checked=checked)
        return Together(head, by_name, checked)

    def head(self, symbol: str) -> Head | None:
        """Everything the head says."""
        key = self._keys.head(symbol)
        with cache_errors(f"reading {key}"):
            fields: Any = self._client.hgetall(key)
        return read_head(key, fields)

    def checked(self) -> datetime | None:
        """The moment up to which everything was checked."""
        key = self._keys.checked()
        with cache_errors(f"reading {key}"):
            micros: Any = self._client.hget(key, "moment")
        return _moment(key, micros)

    def _one(self, symbol: str, name: str, *, atomic: bool) -> Found | Missing:
        """Without `atomic`, with the last check too, which lies in another cluster slot."""
        key, head, checked_key = self._keys.of(symbol, name), self._keys.head(symbol), self._keys.checked()
        with cache_errors(f"reading {key}"), self._client.pipeline(transaction=atomic) as pipe:
            pipe.hmget(key, *BODY_FIELDS)
            pipe.hmget(head, *HEADING_FIELDS, name)
            if not atomic:
                pipe.hget(checked_key, "moment")
            body, fields, *rest = pipe.execute(raise_on_error=False)
        stored, heading = read_stored(key, _usable(key, body)), read_heading(head, _usable(head, fields))
        checked = _moment(checked_key, _usable(checked_key, rest[0])) if rest else None
        if heading is None or (stored is None and heading.listed is not None):
            return Missing(heading is not None, checked)
        return Found(stored, heading, checked)

    def _listed_names(self, symbol: str) -> list[str]:
        head = self.head(symbol)
        return [] if head is None else list(head.listed)


def _belongs(key: str, name: str, head: Head | None, stored: Stored | None) -> None:
    """Head and body, read at one moment, must tell the same of the body's content."""
    listed = None if head is None else head.listed.get(name)
    if stored is None or (listed is not None and listed == Listed(stored.version, stored.body.etag)):
        return
    raise TornRead(
        f"{key} holds version {stored.version}, etag {stored.body.etag}, but its head lists {listed}: "
        "something other than wb_publish writes to these keys"
    )


def _usable(key: str, reply: Any) -> Any:
    """A reply that is no error."""
    if not isinstance(reply, redis.RedisError):
        return reply
    if str(reply).startswith("WRONGTYPE"):
        raise corrupt(key, "it is not a hash") from reply
    raise translated(reply, f"reading {key}") from reply


def _moment(key: str, micros: bytes | None) -> datetime | None:
    if micros is None:
        return None
    try:
        return _EPOCH_START + timedelta(microseconds=int(micros))
    except (ValueError, OverflowError) as exc:
        raise corrupt(key, f"{micros!r} is no moment") from exc
