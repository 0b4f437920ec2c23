"""Connections to a Redis or Valkey server."""

from typing import Final

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from transforms.errors import ConfigurationError

MOST_CONNECTIONS: Final = 16
_HEALTH_CHECK_SECONDS: Final = 30
_RETRIES: Final = 2


def connect(
    url: str,
    timeout: float = 5.0,
    *,
    name: str = "warmbars",
    max_connections: int = MOST_CONNECTIONS,
) -> redis.Redis:
    """Open a pool of connections; nothing is sent before the first command.

    `timeout`: seconds for connecting, for one answer and for a free connection. When all are in use a caller
    waits (redis-py's own pool raises). Retries are few and quick, because a reader has a database to turn to
    and a publisher is retried by its task; every command we send may be sent twice without harm.
    """
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            health_check_interval=_HEALTH_CHECK_SECONDS,
            retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), _RETRIES),
            client_name=name,
            protocol=3,
            decode_responses=False,
            # only Redis Enterprise sends them, and a pool that waits for them misses a closed connection
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError as exc:
        raise ConfigurationError(f"WARMBARS_REDIS_URL is not a Redis URL: {exc}") from exc
    return redis.Redis.from_pool(pool)
