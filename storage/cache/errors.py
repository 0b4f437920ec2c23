"""What can go wrong with the cache, in the words of the shared error tree."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis

from transforms.errors import ConfigurationError, PermanentError, PipelineError, StoreUnavailable

_REFUSED_LOGIN: Final = (redis.AuthenticationError, redis.exceptions.AuthorizationError)
_PASSING: Final = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
_PASSING_WORDS: Final = ("BUSY", "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "LOADING")


class CorruptEntry(PermanentError):
    """A key of ours holds something we did not write."""


class TornRead(PermanentError):
    """A head and a body read in one step do not belong together: something else writes to our keys."""


def translated(exc: redis.RedisError, doing: str) -> PipelineError:
    """The error of ours that stands for one of the driver's; `doing` says what was being done."""
    text = str(exc)
    if isinstance(exc, _REFUSED_LOGIN):
        return ConfigurationError(f"{doing}: the cache refused the login ({text}); check WARMBARS_REDIS_URL")
    if isinstance(exc, redis.OutOfMemoryError):
        return StoreUnavailable(f"{doing}: the cache is full; raise its maxmemory ({text})")
    if isinstance(exc, _PASSING) or text.startswith(_PASSING_WORDS):
        return StoreUnavailable(f"{doing}: the cache does not answer ({text})")
    return PermanentError(f"{doing}: the cache refused ({text})")


@contextmanager
def cache_errors(doing: str) -> Iterator[None]:
    """Stop the driver's errors at the adapter."""
    try:
        yield
    except redis.RedisError as exc:
        raise translated(exc, doing) from exc
