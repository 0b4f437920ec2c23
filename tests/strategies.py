"""Markets, instants, trades and bars for property tests: few symbols, few days, many coincidences."""

from datetime import date, datetime, timedelta
from functools import cache

import polars as pl
from hypothesis import strategies as st

from transforms.calendars import calendar_sessions
from transforms.schema import BARS, TICKS
from transforms.sessions import BucketRules

DAYS = {
    "XNYS": (date(2024, 11, 26), date(2024, 12, 3)),  # Thanksgiving, then a half day
    "XTKS": (
        date(2024, 10, 31),
        date(2024, 11, 7),
    ),  # a lunch break; from 5 November the close is half an hour later
    "XBOM": (date(2024, 1, 18), date(2024, 1, 24)),  # half-hour zone, opens at 09:15
    "24/7": (date(2024, 2, 28), date(2024, 3, 2)),
    "XNYS in March": (date(2024, 3, 7), date(2024, 3, 12)),  # clocks go forward on the 10th
    "XHKG": (date(2024, 12, 30), date(2025, 1, 2)),  # a half day without its afternoon, the turn of the year
    "XTAE": (date(2024, 10, 27), date(2024, 10, 28)),  # clocks go back on the 27th, a Sunday and a session
}
ALL_RULES = [
    BucketRules(trading_hours=hours, align=align) for hours in ("regular", "all") for align in ("session", "clock")
]
SYMBOLS = ("AA", "B", "Ba")
CONDITIONS = (None, "1", "20200080", "1000000", "4000080", "no hex", "T")


@cache
def sessions_of(case: str) -> pl.DataFrame:
    """The few sessions of one of the cases in `DAYS`."""
    first, last = DAYS[case]
    return calendar_sessions(case.split()[0], first, last)


def cases() -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(DAYS))


def rules() -> st.SearchStrategy[BucketRules]:
    return st.sampled_from(ALL_RULES)


@st.composite
def instants(draw: st.DrawFn, case: str) -> datetime:
    """Any time of the case's days; often on or next to a bound of a session, a minute or an hour."""
    sessions = sessions_of(case)
    row = draw(st.sampled_from(sessions.rows(named=True)))
    bounds = [row[name] for name in ("open", "close", "break_start", "break_end", "day_start") if row[name]]
    base = draw(st.sampled_from(bounds))
    minutes = draw(st.one_of(st.integers(-3, 3), st.integers(-900, 900)))
    jitter = draw(st.sampled_from([0, 0, -1, 1, 30_000_000]))
    moment: datetime = base + timedelta(minutes=minutes, microseconds=jitter)
    return moment


@st.composite
def ticks(draw: st.DrawFn, case: str) -> pl.DataFrame:
    """Trades in their total order, several at one instant."""
    moments = draw(st.lists(instants(case), min_size=1, max_size=4))
    one = st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from(moments),
        st.integers(1, 9),
        st.integers(0, 5),
        st.sampled_from(CONDITIONS),
    )
    trades = sorted(draw(st.lists(one, max_size=25)), key=lambda trade: trade[:2])
    rows = [
        (symbol, moment, "feed", number, float(price), float(size), condition)
        for number, (symbol, moment, price, size, condition) in enumerate(trades)
    ]
    return pl.DataFrame(rows, schema=TICKS, orient="row")


@st.composite
def minute_bars(draw: st.DrawFn, case: str, symbols: tuple[str, ...] = SYMBOLS) -> pl.DataFrame:
    """Valid `1m` bars inside regular hours, several in most buckets; prices repeat often."""
    rows = []
    for symbol in symbols:
        for session in sessions_of(case).rows(named=True):
            start = draw(st.integers(0, 200))
            steps = draw(st.lists(st.sampled_from([1, 1, 2, 7, 45]), max_size=8))
            offsets = [start + sum(steps[:n]) for n in range(len(steps))]
            moments = [session["open"] + timedelta(minutes=offset) for offset in offsets]
            traded = [moment for moment in moments if _trades(moment, session)]
            rows += [draw(_bar(symbol, moment, session["session"])) for moment in traded]
    return pl.DataFrame(rows, schema=BARS, orient="row")


def _trades(moment: datetime, session: dict[str, datetime | None]) -> bool:
    pause, resume, close = session["break_start"], session["break_end"], session["close"]
    return close is not None and moment < close and not (pause and resume and pause <= moment < resume)


@st.composite
def _bar(draw: st.DrawFn, symbol: str, moment: datetime, session: date) -> tuple[object, ...]:
    low, *inside, high = sorted(draw(st.lists(st.integers(1, 12), min_size=4, max_size=4)))
    opened, closed = draw(st.permutations(inside))
    volume = draw(st.integers(0, 1000))
    return (symbol, moment, session, *map(float, (opened, high, low, closed, volume)))


@st.composite
def price_series(draw: st.DrawFn, longest: int = 60) -> pl.DataFrame:
    """Daily bars in cents, of a few symbols, none to `longest` rows each: flat stretches, jumps, zero volume.

    The range may widen around a close that stands still: the sum of the prices does too, but not its last digits.
    """
    rows = []
    for symbol in SYMBOLS:
        close = 100.0
        for day in range(draw(st.integers(0, longest))):
            close = round(max(1.0, close + draw(st.sampled_from([0, 0, 1, -1, 0.25, 0.03, -7.5]))), 2)
            above, below = draw(st.sampled_from([(0.5, 0.5), (0.5, 0.5), (0.03, 0.03), (0.03, 0.01), (0, 0)]))
            high, low = round(close + above, 2), round(close - below, 2)
            volume = draw(st.sampled_from([0, 0, 1, 1000]))
            moment = datetime.fromisoformat("2024-01-01T14:30:00+00:00") + timedelta(days=day)
            rows.append((symbol, moment, moment.date(), close, high, low, close, float(volume)))
    return pl.DataFrame(rows, schema=BARS, orient="row")
