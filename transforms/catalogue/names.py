"""What a name of an indicator stands for."""

import re
from collections.abc import Callable
from datetime import date
from difflib import get_close_matches
from functools import cache
from typing import Final

from transforms.catalogue import momentum, oscillators, statistics, strength, trend, volatility, volume
from transforms.catalogue.entry import Family, Indicator
from transforms.errors import UnknownIndicator

LONGEST_WINDOW: Final = 10_000
_WHOLE = re.compile(r"[1-9][0-9]{0,4}")
_DATE = re.compile(r"[0-9]{8}")
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,4})(\.[0-9]{0,5}[1-9])?")

_PARAMETERS: Final[dict[type, Callable[[str], object]]] = {int: int, float: float, date: date.fromisoformat}

FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for module in (trend, momentum, oscillators, volatility, strength, volume, statistics)
    for family in module.FAMILIES
}
"""First words of a name -> what makes the indicator from the numbers that follow them."""


@cache
def resolve(name: str) -> Indicator:
    """The indicator called `name`: `sma_20`, `macd` or `macd_5_35_5`, `bollinger_20_2.5`, `vwap`, ..."""
    found = re.fullmatch(r"([a-z][a-z_]*?)((?:_[0-9.]+)*)", name)
    family = FAMILIES.get(found[1]) if found else None
    if found is None or family is None:
        raise UnknownIndicator(_unknown(name))
    kinds = list(family.parameters.values())
    words = found[2].split("_")[1:]
    if not words and family.plain is not None:
        words = [f"{number:g}" for number in family.plain]
    if len(words) != len(kinds) or not all(map(_is_parameter, words, kinds)):
        raise UnknownIndicator(_unknown(name, family))
    return family.make(name, *(_PARAMETERS[kind](word) for word, kind in zip(words, kinds, strict=True)))


def _is_parameter(word: str, kind: type) -> bool:
    if kind is date:
        return _DATE.fullmatch(word) is not None and _is_date(word)
    if kind is int:
        return _WHOLE.fullmatch(word) is not None and int(word) <= LONGEST_WINDOW
    return _DECIMAL.fullmatch(word) is not None and 0 < float(word) <= LONGEST_WINDOW


def _is_date(word: str) -> bool:
    try:
        date.fromisoformat(word)
    except ValueError:
        return False
    return True


def _unknown(name: str, family: Family | None = None) -> str:
    close = get_close_matches(name, CATALOGUE, n=3) or list(CATALOGUE)[:12]
    told = f"no indicator is called {name!r}; close names: {', '.join(close)}"
    if family is not None and family.parameters:
        told += f"; {family.name} takes {', '.join(family.parameters)}"
    return f"{told} (parameters are numbers up to {LONGEST_WINDOW}, as in sma_10 or macd_5_35_5; a date is 20240102)"


CATALOGUE: Final[dict[str, Indicator]] = {
    name: resolve(name) for family in FAMILIES.values() for name in map(family.name_of, family.usual)
}
"""The usual ones; `resolve` knows every other parameter too."""
