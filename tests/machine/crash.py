"""Death at a drawn statement, injected at the drivers: psycopg, ADBC and redis-py.

Between two statements a process changes nothing that anybody else sees, so a process that dies at any instruction has
died before one of its statements, or after the last one. These are the points counted here: before every statement,
COPY, piece of a COPY and COMMIT that goes to PostgreSQL, and before, in the middle of and after every packet of
commands that goes to the cache; after COMMIT too, where the server has committed and the answer was never read.

From the point where it strikes no statement goes out any more, of any connection: neither a rollback nor the record
that a run failed. The connections are closed without a word, and the server does with what they left what it does
when a process is killed.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from weakref import WeakSet

import adbc_driver_manager
import psycopg
from redis.connection import AbstractConnection

VISIBLE = ("COMMIT", "FCALL", "half of", "sent")
"""How the points begin on whose other side the world looks different."""


class Crash(BaseException):
    """The process is dead: nothing of ours may catch this and go on."""


@dataclass(slots=True)
class Faults:
    """Counts statements, and lets the process die at one of them.

    `seen`: what was sent since the count began, in order. `died`: where it struck, None while alive.
    """

    at: int | str | None = None
    seen: list[str] = field(default_factory=list)
    died: str | None = None
    _database: "WeakSet[psycopg.Connection[Any]]" = field(default_factory=WeakSet)
    _cache: "WeakSet[AbstractConnection]" = field(default_factory=WeakSet)

    @contextmanager
    def until(self, at: int | str) -> Iterator["Faults"]:
        """Run what is inside up to its point number `at` (from 1 on; 0: count only), and die there.

        Negative numbers count only the points around which something becomes visible to others (`VISIBLE`). With a text
        it dies before the first statement that has it.

        What a dead process raised or left behind ends here: what matters is only what it sent.
        """
        self.at, self.seen, self.died = at, [], None
        self._database.clear()
        self._cache.clear()
        try:
            yield self
        except BaseException:
            if self.died is None:
                raise
        finally:
            self.at = None

    @property
    def counting(self) -> bool:
        """Whether somebody is inside `until`."""
        return self.at is not None

    def point(self, what: str) -> None:
        """A moment at which a process may die."""
        if self.at is None:
            return
        if self.is_last(what):
            self.die(what)

    def is_last(self, what: str) -> bool:
        """Count a moment; whether it is the one to die at. Raises for a process that is dead."""
        if self.died is not None:
            raise Crash(f"{what} after death at {self.died}")
        self.seen.append(what)
        if isinstance(self.at, str):
            return self.at in what
        if self.at is not None and self.at < 0:
            self.at += what.startswith(VISIBLE)
            return self.at == 0
        return len(self.seen) == self.at

    def die(self, what: str) -> None:
        """Close what was in use without another word."""
        self.died = f"{len(self.seen)}: {what}"
        for connection in self._database:
            connection.pgconn.finish()
        for link in self._cache:
            _hang_up(link)
        raise Crash(self.died)

    def uses(self, connection: "psycopg.Connection[Any] | AbstractConnection") -> None:
        """Note a connection that dies with the process."""
        if self.at is None:
            return
        if isinstance(connection, psycopg.Connection):
            self._database.add(connection)
        else:
            self._cache.add(connection)


@contextmanager
def injected(faults: Faults) -> Iterator[None]:
    """Have the drivers tell `faults` of every statement."""
    with (
        mock.patch.object(psycopg.Cursor, "execute", _executing(faults, psycopg.Cursor.execute)),
        mock.patch.object(psycopg.Cursor, "executemany", _executing(faults, psycopg.Cursor.executemany)),
        mock.patch.object(psycopg.Cursor, "copy", _copying(faults, psycopg.Cursor.copy)),
        mock.patch.object(psycopg.Copy, "write", _before(faults, "COPY data", psycopg.Copy.write)),
        mock.patch.object(psycopg.Copy, "finish", _finishing(faults, psycopg.Copy.finish)),
        mock.patch.object(psycopg.Connection, "commit", _committing(faults, psycopg.Connection.commit)),
        mock.patch.object(psycopg.Connection, "rollback", _before(faults, "ROLLBACK", psycopg.Connection.rollback)),
        mock.patch.object(adbc_driver_manager, "AdbcStatement", _statements(faults)),
        mock.patch.object(
            AbstractConnection, "send_packed_command", _sending(faults, AbstractConnection.send_packed_command)
        ),
    ):
        yield


def _executing(faults: Faults, original: Callable[..., Any]) -> Callable[..., Any]:
    def execute(cursor: psycopg.Cursor[Any], query: Any, *args: Any, **kwargs: Any) -> Any:
        faults.uses(cursor.connection)
        faults.point(_text(query))
        return original(cursor, query, *args, **kwargs)

    return execute


def _copying(faults: Faults, original: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def copy(cursor: psycopg.Cursor[Any], query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        faults.uses(cursor.connection)
        faults.point(_text(query))
        with original(cursor, query, *args, **kwargs) as copying:
            yield copying

    return copy


def _before(faults: Faults, what: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        faults.point(what)
        return original(self, *args)

    return method


def _finishing(faults: Faults, original: Callable[..., Any]) -> Callable[..., Any]:
    def finish(copy: psycopg.Copy, exc: BaseException | None) -> None:
        if faults.died is not None and faults.counting:
            return  # the server is told nothing, not even that the data ends here
        if exc is None:
            faults.point("COPY end")
        original(copy, exc)

    return finish


def _committing(faults: Faults, original: Callable[..., Any]) -> Callable[..., Any]:
    def commit(connection: psycopg.Connection[Any]) -> None:
        faults.uses(connection)
        faults.point("COMMIT")
        original(connection)
        faults.point("COMMIT answered")

    return commit


def _statements(faults: Faults) -> type:
    class Statement(adbc_driver_manager.AdbcStatement):  # type: ignore[misc]
        def execute_query(self) -> Any:
            faults.point("a query by ADBC")
            return super().execute_query()

        def execute_update(self) -> Any:
            faults.point("a statement by ADBC")
            return super().execute_update()

    return Statement


def _sending(faults: Faults, original: Callable[..., Any]) -> Callable[..., Any]:
    def send(connection: AbstractConnection, command: Any, check_health: bool = True) -> None:
        if not faults.counting:
            original(connection, command, check_health)
            return
        pieces = [command] if isinstance(command, bytes) else list(command)
        what = _first_words(pieces)
        faults.point(what)
        if connection._sock is None:
            connection.connect()
        faults.uses(connection)
        if faults.is_last(f"half of {what}"):
            packet = b"".join(pieces)
            connection._sock.sendall(packet[: len(packet) // 2])
            faults.die(f"half of {what}")
        original(connection, pieces, check_health)
        faults.point(f"sent {what}")

    return send


def _hang_up(link: AbstractConnection) -> None:
    """Close a connection to the cache once the server has done all that arrived before."""
    sock, link._sock = link._sock, None
    if sock is None:
        return
    try:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65_536):
            pass
    except OSError:  # the server may hang up first
        pass
    sock.close()


def _text(query: Any) -> str:
    text = query if isinstance(query, str) else query.as_string()
    return " ".join(text.split())


def _first_words(pieces: list[bytes]) -> str:
    """The command's name and the next argument, for reports."""
    words = [line for line in bytes(pieces[0][:200]).split(b"\r\n") if not line.startswith((b"*", b"$"))]
    return " ".join(word.decode(errors="replace") for word in words[:2])
