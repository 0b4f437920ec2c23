"""Runs several threads one statement at a time, in an order that is drawn from a seed or made up.

Every statement that goes to PostgreSQL, every commit and every call of the cache is a boundary: the thread stops before
it and goes on when the scheduler says so. One thread runs at a time. One that waits in the server for another's lock is
told from one that computes by asking the server; the others then go on, and it stops at its next boundary.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, Protocol

import psycopg
import pytest
from redis.connection import AbstractConnection

from storage.market.database import Snapshot

_SLICE: Final = 0.02
"""Seconds after which the server is asked whether a thread that has not stopped again waits for a lock."""
_PATIENCE: Final = 30.0
"""Seconds without any progress after which something is wrong with the test or the code."""
_STAYING: Final = (0.0, 0.5, 0.9, 0.98)
"""How likely the thread that ran goes on: drawn once a seed, so that some orders hold a thread up for long."""

_here = threading.local()


class Actor:
    """One of the threads, known to the server by its name."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name = name
        self.boundary = "start"
        self.result: object = None
        self.error: BaseException | None = None
        self.blocked = False
        self.stopped = threading.Event()
        self._go = threading.Event()
        self._work = work
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return self.boundary == "end"

    def resume(self) -> None:
        """Let it run to its next boundary."""
        self.stopped.clear()
        self._go.set()

    def arrive(self, boundary: str) -> None:
        """Stop here until the scheduler says so."""
        self.boundary = boundary
        self.stopped.set()
        if boundary != "end":
            self._go.wait()
            self._go.clear()

    def join(self) -> None:
        self._thread.join(_PATIENCE)

    def _live(self) -> None:
        _here.actor = self
        self.arrive("start")
        try:
            self.result = self._work()
        except BaseException as exc:  # noqa: BLE001 - goes on where the scheduler is waited for
            self.error = exc
        self.arrive("end")


class Order(Protocol):
    """Decides who goes next."""

    def choose(self, ready: list[Actor]) -> Actor: ...


class Drawn:
    """By chance; one that ran goes on more or less often, which is drawn too, so that some are held up for long."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._stay = self._draw.choice(_STAYING)
        self._last: Actor | None = None

    def choose(self, ready: list[Actor]) -> Actor:
        if self._last not in ready or self._draw.random() >= self._stay:
            self._last = self._draw.choice(ready)
        assert self._last is not None
        return self._last


class HeldUp:
    """One goes first, but stops before its n-th statement until there is nothing left to do for the others."""

    def __init__(self, name: str, number: int) -> None:
        self._name = name
        self._left = number
        self.reached = False

    def choose(self, ready: list[Actor]) -> Actor:
        held = next((actor for actor in ready if actor.name == self._name), None)
        if held is not None and self._left > 0:
            self._left -= 1
            return held
        self.reached |= held is not None
        return next((actor for actor in ready if actor is not held), ready[0])


class Scheduler:
    """Lets one thread at a time go. `seen` is called after whatever others can see: a commit, a call of the cache."""

    def __init__(self, order: Order, monitor: psycopg.Connection[Any], seen: Callable[[], None]) -> None:
        self.trace: list[str] = []
        self.waits = 0
        self._order = order
        self._monitor = monitor
        self._seen = seen

    def run(self, **work: Callable[[], object]) -> dict[str, Any]:
        """What each of the named functions returned; the first error of one goes on."""
        actors = [Actor(name, function) for name, function in work.items()]
        try:
            self._settle(actors)
            while ready := [actor for actor in actors if actor.stopped.is_set() and not actor.ended]:
                self._step(self._order.choose(ready), actors)
        finally:
            self._let_go(actors)
        for actor in actors:
            if actor.error is not None:
                raise actor.error
        return {actor.name: actor.result for actor in actors}

    def _step(self, actor: Actor, actors: list[Actor]) -> None:
        boundary = actor.boundary
        self.trace.append(f"{actor.name}: {boundary}")
        actor.resume()
        self._settle(actors)
        if boundary.startswith(("commit", "cache")):
            self._seen()

    def _settle(self, actors: list[Actor]) -> None:
        """Return when every thread has stopped or waits for another's lock."""
        deadline = time.monotonic() + _PATIENCE
        for actor in actors:
            while not actor.stopped.wait(0 if actor.blocked else _SLICE):
                waiting = actor.name in self._waiting()
                self.waits += waiting and not actor.blocked
                actor.blocked = waiting
                others = any(a.stopped.is_set() and not a.ended for a in actors)
                if waiting and others:
                    break
                assert time.monotonic() < deadline, f"{actor.name} hangs after {self.trace[-1:]}"
            actor.blocked &= not actor.stopped.is_set()

    def _waiting(self) -> set[str]:
        rows = self._monitor.execute(
            "SELECT application_name FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
        )
        return {name for (name,) in rows}

    def _let_go(self, actors: list[Actor]) -> None:
        """After an error: everybody to the end, in whatever order."""
        deadline = time.monotonic() + _PATIENCE
        while any(not actor.ended for actor in actors) and time.monotonic() < deadline:
            for actor in actors:
                if actor.stopped.wait(_SLICE) and not actor.ended:
                    actor.resume()
        for actor in actors:
            actor.join()


def boundary(name: str) -> None:
    """A statement is about to be sent; nothing happens in threads that nobody schedules."""
    actor: Actor | None = getattr(_here, "actor", None)
    if actor is not None:
        actor.arrive(name)


@contextmanager
def boundaries() -> Iterator[None]:
    """Stop scheduled threads before each statement, commit and call of the cache."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("execute", "executemany", "copy"):
            _before(patch, psycopg.Cursor, name, "statement")
        _before(patch, psycopg.Connection, "commit", "commit")
        _before(patch, psycopg.Connection, "rollback", "rollback")
        _before(patch, Snapshot, "frame", "read")
        _before(patch, Snapshot, "freeze", "read")
        _before(patch, AbstractConnection, "send_packed_command", "cache")
        yield


def _before(patch: pytest.MonkeyPatch, owner: type, name: str, kind: str) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def stopping(self: object, *args: Any, **named: Any) -> Any:
        boundary(f"{kind} {_words(args)}" if args else kind)
        return original(self, *args, **named)

    patch.setattr(owner, name, stopping)


def _words(args: tuple[Any, ...]) -> str:
    return " ".join(str(args[0]).split())[:70]
