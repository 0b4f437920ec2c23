"""What the cache stores under a key, read into values: heads and bodies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from storage.cache.codec import Body
from storage.cache.errors import CorruptEntry
from transforms.errors import PermanentError

T = TypeVar("T")
Origin = Literal["cache", "database"]

BODY_FIELDS: Final = ("body", "encoding", "type", "etag", "version", "as_of", "run")
HEADING_FIELDS: Final = ("epoch", "version", "as_of")
HEAD_FIELDS: Final = ("epoch", "version", "as_of", "run", "refused")


class Version(NamedTuple):
    """Version of one symbol's publication; only ever growing. The epoch outranks the number."""

    epoch: int
    n: int


class Listed(NamedTuple):
    """What a head says of one key: the version at which its content last changed, and its etag."""

    version: Version
    etag: str


@dataclass(frozen=True, slots=True)
class Head:
    """What was published last for a symbol. `refused`: how many older publications came too late."""

    version: Version
    as_of: datetime
    run: str
    refused: int
    listed: Mapping[str, Listed]


@dataclass(frozen=True, slots=True)
class Heading:
    """As much of a head as a reader of one key needs; `listed` is that key's line, None if head has none."""

    version: Version
    as_of: datetime
    listed: Listed | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A body as it lies in the cache.

    `version`: at which its content last changed; `as_of`, `run`: of the publication that wrote it.
    """

    body: Body
    version: Version
    as_of: datetime
    run: str


@dataclass(frozen=True, slots=True)
class Cached(Generic[T]):
    """A value and what is known about it.

    `as_of`: the moment whose knowledge it uses. `version`: at which its content last changed. `stale`: older
    than its freshness contract allows; still right for its as-of. `origin`: where it was read.
    """

    value: T
    as_of: datetime
    version: Version
    etag: str
    stale: bool
    origin: Origin


def format_moment(moment: datetime) -> str:
    """RFC 3339 in UTC: `2024-01-02T21:00:00Z`; decimals only if there are any."""
    if moment.tzinfo is None:
        raise PermanentError(f"{moment} has no time zone")
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def read_head(key: str, fields: Mapping[bytes, bytes]) -> Head | None:
    """All fields of a head; None when there are none, which means that nothing was published."""
    if not fields:
        return None
    own = [fields.get(name.encode()) for name in HEAD_FIELDS]
    listed = {
        name.decode(): read_listed(key, value) for name, value in fields.items() if name.decode() not in HEAD_FIELDS
    }
    try:
        epoch, version, as_of, run, refused = (_text(value) for value in own)
        return Head(Version(int(epoch), int(version)), datetime.fromisoformat(as_of), run, int(refused), listed)
    except ValueError as exc:
        raise corrupt(key, f"its fields do not make a head: {exc}") from exc


def read_heading(key: str, values: Sequence[Any]) -> Heading | None:
    """The values of `HEADING_FIELDS` and of one key's line; None when nothing was published."""
    *own, line = values
    if all(value is None for value in own):
        return None
    try:
        epoch, version, as_of = (_text(value) for value in own)
        listed = None if line is None else read_listed(key, line)
        return Heading(Version(int(epoch), int(version)), datetime.fromisoformat(as_of), listed)
    except ValueError as exc:
        raise corrupt(key, f"its fields do not make a head: {exc}") from exc


def read_listed(key: str, value: bytes) -> Listed:
    """One line of a head: `3-17 <etag>`."""
    version, _, etag = value.decode(errors="replace").partition(" ")
    try:
        return Listed(_version(version), etag)
    except ValueError as exc:
        raise corrupt(key, f"a key is listed as {value!r}") from exc


def read_stored(key: str, values: Sequence[Any]) -> Stored | None:
    """The fields of a body key, in the order of `BODY_FIELDS`; None when the key is missing."""
    if all(value is None for value in values):
        return None
    try:
        encoding, kind, etag, version, as_of, run = (_text(value) for value in values[1:])
        if values[0] is None:
            raise ValueError("body is missing")  # noqa: TRY301 - one place says what is wrong
        return Stored(Body(values[0], encoding, kind, etag), _version(version), datetime.fromisoformat(as_of), run)
    except ValueError as exc:
        raise corrupt(key, f"its fields do not make a body: {exc}") from exc


def corrupt(key: str, what: str) -> CorruptEntry:
    """Somebody else wrote to our key."""
    return CorruptEntry(f"{key}: {what}; delete this key, the next sweep writes it again")


def _version(text: str) -> Version:
    epoch, _, n = text.partition("-")
    return Version(int(epoch), int(n))


def _text(value: bytes | None) -> str:
    return _present(value).decode()


def _present(value: bytes | None) -> bytes:
    if value is None:
        raise ValueError("a field is missing")
    return value
