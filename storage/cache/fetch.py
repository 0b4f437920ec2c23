"""Round trips to the cache: one key with its head, or several in one step, checked to belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis

from storage.cache.entries import (
    BODY_FIELDS,
    Head,
    Listed,
    Stored,
    Version,
    corrupt,
    read_head,
    read_heading,
    read_stored,
)
from storage.cache.errors import TornRead, cache_errors, translated
from storage.cache.keys import Keys

_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Found:
    """What one round trip brought: the body, what head says of it, and when everything was last checked."""

    stored: Stored | None
    version: Version | None
    as_of: datetime | None
    listed: Listed | None
    checked: datetime | None = None

    @property
    def published(self) -> bool:
        """Whether the symbol was ever published."""
        return self.version is not None

    @property
    def lost(self) -> bool:
        """Whether head lists the key and it is not there."""
        return self.stored is None and self.listed is not None


@dataclass(frozen=True, slots=True)
class Together:
    """A head and bodies read at one moment, by name."""

    head: Head | None
    stored: Mapping[str, Stored | None]
    checked: datetime | None

    @property
    def lost(self) -> bool:
        """Whether head lists one of the keys and it is not there."""
        return self.head is not None and any(
            name in self.head.listed for name, stored in self.stored.items() if stored is None
        )


class Fetcher:
    """Reads keys of one namespace."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        """Read through `client`."""
        self._client = client
        self._keys = keys

    def one(self, symbol: str, name: str) -> Found:
        """A key, its line in the head and the last check, in one round trip."""
        key, head = self._keys.of(symbol, name), self._keys.head(symbol)
        found = self._one(key, head, name, atomic=False)
        if found.lost:  # perhaps a publication came between body and head: look at both at one moment
            found = replace(self._one(key, head, name, atomic=True), checked=found.checked)
        return found

    def together(self, symbol: str, names: Sequence[str]) -> Together:
        """The head and several keys (all it lists if none is named) in one MULTI; `TornRead` if they do not fit."""
        checked = self.checked()
        names = names or self._listed_names(symbol)
        key, keys = self._keys.head(symbol), [self._keys.of(symbol, name) for name in names]
        with cache_errors(f"reading {key}"), self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(key)
            for body_key in keys:
                pipe.hmget(body_key, *BODY_FIELDS)
            head_fields, *bodies = pipe.execute(raise_on_error=False)
        head = read_head(key, _usable(key, head_fields))
        stored = [read_stored(k, _usable(k, body)) for k, body in zip(keys, bodies, strict=True)]
        for body_key, name, body in zip(keys, names, stored, strict=True):
            _belongs(body_key, name, head, body)
        return Together(head, dict(zip(names, stored, strict=True)), checked)

    def head(self, symbol: str) -> Head | None:
        """Everything the head says."""
        key = self._keys.head(symbol)
        with cache_errors(f"reading {key}"):
            return read_head(key, self._client.hgetall(key))

    def checked(self) -> datetime | None:
        """The moment up to which everything was checked."""
        key = self._keys.checked()
        with cache_errors(f"reading {key}"):
            return _moment(key, self._client.hget(key, "moment"))

    def _one(self, key: str, head: str, name: str, *, atomic: bool) -> Found:
        """Without `atomic`, with the last check too, which lies in another cluster slot."""
        checked_key = self._keys.checked()
        with cache_errors(f"reading {key}"), self._client.pipeline(transaction=atomic) as pipe:
            pipe.hmget(key, *BODY_FIELDS)
            pipe.hmget(head, "epoch", "version", "as_of", name)
            if not atomic:
                pipe.hget(checked_key, "moment")
            body, heading, *rest = pipe.execute(raise_on_error=False)
        checked = _moment(checked_key, _usable(checked_key, rest[0])) if rest else None
        version, as_of, listed = read_heading(head, _usable(head, heading))
        return Found(read_stored(key, _usable(key, body)), version, as_of, listed, checked)

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
