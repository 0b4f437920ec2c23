"""What `status` looks like. Pure: everything drawn here is handed in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.changed_settings import Change
from flows.chart import FAINT
from flows.page import count, plain_table, seconds
from flows.retention import Kept
from storage.cache.publisher import Memory
from storage.market.status import Dirty, Holding, Rejected, Unpublished

FULL = 0.7
"""Share of the cache's memory from which we warn."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache: bodies in the namespace, memory, the last check, and symbols it has less of than it was given."""

    namespace: str
    entries: int
    memory: Memory
    checked: datetime | None
    behind: int


@dataclass(frozen=True, slots=True)
class Status:
    """How things are at `as_of`."""

    as_of: datetime
    home: str
    own_database: bool
    own_cache: bool
    symbols: Mapping[str, int]
    raw: Sequence[Holding]
    derived: Sequence[Holding]
    rejected: Sequence[Rejected]
    dirty: Dirty
    unpublished: Unpublished
    cache: Cache
    runs: Sequence[Mapping[str, Any]]
    changed: Sequence[Change] = ()
    kept: Sequence[Kept] = ()


def status_page(status: Status) -> RenderableType:
    """The whole page."""
    parts: list[RenderableType] = [_title(status), "", _holdings("raw", status.raw, status.as_of), ""]
    parts += [_holdings("derived", status.derived, status.as_of), ""]
    if status.rejected:
        parts += [_rejected(status.rejected), ""]
    parts += [_waiting(status), "", _runs(status.runs, status.as_of)]
    advice = list(_advice(status))
    if advice:
        parts += ["", *advice]
    return Padding(Group(*parts), (1, 2))


def _title(status: Status) -> Text:
    markets = ", ".join(f"{n:,} of {market}" for market, n in status.symbols.items())
    title = Text.assemble((count(sum(status.symbols.values()), "symbol"), "bold"), f" ({markets})" if markets else "")
    own = {
        (True, True): "your PostgreSQL and your cache",
        (True, False): "your PostgreSQL",
        (False, True): "your cache",
    }
    place = own.get((status.own_database, status.own_cache))
    return title.append(f"  {place or status.home}, {status.as_of:%Y-%m-%d %H:%M:%S} UTC", FAINT)


def _holdings(title: str, holdings: Sequence[Holding], as_of: datetime) -> RenderableType:
    table = plain_table(title, "rows", "symbols", "newest", "age")
    for holding in holdings:
        if holding.symbols or holding.rows:
            table.add_row(
                holding.name,
                _size(holding),
                f"{holding.symbols:,}",
                _moment(holding.newest),
                age(as_of, holding.newest),
            )
    return table if table.row_count else Text(f"{title}: nothing yet", FAINT)


def _size(holding: Holding) -> str:
    if holding.rows is None:
        return "many"
    return f"{'≈ ' if holding.estimated else ''}{holding.rows:,}"


def _moment(moment: datetime | date | None) -> str:
    if isinstance(moment, datetime):
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return "" if moment is None else f"{moment:%Y-%m-%d}"


def age(as_of: datetime, moment: datetime | date | None) -> str:
    """How long before `as_of`: `12 s`, `5 min`, `3 h`, `2 d`; of a date, in days."""
    if moment is None:
        return ""
    if not isinstance(moment, datetime):
        return f"{(as_of.date() - moment).days} d"
    return duration(as_of - moment)


def duration(length: timedelta) -> str:
    """One number and its unit."""
    value = length.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(value) >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.0f} s"


def _rejected(rejected: Sequence[Rejected]) -> Table:
    table = plain_table("rejected", "rows")
    for line in rejected:
        table.add_row(f"{line.dataset}: {line.rule}", Text(f"{line.rows:,}", "yellow"))
    return table


