"""Sends publications to the cache: one fenced, atomic function call a symbol, many on the wire at once."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import redis

from storage.cache.codec import Body
from storage.cache.entries import Version, format_moment
from storage.cache.errors import cache_errors, translated
from storage.cache.keys import HEAD, Keys, parse_key
from storage.cache.library import ensure_library, library_missing
from storage.cache.wire import Command, replies
from transforms.errors import NamespaceTaken, PermanentError, PipelineError

BATCH_SYMBOLS: Final = 16
BATCH_BYTES: Final = 1 << 20
"""Sent before answers are read. Larger batches were slower: they fall out of the processor's caches."""
_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCAN_COUNT: Final = 1000

Status = Literal["published", "restored", "equal", "refused"]
Answer = tuple[str, object]
"""A symbol and the server's reply, which may be an error."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything published for one symbol at one version.

    `bodies`: by name, e.g. `bars:5m`. The names are the whole list: a key the cache has beyond them is deleted.
    """

    symbol: str
    epoch: int
    version: int
    as_of: datetime
    run: str | int
    bodies: dict[str, Body] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a publication.

    `published`: it was newer. `restored`: the cache had this version, but bodies were missing. `equal`:
    nothing to do. `refused`: the cache has a newer one. `written`, `kept`, `deleted` count bodies; `head` is
    the cache's version afterwards.
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

    def __init__(self, client: redis.Redis, keys: Keys, *, batch_symbols: int = BATCH_SYMBOLS) -> None:
        """Publish through `client`, sending `batch_symbols` symbols (or 1 MiB) ahead of the answers."""
        self._client = client
        self._keys = keys
        self._batch_symbols = batch_symbols
        self._prepared = False

    def send(self, publications: Iterable[Publication]) -> list[Outcome]:
        """Publish each; outcomes in order. Sending the same again does no harm."""
        self._prepare()
        answers, lost = self._exchange(publications)
        if lost:
            ensure_library(self._client)
            again, _ = self._exchange(lost.values())
            for i, answer in zip(lost, again, strict=True):
                answers[i] = answer
        return _outcomes(answers)

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
        return sum(parse_key(key).name != HEAD for key in found)

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
        answers: list[Answer] = []
        lost: dict[int, Publication] = {}
        with cache_errors("publishing"):
            for batch in replies(self._client, self._batches(publications, flying)):
                for answer in batch:
                    publication = flying.popleft()
                    if library_missing(answer):
                        lost[len(answers)] = publication
                    answers.append((publication.symbol, answer))
        return answers, lost

    def _batches(self, publications: Iterable[Publication], flying: deque[Publication]) -> Iterator[list[Command]]:
        batch: list[Command] = []
        size = 0
        for publication in publications:
            flying.append(publication)
            batch.append(self._command(publication))
            size += sum(len(body.content) for body in publication.bodies.values())
            if len(batch) >= self._batch_symbols or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _command(self, publication: Publication) -> Command:
        symbol = self._keys.of_symbol(publication.symbol)
        keys = [f"{symbol}{name}" for name in (HEAD, *publication.bodies)]  # names are checked by the function
        command: list[str | bytes | int] = ["FCALL", "wb_publish", len(keys), *keys]
        command += [
            publication.epoch,
            publication.version,
            format_moment(publication.as_of),
            str(publication.run),
        ]
        command.append(self._keys.events())
        for body in publication.bodies.values():
            command += (body.etag, body.encoding, body.type, body.content)
        return command


def _outcomes(answers: Sequence[Answer]) -> list[Outcome]:
    """Outcomes in order; raises what the server refused, by symbol, with the outcomes of all others."""
    outcomes: list[Outcome] = []
    problems: list[PipelineError] = []
    for symbol, answer in answers:
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
