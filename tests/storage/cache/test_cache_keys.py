"""Keys are typed, cannot escape their place, and read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.cache.keys import KeyParts, Keys, dataset_of, parse_key
from storage.settings import Settings
from transforms.errors import PermanentError
from transforms.schema import MARKET_SYMBOL, SYMBOL_PATTERN

MAIN = Keys("main")


def test_every_key_has_its_documented_name() -> None:
    assert [
        MAIN.head("AAPL"),
        MAIN.quote("AAPL"),
        MAIN.bars("AAPL", "5m"),
        MAIN.indicators("AAPL", "1d"),
        MAIN.sentiment_current("AAPL"),
        MAIN.sentiment_history("AAPL", "1h"),
        MAIN.correlations("AAPL"),
        MAIN.rolling_correlations("AAPL"),
        MAIN.forecast("AAPL"),
        MAIN.quotes(),
        MAIN.catalogue(),
        MAIN.findings(),
        MAIN.matrix(),
        MAIN.checked(),
        MAIN.owner(),
        MAIN.events(),
    ] == [
        "wb:1:main:{AAPL}:head",
        "wb:1:main:{AAPL}:quote",
        "wb:1:main:{AAPL}:bars:5m",
        "wb:1:main:{AAPL}:indicators:1d",
        "wb:1:main:{AAPL}:sentiment:current",
        "wb:1:main:{AAPL}:sentiment:1h",
        "wb:1:main:{AAPL}:correlation",
        "wb:1:main:{AAPL}:correlation:rolling",
        "wb:1:main:{AAPL}:forecast",
        "wb:1:main:{@market}:quotes",
        "wb:1:main:{@market}:catalogue",
        "wb:1:main:{@market}:correlations",
        "wb:1:main:{@market}:matrix",
        "wb:1:main:checked",
        "wb:1:main:owner",
        "wb:1:main:events",
    ]


@pytest.mark.parametrize("symbol", ["", "A{B}", "A:B", "A B", "AAPL\n", "*", "@other", "{", "Ä", "A" * 33, "-A"])
def test_a_symbol_cannot_escape_its_braces(symbol: str) -> None:
    with pytest.raises(PermanentError, match="not a symbol"):
        MAIN.quote(symbol)


@pytest.mark.parametrize("name", ["", "Head", "bars:", ":bars", "bars 5m", "bars:5m\n", "bars:5m~", "bars}:x", "*"])
def test_a_name_cannot_escape_its_place(name: str) -> None:
    with pytest.raises(PermanentError, match="not the name of a key"):
        MAIN.of("AAPL", name)


@pytest.mark.parametrize("namespace", ["", "a:b", "a b", "main\n", "x" * 33])
def test_a_namespace_is_one_word(namespace: str) -> None:
    with pytest.raises(PermanentError, match="namespace"):
        Keys(namespace)


@pytest.mark.parametrize("interval", ["2m", "", "1m "])
def test_unknown_intervals_are_named_with_the_known_ones(interval: str) -> None:
    with pytest.raises(PermanentError, match="1m, 5m, 15m, 1h, 1d"):
        MAIN.bars("AAPL", interval)
    with pytest.raises(PermanentError, match="1h, 1d"):
        MAIN.sentiment_history("AAPL", "5m")


@settings(deadline=None)
@given(
    namespace=st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True),
    symbol=st.from_regex(SYMBOL_PATTERN, fullmatch=True).filter(lambda s: not s.endswith("\n"))
    | st.just(MARKET_SYMBOL),
    name=st.from_regex(r"[a-z][a-z0-9_]*(:[a-z0-9_]+)*", fullmatch=True),
)
def test_parsing_is_the_inverse_of_building(namespace: str, symbol: str, name: str) -> None:
    key = Keys(namespace).of(symbol, name)
    assert parse_key(key) == parse_key(key.encode()) == KeyParts(namespace, symbol, name)


@pytest.mark.parametrize("key", ["", "wb:1:main:checked", "wb:2:main:{A}:quote", "wb:1:main:{A B}:quote", b"\xff"])
def test_what_is_no_key_of_a_symbol_is_not_parsed(key: str | bytes) -> None:
    with pytest.raises(PermanentError):
        parse_key(key)


def test_every_published_name_has_a_dataset_with_a_soft_ttl() -> None:
    datasets = {
        "quote": "stock_quote",
        "quotes": "stock_quote",
        "bars:1d": "stock_history",
        "catalogue": "stock_history",
        "indicators:5m": "technical_indicators",
        "sentiment:current": "sentiment_current",
        "sentiment:1h": "sentiment_history",
        "correlation": "correlation_analysis",
        "correlation:rolling": "correlation_analysis",
        "correlations": "correlation_analysis",
        "matrix": "correlation_analysis",
        "forecast": "prediction_results",
    }
    assert {name: dataset_of(name) for name in datasets} == datasets
    assert set(datasets.values()) <= set(Settings().soft_ttl_seconds)
    with pytest.raises(PermanentError, match="no dataset"):
        dataset_of("rumours")
