"""What `explain` is asked about: a key, or one row of a symbol, from the words that were typed."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches

from flows.graph import GRAPH, keys_of
from flows.point_in_time import check_symbol
from flows.wiring import Deps
from storage.cache.keys import CORRELATION, FORECAST, HEAD, QUOTE, ROLLING, SENTIMENT_CURRENT, parse_key
from transforms.errors import PermanentError
from transforms.schema import MARKET_SYMBOL

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class KeyTarget:
    """A key of the cache."""

    symbol: str
    name: str


@dataclass(frozen=True, slots=True)
class RowTarget:
    """The row of a derived dataset at a moment, or of a session (a date). `table`: a table, or a view of bars."""

    symbol: str
    name: str
    at: datetime | date

    @property
    def table(self) -> str:
        """Where its rows are."""
        return table_of(self.name)

    @property
    def interval(self) -> str:
        """Length of its buckets."""
        return "1d" if self.name == ROLLING else self.name.partition(":")[2]


def table_of(name: str) -> str:
    """The table, or the view of bars, that a dataset of a symbol is in."""
    if name == ROLLING:
        return "rolling_correlations"
    dataset, _, interval = name.partition(":")
    return f"{dataset}_{interval}"


def target_of(deps: Deps, words: list[str]) -> KeyTarget | RowTarget:
    """Read `wb:1:main:{AAPL}:bars:5m`, `AAPL:bars:5m`, `AAPL quote`, or the words of one row.

    Raises for a symbol or a dataset that nobody knows, naming close ones.
    """
    symbol, name, when = _parts(deps, words)
    known = names_of(deps, symbol)
    if symbol != MARKET_SYMBOL:
        check_symbol(deps, symbol)
    if when is None:
        if name not in known:
            raise PermanentError(_unknown_name(symbol, name, known))
        return KeyTarget(symbol, name)
    if name in deps.settings.intervals:
        name = f"bars:{name}"
    rows = [n for n in known if n not in (QUOTE, CORRELATION, FORECAST, SENTIMENT_CURRENT)]
    if symbol == MARKET_SYMBOL or name not in rows:
        told = ", ".join(rows) if symbol != MARKET_SYMBOL else "none"
        raise PermanentError(f"{name!r} has no rows told apart by time; those of {symbol} that have are: {told}")
    return RowTarget(symbol, name, _moment(when, name))


def names_of(deps: Deps, symbol: str) -> list[str]:
    """Names of the keys a symbol, or the market, may have under these settings."""
    intervals = deps.settings.intervals
    of_market = symbol == MARKET_SYMBOL
    names = [key for node in GRAPH.values() if bool(node.of_market) == of_market for key in keys_of(node, intervals)]
    return [*dict.fromkeys(names), *([] if of_market else [FORECAST])]


def _parts(deps: Deps, words: list[str]) -> tuple[str, str, str | None]:
    """Symbol, dataset and, for a row, its time."""
    first, *rest = words
    if first.startswith("wb:"):
        parts = parse_key(first)
        if parts.namespace != deps.settings.namespace:
            raise PermanentError(
                f"{first} is of the namespace {parts.namespace!r}, and this is {deps.settings.namespace!r}; set"
                " WARMBARS_NAMESPACE to explain it"
            )
        first = f"{parts.symbol}:{parts.name}"
    symbol, _, name = first.partition(":")
    symbol = symbol.strip("{}")
    if not name and rest:
        name, *rest = rest
    if not name or len(rest) > 1:
        raise PermanentError(
            f"{' '.join(words)!r} names no key and no row; write a key (AAPL:bars:5m, @market:quotes, or with its"
            " whole name), or a symbol, a dataset and a time (AAPL bars:5m 2026-01-02T14:35Z, AAPL 1d 2026-01-02)"
        )
    if name == HEAD:
        raise PermanentError(f"the head says what {symbol} has; explain one of its keys: {symbol}:{QUOTE}")
    return symbol, name, rest[0] if rest else None


def _unknown_name(symbol: str, name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=2)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{symbol} has no key called {name!r}{hint} Keys are: {', '.join(known)}"


def _moment(text: str, name: str) -> datetime | date:
    """A session's date where rows are of sessions, an instant with its zone everywhere."""
    daily = name == ROLLING or name.endswith(":1d")
    try:
        if _DATE.fullmatch(text):
            day = date.fromisoformat(text)
            if daily:
                return day
            raise PermanentError(f"a row of {name} is told by an instant, such as {day}T14:35Z")
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise PermanentError(f"{text!r} is no time; write 2026-01-02T14:35Z, or a session's date for 1d") from exc
    if moment.tzinfo is None:
        raise PermanentError(f"{text} could be any zone's; write {text}Z for UTC, or its offset")
    return moment.astimezone(UTC)
