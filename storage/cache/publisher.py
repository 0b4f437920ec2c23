"""Sends publications to the cache: one fenced, atomic call a symbol, several on the wire at once."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import redis

from storage.cache.codec import Body
from storage.cache.entries import Version, format_moment
from storage.cache.errors import cache_errors, translated
from storage.cache.keys import HEAD, Keys, checked_name
from storage.cache.library import ensure_library, library_missing
from storage.cache.wire import Command, answers
from transforms.errors import NamespaceTaken, PermanentError, PipelineError

STAGED: Final = "~"
"""Ends the key under which a body travels inside its publication's MULTI; never seen from outside."""
STAGED_BYTES: Final = 16 << 10
"""Bodies from this size on are staged: through Lua they cost the server twice as much (smaller ones less)."""
_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCAN_COUNT: Final = 1000

Status = Literal["published", "restored", "equal", "refused", "lacking"]
Answer = tuple[str, object]
"""A symbol and the server's reply, which may be an error."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything published for one symbol at one version.

    `bodies`: by name, e.g. `bars:5m`. `standing`: names that were not looked at, since nothing they show has changed
    since version `since`, which the cache was given; they stay as they are, there or not. The names of both are the
    whole list: a key the cache has beyond them is deleted.
    """

    symbol: str
    epoch: int
    version: int
    as_of: datetime
    run: str | int
    bodies: dict[str, Body] = field(default_factory=dict)
    standing: tuple[str, ...] = ()
    since: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a publication.

    `published`: it was newer. `restored`: the cache had this version, but bodies were missing. `equal`:
    nothing to do. `refused`: the cache has a newer one. `lacking`: it has not what was to stay as it is, so the
    symbol has to be sent whole. `written`, `kept`, `deleted` count bodies; `head` is the cache's version afterwards.
    """

    symbol: str
    status: Status
    written: int
    kept: int
    deleted: int
    head: Version


class PartlyPublished(PermanentError):
    """Some symbols were refused as wrong, the others went through; `outcomes` are theirs."""

    def __init__(self, message: str, outcomes: list[Outcome]) -> None:
        """Say what was wrong and what went through."""
        super().__init__(message)
        self.outcomes = outcomes


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes the server uses, and its limit (None: no limit, and no share)."""

    used: int
    limit: int | None

    @property
    def share(self) -> float | None:
        """Used part of the limit."""
        return self.used / self.limit if self.limit else None


