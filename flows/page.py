"""What a run looks like in the terminal. Pure: everything drawn here is handed in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.chart import DOWN, FAINT, UP, draw
from flows.spotlight import Finding, Spotlight
from flows.steps import FileReport, Ingested, Published, Refreshed, RunReport
from storage.market.raw import Written
from transforms.schema import MARKET_SYMBOL

WIDE = 108
"""From this width on, the chart stands beside the tables."""
_TABLES = 50
_CHART_ROWS = 13
_BAR = 16
_FILES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class RunPage:
    """What a run did, and what to show of it. `seconds`: of each step, in order."""

    ingested: Ingested
    refreshed: Refreshed
    published: Published
    seconds: Mapping[str, float]
    as_of: datetime
    simulated: tuple[str, ...] = ()
    first: bool = False
    spotlight: Spotlight | None = None
    finding: Finding | None = None
    program: str = "warmbars"
    next: Sequence[tuple[str, str]] = field(default_factory=tuple)


def run_page(page: RunPage, width: int, *, color: bool = True) -> RenderableType:
    """The whole page for a terminal `width` cells wide."""
    tables = Group(_ingested(page.ingested), "", _computed(page.refreshed))
    if width >= WIDE:
        body: RenderableType = Table.grid(padding=(0, 3))
        assert isinstance(body, Table)
        body.add_column(width=_TABLES)
        body.add_column()
        body.add_row(tables, _spotlight(page.spotlight, width - _TABLES - 7, color=color))
    else:
        body = Group(tables, "", _spotlight(page.spotlight, width - 4, color=color))
    parts = [
        _title(page),
        "",
        *_about(page),
        _steps(page),
        "",
        body,
        "",
        *_finding(page.finding),
        *_next(page, width - 4),
    ]
    return Padding(Group(*parts), (1, 2))


def _title(page: RunPage) -> Text:
    title = Text("warmbars", "bold")
    total = sum(page.seconds.values())
    return title.append(f"  as of {page.as_of:%Y-%m-%d %H:%M} UTC, done in {seconds(total)}", FAINT)


def _about(page: RunPage) -> Iterable[RenderableType]:
    if not page.simulated:
        return
    names = ", ".join(page.simulated)
    text = Text.assemble(("The market is simulated", "yellow"), f" (source {names}): invented symbols and prices, ")
    text.append("a real pipeline. ")
    if page.first:
        text.append("The same seed gives the same rows, on the exchange's own calendar, and one relation is planted ")
        text.append("for the pipeline to find. Your own rows: see the last command below.")
    else:
        text.append("Rows that were stored already are left alone, so nothing is there twice.")
    yield text
    yield ""


def _steps(page: RunPage) -> Table:
    """A line a step: how long it took, and what it did."""
    table = Table.grid(padding=(0, 2))
    longest = max(page.seconds.values(), default=0.0) or 1.0
    done = {
        "ingest": _ingest_line(page.ingested),
        "refresh": _refresh_line(page.refreshed),
        "publish": _publish_line(page.published),
    }
    for step, took in page.seconds.items():
        bar = Text(("━" * max(1, round(took / longest * _BAR))).ljust(_BAR), "cyan")
        table.add_row(Text(step, "bold"), bar, Text(seconds(took), justify="right"), done.get(step, ""))
    return table


def _ingest_line(ingested: Ingested) -> str:
    totals = total(ingested.files)
    if not totals.read:
        return "nothing to read"
    written = totals.written
    done = {
        "new": written.inserted,
        "changed": written.changed,
        "removed": written.removed,
        "rejected": totals.rejected,
    }
    told = [f"{n:,} {what}" for what, n in done.items() if n]
    return f"{count(totals.read, 'row')} read, {', '.join(told) if told else 'none new'}"


def _refresh_line(refreshed: Refreshed) -> str:
    if not refreshed.windows:
        return "nothing was dirty"
    rows = sum(refreshed.rows.values())
    return f"{count(rows, 'row')} written, {count(len(refreshed.symbols - {MARKET_SYMBOL}), 'symbol')}"


def _publish_line(published: Published) -> str:
    if not published.symbols:
        return "every key is up to date"
    return f"{count(published.written, 'key')} written, {published.kept:,} as they were"


def total(reports: Iterable[FileReport]) -> FileReport:
    """Some files' reports as one."""
    reports = list(reports)
    written = sum((report.written for report in reports), Written())
    return FileReport("", "", "", sum(r.read for r in reports), sum(r.rejected for r in reports), written)


def _ingested(ingested: Ingested) -> RenderableType:
    by_dataset: dict[str, list[FileReport]] = {}
    for report in ingested.files:
        if report.error is None or report.read:
            by_dataset.setdefault(report.dataset, []).append(report)
    table = plain_table("ingested", "rows", "new", "changed", "rejected")
    for dataset, reports in by_dataset.items():
        table.add_row(dataset, *_counts(total(reports)))
    parts: list[RenderableType] = [table]
    parts += [Text.assemble(("unreadable ", "bold red"), report.origin) for report in ingested.failures]
    return Group(*parts) if by_dataset or ingested.failures else Text("ingested nothing", FAINT)


