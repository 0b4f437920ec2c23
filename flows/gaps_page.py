"""What `gaps` looks like. Pure: everything drawn here is handed in."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.chart import FAINT
from flows.gaps import GapReport
from flows.page import count, plain_table

WORDS: Mapping[str, str] = {
    "present": "present",
    "no_trade": "no trade",
    "missing_upstream": "missing",
    "not_yet_due": "not yet due",
}
_STYLES: Mapping[str, str] = {"missing_upstream": "yellow", "no_trade": "", "not_yet_due": FAINT}


def gaps_page(report: GapReport, rows: int, time_zone: str) -> RenderableType:
    """The whole page: the share, a line a session, a line a run of bars that are not there."""
    parts: list[RenderableType] = [_title(report), _totals(report), ""]
    parts += [*_sessions(report, rows), "", *_runs(report, rows, time_zone)]
    if report.waiting:
        hint = f"rows of {report.symbol} wait to be refreshed, some bars may be missing for that: warmbars refresh"
        parts += ["", Text.assemble(("note ", "bold yellow"), hint)]
    return Padding(Group(*parts), (1, 2))


def _title(report: GapReport) -> Text:
    title = Text.assemble((report.symbol, "bold"), (f" {report.interval}", FAINT))
    title.append(f"  {share(report.total['completeness'])} complete", "bold")
    return title.append(f"  {report.first} to {report.last}, {report.market}", FAINT)


def _totals(report: GapReport) -> Text:
    told = [f"{report.total[status]:,} {word}" for status, word in WORDS.items() if report.total[status]]
    closed = [f"{count(len(report.closed), 'day')} closed"] if report.closed else []
    return Text(f"{count(report.total['buckets'], 'bucket')}: {', '.join([*told, *closed])}")


def _sessions(report: GapReport, rows: int) -> Iterable[RenderableType]:
    """Every session while they are few, else the newest incomplete ones."""
    shown = report.sessions
    if len(shown) > rows:
        shown = shown.filter((pl.col("completeness") < 1).fill_null(value=False)).tail(rows)
    table = plain_table("session", "buckets", *WORDS.values(), "complete")
    for row in shown.iter_rows(named=True):
        counts = [Text(f"{row[s]:,}" if row[s] else "", _STYLES.get(s, "")) for s in WORDS]
        table.add_row(str(row["session"]), f"{row['buckets']:,}", *counts, share(row["completeness"]))
    if table.row_count:
        yield table
    left = len(report.sessions) - len(shown)
    if left and shown.is_empty():
        yield Text(f"no session of the {left:,} lacks anything; --json has them all", FAINT)
    elif left:
        yield Text(f"{count(left, 'more session')}, of {len(report.sessions):,}: --json has them all", FAINT)


def _runs(report: GapReport, rows: int, time_zone: str) -> Iterable[RenderableType]:
    """The longest runs, in the order of time."""
    if report.runs.is_empty():
        yield Text("every bar that was expected is there", FAINT)
        return
    longest = report.runs.sort("buckets", descending=True, maintain_order=True).head(rows).sort("timestamp")
    table: Table = plain_table("from", "to", "", "buckets")
    table.columns[1].justify = table.columns[2].justify = "left"
    for row in longest.iter_rows(named=True):
        status = Text(WORDS[row["status"]], _STYLES[row["status"]])
        table.add_row(*_times(row, report.interval, time_zone), status, f"{row['buckets']:,}")
    yield table
    left = len(report.runs) - len(longest)
    if left:
        yield Text(f"{count(left, 'shorter run')} not shown", FAINT)
    yield Text("sessions" if report.interval == "1d" else time_zone, FAINT)


def _times(row: Mapping[str, Any], interval: str, time_zone: str) -> tuple[str, str]:
    if interval == "1d":
        return str(row["session"]), str(row["last_session"])
    return _time(row["timestamp"], time_zone), _time(row["end"], time_zone)


def _time(moment: datetime, time_zone: str) -> str:
    from zoneinfo import ZoneInfo

    return f"{moment.astimezone(ZoneInfo(time_zone)):%Y-%m-%d %H:%M}"


def share(value: float | None) -> str:
    """Per cent, rounded down: what is not all there is never 100 %."""
    if value is None:
        return "-"
    return f"{int(value * 1000) / 10:.1f} %"
