"""What `show` looks like. Pure: everything drawn here is handed in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle
from typing import Any, Final

import polars as pl
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.chart import DOWN, FAINT, LINE_STYLES, UP, draw, number
from flows.page import headline, plain_table, price
from flows.spotlight import Finding, Spotlight, chart_of, move, pairs_by_lag
from flows.status_page import duration
from storage.cache.keys import CORRELATION, QUOTE, SENTIMENT_CURRENT, bars_name, indicators_name
from storage.cache.reader import Snapshot
from transforms import catalogue
from transforms.errors import UnknownIndicator
from transforms.schema import OHLCV

KEYS: Final = (QUOTE, SENTIMENT_CURRENT, CORRELATION)
"""What is shown of a symbol beside its bars."""
_CHART_ROWS = 18
_WIDEST = 170


@dataclass(frozen=True, slots=True)
class View:
    """What is asked for: bars of an interval, indicators by name, times in a zone."""

    interval: str
    indicators: Sequence[str]
    time_zone: str


@dataclass(frozen=True, slots=True)
class SymbolPage:
    """One symbol at one interval.

    `rows`: bars and the indicator columns asked for, in order; `lines`: those that are prices; times in `time_zone`.
    """

    snapshot: Snapshot
    interval: str
    rows: pl.DataFrame
    lines: tuple[str, ...]
    checked: datetime | None
    time_zone: str
    now: datetime

    @property
    def stale(self) -> bool:
        """Whether the bars are older than their contract."""
        return self.snapshot.values[bars_name(self.interval)].stale

    @property
    def indicators(self) -> list[str]:
        """Columns that are no bar's."""
        return [name for name in self.rows.columns if name not in ("timestamp", "session", *OHLCV)]

    def as_json(self, rows: int) -> dict[str, Any]:
        """The same for scripts; prices unrounded."""
        quote = self.snapshot.values[QUOTE].value
        return {
            "symbol": self.snapshot.symbol,
            "interval": self.interval,
            "as_of": self.snapshot.as_of,
            "version": {"epoch": self.snapshot.version.epoch, "n": self.snapshot.version.n},
            "checked": self.checked,
            "stale": self.stale,
            "origin": "cache",
            "quote": None if quote.is_empty() else quote.row(0, named=True),
            "rows": self.rows.tail(rows).to_dicts(),
        }


def page_of(snapshot: Snapshot, view: View, checked: datetime | None, now: datetime) -> SymbolPage:
    """Put bars and the indicators asked for side by side."""
    interval, names = view.interval, view.indicators
    rows = snapshot.values[bars_name(interval)].value
    lines: list[str] = []
    if names:
        values = snapshot.values[indicators_name(interval)].value
        columns = _columns(names, values.columns)
        rows = rows.join(values.select("timestamp", *columns), on="timestamp", how="left", maintain_order="left")
        lines = [name for name in columns if columns[name] and _among_prices(rows, name)]
    rows = rows.with_columns(pl.col("timestamp").dt.convert_time_zone(view.time_zone))
    return SymbolPage(snapshot, interval, rows, tuple(lines), checked, view.time_zone, now)


def _columns(names: Sequence[str], published: Sequence[str]) -> dict[str, bool]:
    """Columns the names stand for, and whether their unit is that of prices."""
    columns: dict[str, bool] = {}
    for name in names:
        shown = [column for column in catalogue.resolve(name).columns if column.shown]
        missing = [column.name for column in shown if column.name not in published]
        if missing:
            known = ", ".join(c for c in published if c not in ("timestamp", "session")) or "none"
            raise UnknownIndicator(
                f"{name} is not published (published are: {known}); add it to the setting `indicators`"
            )
        columns |= {column.name: column.magnitude == "price" for column in shown}
    return columns


def _among_prices(rows: pl.DataFrame, name: str) -> bool:
    """Whether most values lie near the candles: an average does, a range or a difference does not."""
    known = rows.drop_nulls(name)
    if known.is_empty():
        return False
    low, high = pl.col("low").min(), pl.col("high").max()
    near = pl.col(name).is_between(low - (high - low), high + (high - low))
    return bool(known.select(near.mean() > 0.5).item()) and bool(known.select(pl.col(name).median() > low / 2).item())