def _computed(refreshed: Refreshed) -> RenderableType:
    """Rows written by table, in two columns: bars and indicators, the rest."""
    rows = {table: n for table, n in refreshed.rows.items() if n}
    if not rows:
        return Text("computed nothing: no row was new or changed", FAINT)
    names = sorted(rows, key=_table_order)
    half = (len(names) + 1) // 2
    table = plain_table("computed", "rows", "", "rows")
    table.columns[2].justify = "left"
    for left, right in zip(names[:half], [*names[half:], *[""] * (len(names) % 2)], strict=True):
        table.add_row(left, f"{rows[left]:,}", right, f"{rows[right]:,}" if right else "")
    return table


_FAMILIES = ("bars", "indicators", "sentiment", "correlations", "adjustment", "quotes")
_INTERVALS = ("1m", "5m", "15m", "1h", "1d")


def _table_order(name: str) -> tuple[int, int, str]:
    family = next((i for i, word in enumerate(_FAMILIES) if name.startswith(word)), len(_FAMILIES))
    interval = next((i for i, word in enumerate(_INTERVALS) if f"_{word}" in name), -1)
    return family, interval, name


def _spotlight(spotlight: Spotlight | None, width: int, *, color: bool) -> RenderableType:
    if spotlight is None:
        return Text("no symbol has bars yet", FAINT)
    drawn = draw(spotlight.chart, width, _CHART_ROWS, color=color)
    return Group(headline(spotlight), drawn)


def headline(spotlight: Spotlight) -> Text:
    """The symbol, its last price and its move since the close before."""
    line = Text.assemble((spotlight.symbol, "bold"), (f" {spotlight.interval}", FAINT))
    if spotlight.last is not None:
        line.append(f"  {price(spotlight.last)}")
    if spotlight.change_pct is not None:
        style, arrow = (UP, "▲") if spotlight.change_pct >= 0 else (DOWN, "▼")
        line.append(f"  {arrow} {abs(spotlight.change_pct):.2f} %", style)
    return line


def _finding(finding: Finding | None) -> Iterable[RenderableType]:
    if finding is not None:
        yield Text.assemble(("found  ", "bold magenta"), finding.sentence())
        yield ""


def _next(page: RunPage, width: int) -> Iterable[Text]:
    """A command a line, with what it is for where there is room."""
    longest = max((len(command) for command, _ in page.next), default=0) + len(page.program) + 3
    for number, (command, what) in enumerate(page.next):
        line = Text.assemble(("next  " if number == 0 else " " * 6, "bold"), overflow="fold")
        line.append(f"{page.program} {command}".ljust(longest), "bold cyan")
        if len(line) + len(what) <= width:
            line.append(what, FAINT)
        yield line


def ingested_table(ingested: Ingested) -> RenderableType:
    """A line a file; beyond twenty, the ones with something to say, and a sum."""
    reports = [r for r in ingested.files if r.error is None]
    shown = reports
    if len(reports) > _FILES_SHOWN:
        shown = [r for r in reports if r.rejected or r.notes][:_FILES_SHOWN]
    removed = any(report.written.removed for report in reports)
    table = plain_table("file", "dataset", "rows", "new", "changed", *(["removed"] if removed else []), "rejected")
    table.columns[1].justify = "left"
    for report in shown:
        table.add_row(Text(report.origin, overflow="fold"), report.dataset, *_counts(report, removed=removed))
    if len(reports) > 1:
        table.add_row(Text(f"{len(reports)} files", FAINT), "", *_counts(total(reports), removed=removed), style="bold")
    notes = [Text(f"{r.origin}: {'; '.join(r.notes)}", FAINT) for r in shown if r.notes]
    return Group(table, *notes)


def _counts(report: FileReport, *, removed: bool = False) -> list[RenderableType]:
    written = report.written
    gone = [Text(f"{written.removed:,}")] if removed else []
    rejected = Text(f"{report.rejected:,}", "bold yellow" if report.rejected else "")
    return [f"{report.read:,}", f"{written.inserted:,}", f"{written.changed:,}", *gone, rejected]


def round_line(done: RunReport, took: Mapping[str, float], at: datetime) -> Text:
    """One run of many, in a line."""
    did = [_ingest_line(done.ingested), _refresh_line(done.refreshed), _publish_line(done.published)]
    line = Text.assemble((f"{at:%Y-%m-%d %H:%M:%S}Z", "bold"), f"  {'; '.join(did)}")
    return line.append(f"  {seconds(sum(took.values()))}", FAINT)


def computed_table(refreshed: Refreshed) -> RenderableType:
    """Rows written by table."""
    return _computed(refreshed)


def plain_table(first: str, *numbers: str) -> Table:
    """A table without frame: text at the left, numbers at the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(escape(first))
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def count(n: int, noun: str) -> str:
    """`1 row`, `12,345 rows`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def seconds(value: float) -> str:
    """`0.04 s`, `3.2 s`, `2 min 5 s`."""
    if value >= 60:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def price(value: float) -> str:
    """Cents for ordinary prices, more digits for small ones."""
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.5g}"
