"""Every advisory lock there is, and the one order in which they are taken.

1. `derived` of symbols, tried and never waited for, in byte order of the symbol: whoever refreshes a symbol holds it.
2. `raw` of (dataset, symbol), waited for, in byte order of the symbol: whoever writes raw rows holds it.

No transaction takes both kinds, and each takes its locks in one statement of its own before it reads anything
(a snapshot taken while waiting would already be stale), so no cycle of waits can form.
All are transaction locks: the server releases them when a process dies.
"""

from collections.abc import Iterable

from storage.market.database import Connection


def lock_raw(connection: Connection, dataset: str, symbols: Iterable[str]) -> None:
    """Wait for the right to write `dataset` of these symbols."""
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('raw:' || %s || ':' || symbol, 0))"
        ' FROM (SELECT symbol FROM unnest(%s::text[]) AS symbol ORDER BY symbol COLLATE "C") AS ordered',
        [dataset, list(symbols)],
    )


def try_derived(connection: Connection, symbols: Iterable[str]) -> list[str]:
    """Claim the right to refresh these symbols; those that somebody else is refreshing are left out."""
    rows = connection.execute(
        "SELECT symbol, pg_try_advisory_xact_lock(hashtextextended('derived:' || symbol, 0))"
        ' FROM (SELECT symbol FROM unnest(%s::text[]) AS symbol ORDER BY symbol COLLATE "C") AS ordered',
        [list(symbols)],
    )
    return [symbol for symbol, got in rows if got]
