"""The simulated market day by day: prices, volume and sentiment of every symbol and session.

Log prices revert slowly to a level of their own; the return of a session is driven by the sentiment of the one
`PLANTED_LAG` before it with correlation `PLANTED_CORRELATION`. Raw prices lie on a grid of cents and jump where a
symbol splits. Everything is computed from `ANCHOR` on, so that a day looks the same whenever it is asked for.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from flows.sources.noise import Floats, Ints, Purpose, normal, uniform

PLANTED_LAG: Final = 1
"""Sessions by which the return follows the sentiment."""
PLANTED_CORRELATION: Final = 0.6
"""Correlation of a session's mean sentiment with the return `PLANTED_LAG` sessions later, in the long run."""
ANCHOR: Final = date(2010, 1, 4)
"""First session of the simulated market."""

_REVERSION: Final = 0.004
"""Share of the distance to its level that a log price loses per session; half of it in 173."""
_SPLIT_MONTHS: Final = 2
"""A symbol in turn splits every so many months."""
_SPLIT_TURNS: Final = 5
"""Turns until a symbol splits again."""


@dataclass(frozen=True, slots=True)
class Days:
    """Sessions of the market and, one row per symbol and one column per session, what happened on them.

    Prices are raw, in cents; volumes in shares; `split`: new shares per old one from this session's open;
    `mood`: the latent sentiment, standard normal.
    """

    sessions: pl.DataFrame
    symbols: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    split: Floats
    mood: Floats

    @property
    def dates(self) -> Ints:
        """Session dates in days since 1970."""
        return self.sessions["session"].to_physical().cast(pl.Int64).to_numpy()

    def pick(self, symbols: slice, sessions: slice) -> "Days":
        """Some symbols and sessions."""
        part = (symbols, sessions)
        return Days(
            sessions=self.sessions[sessions],
            symbols=self.symbols[symbols],
            open=self.open[part],
            high=self.high[part],
            low=self.low[part],
            close=self.close[part],
            volume=self.volume[part],
            split=self.split[part],
            mood=self.mood[part],
        )


def simulate_days(
    seed: int, count: int, sessions: pl.DataFrame, last: int, relation: float = PLANTED_CORRELATION
) -> Days:
    """The `last` of the sessions (`SESSIONS`, from `ANCHOR` on) for `count` symbols.

    `relation`: the correlation to plant; 0 makes a market in which sentiment says nothing.
    """
    symbols = np.arange(count, dtype=np.int64)
    dates = sessions["session"].to_physical().cast(pl.Int64).to_numpy()
    of_day = (symbols[:, None], dates[None, :])
    mood = normal(seed, Purpose.SENTIMENT, *of_day)
    character = _character(seed, symbols)
    level = _level(normal(seed, Purpose.RETURN, *of_day), mood, character.volatility, relation)
    split = _splits(sessions["session"], symbols)
    raw = character.price[:, None] * np.exp(level) / np.cumprod(split, axis=1)
    close = np.maximum(np.rint(raw * 100), 1).astype(np.int64)
    recent = slice(max(len(dates) - last, 1), None)
    before = close[:, :-1][:, recent.start - 1 :] / split[:, recent]
    of_day = (symbols[:, None], dates[None, recent])
    close, split, mood = close[:, recent], split[:, recent], mood[:, recent]
    opening = _opening(seed, of_day, before, close, character)
    high, low = _extremes(seed, of_day, opening, close, character)
    volume = _volume(seed, of_day, close, before, character)
    return Days(sessions[recent], symbols, opening, high, low, close, volume, split, mood)


@dataclass(frozen=True, slots=True)
class _Character:
    """What a symbol is like: long-run price in dollars, daily volatility, dollars traded in a session."""

    price: Floats
    volatility: Floats
    turnover: Floats


def _character(seed: int, symbols: Ints) -> _Character:
    draw = [uniform(seed, Purpose.CHARACTER, symbols, number) for number in range(3)]
    return _Character(30 * 6 ** draw[0], 0.010 + 0.012 * draw[1], 4e7 * 20 ** draw[2])


def _level(noise: Floats, mood: Floats, volatility: Floats, relation: float) -> Floats:
    """Log prices above their long-run level: x[t] = (1 - reversion) x[t-1] + volatility * shock[t]."""
    shock = noise.copy()
    led = relation * mood[:, :-PLANTED_LAG]
    shock[:, PLANTED_LAG:] = led + np.sqrt(1 - relation**2) * noise[:, PLANTED_LAG:]
    level = np.empty_like(shock)
    held = np.zeros(len(shock))
    for day in range(shock.shape[1]):
        held = (1 - _REVERSION) * held + volatility * shock[:, day]
        level[:, day] = held
    return level


def _splits(sessions: pl.Series, symbols: Ints) -> Floats:
    """New shares per old: on the first session from the 15th of every other month, one symbol in turn.

    Two for one, and the next time one for two, so that prices stay where they are.
    """
    month = (sessions.dt.year() * 12 + sessions.dt.month() - 1).to_numpy()
    late = (sessions.dt.day() >= 15).to_numpy()
    first = late & ~np.concatenate([[False], late[:-1] & (month[1:] == month[:-1])])
    turn = np.where(first & (month % _SPLIT_MONTHS == 0), month // _SPLIT_MONTHS, -1)
    turns = min(_SPLIT_TURNS, len(symbols))
    mine = (turn[None, :] >= 0) & (turn[None, :] % turns == symbols[:, None] % turns)
    again = (turn[None, :] // turns) % 2 == 1
    return np.where(mine, np.where(again, 0.5, 2.0), 1.0)


def _opening(seed: int, of_day: tuple[Ints, Ints], before: Floats, close: Ints, who: _Character) -> Ints:
    """The open lies part of the way from the close before to the close."""
    gap = 0.3 * np.log(close / before) + 0.3 * who.volatility[:, None] * normal(seed, Purpose.OVERNIGHT, *of_day)
    return np.maximum(np.rint(before * np.exp(gap)), 1).astype(np.int64)


def _extremes(seed: int, of_day: tuple[Ints, Ints], opening: Ints, close: Ints, who: _Character) -> tuple[Ints, Ints]:
    reach = [0.6 * who.volatility[:, None] * np.abs(normal(seed, p, *of_day)) for p in (Purpose.HIGH, Purpose.LOW)]
    high = np.ceil(np.maximum(opening, close) * np.exp(reach[0])).astype(np.int64)
    low = np.floor(np.minimum(opening, close) * np.exp(-reach[1])).astype(np.int64)
    return high, np.maximum(low, 1)


def _volume(seed: int, of_day: tuple[Ints, Ints], close: Ints, before: Floats, who: _Character) -> Ints:
    """Shares: dollars traded over the price, more on days that move; never too few for a busy session's minutes."""
    moved = np.abs(np.log(close / before)) / who.volatility[:, None]
    dollars = who.turnover[:, None] * np.exp(0.3 * normal(seed, Purpose.VOLUME, *of_day)) * (0.7 + 0.4 * moved)
    return np.maximum(dollars / (close / 100), 500_000).astype(np.int64)
