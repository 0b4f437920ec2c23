"""Keys of the cache held against the bodies that the database makes now."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from flows.steps import Progress
from flows.wiring import Deps
from storage.cache.checker import CacheChecker, KeyFault
from storage.cache.codec import Body, decode
from storage.cache.errors import CorruptEntry
from storage.cache.keys import HEAD

_TRIES = 4
_PAUSE_SECONDS = 0.1
"""Looked at again, in case a publication was under way: each time after so much longer."""


@dataclass(frozen=True, slots=True)
class InBody:
    """The first difference between two bodies: the row's time or place, the column and both values."""

    row: Any
    column: str
    stored: Any
    expected: Any


@dataclass(slots=True)
class KeysChecked:
    """`keys` compared, of `symbols`; `pending`: symbols whose newest version waits to be published."""

    symbols: int = 0
    keys: int = 0
    pending: list[str] = field(default_factory=list)
    faults: list[KeyFault] = field(default_factory=list)


def check_keys(deps: Deps, symbols: Sequence[str], say: Progress, *, everything: bool) -> KeysChecked:
    """Compare the keys of these symbols; with `everything`, also look for keys of symbols there are none of."""
    checker = CacheChecker(deps.client, deps.keys)
    done = KeysChecked()
    size = deps.settings.publish_batch_symbols
    for start in range(0, len(symbols), size):
        batch = list(symbols[start : start + size])
        say(f"comparing the keys of {batch[0]} to {batch[-1]} ({start + len(batch)}/{len(symbols)})")
        _check(deps, checker, batch, done)
    say("looking for keys that no head lists")
    done.faults += _strays(deps, checker, None if everything else {*symbols})
    return done


def _check(deps: Deps, checker: CacheChecker, batch: Sequence[str], done: KeysChecked) -> None:
    """One batch; those with faults are read again until they are without, or stay so."""
    left, waiting, faults = list(batch), set[str](), list[KeyFault]()
    for attempt in range(_TRIES):
        time.sleep(attempt * _PAUSE_SECONDS)
        asked = set(left)
        pending = asked & {*deps.outbox.pending()}
        given = [p for p in deps.loader.load_many(left) if p.symbol not in pending]
        faults = checker.faults(given)
        waiting = (waiting - asked) | pending
        left = sorted({fault.symbol for fault in faults})
        right = [p for p in given if p.symbol not in left]
        done.symbols += len(right)
        done.keys += sum(len(p.bodies) for p in right)
        if not left:
            break
    done.symbols += len(left)
    done.keys += sum(len(p.bodies) for p in given if p.symbol in left)
    done.pending += sorted(waiting)
    done.faults += faults


def _strays(deps: Deps, checker: CacheChecker, among: set[str] | None) -> Iterator[KeyFault]:
    """Keys that no head lists; where all symbols are meant, also heads of symbols that were never published."""
    published = {*deps.outbox.versions()}
    heads = []
    for symbol, name in checker.unlisted():
        if name == HEAD:
            heads += [symbol] if symbol not in published else []
        elif among is None or symbol in among:
            yield KeyFault(symbol, name, "unlisted", "its head does not list it")
    if among is None:
        published = {*deps.outbox.versions()}
        for symbol in heads:
            if symbol not in published:
                yield KeyFault(symbol, HEAD, "unlisted", "nothing was ever published for this symbol")


def first_difference(fault: KeyFault) -> InBody | None:
    """Where a body's content first differs from what it should be; None where there are not two to compare."""
    frames = [_decoded(body) for body in (fault.stored, fault.expected)]
    stored, expected = frames
    if stored is None or expected is None:
        return None
    if stored.columns != expected.columns:
        return InBody(None, "(columns)", ", ".join(stored.columns), ", ".join(expected.columns))
    rows = min(stored.height, expected.height)
    first: tuple[int, str] | None = None
    for name in expected.columns:
        unlike = stored[name].head(rows).ne_missing(expected[name].head(rows)).arg_true()
        if len(unlike) and (first is None or unlike[0] < first[0]):
            first = (unlike[0], name)
    if first is not None:
        place, column = first
        time_column = next((c for c in ("timestamp", "session", "symbol") if c in expected.columns), None)
        row = expected[time_column][place] if time_column else place
        return InBody(row, column, stored[column][place], expected[column][place])
    if stored.height != expected.height:
        return InBody(None, "(rows)", stored.height, expected.height)
    return None


def _decoded(body: Body | None) -> pl.DataFrame | None:
    try:
        return None if body is None else decode(body.content)
    except CorruptEntry:
        return None
