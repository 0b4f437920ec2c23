"""One pass of refresh and publish, timed; what a store was like before it, to be put back; and the pass replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.harness import seconds
from benchmarks.incremental.changes import Trade, arrive, withdraw
from benchmarks.incremental.driver import Tape, recorded
from benchmarks.incremental.replay import Player, play
from benchmarks.incremental.store import Store
from flows import steps
from storage.market.database import Connection
from transforms.schema import MARKET_SYMBOL


def refresh_and_publish(store: Store, as_of: datetime | None = None) -> None:
    """What follows a commit of raw rows: afterwards the new keys are there."""
    moment = as_of or store.as_of
    steps.refresh(store.deps, moment)
    steps.publish(store.deps, moment)


class LatePass:
    """Late trades through ours and through the floor, from the same state to the same state."""

    def __init__(self, store: Store) -> None:
        """Work on `store`; `close` closes the floor's connections."""
        self._store = store
        self._player = Player(store.deps.database.url, store.deps.client)

    def ours(self, trades: Sequence[Trade]) -> float:
        """Seconds from the commit of the trades to their keys."""
        self._trades = trades
        arrive(self._store, trades)
        self._before = _Books.of(self._store, trades)
        with recorded() as tape:
            taken = seconds(lambda: refresh_and_publish(self._store))
        self._tape: Tape = tape
        return taken

    def floor(self) -> float:
        """Seconds of the same statements and commands, from the state before ours to the state after it."""
        store, trades = self._store, self._trades
        after = _Books.of(store, trades)
        withdraw(store, trades)
        refresh_and_publish(store)
        arrive(store, trades)
        self._before.put_back(store)
        script = self._player.script(self._tape)
        taken = seconds(lambda: play(script))
        found = _Books.of(store, trades)
        if found.hashes != after.hashes:
            raise RuntimeError("the floor left other keys than ours")
        after.put_back(store)
        return taken

    @property
    def counts(self) -> dict[str, float]:
        """How much the last pass sent."""
        kinds = [event.kind for event in self._tape.events]
        told = {"statements": "execute", "reads": "frame", "COPYs": "copy", "commits": "commit", "commands": "reply"}
        return {name: float(kinds.count(kind)) for name, kind in told.items()}

    def close(self) -> None:
        """Close the floor's connections."""
        self._player.__exit__(None, None, None)


@dataclass(frozen=True, slots=True)
class _Books:
    """What a pass consumes and moves on: dirty windows, versions, keys."""

    symbols: list[str]
    rows: dict[str, list[str]]
    dumps: dict[bytes, bytes]
    hashes: dict[bytes, Any]

    @classmethod
    def of(cls, store: Store, trades: Sequence[Trade]) -> "_Books":
        """As they are now, of the trades' symbols and the market."""
        symbols, client = sorted({MARKET_SYMBOL, *(trade.symbol for trade in trades)}), store.deps.client
        with store.deps.database.transaction() as connection:
            rows = {table: _texts(connection, table) for table in ("dirty_windows", "publications")}
        keys = [key for symbol in symbols for key in client.keys(f"{store.deps.keys.of_symbol(symbol)}*")]
        hashes = {key: client.hgetall(key) for key in keys}
        return cls(symbols, rows, {key: client.dump(key) for key in keys}, hashes)

    def put_back(self, store: Store) -> None:
        """Make them so again."""
        client = store.deps.client
        with store.deps.database.transaction() as connection:
            for table, rows in self.rows.items():
                connection.execute(f"DELETE FROM {table}")
                connection.cursor().executemany(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT (%s::{table}).*", [(row,) for row in rows]
                )
        for symbol in self.symbols:
            for key in client.keys(f"{store.deps.keys.of_symbol(symbol)}*"):
                if key not in self.dumps:
                    client.delete(key)
        for key, dump in self.dumps.items():
            client.restore(key, 0, dump, replace=True)


def _texts(connection: Connection, table: str) -> list[str]:
    return [text for (text,) in connection.execute(f"SELECT t::text FROM {table} t").fetchall()]
