"""What is wrong with the stored raw rows: quality rules over daily bars and corporate actions. Reads, never writes.

A correction is a file of raw rows. Who has looked at it ingests it, and what it replaces goes to the history.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

import polars as pl

from flows.wiring import Deps, silent
from storage.market.daily import DailyStore
from transforms.adjust import choose_actions
from transforms.errors import ConfigurationError, UnknownSymbol
from transforms.quality.faults import Faults, corrected_bars, find_faults
from transforms.schema import ACTIONS, RAW_BARS

Progress = Callable[[str], None]

_SYMBOLS_AT_ONCE: Final = 64
_PARQUET: Final = ".parquet"


@dataclass(frozen=True, slots=True)
class Question:
    """What to look at. Findings that touch the sessions from `start` to `end`, at or above a confidence, are told."""

    symbols: Sequence[str] = ()
    start: date | None = None
    end: date | None = None
    min_confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found in how many rows. `bars` and `actions`: the corrections, as raw rows.

    `findings`: FINDINGS in order of certainty, with `first` and `last`, the sessions of their rows. `less_certain`:
    how many lie below the asked confidence. `rejected`: rows that ingest set aside (symbol, dataset, rule, rows).
    `bars` carry the session as `date`, and `price_basis`.
    """

    symbols: int
    rows: int
    findings: pl.DataFrame
    less_certain: int
    rejected: pl.DataFrame
    bars: pl.DataFrame
    actions: pl.DataFrame


@dataclass(frozen=True, slots=True)
class CorrectionFile:
    """A file of corrections, and the arguments of `warmbars ingest` that accept it."""

    path: Path
    dataset: str
    rows: int
    arguments: tuple[str, ...]


def inspect(deps: Deps, question: Question, as_of: datetime, progress: Progress | None = None) -> Inspected:
    """Apply the rules to every source's raw daily rows of the symbols asked for (none: of all).

    A series is always looked at whole: a level is wrong only against the rows around it.
    """
    store = DailyStore(deps.database)
    markets = _asked(store.symbols(), question.symbols)
    parts: list[Inspected] = []
    for market in sorted(set(markets.values())):
        names = [symbol for symbol, its in markets.items() if its == market]
        for start in range(0, len(names), _SYMBOLS_AT_ONCE):
            batch = names[start : start + _SYMBOLS_AT_ONCE]
            (progress or silent)(f"looking at {batch[0]} to {batch[-1]}")
            parts.append(_inspect(deps, store, batch, (market, as_of), question))
    return _together(parts)


def _asked(known: dict[str, str], symbols: Sequence[str]) -> dict[str, str]:
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise UnknownSymbol(f"no daily bars are stored of {', '.join(unknown)}; warmbars status says what there is")
    return {symbol: known[symbol] for symbol in symbols} if symbols else known


def _inspect(
    deps: Deps, store: DailyStore, symbols: list[str], where: tuple[str, datetime], question: Question
) -> Inspected:
    sessions = deps.market(*where).sessions.select("session", "day_start").sort("day_start").collect()
    bars = in_sessions(store.bars(symbols), sessions)
    actions = choose_actions(deps.derived.actions(symbols).lazy(), deps.settings.source_rank).collect()
    told = _touching(find_faults(bars, actions.select(ACTIONS.names())), bars, question)
    sure = told.at_least(question.min_confidence)
    dates = bars.select("symbol", "source", "timestamp", "session").unique(["symbol", "source", "timestamp"])
    key = ["symbol", "source"]
    findings = (
        sure.findings.join(dates.rename({"session": "first"}), left_on=[*key, "start"], right_on=[*key, "timestamp"])
        .join(dates.rename({"session": "last"}), left_on=[*key, "end"], right_on=[*key, "timestamp"])
        .sort("confidence", "symbol", "start", descending=[True, False, False])
    )
    return Inspected(
        symbols=len(symbols),
        rows=bars.height,
        findings=findings,
        less_certain=told.findings.height - sure.findings.height,
        rejected=store.rejected(symbols),
        bars=corrected_bars(bars, sure).rename({"session": "date"}),
        actions=sure.corrected_actions(),
    )


def in_sessions(bars: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """Add `session`, the last whose local day (`day_start`) has begun; before the first one, the date in UTC."""
    dated = bars.sort("timestamp").join_asof(sessions, left_on="timestamp", right_on="day_start").drop("day_start")
    session = pl.coalesce("session", pl.col("timestamp").dt.date())
    return dated.with_columns(session=session).sort("symbol", "timestamp", "source")


def _touching(faults: Faults, bars: pl.DataFrame, question: Question) -> Faults:
    """Findings with a row in the asked sessions."""
    days = bars.select(first=pl.col("timestamp").filter(pl.col("session") >= (question.start or date.min)).min())
    last = bars.select(pl.col("timestamp").filter(pl.col("session") <= (question.end or date.max)).max()).item()
    first = days.item()
    if first is None or last is None:
        return faults.where(pl.lit(value=False))
    return faults.where((pl.col("end") >= first) & (pl.col("start") <= last))


def _together(parts: Sequence[Inspected]) -> Inspected:
    if not parts:
        raise UnknownSymbol("no daily bars are stored; ingest some first, see: warmbars ingest --help")
    order = {"by": ["confidence", "symbol", "start"], "descending": [True, False, False]}
    return Inspected(
        symbols=sum(part.symbols for part in parts),
        rows=sum(part.rows for part in parts),
        findings=pl.concat([part.findings for part in parts]).sort(**order),  # type: ignore[arg-type]
        less_certain=sum(part.less_certain for part in parts),
        rejected=pl.concat([part.rejected for part in parts]),
        bars=pl.concat([part.bars for part in parts]),
        actions=pl.concat([part.actions for part in parts]),
    )


def check_target(path: Path) -> None:
    """Refuse a file that corrections cannot be written to, before anything is looked at."""
    if path.suffix != _PARQUET:
        raise ConfigurationError(f"{path}: corrections are written as Parquet; name the file *{_PARQUET}")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path}: there is no directory {path.parent}; make it first")


def write_corrections(found: Inspected, path: Path) -> list[CorrectionFile]:
    """Write the corrections to `path`: raw rows of one dataset and price basis a file, so names may get an ending.

    Rows are those of RAW_BARS (with the session as `date`) or of ACTIONS, so ingesting a file replaces what it names.
    """
    check_target(path)
    frames: dict[tuple[str, str], pl.DataFrame] = {}
    for (basis,), rows in found.bars.group_by(["price_basis"], maintain_order=True):
        frames["bars", str(basis)] = rows.select("date", *RAW_BARS.names())
    if not found.actions.is_empty():
        frames["actions", ""] = found.actions
    written = []
    for (dataset, basis), frame in frames.items():
        ending = "" if len(frames) == 1 else f".{dataset}" if dataset == "actions" else f".{dataset}-{basis}"
        named = path.with_name(f"{path.stem}{ending}{_PARQUET}")
        try:
            frame.write_parquet(named)
        except OSError as exc:
            raise ConfigurationError(f"{named} cannot be written: {exc.strerror or exc}") from exc
        options = () if dataset == "actions" else ("--price-basis", basis)
        written.append(CorrectionFile(named, dataset, frame.height, (str(named), "--dataset", dataset, *options)))
    return written
