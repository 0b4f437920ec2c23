"""Every lock that is taken, and the one order in which they are. Each line comes before those below it.

0. `settings`: advisory, waited for, alone in its transaction. Who records changed settings and opens their windows
   holds it.
1. `derived` of symbols: advisory, tried and never waited for, in byte order of the symbol. Who writes a symbol's
   derived rows, consumes its windows or draws its version holds it (refresh, forecast).
2. `retention` of prices, sentiment or actions: advisory, shared by those who write raw rows and taken with lock 3 in
   one statement; alone for who moves a horizon or changes a hold, who waits some seconds at most and holds no other.
3. `raw` of (dataset, symbol): advisory, waited for, in the order of `RAW_ORDER` and in byte order of the symbol.
   Who writes raw rows, their history or coverage holds it.
4. Rows of `instruments`, in byte order of the symbol.
5. Rows of raw and derived tables and of coverage: only under lock 1 or 3, so nobody waits for them.
6. Rows of `rejected_rows`, in order of their key; nothing is locked after them.
7. Rows of `publications`, in byte order of the symbol: a refresh holds them until its commit, a start that raises the
   epoch waits for them, the publisher passes over those that are locked. Nothing is locked after them.

Rules that go with it:
- Advisory locks are taken before the transaction reads anything: a snapshot taken while waiting would already be stale.
- No transaction takes two kinds of advisory lock, but that 2 and 3 go together and that a rename takes 1 of both
  symbols before 2 and 3, dataset by dataset. Lock 1 is only tried, so no circle of waits can close through it.
- `dirty_windows` and the histories are only appended to, and windows are deleted by id under lock 1: no waiting.
- A refresh reads on a second connection, where a wait for itself would not be seen as a deadlock. So it reads
  everything before its first write: until then its transaction holds nothing that a reader could wait for, not even
  behind an `ALTER TABLE`, which is made one table a transaction.

`run` of a run's id is a session lock, tried once and waited for by nobody; it says that the run's process lives.
All other advisory locks end with their transaction, and the server ends that when a process dies.
"""

from collections.abc import Iterable, Sequence
from typing import Final, LiteralString

from storage.market.database import Connection
from transforms.schema import DATASETS

RUN_LOCK: Final[LiteralString] = "pg_try_advisory_lock(hashtextextended('run:' || id, 0))"
"""To be returned by the statement that makes a run's row, so that no row is seen without its lock."""

RAW_ORDER: Final = DATASETS
"""The order in which the raw locks of several datasets are taken."""


def lock_settings(connection: Connection) -> None:
    """Wait for the right to record settings."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('settings', 0))")


def lock_raw(connection: Connection, dataset: str, symbols: Iterable[str]) -> None:
    """Wait for the right to write `dataset` of these symbols, with what its retention says staying as it is."""
    connection.execute(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended('retention:' || %s, 0))"
        " UNION ALL SELECT pg_advisory_xact_lock(hashtextextended('raw:' || %s || ':' || symbol, 0))"
        ' FROM (SELECT symbol FROM unnest(%s::text[]) AS symbol ORDER BY symbol COLLATE "C") AS ordered',
        [_kind(dataset), dataset, list(symbols)],
    )


def lock_retention(connection: Connection, dataset: str) -> None:
    """Wait for the right to change horizons and holds of `dataset`: until nobody is writing its rows."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('retention:' || %s, 0))", [_kind(dataset)])


def _kind(dataset: str) -> str:
    """Trades and bars share a lock: what expires of one closes the other."""
    return "prices" if dataset in ("ticks", "bars") else dataset


def try_derived(connection: Connection, symbols: Iterable[str]) -> list[str]:
    """Claim the right to refresh these symbols; those that somebody else is refreshing are left out."""
    rows = connection.execute(
        "SELECT symbol, pg_try_advisory_xact_lock(hashtextextended('derived:' || symbol, 0))"
        ' FROM (SELECT symbol FROM unnest(%s::text[]) AS symbol ORDER BY symbol COLLATE "C") AS ordered',
        [list(symbols)],
    )
    return [symbol for symbol, got in rows if got]


def unlock_run(connection: Connection, run_id: int) -> None:
    """Give up the lock of a run whose end is written; it may have gone with a lost connection before."""
    connection.execute("SELECT pg_advisory_unlock(hashtextextended('run:' || %s::bigint, 0))", [run_id])


def living_runs(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those of the runs whose process holds their lock."""
    rows = connection.execute(
        "SELECT id FROM unnest(%s::bigint[]) AS id WHERE hashtextextended('run:' || id, 0) IN ("
        "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        " AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        [list(ids)],
    )
    return {row[0] for row in rows}
