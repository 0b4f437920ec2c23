"""Which other derived rows a row is made of: as the catalogue and the settings declare it."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

from flows.explain_target import RowTarget
from flows.wiring import Deps
from storage.cache.keys import ROLLING
from storage.market.lineage import LineageStore
from transforms import catalogue
from transforms.catalogue import Indicator, RestOfSession, State, Window


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read for one result: rows of a derived table, from the first to the last.

    `rows`: how many of them there are. `how`: in words. `state`: what a recursion resumed from, by column.
    """

    what: str
    table: str
    rows: int
    first: datetime | date | None
    last: datetime | date | None
    how: str
    state: dict[str, Any] = field(default_factory=dict)


def readings(deps: Deps, lineage: LineageStore, target: RowTarget, label: datetime, session: date) -> list[Reading]:
    """What a row of indicators, of daily sentiment or of rolling correlations reads of other derived rows."""
    if target.name.startswith("indicators:"):
        return _indicators(deps, lineage, target, label, session)
    if target.name == "sentiment:1d":
        baseline = deps.settings.sentiment_baseline
        before = lineage.before("sentiment_1d", target.symbol, label, baseline)
        how = f"the {baseline} sessions with messages before it"
        return [Reading("momentum", "sentiment_1d", len(before), *_ends(before, "session"), how)]
    if target.name == ROLLING:
        return _rolling(deps, lineage, target, label)
    return []


def over_every_session(deps: Deps, lineage: LineageStore, symbol: str) -> list[Reading]:
    """What correlations over every session read: daily returns, and the sentiment of their sessions."""
    bars = lineage.derived("bars_1d", symbol, None, None).select("session")
    scores = lineage.derived("sentiment_1d", symbol, None, None).select("session").join(bars, on="session", how="semi")
    lags = deps.settings.correlation_lags
    how = f"paired at lags {min(lags)} to {max(lags)}" if lags else "paired at no lag"
    return [
        Reading(
            "return_1d", "bars_1d", len(bars), *_ends(bars, "session"), "the return of every session but the first"
        ),
        Reading("sentiment", "sentiment_1d", len(scores), *_ends(scores, "session"), f"sessions with messages, {how}"),
    ]


def _indicators(deps: Deps, lineage: LineageStore, target: RowTarget, label: datetime, session: date) -> list[Reading]:
    interval = target.interval
    bars = lineage.derived(f"bars_{interval}", target.symbol, None, label).select("timestamp", "session")
    bars = pl.concat([bars, pl.DataFrame({"timestamp": [label], "session": [session]}, schema=bars.schema)])
    state = lineage.before(target.table, target.symbol, label, 1)
    return [_reading(catalogue.resolve(name), interval, bars, state) for name in deps.settings.indicators]


def _reading(indicator: Indicator, interval: str, bars: pl.DataFrame, before: pl.DataFrame) -> Reading:
    """`bars`: those up to the row's own; `before`: the row of indicators before it."""
    reach, table = indicator.reach, f"bars_{interval}"
    kept: dict[str, Any] = {}
    if isinstance(reach, Window):
        read, how = bars.tail(reach.rows), f"a window of {reach.rows} rows"
    elif isinstance(reach, RestOfSession):
        read, how = bars.filter(pl.col("session") == bars["session"][-1]), "its session so far"
    else:
        read, how = bars, "every bar before it"
        if isinstance(reach, State):
            kept = {c: before[c][0] for c in reach.columns if len(before) and c in before.columns}
            settles = "" if reach.settles else ", which never settles"
            how = f"every bar before it, by the state of the row before{settles}"
    return Reading(indicator.name, table, len(read), *_ends(read, "timestamp"), how, kept)


def _rolling(deps: Deps, lineage: LineageStore, target: RowTarget, label: datetime) -> list[Reading]:
    settings = deps.settings
    lead = max(map(abs, settings.rolling_lags), default=0)
    longest = max(settings.correlation_windows, default=0)
    bars = lineage.before("bars_1d", target.symbol, label, longest + lead)
    own = lineage.derived("bars_1d", target.symbol, label, None).head(1)
    sessions = pl.concat([bars.select("session"), own.select("session")])
    scores = lineage.derived("sentiment_1d", target.symbol, None, None).select("session")
    found = []
    for window in settings.correlation_windows:
        read = sessions.tail(window + lead)
        with_scores = scores.join(read, on="session", how="semi")
        how = f"returns of {window} sessions, and up to {lead} before them for the lags"
        found.append(Reading(f"window {window}", "bars_1d", len(read), *_ends(read, "session"), how))
        found.append(
            Reading(
                f"window {window}", "sentiment_1d", len(with_scores), *_ends(with_scores, "session"), "their sentiment"
            )
        )
    return found


def _ends(rows: pl.DataFrame, column: str) -> tuple[Any, Any]:
    return (rows[column][0], rows[column][-1]) if len(rows) else (None, None)
