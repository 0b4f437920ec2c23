"""The content of a store: what has to be the same however it came about. No run ids, versions or clocks."""

import polars as pl
from polars.testing import assert_frame_equal

from flows.wiring import Deps
from storage.market.database import statement, table_name
from storage.market.tables import metadata

_CLOCKS = {"id", "run_id", "arrived_at", "superseded_at", "applied_at", "created_at", "expires_at"}
_BOOKKEEPING = {"runs", "publications", "store_meta", "markets", "sessions", "pending_rollups"}
"""Tables that record how it came about."""

Content = dict[str, pl.DataFrame]


def projection(deps: Deps) -> Content:
    """Every table's rows in order, and every key's content, by name."""
    content: Content = {}
    for table in metadata.sorted_tables:
        if table.name not in _BOOKKEEPING:
            frame = deps.database.frame(statement("SELECT * FROM {table}", table=table_name(table.name)))
            kept = frame.select(c for c in frame.columns if c not in _CLOCKS)
            content[table.name] = _in_order(kept)
    reader = deps.reader()
    for symbol in deps.outbox.versions():
        head = reader.head(symbol)
        assert head is not None, symbol
        content[f"keys of {symbol}"] = pl.DataFrame({"name": sorted(head.listed)}, schema={"name": pl.String})
        for name, value in reader.snapshot(symbol).values.items():
            assert (value.origin, value.etag) == ("cache", head.listed[name].etag)
            content[f"{symbol} {name}"] = value.value
    return content


def differing(found: Content, expected: Content) -> list[str]:
    """The names under which two contents are not equal: floats to 1e-9 of their size, all else exactly."""
    return sorted(name for name in {*found, *expected} if not _equal(found.get(name), expected.get(name)))


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows sorted by what is exact first, so that rounding does not change the order."""
    exact = [name for name, dtype in frame.schema.items() if not dtype.is_float() and not dtype.is_nested()]
    rest = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    return frame.sort(*exact, *rest, nulls_last=True) if exact or rest else frame


def _equal(one: pl.DataFrame | None, other: pl.DataFrame | None) -> bool:
    if one is None or other is None:
        return False
    try:
        assert_frame_equal(one, other, rel_tol=1e-9, abs_tol=1e-9)
    except AssertionError:
        return False
    return True
