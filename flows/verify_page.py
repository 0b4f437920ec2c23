"""What `verify` looks like. Pure: everything drawn here is handed in."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.chart import FAINT
from flows.page import count, seconds
from flows.verify import Verified
from flows.verify_compare import Difference
from flows.verify_keys import first_difference
from flows.verify_lineage import Told
from storage.cache.checker import KeyFault

SHOWN = 12
"""Differences and keys told one by one; the rest is counted."""
_NAMES = 6


def verify_page(done: Verified, drawn: str = "", program: str = "warmbars") -> RenderableType:
    """What was compared, what differs first and where it comes from, what to do. `drawn`: how symbols were chosen."""
    parts: list[RenderableType] = [_title(done), *_about(done, drawn), "", _compared(done)]
    for told in done.told[:SHOWN]:
        parts += ["", *_told(told)]
    if done.differences > SHOWN:
        parts.append(Text(f"and {count(done.differences - SHOWN, 'table')} of other symbols; --json tells more", FAINT))
    for fault in done.keys.faults[:SHOWN]:
        parts += ["", *_fault(fault)]
    if len(done.keys.faults) > SHOWN:
        parts.append(Text(f"and {count(len(done.keys.faults) - SHOWN, 'key')} more; --json has all of them", FAINT))
    for difference in done.sql.differences[:SHOWN]:
        parts += ["", *_difference(difference)]
    return Padding(Group(*parts, *_next(done, program)), (1, 2))


def _title(done: Verified) -> Text:
    wrong = [
        *([f"{count(sum(done.wrong.values()), 'row')} of {count(len(done.wrong), 'table')}"] if done.wrong else []),
        *([count(len(done.keys.faults), "key")] if done.keys.faults else []),
        *(["bars by SQL"] if done.sql.differences else []),
    ]
    words = ("equal", "bold green") if done.equal else (f"different: {', '.join(wrong)}", "bold red")
    looked = f"  {count(len(done.symbols), 'symbol')} of {done.known:,}, {count(done.raw_rows, 'raw row')}"
    return Text.assemble(words, (f"{looked}, in {seconds(done.seconds)}", FAINT))


def _about(done: Verified, drawn: str) -> Iterator[RenderableType]:
    if drawn:
        yield Text(drawn, FAINT)
    if done.pending:
        yield Text(f"pending, not looked at: {_some(list(done.pending))} (dirty windows wait for a refresh)", "yellow")
    if done.keys.pending:
        yield Text(f"keys not looked at: {_some(done.keys.pending)} (a version waits to be published)", "yellow")
    if done.outdated:
        yield Text(f"forecasts are of older bars: {_some(done.outdated)} (warmbars forecast)", "yellow")


def _compared(done: Verified) -> Table:
    table = Table(box=None, pad_edge=False, header_style=FAINT)
    for name in ("compared", "rows", "different"):
        table.add_column(name, justify="left" if name == "compared" else "right")
    rows = [(name, n, done.wrong.get(name, 0)) for name, n in _grouped(done.rows, done.wrong)]
    if done.keys.keys or done.keys.faults:
        rows.append(("keys", done.keys.keys, len(done.keys.faults)))
    by_sql: dict[str, int] = {}
    for difference in done.sql.differences:
        by_sql[difference.table] = by_sql.get(difference.table, 0) + sum(difference.rows.values())
    for interval, n in done.sql.rows.items():
        name = "bars_1m (SQL)" if interval == "1m" else f"bars_{interval}_rollup (SQL)"
        rows.append((name, n, by_sql.get(name, 0)))
    for name, n, wrong in rows:
        table.add_row(name, f"{n:,}", Text(f"{wrong:,}", "red" if wrong else FAINT))
    if done.sql.left_out:
        table.add_row(Text(f"1m by SQL: {count(done.sql.left_out, 'session')} of several sources left out", FAINT))
    return table


def _grouped(rows: Mapping[str, int], wrong: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Tables that have rows, or wrong ones."""
    for name, n in rows.items():
        if n or wrong.get(name):
            yield name, n


def _told(told: Told) -> Iterator[RenderableType]:
    yield from _difference(told.difference)
    if told.run is not None:
        run = told.run
        yield _line(
            "written by", f"run {run['id']} ({run['kind']}, code {run['code_version']}, {_at(run['started_at'])})"
        )
    elif told.difference.run_id is not None:
        yield _line("written by", f"run {told.difference.run_id}, of which nothing is recorded")
    if told.actions is not None:
        yield _line("made of", count(told.actions, "corporate action"))
    for raw in told.raw:
        name = " ".join(filter(None, (raw.granularity, raw.table)))
        yield _line(
            "made of",
            f"{count(raw.rows, 'row')} of {name} from {raw.source}, the newest arrived {_at(raw.last_arrived)}",
        )


def _difference(difference: Difference) -> Iterator[RenderableType]:
    rows = ", ".join(f"{n:,} {kind}" for kind, n in difference.rows.items())
    key = " ".join(f"{_at(value)}" for value in difference.key.values())
    yield Text.assemble((f"{difference.symbol}  {difference.table}", "bold"), (f"  {rows}; first at {key}", FAINT))
    name = difference.column or "row"
    yield _line(name, f"stored {_value(difference.stored)}, recomputed {_value(difference.recomputed)}")


def _fault(fault: KeyFault) -> Iterator[RenderableType]:
    yield Text.assemble((f"{fault.symbol}  key {fault.name}", "bold"), (f"  {fault.fault}", FAINT))
    yield _line("", fault.said)
    found = first_difference(fault)
    if found is not None:
        where = "" if found.row is None else f" at {_at(found.row)}"
        yield _line(found.column, f"stored {_value(found.stored)}, expected {_value(found.expected)}{where}")
    if fault.run is not None:
        yield _line("written by", f"run {fault.run}")


def _next(done: Verified, program: str) -> Iterator[RenderableType]:
    ahead = [fault.symbol for fault in done.keys.faults if fault.fault == "ahead"]
    if done.unmarked:
        yield ""
        yield Text(
            f"not marked: {_some(done.unmarked)} has rows and no line in instruments; delete them by hand", "yellow"
        )
    if ahead:
        yield ""
        yield Text(f"not marked: the cache has newer versions of {_some(ahead)} than this database gave it", "yellow")
    if done.marked:
        yield ""
        yield Text(
            f"{count(done.marked, 'dirty window')} marked. Next: {program} refresh, then {program} publish", FAINT
        )
    elif not done.equal:
        yield ""
        yield Text(
            f"Next: {program} verify --repair marks what differs, {program} refresh makes it again, and"
            f" {program} publish sends it",
            FAINT,
        )


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"  {name:<12} ", FAINT), text)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _at(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if hasattr(value, "hour") else str(value)


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        shown = [f"{name} {_value(v)}" for name, v in list(value.items())[:_NAMES]]
        return ", ".join(shown) + (", …" if len(value) > _NAMES else "")
    return repr(value) if isinstance(value, float) else _at(value)
