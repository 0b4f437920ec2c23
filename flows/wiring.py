"""Settings to working parts: where servers are joined, pools opened and clients built."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import polars as pl
import redis

from flows.derive import Market
from storage.cache.bodies import PublicationLoader
from storage.cache.client import connect
from storage.cache.freshness import Freshness
from storage.cache.keys import Keys
from storage.cache.library import ensure_library
from storage.cache.publisher import CachePublisher
from storage.cache.reader import Reader
from storage.embedded import Servers, embedded
from storage.market import schema
from storage.market.applied import AppliedSettings
from storage.market.calendars import CalendarStore
from storage.market.database import Database
from storage.market.derived import DerivedStore
from storage.market.outbox import Outbox
from storage.market.raw import RawStore
from storage.market.retention import RetentionStore
from storage.market.runs import RunStore
from storage.settings import Settings
from transforms import catalogue
from transforms.calendars import calendar_sessions, market_timezone
from transforms.errors import ConfigurationError
from transforms.schema import BARS
from transforms.sessions import BucketRules
from transforms.validate import rejected

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Deps:
    """The parts a step works with."""

    settings: Settings
    database: Database
    raw: RawStore
    retention: RetentionStore
    derived: DerivedStore
    outbox: Outbox
    runs: RunStore
    applied: AppliedSettings
    calendars: CalendarStore
    loader: PublicationLoader
    cache: CachePublisher
    client: redis.Redis
    keys: Keys
    epoch: int

    def market(self, name: str, as_of: datetime) -> Market:
        """A market's hours as the settings read them."""
        settings = self.settings
        rules = BucketRules(
            settings.trading_hours,
            settings.align,
            settings.close_grace,
            settings.message_conditions,
            settings.auction_conditions,
        )
        return Market(self.calendars.hours(name, as_of.date()).sessions.lazy(), rules, settings)

    def reader(self) -> Reader:
        """A reader of the cache that falls back to the database."""
        market = self.settings.market
        freshness = Freshness(
            self.settings.soft_ttl_seconds,
            lambda symbol, start, end: self.calendars.traded(symbol, market, start, end),
        )
        return Reader(self.client, self.keys, freshness, self.loader)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the two servers are; `owner_url` may change the schema."""

    database_url: str
    owner_url: str
    redis_url: str


@contextmanager
def addresses(settings: Settings, report: Report | None = None) -> Iterator[Addresses]:
    """The servers of the settings; the embedded pair stands in for those not named, and is held meanwhile."""
    with ExitStack() as stack:
        own_database, own_redis = settings.database_url, settings.redis_url
        servers: Servers | None = None
        if own_database is None or own_redis is None:
            servers = stack.enter_context(embedded(settings.home, report=report))
        database = own_database.get_secret_value() if own_database else ""
        yield Addresses(
            database_url=database or _of(servers).database_url,
            owner_url=database or _of(servers).owner_url,
            redis_url=own_redis.get_secret_value() if own_redis else _of(servers).redis_url,
        )


def _of(servers: Servers | None) -> Servers:
    assert servers is not None
    return servers


@contextmanager
def wire(settings: Settings, report: Report | None = None) -> Iterator[Deps]:
    """Everything connected. The embedded database is set up when need be; your own wants `warmbars init` first."""
    columns = _indicator_columns(settings)
    with addresses(settings, report) as where, Database(where.database_url, settings) as database:
        if not schema.is_current(database):
            if settings.database_url is not None:
                raise ConfigurationError(
                    "the database of WARMBARS_DATABASE_URL is not set up for this version; run: warmbars init"
                )
            (report or silent)("setting up the database")
            initialise(settings, where)
        elif settings.database_url is None:
            with Database(where.owner_url, settings) as owner:
                schema.add_indicator_columns(owner, columns)
        elif lacking := schema.lacking_indicator_columns(database, columns):
            raise ConfigurationError(
                f"the setting indicators asks for columns that your database lacks ({', '.join(lacking)}); run:"
                " warmbars init"
            )
        with connect(where.redis_url, settings.redis_timeout_seconds, name=settings.application_name) as client:
            yield _deps(settings, database, client)


def initialise(settings: Settings, where: Addresses, revision: str = "head") -> tuple[str | None, str | None]:
    """Migrate the schema and make room for the configured indicators; the revisions before and after."""
    from storage.market.migrate import migrate

    columns = _indicator_columns(settings)
    moved = migrate(where.owner_url, revision)
    if revision == "head":
        with Database(where.owner_url, settings) as owner:
            schema.add_indicator_columns(owner, columns)
    return moved


def _indicator_columns(settings: Settings) -> list[str]:
    """Columns of the configured indicators, state included."""
    for name in settings.indicators:
        lacking = sorted({*catalogue.resolve(name).inputs} - {*BARS})
        if lacking:
            raise ConfigurationError(
                f"the setting indicators has {name}, which reads {', '.join(lacking)}: stored bars have no such"
                " column, so leave it out; over bars that you joined one to, transforms.catalogue.compute gives it"
            )
    return [column.name for column in catalogue.columns_of(settings.indicators)]


def _deps(settings: Settings, database: Database, client: redis.Redis) -> Deps:
    store_id, epoch = schema.ensure_identity(database)
    keys = Keys(settings.namespace)
    cache = CachePublisher(client, keys)
    ensure_library(client)
    cache.claim_namespace(store_id)
    outbox = Outbox(database)
    shown = [name for indicator in settings.indicators for name in catalogue.resolve(indicator).shown]
    calendar = partial(_calendar, settings)
    return Deps(
        settings=settings,
        database=database,
        raw=RawStore(database, rejected),
        retention=RetentionStore(database),
        derived=DerivedStore(database),
        outbox=outbox,
        runs=RunStore(database),
        applied=AppliedSettings(database),
        calendars=CalendarStore(database, calendar),
        loader=PublicationLoader(outbox, settings, shown),
        cache=cache,
        client=client,
        keys=keys,
        epoch=epoch,
    )


def _calendar(settings: Settings, market: str) -> tuple[str, pl.DataFrame]:
    return market_timezone(market), calendar_sessions(market, settings.calendar_start)


def silent(_: str) -> None:
    """Nobody wants to know."""
