"""What a refresh would do, as a table."""

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table

from flows.page import plain_table
from flows.preview import Planned, Preview

_SHOWN = 40
"""Lines at most; `--json` has them all."""


def preview_table(found: Preview) -> Table:
    """A line a symbol and dataset; what a window may reach and does not change says so."""
    table = plain_table("symbol", "dataset", "because of", "sessions", "write", "delete", "first", "last", "keys")
    for name in ("dataset", "because of", "keys"):
        table.columns[[column.header for column in table.columns].index(name)].justify = "left"
    for each in found.planned[:_SHOWN]:
        table.add_row(*_cells(each))
    if len(found.planned) > _SHOWN:
        table.add_row(f"and {len(found.planned) - _SHOWN} more", style="dim")
    return table


def _cells(each: Planned) -> Iterable[str]:
    numbers = (f"{each.written:,}", f"{each.deleted:,}") if each.written or each.deleted else ("equal", "")
    keys = ", ".join(each.keys)
    return (
        each.symbol,
        each.dataset,
        ", ".join(each.because),
        str(each.sessions),
        *numbers,
        _at(each.starts_at),
        _at(each.ends_at),
        keys,
    )


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
