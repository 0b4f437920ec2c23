"""Symbols by hand: a new name, and from when to when one is traded. No Prefect here."""

from datetime import date, datetime

from flows.wiring import Deps
from storage.market.instruments import Instrument, InstrumentStore, Renamed


def rename(deps: Deps, old: str, new: str, as_of: datetime) -> Renamed:
    """Give everything that `old` has to `new`; the next refresh computes it there, and leaves nothing under `old`."""
    with deps.runs.run("rename", as_of) as run:
        renamed = InstrumentStore(deps.database).rename(old, new, as_of, run.id)
        run.summary = {"old": old, "new": new, "rows": dict(renamed.rows), "derived": renamed.derived}
    return renamed


def set_active(
    deps: Deps, symbol: str, active_from: date | None, active_to: date | None, as_of: datetime
) -> Instrument:
    """Say from which to which date, both included, a symbol is traded (None: not known)."""
    with deps.runs.run("symbol", as_of) as run:
        found = InstrumentStore(deps.database).set_active(symbol, active_from, active_to, as_of, run.id)
        run.summary = {"symbol": symbol, "active_from": str(active_from), "active_to": str(active_to)}
    return found
