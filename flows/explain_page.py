"""What `explain` looks like. Pure: everything drawn here is handed in."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.chart import FAINT, number
from flows.explain import RowStory, Superseded
from flows.explain_key import KeyStory
from flows.explain_raw import RawStory
from flows.explain_reads import Reading
from flows.page import count, plain_table
from storage.market.lineage import RawRange, Written

_STATES: Mapping[str, str] = {"equal": "green", "behind": "yellow", "absent": FAINT, "unpublished": "yellow"}
_NOT_VALUES = ("arrived_at", "superseded_at", "run_id", "source", "timestamp", "granularity", "price_basis")
_RUNS_SHOWN = 5
_DATE_WIDTH, _TABLE_WIDTH, _SOURCE_WIDTH, _ROWS_WIDTH, _RUN_WIDTH = 10, 11, 12, 5, 4
"""Of the tables of raw rows, at least."""


class Clock:
    """Writes moments in a zone."""

    def __init__(self, time_zone: str) -> None:
        """Of the zone of this IANA name."""
        self._zone, self.name = ZoneInfo(time_zone), time_zone

    def __call__(self, moment: datetime | date | None, *, seconds: bool = False) -> str:
        """Date and time to the minute, or the second; a date as it is."""
        if not isinstance(moment, datetime):
            return "-" if moment is None else str(moment)
        local = moment.astimezone(self._zone)
        return f"{local:%Y-%m-%d %H:%M:%S}" if seconds else f"{local:%Y-%m-%d %H:%M}"


def row_page(story: RowStory, rows: int, clock: Clock) -> RenderableType:
    """Where one row comes from."""
    title = Text.assemble(
        (story.symbol, "bold"), f" {story.name}", (f"  {clock(story.start)} to {clock(story.end)}", "bold")
    )
    title.append(f"  session {story.session['session']}, {story.market}, {clock.name}", FAINT)
    parts: list[RenderableType] = [title, "", _values(story.values, rows), ""]
    parts += [_line("table", story.table), _line("in", story.key or "no key: older than what is published")]
    parts += [_line("written", run) for run in _runs(story.runs, clock)]
    parts += ["", *_made_of(story.parts, clock), *_superseded(story.superseded, rows, clock)]
    if story.adjustment is not None and (story.adjustment.price, story.adjustment.volume) != (1, 1):
        splits = ", ".join(f"{s['value']:g} for 1 on {s['ex_date']} ({s['source']})" for s in story.adjustment.splits)
        told = (
            f"prices x {number(story.adjustment.price)}, volume x {number(story.adjustment.volume)} for splits {splits}"
        )
        parts += ["", _line("adjusted", told)]
    return Padding(
        Group(*parts, *_reads(story.reads, clock), *_coverage(story, clock), *_pending(story.pending, clock)), (1, 2)
    )


def key_page(story: KeyStory, rows: int, clock: Clock) -> RenderableType:
    """Where a key comes from."""
    parts: list[RenderableType] = [Text(story.key, "bold"), ""]
    parts.append(
        _line("state", Text.assemble((story.state, f"bold {_STATES.get(story.state, 'red')}"), f", {story.told}"))
    )
    if story.cached is not None:
        told = (
            f"version {story.cached.version}, as of {clock(story.cached.as_of, seconds=True)}, run {story.cached.run}"
        )
        parts.append(_line("content", f"{told}, {story.cached.bytes:,} bytes, etag {story.cached.etag}"))
    if story.head is not None:
        head = story.head
        told = (
            f"version {head['epoch']}-{head['version']}, as of {clock(head['as_of'], seconds=True)}, run {head['run']}"
        )
        parts.append(_line("head", f"{told}, {count(head['keys'], 'key')}, {head['refused']:,} refused as older"))
    if story.publication is not None:
        told = f"version {story.publication['epoch']}-{story.publication['version']}"
        parts.append(_line("database", f"{told}, as of {clock(story.publication['as_of'], seconds=True)}"))
    span = f", {clock(story.first)} to {clock(story.last)}" if story.first is not None else ""
    parts.append(_line("rows", f"{story.rows:,}{span}"))
    parts += [
        "",
        *_written(story.written, rows, clock),
        *_of_runs(story.runs, clock),
        *_reads(story.reads, clock),
        *_ranges(story.raw, clock),
    ]
    return Padding(Group(*parts, *_pending(story.pending, clock)), (1, 2))


def raw_page(story: RawStory, rows: int, clock: Clock) -> RenderableType:
    """What a raw row reaches."""
    title = Text.assemble((story.symbol, "bold"), f" {story.dataset}", (f"  {clock(story.at, seconds=True)}", "bold"))
    parts: list[RenderableType] = [title.append(f"  {clock.name}", FAINT), ""]
    if story.rows:
        parts += [_values(story.rows, rows), ""]
    if story.note:
        parts += [Text.assemble(("note ", "bold yellow"), story.note), ""]
    parts += [Text.assemble(("note ", "bold yellow"), f"{why['source']}: {why['why']}") for why in story.set_aside]
    if story.sessions:
        told = str(story.sessions[0]) if len(story.sessions) == 1 else f"{story.sessions[0]} to {story.sessions[-1]}"
        parts.append(_line("sessions", f"{told}, computed again"))
    for interval, (start, end) in story.buckets.items():
        parts.append(_line(f"its {interval}", f"{clock(start)} to {clock(end)}"))
    parts += ["", *_reached(story, clock)]
    for label, keys in (("keys", story.keys), ("market", story.market_keys)):
        parts += [_line(label if n == 0 else "", key) for n, key in enumerate(keys)]
    before = Superseded(story.dataset, len(story.superseded), story.superseded)
    return Padding(Group(*parts, *_superseded([before] if story.superseded else [], rows, clock)), (1, 2))


def _line(label: str, told: str | Text) -> Text:
    line = Text(label.ljust(10), FAINT, overflow="fold")
    return line.append_text(told if isinstance(told, Text) else Text(told, "default"))


def _values(rows: Sequence[Mapping[str, Any]], most: int) -> RenderableType:
    """One row as name and value, several as a table."""
    if len(rows) == 1:
        pairs = [(name, _value(value)) for name, value in rows[0].items() if value is not None]
        return Columns([Text.assemble((name, FAINT), f" {value}") for name, value in pairs], padding=(0, 3))
    table = plain_table(*rows[0])
    for row in rows[:most]:
        table.add_row(*map(_value, row.values()))
    return table


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _runs(runs: Sequence[Mapping[str, Any]], clock: Clock) -> list[str]:
    told = []
    for run in runs:
        if run.get("gone"):
            told.append(f"run {run['id']}, of which the record is gone")
            continue
        moments = f"as of {clock(run['as_of'], seconds=True)}, started {clock(run['started_at'], seconds=True)}"
        told.append(f"run {run['id']} ({run['kind']}, {run['state']}), code {run['code_version']}, {moments}")
    return told


def _made_of(parts: Sequence[Mapping[str, Any]], clock: Clock) -> Iterable[RenderableType]:
    """The raw rows in the bucket, by source: those that count, then the others and why not."""
    if not parts:
        yield Text("no raw row is left in this bucket: it was made of rows that were removed since", FAINT)
        return
    groups: dict[tuple[bool, str], list[Mapping[str, Any]]] = {}
    for part in parts:
        groups.setdefault((part["used"], "" if part["used"] else part["why"]), []).append(part)
    for (used, why), some in groups.items():
        if not used:
            yield ""
            yield Text(f"does not count: {why}", FAINT)
        yield _raw_table("made of" if used else "", some, clock)


def _raw_table(title: str, parts: Sequence[Mapping[str, Any]], clock: Clock) -> Table:
    """A line a table, source and length; wide as the others of the page, so that they stand below each other."""
    table = plain_table(title, "source", "rows", "first", "last", "arrived", "run")
    _moments(table, 3, 4, 5)
    table.columns[1].min_width, table.columns[2].min_width = _SOURCE_WIDTH, _ROWS_WIDTH
    for part in parts:
        basis = "" if part["price_basis"] == "raw" else f" ({part['price_basis']})"
        table.add_row(
            *(part["table"], f"{_source(part['source'], part['granularity'])}{basis}", f"{part['rows']:,}"),
            *(clock(part["first"], seconds=True), clock(part["last"], seconds=True)),
            *(clock(part["last_arrived"], seconds=True), _ids(part["runs"])),
        )
    return table


def _source(name: str, granularity: str | None) -> str:
    return f"{name} {granularity}" if granularity else name


def _moments(table: Table, *columns: int) -> None:
    """Names stay whole; moments, in these columns, break between date and time where the terminal is narrow."""
    for n, column in enumerate(table.columns):
        column.overflow, column.no_wrap = "fold", n not in columns
        if n in columns:
            column.justify, column.min_width = "left", _DATE_WIDTH
    table.columns[0].min_width, table.columns[-1].min_width = _TABLE_WIDTH, _RUN_WIDTH
    table.columns[1].justify = "left"


def _ids(runs: Sequence[int]) -> str:
    return str(runs[0]) if len(runs) == 1 else f"{runs[0]}-{runs[-1]}"


def _superseded(found: Sequence[Superseded], rows: int, clock: Clock) -> Iterable[RenderableType]:
    for history in found:
        yield ""
        yield Text(f"{count(history.versions, 'version')} of its rows in {history.table} superseded or removed:", FAINT)
        table = plain_table("row", "source", "was", "arrived", "until", "run")
        for column in range(1, 5):
            table.columns[column].justify = "left"
        for row in history.newest[:rows]:
            values = ", ".join(f"{k} {_value(v)}" for k, v in row.items() if k not in _NOT_VALUES and v is not None)
            at = row.get("timestamp", row.get("ex_date"))
            moments = (clock(row["arrived_at"], seconds=True), clock(row["superseded_at"], seconds=True))
            table.add_row(clock(at, seconds=True), row["source"], values, *moments, str(row["run_id"]))
        yield table


def _reads(reads: Sequence[Reading], clock: Clock) -> Iterable[RenderableType]:
    if not reads:
        return
    table = plain_table("reads", "of", "rows", "from", "")
    for column in (1, 3, 4):
        table.columns[column].justify = "left"
    for reading in reads:
        state = ", ".join(f"{name} {_value(value)}" for name, value in reading.state.items())
        told = f"{reading.how} ({state})" if state else reading.how
        table.add_row(reading.what, reading.table, f"{reading.rows:,}", clock(reading.first), Text(told, FAINT))
    yield ""
    yield table


def _coverage(story: RowStory, clock: Clock) -> Iterable[RenderableType]:
    for row in story.coverage:
        told = f"{row['source']} declared its {row['dataset']} complete from {clock(row['starts_at'])}"
        yield Text(f"{told} to {clock(row['ends_at'])}", FAINT)


def _pending(windows: Sequence[Mapping[str, Any]], clock: Clock) -> Iterable[RenderableType]:
    if not windows:
        return
    yield ""
    first = min(window["due_at"] for window in windows)
    datasets = ", ".join(sorted({window["dataset"] for window in windows}))
    if any(window["due"] for window in windows):
        told = f"{count(len(windows), 'change')} of the symbol to be refreshed ({datasets}): warmbars refresh"
        yield Text.assemble(("note ", "bold yellow"), told)
    else:
        yield Text(f"time closes more of the symbol ({datasets}), the first at {clock(first)}", FAINT)


def _written(written: Sequence[Written], rows: int, clock: Clock) -> Iterable[RenderableType]:
    if not written:
        return
    table = plain_table("made of rows of", "written by run", "rows", "first", "last")
    table.columns[3].justify = table.columns[4].justify = "left"
    for part in written[-rows:]:
        table.add_row(part.table, str(part.run_id), f"{part.rows:,}", clock(part.first), clock(part.last))
    yield table
    if len(written) > rows:
        yield Text(f"{len(written) - rows:,} older ones not shown: --json has them all", FAINT)


def _of_runs(runs: Sequence[Mapping[str, Any]], clock: Clock) -> Iterable[RenderableType]:
    """The oldest run and the newest ones, and the versions of the code."""
    shown = runs if len(runs) <= _RUNS_SHOWN else [runs[0], *runs[1 - _RUNS_SHOWN :]]
    yield ""
    yield from (_line("", told) for told in _runs(shown, clock))
    versions = sorted({run["code_version"] for run in runs if not run.get("gone")})
    if len(runs) > len(shown):
        yield Text(f"{len(runs):,} runs in all, of code {', '.join(versions)}", FAINT)


def _ranges(raw: Sequence[RawRange], clock: Clock) -> Iterable[RenderableType]:
    if not raw:
        return
    table = plain_table("raw rows", "source", "rows", "first", "last", "arrived", "runs")
    _moments(table, 3, 4, 5)
    for part in raw:
        moments = (
            clock(part.first, seconds=True),
            clock(part.last, seconds=True),
            clock(part.last_arrived, seconds=True),
        )
        ids = _ids([part.first_run] if part.first_run == part.last_run else [part.first_run, part.last_run])
        table.add_row(part.table, _source(part.source, part.granularity), f"{part.rows:,}", *moments, ids)
    yield ""
    yield Text("in the days of its rows:", FAINT)
    yield table


def _reached(story: RawStory, clock: Clock) -> Iterable[RenderableType]:
    if not story.reaches:
        yield Text("reaches nothing", FAINT)
        return
    table = plain_table("may change", "rows", "first", "last", "")
    for column in (2, 3, 4):
        table.columns[column].justify = "left"
    together: dict[tuple[Any, ...], list[str]] = {}
    for part in story.reaches:
        together.setdefault((part.table, part.rows, part.first, part.last), []).append(part.why)
    for (name, rows, first, last), why in together.items():
        table.add_row(name, f"{rows:,}", clock(first), clock(last), Text("; ".join(why), FAINT))
    yield table
    yield ""
