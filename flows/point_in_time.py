"""Bars and indicators as they would have been computed at a moment, to output only: nothing is claimed or written.

Two things are left out: bars that were not closed by then, and raw rows that had not arrived by then (corrections,
removals, splits announced later). Settings and calendars are today's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from difflib import get_close_matches

import polars as pl

from flows import derive
from flows.derive import Market, Prices
from flows.wiring import Deps
from storage.market.history import HistoryStore, Known
from storage.market.retention import RetentionMoved, thawed
from transforms import catalogue
from transforms.adjust import split_adjust
from transforms.errors import PermanentError, UnknownSymbol
from transforms.resample import closed
from transforms.schema import BARS, MARKET_SYMBOL, Interval
from transforms.sessions import days_of

_SESSIONS = 20
"""Read at first in one go; twice as many while that is little, half as many where it is much."""


@dataclass(frozen=True, slots=True)
class Moment:
    """As of when: bars closed by then and splits in force then, from the raw rows known at `known_at` (None: now)."""

    as_of: datetime
    known_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which bars, of which sessions (both included; None: from the first, to the last), with which indicators."""

    interval: Interval
    indicators: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    adjusted: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the result, in order."""
        return (*BARS, *(name for indicator in self.indicators for name in catalogue.resolve(indicator).shown))


def every_symbol(deps: Deps) -> list[str]:
    """Every symbol that was ever ingested and has not been renamed, in order."""
    known = deps.derived.everything("instruments", ("symbol", "renamed_to")).filter(pl.col("renamed_to").is_null())
    return [symbol for symbol in known["symbol"].sort() if symbol != MARKET_SYMBOL]


def check_symbol(deps: Deps, symbol: str) -> None:
    """Raise `UnknownSymbol` for a symbol that nobody ingested, naming close ones, or that has another name now."""
    known = every_symbol(deps)
    if symbol in known:
        return
    names = deps.derived.whole("instruments", [symbol], ("renamed_to",))["renamed_to"].drop_nulls()
    if len(names):
        raise UnknownSymbol(f"{symbol} was renamed to {names[0]}, which has its rows now")
    plain = {name.upper(): name for name in known}
    close = [plain[name] for name in get_close_matches(symbol.upper(), plain, n=3)]
    told = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known[:8]) or 'none at all'}"
    more = f" and {len(known) - 8:,} more" if not close and len(known) > 8 else ""
    raise UnknownSymbol(f"no row of {symbol} was ever ingested; {told}{more}")


def checked(deps: Deps, symbols: Sequence[str], wanted: Wanted) -> list[str]:
    """The symbols, each once, in order; raises for one nobody knows, and for what cannot be computed."""
    if wanted.first and wanted.last and wanted.first > wanted.last:
        raise PermanentError(f"there are no days from {wanted.first} to {wanted.last}")
    for name in wanted.indicators:
        lacking = sorted({*catalogue.resolve(name).inputs} - {*BARS})
        if lacking:
            raise PermanentError(f"{name} reads {', '.join(lacking)}, which bars do not have; leave it out")
    twice = {name for name in wanted.columns if wanted.columns.count(name) > 1}
    if twice:
        raise PermanentError(f"two of the indicators make {', '.join(sorted(twice))}; name one of them")
    for symbol in symbols:
        check_symbol(deps, symbol)
    return list(dict.fromkeys(symbols or every_symbol(deps)))


def compute(deps: Deps, symbol: str, wanted: Wanted, moment: Moment) -> pl.DataFrame:
    """Closed bars of one symbol in order, and the indicators asked for.

    Columns: `Wanted.columns`. Prices and volumes of bars are split-adjusted as of the moment unless `adjusted` is
    false; indicators always are. No row where nothing was known.
    """
    name = deps.calendars.market_of(symbol)
    if name is None:
        raise UnknownSymbol(f"no row of {symbol} was ever ingested")
    intervals: tuple[Interval, ...] = ("1m",) if wanted.interval == "1m" else ("1m", wanted.interval)
    settings = deps.settings.model_copy(update={"intervals": intervals})
    market = replace(deps.market(name, moment.as_of), settings=settings)
    frozen = deps.retention.frozen([symbol])
    with HistoryStore(deps.database).known(moment.known_at) as known:
        actions = known.actions([symbol])
        series = _Series(known, symbol, market, moment.as_of)
        days = _days(series, wanted, frozen.prices)
        left = thawed(days, frozen.prices, "lo", "hi")
        parts = list(_bars(series, wanted.interval, left, actions, settings.refresh_batch_rows))
    if deps.retention.frozen([symbol]) != frozen:
        raise RetentionMoved(f"raw rows of {symbol} expired while they were read; try again")
    standing = _standing(deps, series, wanted.interval, days.join(left, on="session", how="anti"))
    raw = pl.concat([pl.DataFrame(schema=BARS), standing, *parts]).sort("symbol", "timestamp")
    factors, _ = derive.factors(actions, market, moment.as_of)
    adjusted = split_adjust(raw.lazy(), derive.as_factors(factors)).collect()
    bars = adjusted if wanted.adjusted else raw
    if wanted.indicators:
        values = catalogue.compute(adjusted, wanted.indicators, engine="compiled")
        bars = bars.hstack(values.select(wanted.columns[len(BARS) :]).get_columns())
    return bars.filter(_inside(wanted)).select(wanted.columns)


@dataclass(frozen=True, slots=True)
class _Series:
    """Whose bars, from where, as of when."""

    known: Known
    symbol: str
    market: Market
    as_of: datetime


def _inside(wanted: Wanted) -> pl.Expr:
    session = pl.col("session")
    return (session >= (wanted.first or date.min)) & (session <= (wanted.last or date.max))


def _days(series: _Series, wanted: Wanted, expired: pl.DataFrame) -> pl.DataFrame:
    """The sessions to compute (symbol, session, lo, hi); all earlier ones too where indicators are wanted."""
    there = [*filter(None, [series.known.bounds(series.symbol)]), *expired.select("lo", "hi").rows()]
    bounds = (min(first for first, _ in there), max(last for _, last in there)) if there else None
    days = days_of(series.market.sessions).select(
        pl.lit(series.symbol).alias("symbol"), "session", lo="_day_start", hi="_day_end"
    )
    if bounds is None:
        return days.clear().collect()
    rows = (pl.col("hi") > bounds[0]) & (pl.col("lo") <= min(bounds[1], series.as_of))
    reach = replace(wanted, first=None) if wanted.indicators else wanted
    return days.filter(rows & _inside(reach)).collect()


def _bars(
    series: _Series, interval: Interval, days: pl.DataFrame, actions: pl.DataFrame, most_rows: int
) -> Iterator[pl.DataFrame]:
    """Raw bars of whole sessions, as many sessions at a time as `most_rows` raw rows allow."""
    known, symbol, market = series.known, series.symbol, series.market
    adjusted, coverage = known.vendor_adjusted([symbol]), known.coverage([symbol], "ticks")
    at, step = 0, _SESSIONS
    while at < len(days):
        some = days[at : at + step]
        span = (some["lo"][0], some["hi"][-1])
        rows, ticks = known.rows("bars", symbol, *span), known.rows("ticks", symbol, *span)
        prices = Prices(ticks, derive.raw_prices(rows, actions, adjusted, market), coverage)
        found = derive.bars(prices, market, series.as_of)
        for frame in (found.rollups, found.fills):
            if interval in frame:
                yield frame[interval].filter(pl.col("session").is_in(some["session"].implode()))
        at += step
        read = rows.height + ticks.height
        step = 2 * step if read < most_rows // 4 else max(1, step // 2) if read > most_rows else step


def _standing(deps: Deps, series: _Series, interval: Interval, days: pl.DataFrame) -> pl.DataFrame:
    """Stored bars of sessions whose raw rows have expired: what was known of them when is not on record."""
    if len(days) and interval not in deps.settings.intervals:
        raise PermanentError(
            f"raw rows of {series.symbol} from {days['session'][0]} to {days['session'][-1]} have expired, and of"
            f" {interval} no bars are kept; choose a kept interval ({', '.join(deps.settings.intervals)}) or --from"
        )
    stored = deps.derived.stored(f"bars_{interval}", days.select("symbol", "lo", "hi"), BARS.names())
    ended = closed(stored.lazy(), interval, series.market.sessions, series.market.rules, series.as_of)
    return ended.collect()
