"""What commands work with: everything wired, or the cache alone."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from flows.cli.console import Say, working
from transforms.errors import ConfigurationError, PermanentError, UnknownSymbol

if TYPE_CHECKING:
    from flows.wiring import Deps
    from storage.cache.reader import Reader
    from storage.settings import Settings


@contextmanager
def connected(doing: str) -> "Iterator[tuple[Deps, Say]]":
    """Everything wired, while a terminal shows what is being done."""
    with working("starting") as say:
        from flows.wiring import wire
        from storage.settings import load_settings

        with wire(load_settings(), say) as deps:
            say(doing)
            yield deps, say


@contextmanager
def cache_alone(settings: "Settings", say: Say) -> "Iterator[Reader]":
    """A reader that knows the cache and nothing else: no database is connected to."""
    from storage.cache.client import connect
    from storage.cache.freshness import Freshness
    from storage.cache.keys import Keys
    from storage.cache.reader import Reader

    with ExitStack() as stack:
        if settings.redis_url is not None:
            url = settings.redis_url.get_secret_value()
        else:
            from storage.embedded import embedded

            must_exist(settings)
            url = stack.enter_context(embedded(settings.home, report=say)).redis_reader_url
        client = stack.enter_context(connect(url, settings.redis_timeout_seconds, name=settings.application_name))
        keys = Keys(settings.namespace)
        hours = _Hours(Reader(client, keys, Freshness(settings.soft_ttl_seconds)), settings.market)
        yield Reader(client, keys, Freshness(settings.soft_ttl_seconds, hours.traded))


def must_exist(settings: "Settings") -> None:
    """Refuse to make a data directory only to find it empty."""
    if not settings.home.exists():
        raise ConfigurationError(
            f"there is no data in {settings.home.absolute()} yet; start with: warmbars run "
            "(or name another directory in WARMBARS_HOME)"
        )


class _Hours:
    """When markets trade, from what the cache says of a symbol's market and from the exchange's calendar.

    Asked only when the last check is old, so the calendars are seldom loaded.
    """

    def __init__(self, reader: "Reader", default: str) -> None:
        self._markets = cache(lambda: _markets(reader))
        self._default = default

    def traded(self, symbol: str, start: datetime, end: datetime) -> bool:
        from transforms.calendars import calendar_sessions

        market = self._markets().get(symbol, self._default)
        day = timedelta(days=1)
        first, last = start.astimezone(UTC).date() - day, end.astimezone(UTC).date() + day
        try:
            sessions = calendar_sessions(market, first, last)
        except PermanentError:  # no such calendar, or it does not reach so far
            return True
        hours = sessions.select("open", "close").iter_rows()
        return any(opens < end and closes > start for opens, closes in hours)


def _markets(reader: "Reader") -> dict[str, str]:
    try:
        catalogue = reader.catalogue().value
    except UnknownSymbol:
        return {}
    return {} if catalogue.is_empty() else dict(catalogue.select("symbol", "market").iter_rows())
