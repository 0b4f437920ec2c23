"""Which bars a symbol should have and why some are not there: `transforms.quality.gaps` over what is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from flows.derive import Market
from flows.wiring import Deps
from storage.market.calendars import MarketHours
from storage.market.derived import SPANS
from storage.market.instruments import InstrumentStore
from transforms.adjust import choose
from transforms.errors import PermanentError, UnknownSymbol
from transforms.quality.gaps import Evidence, Question, completeness, gap_runs, gap_truth
from transforms.resample import fill_bars
from transforms.schema import BARS, MARKET_SYMBOL, RAW_BARS, UTC_US, Interval
from transforms.sessions import days_of

_COVERED = pl.Schema({"symbol": pl.String(), "start": UTC_US, "end": UTC_US})


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose bars, of which interval, from which day to which, both included.

    None: from the first stored bar's session, to the day of `as_of`, or to the last day the symbol is traded.
    """

    symbol: str
    interval: Interval
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class GapReport:
    """What became of every bucket that was expected.

    `total`: counts and `completeness` of the window; `sessions`: the same of each session. `runs`: consecutive
    buckets that are not present, closed days apart. `closed`: days without a session. `waiting`: rows of the symbol
    are ingested and not refreshed, so that bars may be missing only because of that.
    """

    symbol: str
    market: str
    interval: Interval
    first: date
    last: date
    as_of: datetime
    total: Mapping[str, Any]
    sessions: pl.DataFrame
    runs: pl.DataFrame
    closed: list[date]
    waiting: bool


def find_gaps(deps: Deps, asked: Asked, as_of: datetime) -> GapReport:
    """Say for every expected bucket whether it is there, and else why not.

    None is expected outside the days on which the symbol is traded, as far as these are known.
    """
    symbol = asked.symbol
    known_as = InstrumentStore(deps.database).get(symbol)
    if known_as is None or symbol == MARKET_SYMBOL:
        raise UnknownSymbol(_unknown(deps, symbol, as_of))
    if known_as.renamed_to is not None:
        raise UnknownSymbol(f"{symbol} was renamed to {known_as.renamed_to}; ask for that one")
    market = known_as.market
    if asked.interval not in deps.settings.intervals:
        raise PermanentError(
            f"bars of {asked.interval} are not kept; kept are {', '.join(deps.settings.intervals)}"
            " (the setting `intervals`)"
        )
    hours = deps.calendars.hours(market, as_of.date())
    today = as_of.astimezone(ZoneInfo(hours.time_zone)).date()
    last = asked.last or min(today, known_as.active_to or today)
    first = asked.first or _first_session(deps, asked)
    _check(first, last, hours.sessions)
    start, end = _bounds(first, last, hours)
    question = Question([symbol], asked.interval, start, end, as_of)
    rules = deps.market(market, as_of)
    known = _evidence(deps, question, rules)
    truth = gap_truth(question, known, rules.sessions, rules.rules, hours.time_zone).collect()
    is_closed = pl.col("status") == "market_closed"
    return GapReport(
        symbol=symbol,
        market=market,
        interval=asked.interval,
        first=first,
        last=last,
        as_of=as_of,
        total=completeness(truth.lazy()).collect().row(0, named=True),
        sessions=completeness(truth.lazy(), "session").collect(),
        runs=gap_runs(truth.lazy()).filter(~is_closed).drop("symbol").collect(),
        closed=truth.filter(is_closed)["session"].to_list(),
        waiting=any(due.symbol == symbol for due in deps.derived.due(as_of)),
    )


def _first_session(deps: Deps, asked: Asked) -> date:
    sessions = deps.derived.whole(f"bars_{asked.interval}", [asked.symbol], ("session",))["session"]
    found = sessions.min()
    if not isinstance(found, date):
        raise PermanentError(
            f"no {asked.interval} bar of {asked.symbol} is stored; name the first day to look at with --from"
        )
    return found


