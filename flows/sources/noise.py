"""Random numbers that are a function of their coordinates, so that a market's past never depends on its future.

A draw is named by whole numbers (seed, purpose, symbol, date, minute …) and mixed from them by splitmix64; asking
for other draws, more or fewer, earlier or later, changes none.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


class Purpose(IntEnum):
    """What a draw is for; the numbers are part of the simulated history, so never reuse one."""

    SENTIMENT = 1
    RETURN = 2
    OVERNIGHT = 3
    HIGH = 4
    LOW = 5
    VOLUME = 6
    CHARACTER = 7
    PATH = 8
    ACTIVE = 9
    WIGGLE = 10
    MINUTE_VOLUME = 11
    TICKS = 12
    TICK_TIME = 13
    TICK_PRICE = 14
    TICK_SIZE = 15
    AUCTION = 16
    MESSAGES = 17
    MESSAGE_TIME = 18
    MESSAGE_SCORE = 19
    LATE = 20
    CORRECTED = 21


def uniform(seed: int, purpose: Purpose, *coordinates: Ints | int) -> Floats:
    """Numbers between 0 and 1, neither included; coordinates broadcast against each other."""
    state = _mixed(np.asarray(seed, np.int64).astype(np.uint64))
    for coordinate in (int(purpose), *coordinates):
        state = _mixed(state + np.asarray(coordinate, np.int64).astype(np.uint64))
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(seed: int, purpose: Purpose, *coordinates: Ints | int) -> Floats:
    """Standard normal numbers (Box and Muller's transform of two uniform ones)."""
    radius = np.sqrt(-2.0 * np.log(uniform(seed, purpose, *coordinates, 0)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniform(seed, purpose, *coordinates, 1)))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014)."""
    with np.errstate(over="ignore"):
        state = state + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        return np.asarray(state ^ (state >> np.uint64(31)))
