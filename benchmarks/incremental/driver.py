"""Hooks at the drivers: what a pass asks of PostgreSQL and Redis, and how long it is inside them and Polars.

Everything is patched at the outermost calls of psycopg, ADBC, redis-py and Polars, for as long as a context lasts;
neither the code that is measured nor its settings know.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import adbc_driver_manager as adbc
import polars as pl
import psycopg
import redis
from redis.connection import AbstractConnection

from storage.market import database

_POLARS: Sequence[tuple[Any, Sequence[str]]] = (
    (pl, ("collect_all", "concat")),
    (pl.LazyFrame, ("collect",)),
    (pl.DataFrame, ("partition_by", "rechunk", "to_arrow", "equals", "to_numpy")),
    (pl.Series, ("to_list", "to_numpy", "search_sorted", "unique", "sort")),
)
_PSYCOPG: Sequence[tuple[Any, Sequence[str]]] = (
    (psycopg.Cursor, ("execute", "executemany", "fetchall", "fetchone")),
    (psycopg.Copy, ("__exit__", "write")),
    (psycopg.Connection, ("commit", "rollback")),
    (database.Snapshot, ("frame", "freeze")),
)
_REDIS: Sequence[tuple[Any, Sequence[str]]] = (
    (redis.Redis, ("execute_command",)),
    (AbstractConnection, ("send_packed_command", "read_response")),
)


class Event(NamedTuple):
    """Something that went to a driver: what, on which connection, and its text or bytes with their values."""

    kind: str
    connection: int
    what: Any = None
    values: Any = None


class Tape:
    """The events of one pass, in order."""

    def __init__(self) -> None:
        """Start empty."""
        self.events: list[Event] = []
        self.autocommit: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._held: list[object] = []

    def note(self, kind: str, connection: object, what: Any = None, values: Any = None) -> None:
        """Add an event; connections are numbered as they appear."""
        if id(connection) not in self._numbers:
            self._held.append(connection)  # so that no other object takes over its id
            self._numbers[id(connection)] = len(self._numbers)
        number = self._numbers[id(connection)]
        if getattr(connection, "autocommit", False):
            self.autocommit.add(number)
        self.events.append(Event(kind, number, what, values))


@contextmanager
def recorded() -> Iterator[Tape]:
    """Note everything that goes to psycopg, ADBC and redis-py."""
    tape = Tape()

    def psycopg_call(kind: str, owner: Callable[[Any], Any]) -> Callable[..., Any]:
        def around(call: Callable[..., Any], self: Any, *args: Any, **named: Any) -> Any:
            tape.note(kind, owner(self), *args[:2])
            return call(self, *args, **named)

        return around

    def of_cursor(cursor: Any) -> Any:
        return cursor.connection

    def of_copy(copy: Any) -> Any:
        return copy.connection

    def itself(connection: Any) -> Any:
        return connection

    with ExitStack() as stack:
        for owner, name, around in (
            (psycopg.Cursor, "execute", psycopg_call("execute", of_cursor)),
            (psycopg.Cursor, "executemany", psycopg_call("executemany", of_cursor)),
            (psycopg.Cursor, "copy", psycopg_call("copy", of_cursor)),
            (psycopg.Copy, "write", psycopg_call("write", of_copy)),
            (psycopg.Connection, "commit", psycopg_call("commit", itself)),
            (psycopg.Connection, "rollback", psycopg_call("rollback", itself)),
            (AbstractConnection, "send_packed_command", psycopg_call("send", itself)),
            (AbstractConnection, "read_response", psycopg_call("reply", itself)),
        ):
            stack.enter_context(_around(owner, name, around))
        stack.enter_context(_adbc(lambda kind, connection, text: tape.note(kind, connection, text)))
        yield tape


class Clock:
    """Seconds inside each layer; a layer called from inside another counts as that other."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.inside: dict[str, float] = dict.fromkeys(("PostgreSQL", "Polars", "Redis"), 0.0)
        self._deep = False

    def around(self, layer: str) -> Callable[..., Any]:
        """Time a call for `layer`, unless one is being timed already."""

        def timed(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
            if self._deep:
                return call(*args, **named)
            self._deep, started = True, time.perf_counter()
            try:
                return call(*args, **named)
            finally:
                self.inside[layer] += time.perf_counter() - started
                self._deep = False

        return timed


@contextmanager
def clocked() -> Iterator[Clock]:
    """Time what is spent inside PostgreSQL's drivers, Polars and redis-py, by the thread that asks."""
    clock = Clock()
    with ExitStack() as stack:
        for layer, patched in (("Polars", _POLARS), ("PostgreSQL", _PSYCOPG), ("Redis", _REDIS)):
            for owner, names in patched:
                for name in names:
                    stack.enter_context(_around(owner, name, clock.around(layer)))
        yield clock


@contextmanager
def _around(owner: Any, name: str, around: Callable[..., Any]) -> Iterator[None]:
    """Put `around(call, *args)` in the place of `owner.name`."""
    call = getattr(owner, name)

    @functools.wraps(call)
    def patched(*args: Any, **named: Any) -> Any:
        return around(call, *args, **named)

    with patch.object(owner, name, patched):
        yield


@contextmanager
def _adbc(note: Callable[[str, Any, str], None]) -> Iterator[None]:
    """Have the market store read through statements that tell what they are asked."""

    class Told(adbc.AdbcStatement):  # type: ignore[misc]
        """Tells its text before it runs."""

        def __init__(self, connection: Any) -> None:
            super().__init__(connection)
            self.connection = connection
            self.text = ""

        def set_sql_query(self, query: str) -> None:
            self.text = query
            super().set_sql_query(query)

        def execute_update(self) -> Any:
            note("update", self.connection, self.text)
            return super().execute_update()

        def execute_query(self) -> Any:
            note("frame", self.connection, self.text)
            return super().execute_query()

    def ending(call: Callable[..., Any], *args: Any) -> Any:
        @contextmanager
        def snapshot() -> Iterator[Any]:
            with call(*args) as opened:
                yield opened
            note("end", opened._connection, "")  # noqa: SLF001 - the driver's own handle, which it is known by

        return snapshot()

    with patch.object(database.adbc, "AdbcStatement", Told), _around(database.Database, "_snapshot", ending):
        yield
