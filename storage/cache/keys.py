"""Names of everything in the cache: `wb:1:<namespace>:{SYMBOL}:<name>`, and back."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from transforms.errors import PermanentError
from transforms.schema import INTERVALS, MARKET_SYMBOL, SYMBOL_PATTERN

CONTRACT: Final = 1
"""The number after `wb:`; it changes when a reader of the old keys would misread the new ones."""

QUOTE: Final = "quote"
QUOTES: Final = "quotes"
CATALOGUE: Final = "catalogue"
CORRELATION: Final = "correlation"
ROLLING: Final = "correlation:rolling"
FINDINGS: Final = "correlations"
MATRIX: Final = "matrix"
FORECAST: Final = "forecast"
SENTIMENT_CURRENT: Final = "sentiment:current"
HEAD: Final = "head"

SentimentInterval = Literal["1h", "1d"]

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SYMBOL = re.compile(SYMBOL_PATTERN)
_NAME = re.compile(r"[a-z][a-z0-9_]*(:[a-z0-9_]+)*")
_KEY = re.compile(r"wb:1:(?P<namespace>[^:{}]+):\{(?P<symbol>[^{}]+)\}:(?P<name>.+)")

_DATASETS: Final = {
    QUOTE: "stock_quote",
    QUOTES: "stock_quote",
    "bars": "stock_history",
    CATALOGUE: "stock_history",
    "indicators": "technical_indicators",
    SENTIMENT_CURRENT: "sentiment_current",
    "sentiment": "sentiment_history",
    CORRELATION: "correlation_analysis",
    FINDINGS: "correlation_analysis",
    MATRIX: "correlation_analysis",
    FORECAST: "prediction_results",
}


def bars_name(interval: str) -> str:
    """Name of a symbol's bars: `bars:5m`."""
    return f"bars:{_among(interval, INTERVALS)}"


def indicators_name(interval: str) -> str:
    """Name of a symbol's indicators: `indicators:5m`."""
    return f"indicators:{_among(interval, INTERVALS)}"


def sentiment_name(interval: str) -> str:
    """Name of a symbol's sentiment history: `sentiment:1h` or `sentiment:1d`."""
    return f"sentiment:{_among(interval, ('1h', '1d'))}"


def dataset_of(name: str) -> str:
    """The dataset whose soft TTL holds for keys of this name, e.g. `stock_history` for `bars:5m`."""
    dataset = _DATASETS.get(name) or _DATASETS.get(name.partition(":")[0])
    if dataset is None:
        raise PermanentError(f"no dataset publishes keys called {name!r}; known are {', '.join(_DATASETS)}")
    return dataset


@lru_cache(maxsize=1024)
def checked_name(name: str) -> str:
    """`name`, if it may be the name of a key: lower case words joined by ':'."""
    if not _NAME.fullmatch(name):
        raise PermanentError(f"{name!r} is not the name of a key: lower case words joined by ':'")
    return name


@dataclass(frozen=True, slots=True)
class KeyParts:
    """What a key says: whose it is and which."""

    namespace: str
    symbol: str
    name: str


def parse_key(key: str | bytes) -> KeyParts:
    """Take a symbol's key apart; the exact inverse of `Keys.of`."""
    text = key.decode(errors="replace") if isinstance(key, bytes) else key
    found = _KEY.fullmatch(text)
    if found is None:
        raise PermanentError(f"{text!r} is not a key of a symbol: wb:1:<namespace>:{{SYMBOL}}:<name>")
    parts = KeyParts(found["namespace"], found["symbol"], found["name"])
    Keys(parts.namespace).of(parts.symbol, parts.name)
    return parts


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds the keys of one namespace; whatever could escape its place in a key is refused here."""

    namespace: str

    def __post_init__(self) -> None:
        """Refuse a namespace that would not stay in its place."""
        if not _NAMESPACE.fullmatch(self.namespace):
            raise PermanentError(f"namespace {self.namespace!r} is not 1 to 32 letters, digits, '-' or '_'")

    @property
    def prefix(self) -> str:
        """What every key of the namespace starts with."""
        return f"wb:{CONTRACT}:{self.namespace}:"

    def of(self, symbol: str, name: str) -> str:
        """The key of this name; the braces keep all keys of a symbol in one cluster slot."""
        return f"{self.of_symbol(symbol)}{checked_name(name)}"

    def of_symbol(self, symbol: str) -> str:
        """What every key of a symbol starts with."""
        if symbol != MARKET_SYMBOL and not _SYMBOL.fullmatch(symbol):
            raise PermanentError(f"{symbol!r} is not a symbol: 1 to 32 letters, digits or . ^ = / _ + & -")
        return f"{self.prefix}{{{symbol}}}:"

    def head(self, symbol: str) -> str:
        """Version and list of everything published for a symbol; the fence."""
        return self.of(symbol, HEAD)

    def head_pattern(self) -> str:
        """What the heads of all symbols match, for SCAN."""
        return f"{self.prefix}{{*}}:{HEAD}"

    def quote(self, symbol: str) -> str:
        """Last trade and running bar."""
        return self.of(symbol, QUOTE)

    def bars(self, symbol: str, interval: str) -> str:
        """Newest closed bars of an interval."""
        return self.of(symbol, bars_name(interval))

    def indicators(self, symbol: str, interval: str) -> str:
        """Indicators of the newest closed bars of an interval."""
        return self.of(symbol, indicators_name(interval))

    def sentiment_current(self, symbol: str) -> str:
        """Sentiment now."""
        return self.of(symbol, SENTIMENT_CURRENT)

    def sentiment_history(self, symbol: str, interval: str) -> str:
        """Sentiment by hour or by session."""
        return self.of(symbol, sentiment_name(interval))

    def correlations(self, symbol: str) -> str:
        """How sentiment and return move together, by lag."""
        return self.of(symbol, CORRELATION)

    def rolling_correlations(self, symbol: str) -> str:
        """How sentiment and return moved together over the sessions up to each of the newest ones."""
        return self.of(symbol, ROLLING)

    def forecast(self, symbol: str) -> str:
        """What the next session is expected to bring, and how such forecasts scored."""
        return self.of(symbol, FORECAST)

    def quotes(self) -> str:
        """The board: every symbol's quote."""
        return self.of(MARKET_SYMBOL, QUOTES)

    def catalogue(self) -> str:
        """Which symbols there are."""
        return self.of(MARKET_SYMBOL, CATALOGUE)

    def findings(self) -> str:
        """Every correlation tested, of all symbols, adjusted for their number."""
        return self.of(MARKET_SYMBOL, FINDINGS)

    def matrix(self) -> str:
        """How the daily returns of symbols move together."""
        return self.of(MARKET_SYMBOL, MATRIX)

    def checked(self) -> str:
        """The moment up to which everything was checked."""
        return f"{self.prefix}checked"

    def owner(self) -> str:
        """Identity of the database that may publish here."""
        return f"{self.prefix}owner"

    def events(self) -> str:
        """The pub/sub channel that hears of every publication."""
        return f"{self.prefix}events"


def _among(interval: str, accepted: tuple[str, ...]) -> str:
    if interval not in accepted:
        raise PermanentError(f"interval {interval!r} is not published; choose from {', '.join(accepted)}")
    return interval
