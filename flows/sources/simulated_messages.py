"""Simulated messages: round the clock, half of them neutral, their mean per session exactly the day's mood."""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flows.sources.noise import Floats, Ints, Purpose, uniform
from flows.sources.simulated_days import Days

_MEAN_SCORE: Final = 0.1
"""Mean score of a session whose mood is one standard deviation up."""
_MOST: Final = 0.4
"""Largest mean score of a session."""
_FEWEST: Final = 6


def messages_of(seed: int, days: Days) -> pl.DataFrame:
    """Messages of every session, from after the close before (`after`) up to its close, weekends included.

    `symbol` (number), `date` of the session, `place` among its messages, `at` (microseconds since 1970),
    `sentiment_score`, `confidence`.
    """
    symbol, date = days.symbols[:, None, None], days.dates[None, :, None]
    count = _counts(seed, symbol, date)
    place = np.arange(int(count.max()))[None, None, :]
    exists = place < count
    score = _scores(seed, days, (symbol, date, place), exists)
    sure = 0.4 + 0.4 * np.abs(score) + 0.2 * uniform(seed, Purpose.MESSAGE_SCORE, symbol, date, place, 1)
    confidence = np.where(score == 0, 1.0, np.round(sure, 4))
    grids: dict[str, Ints | Floats] = {
        **{"symbol": symbol, "date": date, "place": place},
        "at": _times(seed, days, (symbol, date, place)),
        **{"sentiment_score": score, "confidence": confidence},
    }
    return pl.DataFrame({name: np.broadcast_to(grid, exists.shape)[exists] for name, grid in grids.items()})


def _counts(seed: int, symbol: Ints, date: Ints) -> Ints:
    """Messages of a session; the first symbols are talked about most."""
    busy = 10 + 60 / (1 + symbol)
    many = busy * (0.6 + 0.8 * uniform(seed, Purpose.MESSAGES, symbol, date))
    return np.maximum(np.floor(many), _FEWEST).astype(np.int64)


def _times(seed: int, days: Days, at: tuple[Ints, Ints, Ints]) -> Ints:
    """Whole seconds between the close before and the close."""
    after, close = (days.sessions[name].dt.epoch("s").to_numpy()[None, :, None] for name in ("after", "close"))
    back = np.floor(uniform(seed, Purpose.MESSAGE_TIME, *at) * (close - after)).astype(np.int64)
    return np.asarray((close - back) * 1_000_000)


def _scores(seed: int, days: Days, at: tuple[Ints, Ints, Ints], exists: NDArray[np.bool_]) -> Floats:
    """Every other message is neutral; the rest scatter around what makes the session's mean its mood."""
    mean = np.clip(_MEAN_SCORE * days.mood, -_MOST, _MOST)[:, :, None]
    spoken = exists & (at[2] % 2 == 1)
    all_of, speaking = (mask.sum(axis=-1, keepdims=True) for mask in (exists, spoken))
    centre = mean * all_of / speaking
    noise = np.where(spoken, 2 * uniform(seed, Purpose.MESSAGE_SCORE, *at, 0) - 1, 0.0)
    noise = noise - noise.cumsum(axis=-1)[..., -1:] / speaking
    score = centre + noise * (1 - np.abs(centre)) / 2
    return np.where(spoken, np.round(score, 4), 0.0)
