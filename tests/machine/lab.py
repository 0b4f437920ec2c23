"""One store and one cache for many short lives: emptied, wired, killed, put back to an earlier moment."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psycopg
import redis
from psycopg import sql
from pydantic import SecretStr

from flows.wiring import Addresses, initialise
from storage.embedded import Servers
from storage.market.tables import SCHEMA, metadata
from storage.settings import Settings
from tests.machine.crash import Faults, injected

NAMESPACE = "machine"
_CALENDARS = {"markets", "sessions"}
_TABLES = [table.name for table in metadata.sorted_tables if table.name not in _CALENDARS]
_IDENTITIES = [t.name for t in metadata.sorted_tables if any(c.identity is not None for c in t.columns)]
_APPLICATION = "machine"

Heads = dict[str, tuple[tuple[int, int], dict[str, tuple[int, int]]]]
"""By symbol: the version its head says, and the version of the content of each key it lists."""


@dataclass(frozen=True)
class DatabaseCopy:
    """Rows of every table that had any, as COPY writes them, and how far the identities had counted."""

    tables: Mapping[str, bytes]
    counted: Mapping[str, int]


CacheCopy = dict[bytes, bytes]
"""Every key as DUMP writes it."""


@dataclass
class Lab:
    """The servers, seen past the code that is tried: `owner` and `cache` are connections that no crash reaches."""

    servers: Servers
    owner: "psycopg.Connection[Any]"
    watcher: "psycopg.Connection[Any]"
    cache: redis.Redis
    faults: Faults = field(default_factory=Faults)
    tally: Counter[str] = field(default_factory=Counter)

    def settings(self, **update: Any) -> Settings:
        """Settings that join these servers as somebody's own, so that wiring looks at nothing else.

        They keep a year of sessions: every process reads them all.
        """
        return Settings(
            home=self.servers.home,
            database_url=SecretStr(self.servers.database_url),
            redis_url=SecretStr(self.servers.redis_url),
            namespace=NAMESPACE,
            application_name=_APPLICATION,
            calendar_start=date(2024, 6, 1),
            **update,
        )

    def prepare(self, *variants: Settings) -> None:
        """Make room in the tables for the indicators of all variants."""
        addresses = Addresses(self.servers.database_url, self.servers.owner_url, self.servers.redis_url)
        every = tuple(dict.fromkeys(name for variant in variants for name in variant.indicators))
        initialise(Settings(home=self.servers.home, indicators=every), addresses)
        self.forget_calendars()

    def forget_calendars(self) -> None:
        """Have the next process fetch its sessions, from where its own settings say."""
        for name in _CALENDARS:
            self.owner.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(SCHEMA, name)))

    def empty(self) -> None:
        """Nothing stored, nothing cached."""
        names = sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in _TABLES)
        self.owner.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(names))
        self.cache.flushall()

    # ---- a process of ours

    def settle(self) -> None:
        """Wait until the database has noticed that its client is gone."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        deadline = time.monotonic() + 30
        while self.watcher.execute(query, [_APPLICATION]).fetchone() != (0,):
            assert time.monotonic() < deadline, "a process has ended, and a connection of it is still open"
            time.sleep(0.001)

    # ---- what is there, and what was

    def rows(self, table: str, columns: "list[str] | None" = None) -> list[tuple[Any, ...]]:
        chosen = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*")
        query = sql.SQL("SELECT {} FROM {}").format(chosen, sql.Identifier(SCHEMA, table))
        return self.owner.execute(query).fetchall()

    def database_copy(self) -> DatabaseCopy:
        """Everything the database holds now."""
        found: dict[str, bytes] = {}
        for name in self._filled():
            query = sql.SQL("COPY {} TO STDOUT (FORMAT BINARY)").format(sql.Identifier(SCHEMA, name))
            with self.owner.cursor() as cursor, cursor.copy(query) as copy:
                found[name] = b"".join(bytes(piece) for piece in copy)
        counted = {name: self._count(name, "SELECT last_value + is_called::int FROM {}") for name in _IDENTITIES}
        return DatabaseCopy(found, counted)

    def restore_database(self, copied: DatabaseCopy) -> None:
        """Put everything back, the counters too: rows written since are as if they had never been."""
        with self.owner.transaction(), self.owner.cursor() as cursor:
            names = sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in _TABLES)
            cursor.execute(sql.SQL("TRUNCATE {}").format(names))
            for name, content in copied.tables.items():
                into = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(SCHEMA, name))
                with cursor.copy(into) as copy:
                    copy.write(content)
            for name, number in copied.counted.items():
                sequence = f"{SCHEMA}.{name}_id_seq"
                cursor.execute("SELECT setval(%s, %s, false)", [sequence, number])

    def _filled(self) -> list[str]:
        """Tables with rows."""
        looks = sql.SQL(", ").join(
            sql.SQL("EXISTS (SELECT FROM {})").format(sql.Identifier(SCHEMA, name)) for name in _TABLES
        )
        row = self.owner.execute(sql.SQL("SELECT {}").format(looks)).fetchone()
        assert row is not None
        return [name for name, filled in zip(_TABLES, row, strict=True) if filled]

    def _count(self, table: str, query: str) -> int:
        row = self.owner.execute(sql.SQL(query).format(sql.Identifier(SCHEMA, f"{table}_id_seq"))).fetchone()
        assert row is not None
        return int(row[0])

    def cache_copy(self) -> CacheCopy:
        """Everything the cache holds now."""
        names = sorted(self.cache.keys())
        return {name: self.cache.dump(name) for name in names}

    def restore_cache(self, copied: CacheCopy) -> None:
        """Put everything back; a server that lost what came since."""
        self.cache.flushall()
        for name, content in copied.items():
            self.cache.restore(name, 0, content)

    def heads(self) -> Heads:
        """What a reader is told of every symbol that has a head."""
        found: Heads = {}
        for key in sorted(self.cache.keys(f"wb:1:{NAMESPACE}:{{*}}:head")):
            fields = {name.decode(): value.decode() for name, value in self.cache.hgetall(key).items()}
            own = {name: fields.pop(name) for name in ("epoch", "version", "as_of", "run", "refused")}
            listed = {name: _version(line) for name, line in fields.items()}
            found[key.decode().split("{")[1].split("}")[0]] = ((int(own["epoch"]), int(own["version"])), listed)
        return found


def _version(line: str) -> tuple[int, int]:
    epoch, _, number = line.partition(" ")[0].partition("-")
    return int(epoch), int(number)


@contextmanager
def opened(servers: Servers) -> Iterator[Lab]:
    """A lab, with the drivers under its faults' control."""
    faults = Faults()
    with (
        injected(faults),
        psycopg.connect(servers.owner_url, autocommit=True) as owner,
        psycopg.connect(servers.database_url, autocommit=True) as watcher,
        redis.Redis.from_url(servers.redis_url) as cache,
    ):
        lab = Lab(servers, owner, watcher, cache, faults)
        yield lab
        lab.empty()
        lab.forget_calendars()
