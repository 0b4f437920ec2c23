"""Which derived rows a change of a raw row may change: the declared graph, laid over what is stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from flows.graph import Derived, tables_of
from flows.plan import Plan
from storage.market.lineage import LineageStore
from storage.settings import Settings
from transforms import catalogue
from transforms.catalogue import RestOfSession, State, Window

Buckets = Mapping[str, tuple[datetime, datetime]]


@dataclass(frozen=True, slots=True)
class Reached:
    """Rows of a derived table that may change: `rows` are stored now between `first` and `last`; why those."""

    dataset: str
    table: str
    rows: int
    first: datetime | date | None
    last: datetime | date | None
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of raw rows of a symbol: what it plans, and the buckets that the row itself falls into, by interval.

    `whole`: all of the symbol's adjusted series is reached, as by a split.
    """

    symbol: str
    plan: Plan
    buckets: Buckets
    whole: bool


def rows_reached(lineage: LineageStore, settings: Settings, change: Change, node: Derived) -> list[Reached]:
    """What of one dataset a change reaches; nothing where it cannot."""
    reach = {
        "before": _factors,
        "sessions": _sessions,
        "rows": _indicators,
        "newest": _quote,
        "series": _correlations,
        "market": _market,
    }[node.reach]
    return [found for found in reach(lineage, settings, change, node) if found.rows or found.first is None]


def _factors(lineage: LineageStore, settings: Settings, change: Change, node: Derived) -> Iterable[Reached]:
    for table in node.tables:
        written = lineage.written(table, change.symbol, None)
        yield Reached(node.name, table, sum(w.rows for w in written), None, None, "every session before the ex-date")


def _sessions(lineage: LineageStore, settings: Settings, change: Change, node: Derived) -> Iterable[Reached]:
    """Bars, or sentiment, of the sessions that are computed again."""
    is_scores = node.name == "scores"
    planned = change.plan.sentiment if is_scores else change.plan.prices
    if planned.is_empty() or not (change.buckets or change.whole):
        return
    spans = _spans(change.plan, table=node.name)
    for table in tables_of(node, settings.intervals):
        frames = [lineage.derived(table, change.symbol, *span) for span in spans[table.endswith("_1h")]]
        rows = pl.concat([frame.select("timestamp") for frame in frames])["timestamp"]
        first, last = (rows.min(), rows.max()) if len(rows) else (planned["day_start"][0], None)
        yield Reached(node.name, table, len(rows), first, last, "all of its session is computed again")  # type: ignore[arg-type]
    if is_scores and "1d" in change.buckets:
        after = lineage.derived("sentiment_1d", change.symbol, change.buckets["1d"][0], None)
        moved = after.head(settings.sentiment_baseline + 1)["session"]
        if len(moved):
            why = f"momentum, over {settings.sentiment_baseline} sessions with messages"
            yield Reached(node.name, "sentiment_1d", len(moved), moved[0], moved[-1], why)


def _spans(plan: Plan, table: str) -> tuple[list[tuple[datetime, datetime]], list[tuple[datetime, datetime]]]:
    """Where the labels of planned rows lie; those of hours of sentiment apart."""
    if table != "scores":
        spans = [row[1:] for row in plan.price_spans().rows()]
        return spans, spans
    return [row[1:] for row in plan.label_spans().rows()], [row[1:] for row in plan.hour_spans().rows()]


def _indicators(lineage: LineageStore, settings: Settings, change: Change, node: Derived) -> Iterable[Reached]:
    for interval in settings.intervals[1:]:
        table = f"indicators_{interval}"
        since = None if change.whole else change.buckets.get(interval, (None,))[0]
        if since is None and not change.whole:
            continue
        rows = lineage.derived(table, change.symbol, since, None).select("timestamp", "session")
        if rows.is_empty():
            continue
        if change.whole:
            yield _rows(node, table, rows, "all of the adjusted series")
            continue
        for why, reached in _by_reach(settings.indicators, rows):
            yield _rows(node, table, reached, why)


