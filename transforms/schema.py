"""Column names, dtypes and words that every layer shares. Nothing here computes."""

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

import polars as pl

from transforms.errors import PermanentError

Interval = Literal["1m", "5m", "15m", "1h", "1d"]
INTERVALS: Final[tuple[Interval, ...]] = get_args(Interval)
INTRADAY_MINUTES: Final[dict[str, int]] = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}
"""Length of each intraday interval in minutes; `1d` is a session, not a number of minutes."""
_A_DAY: Final = 24 * 60
_MINUTES: Final = re.compile(r"([1-9][0-9]{0,3})([mh])")

Period = Literal["session", "week", "month"]
_PERIODS: Final[dict[str, Period]] = {"1d": "session", "1w": "week", "1mo": "month"}


@dataclass(frozen=True, slots=True)
class Length:
    """How long the buckets of an interval are: so many minutes of a session, or the whole sessions of a period.

    `name`: the one way to write it (`60m` is `1h`). `minutes`: 0 of a period. A week is an ISO week, Monday to
    Sunday, and a month a calendar month, both of session dates.
    """

    name: str
    minutes: int = 0
    period: Period | None = None


def parse_interval(text: str) -> Length:
    """What an interval means: minutes (`7m`), hours (`2h`) up to the length of a day, `1d`, `1w` or `1mo`.

    The intervals that the store keeps are `INTERVALS`; these are all that transforms compute. Raises
    `PermanentError` for any other text.
    """
    if text in _PERIODS:
        return Length(text, period=_PERIODS[text])
    found = _MINUTES.fullmatch(text)
    minutes = int(found[1]) * (60 if found[2] == "h" else 1) if found else 0
    if not 0 < minutes <= _A_DAY:
        raise PermanentError(
            f"{text!r} is no interval; write minutes (1m, 5m, 90m) or hours (1h, 2h) up to {_A_DAY}m, 1d for a"
            " session, 1w for a week or 1mo for a month"
        )
    return Length(f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m", minutes=minutes)


Dataset = Literal["ticks", "bars", "sentiment", "actions"]
DATASETS: Final[tuple[Dataset, ...]] = get_args(Dataset)
Granularity = Literal["1m", "1h", "1d"]
PriceBasis = Literal["raw", "split", "split_dividend"]
TradingHours = Literal["regular", "all"]
Align = Literal["session", "clock"]
SentimentCutoff = Literal["close", "midnight"]
KeepOrDrop = Literal["keep", "drop"]

MARKET_SYMBOL: Final = "@market"
"""The pseudo-symbol under which market-wide results are locked, versioned and published."""

SYMBOL_PATTERN: Final = r"^[A-Za-z0-9^][A-Za-z0-9.^=/_+&-]{0,31}$"
"""Symbols become cache keys and lock names: no braces, colons, globs or white space."""
_SYMBOL = re.compile(SYMBOL_PATTERN)

UTC_US: Final = pl.Datetime("us", "UTC")

OHLC: Final = ("open", "high", "low", "close")
OHLCV: Final = (*OHLC, "volume")

TICKS: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "timestamp": UTC_US,
        "source": pl.String(),
        "sequence": pl.Int32(),
        "price": pl.Float64(),
        "size": pl.Float64(),
        "condition": pl.String(),
    }
)
"""Trades. Total order within a symbol: (timestamp, sequence)."""

RAW_BARS: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "granularity": pl.String(),
        "timestamp": UTC_US,
        "source": pl.String(),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "adjusted_close": pl.Float64(),
    }
)
"""Vendor bars, labelled by their UTC start; a `1d` row carries its session's open."""

SENTIMENT: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "timestamp": UTC_US,
        "source": pl.String(),
        "external_id": pl.String(),
        "ordinal": pl.Int32(),
        "sentiment_score": pl.Float64(),
        "confidence": pl.Float64(),
        "is_retweet": pl.Boolean(),
        "is_duplicate": pl.Boolean(),
    }
)
"""Scored messages: score in [-1, 1], confidence in [0, 1]; of the flags null says that nobody knows."""

ACTIONS: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "ex_date": pl.Date(),
        "action": pl.String(),
        "source": pl.String(),
        "ordinal": pl.Int32(),
        "value": pl.Float64(),
    }
)
"""Corporate actions: `split` (new shares per old share) and `dividend` (cash per share)."""

RAW_SCHEMAS: Final[dict[str, pl.Schema]] = {
    "ticks": TICKS,
    "bars": RAW_BARS,
    "sentiment": SENTIMENT,
    "actions": ACTIONS,
}

SESSIONS: Final = pl.Schema(
    {
        "market": pl.String(),
        "session": pl.Date(),
        "open": UTC_US,
        "close": UTC_US,
        "break_start": UTC_US,
        "break_end": UTC_US,
        "day_start": UTC_US,
        "day_end": UTC_US,
    }
)
"""One row a trading day: regular hours, the break if there is one, and the local calendar day around them."""

BARS: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "timestamp": UTC_US,
        "session": pl.Date(),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
    }
)
"""Bars as we compute them, sorted by (symbol, timestamp)."""


def is_symbol(name: str) -> bool:
    """Whether `name` may be a symbol (see `SYMBOL_PATTERN`)."""
    return _SYMBOL.fullmatch(name) is not None
