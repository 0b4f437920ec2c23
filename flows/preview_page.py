"""What a refresh would do, as a table."""

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table

from flows.page import plain_table
from flows.preview import Planned, Preview
from transforms.schema import INTERVALS

_SHOWN = 40
"""Lines at most; `--json` has them all."""
_LEFT = ("dataset", "due to", "first, last", "keys")
_WRAPPED = ("first, last", "keys")


def preview_table(found: Preview) -> Table:
    """A line a symbol and dataset; what a window may reach and does not change says so."""
    table = plain_table("symbol", "dataset", "due to", "sessions", "write", "delete", "first, last", "keys")
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", column.header not in _WRAPPED
        if column.header in _LEFT:
            column.justify = "left"
    for each in found.planned[:_SHOWN]:
        table.add_row(*_cells(each))
    if len(found.planned) > _SHOWN:
        table.caption = f"and {len(found.planned) - _SHOWN} more: --json has them all"
    return table


def _cells(each: Planned) -> Iterable[str]:
    numbers = (f"{each.written:,}", f"{each.deleted:,}") if each.written or each.deleted else ("equal", "")
    return (
        each.symbol,
        each.dataset,
        "\n".join(each.because),
        str(each.sessions),
        *numbers,
        "\n".join(dict.fromkeys((_at(each.starts_at), _at(each.ends_at)))),
        _keys(each.keys),
    )


def _keys(names: Iterable[str]) -> str:
    """`bars 1m 5m 15m, quote`: the intervals behind one another."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kind, _, interval = name.partition(":")
        kinds.setdefault(kind, []).append(interval)
    written = {kind: sorted(filter(None, of), key=_order) for kind, of in kinds.items()}
    alone = {kind for kind, of in kinds.items() if "" in of}
    return ", ".join(
        told
        for kind, of in written.items()
        for told in ([kind] if kind in alone else []) + ([f"{kind} {' '.join(of)}"] if of else [])
    )


def _order(interval: str) -> int:
    return INTERVALS.index(interval) if interval in INTERVALS else len(INTERVALS)


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