def _check(first: date, last: date, sessions: pl.DataFrame) -> None:
    """Refuse days that the calendar does not reach."""
    known: tuple[date, date] = (sessions["session"][0], sessions["session"][-1])
    if first > last:
        raise PermanentError(f"there are no days from {first} to {last}")
    if first < known[0] or last > known[1]:
        raise PermanentError(
            f"the stored calendar reaches from {known[0]} to {known[1]}, not over {first} to {last};"
            " choose days inside it, or an earlier first one with the setting `calendar_start`"
        )


def _bounds(first: date, last: date, hours: MarketHours) -> tuple[datetime, datetime]:
    """The instants between which the sessions and the closed days of these dates begin.

    From local midnight to local midnight, but for a market that opens the evening before.
    """
    days = days_of(hours.sessions.lazy()).select("session", "_day_start").collect()
    zone = ZoneInfo(hours.time_zone)

    def begin(day: date) -> datetime:
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        opens: list[datetime] = days.filter(pl.col("session") == day)["_day_start"].to_list()
        return min([midnight, *opens]).astimezone(UTC)

    return begin(first), begin(last + timedelta(days=1))


def _evidence(deps: Deps, question: Question, market: Market) -> Evidence:
    symbols = list(question.symbols)
    spans = pl.DataFrame([(symbol, question.start, question.end) for symbol in symbols], SPANS, orient="row")
    bars = deps.derived.stored(f"bars_{question.interval}", spans, BARS.names())
    rows = deps.derived.raw("stock_data", spans)
    active = deps.derived.whole("instruments", symbols, ("symbol", "active_from", "active_to"))
    return Evidence(
        bars.sort("symbol", "timestamp").lazy(),
        _covered(deps, symbols, rows).lazy(),
        _days_of_their_own(rows, market),
        active.lazy(),
    )


def _covered(deps: Deps, symbols: list[str], rows: pl.DataFrame) -> pl.DataFrame:
    """Where a source of trades, or one of minute bars, declared that it is the whole truth.

    Coverage does not say of which bars: a source counts where it delivered minutes, a source of days says nothing.
    """
    columns = ("symbol", "dataset", "source", "starts_at", "ends_at")
    told = deps.derived.whole("coverage", symbols, columns).rename({"starts_at": "start", "ends_at": "end"})
    minutes = rows.filter(pl.col("granularity") == "1m").sort("timestamp")
    delivered = (
        told.filter(pl.col("dataset") == "bars")
        .sort("start")
        .join_asof(
            minutes.select("symbol", "source", "timestamp"),
            left_on="start",
            right_on="timestamp",
            by=["symbol", "source"],
            strategy="forward",
            check_sortedness=False,
        )
        .filter(pl.col("timestamp") < pl.col("end"))
    )
    windows = [frame.select(_COVERED.names()) for frame in (told.filter(pl.col("dataset") == "ticks"), delivered)]
    return pl.concat(windows).cast(_COVERED)


def _days_of_their_own(rows: pl.DataFrame, market: Market) -> pl.LazyFrame:
    """Daily bars from vendors' daily rows alone, one source a day."""
    days = rows.filter(pl.col("granularity") == "1d").lazy().select(RAW_BARS.names())
    chosen = choose(days, ("symbol", "granularity", "timestamp"), market.settings.source_rank)
    return fill_bars(chosen, "1d", market.sessions, market.rules, pl.LazyFrame(schema=BARS))


def _unknown(deps: Deps, symbol: str, as_of: datetime) -> str:
    """What to say about a symbol that nobody ingested: names like it, or what there is."""
    known = sorted({*deps.outbox.versions(), *(due.symbol for due in deps.derived.due(as_of))} - {MARKET_SYMBOL})
    if not known:
        return f"no row of {symbol} was ever ingested, nor of any other symbol; start with: warmbars run"
    plain = {name.upper(): name for name in known}
    close = [plain[name] for name in get_close_matches(symbol.upper(), plain, n=3)]
    if close:
        return f"no row of {symbol} was ever ingested; did you mean {' or '.join(close)}?"
    more = f" and {len(known) - 8:,} more" if len(known) > 8 else ""
    return f"no row of {symbol} was ever ingested; there are {', '.join(known[:8])}{more}"