def symbol_page(page: SymbolPage, rows: int, width: int, *, color: bool = True) -> RenderableType:
    """The whole page for a terminal `width` cells wide."""
    room = min(width, _WIDEST) - 4
    if page.rows.is_empty():
        return Padding(Text(f"{page.snapshot.symbol} has no {page.interval} bars yet", FAINT), (1, 2))
    values = {name: page.rows[name].to_list() for name in page.indicators}
    lines = {name: values.pop(name) for name in page.lines}
    chart = chart_of(page.rows, page.interval, lines, values)
    spotlight = Spotlight(page.snapshot.symbol, page.interval, chart, *move(page.snapshot.values[QUOTE].value))
    parts: list[RenderableType] = [headline(spotlight), *_legend(page), draw(chart, room, _CHART_ROWS, color=color)]
    parts += ["", _table(page, rows, room), ""]
    beside = _beside(page)
    parts += [beside, _footer(page)] if beside.row_count else [_footer(page)]
    return Padding(Group(*parts), (1, 2))


def _legend(page: SymbolPage) -> Iterable[Text]:
    if page.lines:
        named = zip(page.lines, cycle(LINE_STYLES), strict=False)
        yield Text("  ").join(Text.assemble(("── ", style), (name, FAINT)) for name, style in named)


def _table(page: SymbolPage, rows: int, width: int) -> RenderableType:
    """The newest rows; open, high and low give way where the indicators need their room."""
    prices = list(OHLCV)
    shown = _sized(page, prices, rows)
    if sum(shown.values()) > width and page.indicators:
        shown = _sized(page, ["close", "volume"], rows)
    table = plain_table(page.time_zone if page.interval != "1d" else "session", *list(shown)[1:])
    for row in page.rows.tail(rows).iter_rows(named=True):
        style = UP if row["close"] >= row["open"] else DOWN
        cells = [Text(_cell(row, name), style if name == "close" else "") for name in list(shown)[1:]]
        table.add_row(_time(row, page.interval), *cells)
    return table


def _sized(page: SymbolPage, prices: Sequence[str], rows: int) -> dict[str, int]:
    """Columns and their widths, the gap included."""
    newest = page.rows.tail(rows).to_dicts()
    columns = [*prices, *page.indicators]
    widths = {c: max(len(c), *(len(_cell(row, c)) for row in newest)) + 2 for c in columns}
    return {"time": (10 if page.interval == "1d" else 16) + 2, **widths}


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return ""
    return f"{value:,.0f}" if name == "volume" else price(value) if name in OHLCV else number(value)


def _time(row: Mapping[str, Any], interval: str) -> str:
    return f"{row['session']:%Y-%m-%d}" if interval == "1d" else f"{row['timestamp']:%Y-%m-%d %H:%M}"


def _beside(page: SymbolPage) -> Table:
    """Sentiment now, and the strongest correlation, where there are any."""
    table = Table.grid(padding=(0, 2))
    values = page.snapshot.values
    current = values[SENTIMENT_CURRENT].value
    daily = current if current.is_empty() else current.filter(pl.col("interval") == "1d")
    for row in daily.iter_rows(named=True):
        mentions = f"{row['mean_score']:+.2f} in {row['count']:,} mentions of {row['session']:%b %d}"
        table.add_row(Text("sentiment", FAINT), mentions)
    by_lag = pairs_by_lag(values[CORRELATION].value)
    if by_lag:
        lag = max(by_lag, key=lambda lag: abs(by_lag[lag][0]))
        finding = Finding(lag, *by_lag[lag], symbols=1, score=0.0)
        table.add_row(Text("correlation", FAINT), f"{finding.sentence()}; strongest of {len(by_lag)} lags")
    return table


def _footer(page: SymbolPage) -> Text:
    """As of when, which version, fresh or stale."""
    snapshot = page.snapshot
    line = Text.assemble((f"as of {snapshot.as_of:%Y-%m-%d %H:%M:%S} UTC, version {snapshot.version.n}, ", FAINT))
    if page.checked is None:
        return line.append("stale: never checked", "yellow")
    ago = duration(page.now - page.checked)
    if page.stale:
        return line.append(f"stale: last checked {ago} ago", "yellow")
    return line.append("fresh", "green").append(f", checked {ago} ago", FAINT)