def _by_reach(names: Sequence[str], rows: pl.DataFrame) -> Iterable[tuple[str, pl.DataFrame]]:
    """Rows from the first changed one on, as far as the indicators say: windows, rests of a session, states."""
    resolved = [catalogue.resolve(name) for name in names]
    windows = {i.name: i.reach.rows for i in resolved if isinstance(i.reach, Window)}
    rests = [i.name for i in resolved if isinstance(i.reach, RestOfSession)]
    settling = [i.name for i in resolved if isinstance(i.reach, State) and i.reach.settles]
    to_end = [i.name for i in resolved if i.name not in (*windows, *rests, *settling)]
    for rows_of in sorted(set(windows.values())):
        told = ", ".join(name for name, n in windows.items() if n == rows_of)
        yield f"{told}: a window of {rows_of} rows", rows.head(rows_of)
    if rests:
        yield f"{', '.join(rests)}: the rest of the session", rows.filter(pl.col("session") == rows["session"][0])
    if settling:
        yield f"{', '.join(settling)}: until the state settles, at most to the end", rows
    if to_end:
        yield f"{', '.join(to_end)}: to the end", rows


def _quote(lineage: LineageStore, settings: Settings, change: Change, node: Derived) -> Iterable[Reached]:
    """The newest session, by its own rows or by the close before it."""
    if not (change.buckets or change.whole):
        return
    stored = lineage.derived("quotes", change.symbol, None, None)
    if stored.is_empty():
        yield Reached(node.name, "quotes", 0, None, None, "there is no quote yet")
        return
    session = stored["session"][0]
    days = lineage.derived(f"bars_{settings.intervals[-1]}", change.symbol, None, None)["session"].unique().sort()
    before = days.filter(days < session).max()
    planned = set(change.plan.prices["session"])
    if change.whole:
        why = "the close before it is adjusted"
    elif planned and max(planned) >= session:
        why = "its session is the newest"
    elif before in planned:
        why = "its session is the one before, whose close it is held against"
    else:
        return
    yield Reached(node.name, "quotes", 1, session, session, why)


def _correlations(lineage: LineageStore, settings: Settings, change: Change, node: Derived) -> Iterable[Reached]:
    """All over every session; of rolling ones, windows that hold the session."""
    sessions = {*change.plan.prices["session"], *change.plan.sentiment["session"]}
    if not change.whole and ("1d" not in change.buckets or not sessions):
        return
    whole = lineage.written("correlations", change.symbol, None)
    yield Reached(node.name, "correlations", sum(w.rows for w in whole), None, None, "each is over all sessions")
    since = None if change.whole else change.buckets["1d"][0]
    rolling = lineage.derived("rolling_correlations", change.symbol, since, None)
    if not change.whole:
        lead = max(map(abs, settings.rolling_lags), default=0) + 1  # the next session's return too
        longest = max(settings.correlation_windows, default=0) + lead
        reached = rolling["session"].unique().sort().head(longest)
        rolling = rolling.filter(pl.col("session").is_in(reached.implode()))
    if len(rolling):
        ends = rolling["session"]
        why = "windows that hold its session" if not change.whole else "all of the adjusted series"
        yield Reached(node.name, "rolling_correlations", len(rolling), ends.min(), ends.max(), why)  # type: ignore[arg-type]


def _market(lineage: LineageStore, settings: Settings, change: Change, node: Derived) -> Iterable[Reached]:
    for table in node.tables:
        rows = sum(w.rows for w in lineage.written(table, None, None))
        yield Reached(node.name, table, rows, None, None, f"{node.about}: made of all symbols")


def _rows(node: Derived, table: str, rows: pl.DataFrame, why: str) -> Reached:
    return Reached(node.name, table, len(rows), rows["timestamp"][0], rows["timestamp"][-1], why)
