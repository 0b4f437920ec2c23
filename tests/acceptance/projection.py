"""The content of a store: what has to be the same however it came about. No run ids, versions or clocks."""

from flows.wiring import Deps
from storage.market.database import statement, table_name
from storage.market.tables import metadata

_CLOCKS = {"id", "run_id", "arrived_at", "superseded_at"}
_BOOKKEEPING = {"runs", "publications", "store_meta", "markets", "sessions"}
"""Tables that record how it came about."""


def projection(deps: Deps) -> dict[str, object]:
    """Every table's rows in order, by name, and every key's etag."""
    content: dict[str, object] = {}
    for table in metadata.sorted_tables:
        if table.name not in _BOOKKEEPING:
            frame = deps.database.frame(statement("SELECT * FROM {table}", table=table_name(table.name)))
            kept = frame.select(c for c in frame.columns if c not in _CLOCKS)
            content[table.name] = kept.sort(kept.columns).hash_rows().to_list() if kept.height else []
    for symbol in deps.outbox.versions():
        head = deps.reader().head(symbol)
        assert head is not None, symbol
        content[f"keys of {symbol}"] = {name: listed.etag for name, listed in head.listed.items()}
    return content