class CachePublisher:
    """Writes one namespace. Safe to share between threads; several publishers cannot hurt each other."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        """Publish through `client`."""
        self._client = client
        self._keys = keys
        self._prepared = False

    def send(self, publications: Iterable[Publication]) -> list[Outcome]:
        """Publish each; outcomes in order. Sending the same again does no harm."""
        self._prepare()
        found, lost = self._exchange(publications)
        if lost:
            ensure_library(self._client)
            again, _ = self._exchange(lost.values())
            for i, answer in zip(lost, again, strict=True):
                found[i] = answer
        return _outcomes(found)

    def set_checked(self, epoch: int, moment: datetime) -> bool:
        """Say that everything was checked up to `moment`: only forward, or in a later epoch. Whether it moved."""
        micros = (moment - _EPOCH_START) // timedelta(microseconds=1)
        moved, _, _ = self._call("wb_checked", self._keys.checked(), epoch, micros)
        return bool(moved)

    def claim_namespace(self, identity: str, replaces: str = "") -> None:
        """Take the namespace for the database `identity`, which may follow on the one it `replaces`."""
        owner = self._call("wb_claim_namespace", self._keys.owner(), identity, replaces)
        if owner.decode() != identity:
            raise NamespaceTaken(
                f"cache namespace {self._keys.namespace!r} belongs to database {owner.decode()!r}, and this is "
                f"{identity!r}; set WARMBARS_NAMESPACE to another name, or delete {self._keys.owner()} "
                "if that database is gone"
            )

    def heads(self, symbols: Sequence[str]) -> dict[str, Version | None]:
        """What the cache has of each symbol, in one round trip; None for nothing."""
        with cache_errors("reading heads"), self._client.pipeline(transaction=False) as pipe:
            for symbol in symbols:
                pipe.hmget(self._keys.head(symbol), "epoch", "version")
            found = pipe.execute()
        return {
            symbol: None if epoch is None or n is None else Version(int(epoch), int(n))
            for symbol, (epoch, n) in zip(symbols, found, strict=True)
        }

    def memory(self) -> Memory:
        """How full the server is."""
        with cache_errors("asking for memory"):
            info = self._client.info("memory")
        return Memory(int(info["used_memory"]), int(info["maxmemory"]) or None)

    def count(self) -> int:
        """How many bodies the namespace has; walks the key space in small steps (SCAN)."""
        pattern = f"{self._keys.prefix}{{*}}:*"
        with cache_errors("counting entries"):
            found = set(self._client.scan_iter(match=pattern, count=_SCAN_COUNT))
        return sum(not key.endswith((f":{HEAD}".encode(), STAGED.encode())) for key in found)

    def _prepare(self) -> None:
        if not self._prepared:
            ensure_library(self._client)
            self._prepared = True

    def _call(self, function: str, key: str, *args: str | int) -> Any:
        self._prepare()
        with cache_errors(f"calling {function} on {key}"):
            try:
                return self._client.fcall(function, 1, key, *args)
            except redis.ResponseError as exc:
                if not library_missing(exc):
                    raise
                ensure_library(self._client)
                return self._client.fcall(function, 1, key, *args)

    def _exchange(self, publications: Iterable[Publication]) -> tuple[list[Answer], dict[int, Publication]]:
        """The server's answers in order, and by position those it lacked the functions for."""
        flying: deque[Publication] = deque()
        found: list[Answer] = []
        lost: dict[int, Publication] = {}
        with cache_errors("publishing"):
            for group in answers(self._client, self._groups(publications, flying)):
                publication, answer = flying.popleft(), _answer_in(group)
                if library_missing(answer):
                    lost[len(found)] = publication
                found.append((publication.symbol, answer))
        return found, lost

    def _groups(self, publications: Iterable[Publication], flying: deque[Publication]) -> Iterator[list[Command]]:
        for publication in publications:
            group = self._commands(publication)
            flying.append(publication)
            yield group

    def _commands(self, publication: Publication) -> list[Command]:
        """The function call; in a MULTI with large bodies under their staged keys, if there are any."""
        epoch, n, run = publication.epoch, publication.version, str(publication.run)
        as_of = format_moment(publication.as_of)
        symbol = self._keys.of_symbol(publication.symbol)
        keys, staged = [f"{symbol}{HEAD}"], list[str]()
        args: list[str | bytes | int] = []
        commands: list[Command] = []
        for name, body in publication.bodies.items():
            key = f"{symbol}{checked_name(name)}"
            keys.append(key)
            if len(body.content) < STAGED_BYTES:
                args += (body.etag, body.encoding, body.type, body.content)
                continue
            staged.append(f"{key}{STAGED}")
            args += (body.etag, "", "", b"")
            wrote = ("as_of", as_of, "run", run)
            commands.append(Command(("HSET", staged[-1], *_fields(body), *wrote, "body"), body.content))
        for name in publication.standing:
            keys.append(f"{symbol}{checked_name(name)}")
            args += ("", publication.since, "", b"")
        keys += staged
        head = (epoch, n, as_of, run, self._keys.events())
        call = Command(("FCALL", "wb_publish", len(keys), *keys, *head, *args))
        return [Command(("MULTI",)), *commands, call, Command(("EXEC",))] if staged else [call]


def _fields(body: Body) -> tuple[str, ...]:
    return ("encoding", body.encoding, "type", body.type, "etag", body.etag)


def _answer_in(replies: Sequence[object]) -> object:
    """The function's answer, last in that of EXEC; or the first error on the way there."""
    errors = [reply for reply in replies if isinstance(reply, redis.RedisError)]
    results = replies[-1]
    if errors:
        return errors[0]
    return results[-1] if len(replies) > 1 and isinstance(results, list) else results


def _outcomes(found: Sequence[Answer]) -> list[Outcome]:
    """Outcomes in order; raises what the server refused, by symbol, with the outcomes of all others."""
    outcomes: list[Outcome] = []
    problems: list[PipelineError] = []
    for symbol, answer in found:
        if isinstance(answer, redis.RedisError):
            problems.append(translated(answer, f"publishing {symbol}"))
        else:
            outcomes.append(_outcome(symbol, answer))
    passing = [problem for problem in problems if not isinstance(problem, PermanentError)]
    if passing:
        raise passing[0]
    if problems:
        raise PartlyPublished("\n".join(str(problem) for problem in problems), outcomes)
    return outcomes


def _outcome(symbol: str, answer: Any) -> Outcome:
    status, written, kept, deleted, epoch, version = answer
    return Outcome(symbol, status.decode(), written, kept, deleted, Version(epoch, version))