def _waiting(status: Status) -> Table:
    dirty, cache = status.dirty, status.cache
    table = Table.grid(padding=(0, 2))
    due = f"{dirty.due:,} due, of {count(dirty.due_symbols, 'symbol')}" if dirty.due else "none due"
    later = f"; {dirty.windows - dirty.due:,} later" if dirty.windows > dirty.due else ""
    following = f", the next at {_moment(dirty.next_due)}" if dirty.next_due else ""
    table.add_row(Text("dirty windows", "bold"), f"{due}{later}{following}")
    if dirty.datasets:
        table.add_row("", ", ".join(f"{windows:,} of {dataset}" for dataset, windows in dirty.datasets.items()))
    for change in status.changed:
        recorded = age(status.as_of, change.applied_at)
        table.add_row(Text("changed setting", "bold"), f"{change}; what was before was recorded {recorded} ago")
    waiting = count(status.unpublished.symbols, "symbol") if status.unpublished.symbols else "none"
    oldest = status.unpublished.oldest
    since = f", the oldest as of {_moment(oldest)}" if oldest else ""
    table.add_row(Text("unpublished", "bold"), f"{waiting}{since}")
    entries = f"{cache.entries:,} entries in namespace {cache.namespace}, {_memory(cache.memory)}"
    table.add_row(Text("cache", "bold"), entries)
    checked = f"{age(status.as_of, cache.checked)} ago" if cache.checked else "never"
    table.add_row(Text("checked", "bold"), checked)
    for number, line in enumerate(_kept(status.kept)):
        table.add_row(Text("" if number else "retention", "bold"), line)
    return table


def _kept(kept: Sequence[Kept]) -> Iterable[str]:
    """A line a dataset whose raw rows expire, or did."""
    for each in kept:
        if each.horizon is None and each.keeps is None:
            continue
        keeps = "not any more" if each.keeps is None else f"after {duration(each.keeps)}"
        horizon = f"gone before {_moment(each.horizon)}" if each.horizon else "nothing gone yet"
        held = f"; {count(len(each.holds), 'hold')} until {_moment(each.holds[-1].expires_at)}" if each.holds else ""
        yield f"{each.dataset} expire {keeps}, {horizon}{held}"


def _memory(memory: Memory) -> str:
    used = f"{memory.used / 2**20:,.0f} MiB"
    if memory.limit is None or memory.share is None:
        return f"{used}, no limit"
    return f"{used} of {memory.limit / 2**20:,.0f} MiB ({memory.share:.0%})"


def _runs(runs: Sequence[Mapping[str, Any]], as_of: datetime) -> RenderableType:
    if not runs:
        return Text("nothing ever ran", FAINT)
    table = plain_table("runs", "", "took", "state")
    table.columns[1].justify = table.columns[3].justify = "left"
    for run in runs:
        ended = run["finished_at"]
        took = seconds((ended - run["started_at"]).total_seconds()) if ended else ""
        styles = {"finished": "", "failed": "bold red", "lost": "bold red"}
        state = Text(str(run["state"]), styles.get(run["state"], "yellow"))
        if run["error"]:
            state.append(f"  {str(run['error']).splitlines()[0][:60]}", FAINT)
        table.add_row(f"{run['id']} {run['kind']}", f"{age(as_of, run['started_at'])} ago", took, state)
    return table


def _advice(status: Status) -> Iterable[Text]:
    """What is not as it should be, and the command that helps."""
    memory = status.cache.memory
    if memory.share is not None and memory.share >= FULL:
        yield _warning(
            f"the cache uses {memory.share:.0%} of its memory; raise maxmemory before it has to give up entries"
        )
    if status.changed:
        yield _warning("settings are not those of the last refresh; the next one computes again what depends on them")
    if status.dirty.due:
        yield _warning("rows changed since the last refresh: warmbars refresh")
    if status.unpublished.symbols:
        yield _warning("results wait to be sent: warmbars publish")
    elif status.cache.behind:
        yield _warning(f"the cache lost keys of {count(status.cache.behind, 'symbol')}: warmbars publish --sweep")


def _warning(text: str) -> Text:
    return Text.assemble(("note ", "bold yellow"), text)
