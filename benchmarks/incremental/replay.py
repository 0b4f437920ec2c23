"""The floor of a pass: the statements, rows and bodies that it sent, sent again with nothing in between.

No row is computed, compared or encoded here: texts, values, COPY bytes and commands are those of the recorded pass.
What they answer is read as ours reads it, and thrown away. Connections are opened beforehand and kept.
"""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import adbc_driver_manager as adbc
import adbc_driver_postgresql
import polars as pl
import psycopg
import redis
from psycopg import sql
from redis.connection import ConnectionInterface

from benchmarks.incremental.driver import Event, Tape
from storage.market.tables import SCHEMA

_OPTIONS = f"-c search_path={SCHEMA} -c timezone=UTC -c jit=off"
_ADBC = ("frame", "update", "end")

Step = Callable[[], object]


class Player:
    """Connections to both servers on which tapes are played, one after the other."""

    def __init__(self, database_url: str, client: redis.Redis) -> None:
        """Play against these servers."""
        self._url = database_url
        self._client = client
        self._stack = ExitStack()
        self._opened: dict[tuple[str, int], Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def script(self, tape: Tape) -> list[Step]:
        """The tape as calls without arguments; its connections are opened now."""
        steps: list[Step] = []
        events = iter(tape.events)
        waiting: Event | None = next(events, None)
        while waiting is not None:
            event, waiting = waiting, next(events, None)
            if event.kind != "copy":
                steps.append(self._step(event, tape.autocommit))
                continue
            pieces: list[bytes] = []
            while waiting is not None and waiting.kind == "write":
                pieces.append(bytes(waiting.what))
                waiting = next(events, None)
            steps.append(self._copy(event, pieces))
        return steps

    def _step(self, event: Event, alone: set[int]) -> Step:
        if event.kind in ("send", "reply"):
            wire = self._wire(event.connection)
            pieces = event.what
            return (lambda: wire.send_packed_command(pieces)) if event.kind == "send" else wire.read_response
        if event.kind in _ADBC:
            return self._frame(event)
        connection = self._connection(event.connection, autocommit=event.connection in alone)
        if event.kind in ("commit", "rollback"):
            return getattr(connection, event.kind)  # type: ignore[no-any-return]
        cursor, values = connection.cursor(), event.values
        text = _text(event.what, connection)
        run = cursor.executemany if event.kind == "executemany" else cursor.execute
        return lambda: run(text, values)

    def _copy(self, event: Event, pieces: list[bytes]) -> Step:
        connection = self._connection(event.connection)
        cursor, text = connection.cursor(), _text(event.what, connection)

        def copy() -> None:
            with cursor.copy(text) as into:
                for piece in pieces:
                    into.write(piece)

        return copy

    def _frame(self, event: Event) -> Step:
        link = self._link(event.connection)
        if event.kind == "end":
            return link.rollback  # type: ignore[no-any-return]
        query, update = event.what, event.kind == "update"

        def run() -> None:
            statement = adbc.AdbcStatement(link)
            try:
                statement.set_sql_query(query)
                if update:
                    statement.execute_update()
                else:
                    pl.DataFrame(statement.execute_query()[0])
            finally:
                statement.close()

        return run

    def _connection(self, number: int, *, autocommit: bool = False) -> psycopg.Connection:
        def connect() -> psycopg.Connection:
            return self._stack.enter_context(psycopg.connect(self._url, options=_OPTIONS, autocommit=autocommit))

        return self._once("autocommit" if autocommit else "psycopg", number, connect)  # type: ignore[no-any-return]

    def _link(self, number: int) -> adbc.AdbcConnection:
        def open_link() -> adbc.AdbcConnection:
            joined = "&" if "?" in self._url else "?"
            database = adbc_driver_postgresql.connect(
                f"{self._url}{joined}{urlencode({'options': _OPTIONS}, quote_via=quote)}"
            )
            self._stack.callback(database.close)
            link = adbc.AdbcConnection(database)
            self._stack.callback(link.close)
            link.set_autocommit(False)
            return link

        return self._once("adbc", number, open_link)

    def _wire(self, number: int) -> ConnectionInterface:
        def open_wire() -> ConnectionInterface:
            connection = self._client.connection_pool.get_connection()
            self._stack.callback(self._client.connection_pool.release, connection)
            return connection

        return self._once("redis", number, open_wire)  # type: ignore[no-any-return]

    def _once(self, kind: str, number: int, made: Callable[[], Any]) -> Any:
        if (kind, number) not in self._opened:
            self._opened[kind, number] = made()
        return self._opened[kind, number]


def play(steps: list[Step]) -> None:
    """One after the other."""
    for step in steps:
        step()


def _text(query: Any, connection: psycopg.Connection) -> bytes:
    if isinstance(query, sql.Composable):
        return query.as_bytes(connection)
    return query.encode() if isinstance(query, str) else query  # type: ignore[no-any-return]
