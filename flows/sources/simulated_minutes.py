"""Simulated sessions minute by minute and trade by trade, exactly as their day has them.

The minutes of a session are a bridge from its open to its close, kept between its low and its high and touching
both; their volumes and those of the auctions add up to the day's. The trades of a minute begin at its open,
touch its high and low, end at its close and add up to its volume. So bars come out alike, whatever they are
built from.
"""

from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flows.sources.noise import Floats, Ints, Purpose, normal, uniform
from flows.sources.simulated_days import Days

TRADE: Final = "1"
OPENING_AUCTION: Final = "40"
CLOSING_AUCTION: Final = "80"
OFFICIAL_OPEN: Final = "4000000"
OFFICIAL_CLOSE: Final = "1000000"
"""Conditions, hexadecimal. The official ones repeat an auction's price and size: messages, not trades."""

_MINUTE_US: Final = 60_000_000
_OPENING_SHARE: Final = 0.02
_CLOSING_SHARE: Final = 0.06
"""Parts of a day's volume that trade in its auctions."""
_LEAST_SHARES: Final = 100
"""Fewest shares of a minute that trades."""
_TRADES: Final = (4, 11)
"""Fewest and most trades of a minute: its open, high, low and close at least."""
_SHARED: Final = 0.25
"""How often a trade has the timestamp of the one before."""

Bools = NDArray[np.bool_]


def has_auction() -> pl.Expr:
    """Whether a session ends in an auction: not where the next follows within the hour, as where nobody rests."""
    return (pl.col("open").shift(-1) - pl.col("close") >= timedelta(hours=1)).fill_null(value=True)


def minutes_of(seed: int, days: Days) -> pl.DataFrame:
    """Minutes that traded, and after them a closing auction, labelled by the close's minute.

    `symbol` (number), `date` (days since 1970), `number` of the minute in its session, `start` (microseconds since
    1970), prices in cents, `volume`, `opening` (shares of it that traded in the opening auction), `closing`.
    """
    starts = _minute_starts(days.sessions)
    pairs = (len(days.symbols), days.sessions.height)
    exists = np.broadcast_to(starts >= 0, (*pairs, starts.shape[1]))
    symbol = np.broadcast_to(days.symbols[:, None, None], exists.shape)
    date = np.broadcast_to(days.dates[None, :, None], exists.shape)
    number = np.broadcast_to(np.arange(starts.shape[1]), exists.shape)
    auction = days.sessions["auction"].to_numpy()
    active = _active(seed, (symbol, date, number), exists, auction)
    prices = _prices(seed, days, (symbol, date, number), exists, active)
    opening = np.floor(days.volume * _OPENING_SHARE * auction).astype(np.int64)
    closing = np.floor(days.volume * _CLOSING_SHARE * auction).astype(np.int64)
    place = number / exists.sum(axis=-1, keepdims=True)
    noise = 0.6 * normal(seed, Purpose.MINUTE_VOLUME, symbol, date, number)
    weight = active * (1 + 2 * (2 * place - 1) ** 2) * np.exp(noise)
    volume = _volumes(days.volume - closing, opening, weight)
    grids = {"symbol": symbol, "date": date, "number": number, "start": np.broadcast_to(starts, exists.shape)}
    grids |= prices | {"volume": volume, "opening": np.where(number == 0, opening[:, :, None], 0)}
    rows = pl.DataFrame({name: grid[active] for name, grid in grids.items()}).with_columns(closing=pl.lit(value=False))
    return pl.concat([rows, _closing_rows(days, closing, auction, exists)])


def _minute_starts(sessions: pl.DataFrame) -> Ints:
    """Starts of each session's minutes, one session a row, -1 where there is none; breaks left out."""
    lists = []
    bounds = sessions.select(pl.col("open", "break_start", "break_end", "close").dt.epoch("us"))
    for begin, pause, resume, end in bounds.iter_rows():
        stretches = [(begin, end)] if pause is None else [(begin, pause), (resume, end)]
        lists.append(np.concatenate([np.arange(*stretch, _MINUTE_US) for stretch in stretches]))
    grid = np.full((len(lists), max(map(len, lists))), -1, dtype=np.int64)
    for row, starts in zip(grid, lists, strict=True):
        row[: len(starts)] = starts
    return grid


def _active(seed: int, at: tuple[Ints, Ints, Ints], exists: Bools, auction: Bools) -> Bools:
    """Minutes with trades; a part, its own for each symbol, has none.

    The first minute always has, and the last one where no auction sets the close.
    """
    idle = 0.25 * uniform(seed, Purpose.CHARACTER, at[0], 3) ** 2
    active = exists & (uniform(seed, Purpose.ACTIVE, *at) >= idle)
    last = exists & ~np.concatenate([exists[..., 1:], np.zeros_like(exists[..., :1])], axis=-1)
    return np.asarray(active | (at[2] == 0) | (last & ~auction[None, :, None]))


def _prices(seed: int, days: Days, at: tuple[Ints, Ints, Ints], exists: Bools, active: Bools) -> dict[str, Ints]:
    """Open, high, low and close of every minute, in cents."""
    low, high = days.low[:, :, None], days.high[:, :, None]
    points = _bridge(seed, days, at, exists)
    first, last = points[..., :-1], points[..., 1:]
    reach = [0.0006 * first * -np.log(uniform(seed, Purpose.WIGGLE, *at, side)) for side in (0, 1)]
    top = np.minimum(np.maximum(first, last) + reach[0].astype(np.int64), high)
    bottom = np.maximum(np.minimum(first, last) - reach[1].astype(np.int64), low)
    highest = np.where(active, top, -1).argmax(axis=-1)[..., None]
    lowest = np.where(active, bottom, np.iinfo(np.int64).max).argmin(axis=-1)[..., None]
    np.put_along_axis(top, highest, high, axis=-1)
    np.put_along_axis(bottom, lowest, low, axis=-1)
    return {"open": first, "high": top, "low": bottom, "close": last}


def _bridge(seed: int, days: Days, at: tuple[Ints, Ints, Ints], exists: Bools) -> Ints:
    """Prices at the edges of the minutes: from open to close, as wide as the day, inside low and high."""
    steps = np.where(exists, normal(seed, Purpose.PATH, *at), 0.0)
    walk = np.concatenate([np.zeros_like(steps[..., :1]), steps.cumsum(axis=-1)], axis=-1)
    count = exists.sum(axis=-1, keepdims=True)
    done = np.minimum(np.arange(walk.shape[-1]) / count, 1.0)
    wandering = (walk - done * walk[..., -1:]) / np.sqrt(count)
    begin, end = (np.log(price)[:, :, None] for price in (days.open, days.close))
    width = np.log(days.high / days.low)[:, :, None]
    path = np.exp(begin + (end - begin) * done + 0.6 * width * wandering)
    cents = np.maximum(np.rint(path).astype(np.int64), days.low[:, :, None])
    return np.asarray(np.minimum(cents, days.high[:, :, None]))


def _volumes(volume: Ints, opening: Ints, weight: Floats) -> Ints:
    """Shares of every minute by its weight, the opening auction's in the first."""
    active = weight > 0
    spread = (volume - opening)[:, :, None] - _LEAST_SHARES * active.sum(axis=-1, keepdims=True)
    shares = _LEAST_SHARES + np.floor(spread * weight / _total(weight)).astype(np.int64)
    shares = np.where(active, shares, 0)
    shares[..., 0] += volume - shares.sum(axis=-1)
    return shares


def _total(grid: Floats) -> Floats:
    """Sums of the rows, added up from the left, so that rows padded with zeros have the same."""
    return grid.cumsum(axis=-1)[..., -1:]


def _closing_rows(days: Days, closing: Ints, auction: Bools, exists: Bools) -> pl.DataFrame:
    """The closing auctions as rows like the minutes'."""
    there = np.broadcast_to(auction, closing.shape)
    close_us = days.sessions["close"].dt.epoch("us").to_numpy()
    price = days.close[there]
    return pl.DataFrame(
        {
            "symbol": np.broadcast_to(days.symbols[:, None], closing.shape)[there],
            "date": np.broadcast_to(days.dates[None, :], closing.shape)[there],
            "number": exists.sum(axis=-1)[there],
            "start": np.broadcast_to(close_us, closing.shape)[there],
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": closing[there],
            "opening": np.zeros_like(price),
            "closing": np.ones_like(price, dtype=np.bool_),
        }
    )


def ticks_of(seed: int, minutes: pl.DataFrame) -> pl.DataFrame:
    """Trades and messages of the minutes, in order.

    `symbol`, `date`, `number` of the minute, `place` in it, `at` (microseconds since 1970), `cents`, `size`,
    `condition`.
    """
    trading = minutes.filter(~pl.col("closing"))
    parts = [_trades(seed, trading), *_opening_prints(trading), *_closing_prints(seed, minutes)]
    return pl.concat(parts).sort("symbol", "at", "number", "place")


def _trades(seed: int, minutes: pl.DataFrame) -> pl.DataFrame:
    """One row of the grids per minute, one column per trade."""
    of = {name: minutes[name].to_numpy()[:, None] for name in minutes.columns}
    keys = (of["symbol"], of["date"], of["number"])
    least, most = _TRADES
    count = least + np.floor(uniform(seed, Purpose.TICKS, *keys) * (most - least + 1)).astype(np.int64)
    place = np.arange(most)[None, :]
    exists = place < count
    grids = {
        **{name: np.broadcast_to(of[name], exists.shape) for name in ("symbol", "date", "number")},
        "place": np.broadcast_to(place, exists.shape),
        "at": of["start"] + _offsets(seed, (*keys, place), exists),
        "cents": _trade_prices(seed, (*keys, place), of, count),
        "size": _trade_sizes(seed, (*keys, place), of["volume"] - of["opening"], exists),
    }
    trades = pl.DataFrame({name: grid[exists] for name, grid in grids.items()})
    return trades.with_columns(condition=pl.lit(TRADE))


def _offsets(seed: int, at: tuple[Ints, ...], exists: Bools) -> Ints:
    """Microseconds after the minute's start, on whole milliseconds, rising, some of them shared."""
    gap = -np.log(uniform(seed, Purpose.TICK_TIME, *at, 0))
    shared = (uniform(seed, Purpose.TICK_TIME, *at, 1) < _SHARED) & (at[3] > 0)
    run = np.where(exists & ~shared, gap, 0.0).cumsum(axis=-1)
    return np.asarray(np.floor(run / run[:, -1:] * 59_000).astype(np.int64) * 1_000)


def _trade_prices(seed: int, at: tuple[Ints, ...], of: dict[str, Ints], count: Ints) -> Ints:
    """First the open, then high and low in either order, somewhere between, at last the close."""
    place = at[3]
    rising = uniform(seed, Purpose.TICK_PRICE, *at[:3], 0) < 0.5
    steps = np.floor(uniform(seed, Purpose.TICK_PRICE, *at, 1) * (of["high"] - of["low"] + 1)).astype(np.int64)
    extreme = np.where((place == 1) == rising, of["low"], of["high"])
    cents = np.where(place > 2, of["low"] + steps, extreme)
    return np.where(place == 0, of["open"], np.where(place == count - 1, of["close"], cents))


def _trade_sizes(seed: int, at: tuple[Ints, ...], volume: Ints, exists: Bools) -> Ints:
    """One share at least; all of them the volume."""
    weight = np.where(exists, -np.log(uniform(seed, Purpose.TICK_SIZE, *at)), 0.0)
    spread = volume - exists.sum(axis=-1, keepdims=True)
    size = np.where(exists, 1 + np.floor(spread * weight / _total(weight)).astype(np.int64), 0)
    size[:, :1] += volume - size.sum(axis=-1, keepdims=True)
    return np.asarray(size)


def _opening_prints(minutes: pl.DataFrame) -> list[pl.DataFrame]:
    """The auction that opens a session, and the message that repeats it."""
    opens = minutes.filter(pl.col("opening") > 0)
    return [
        _print(opens, place, condition, pl.col("start"), "open", "opening")
        for place, condition in ((-2, OPENING_AUCTION), (-1, OFFICIAL_OPEN))
    ]


def _closing_prints(seed: int, minutes: pl.DataFrame) -> list[pl.DataFrame]:
    """The auction some seconds after the close, and the message that repeats it."""
    closes = minutes.filter(pl.col("closing"))
    draw = uniform(seed, Purpose.AUCTION, closes["symbol"].to_numpy(), closes["date"].to_numpy())
    delay = pl.lit(pl.Series(np.floor(1_000 + draw * 45_000).astype(np.int64) * 1_000))
    return [
        _print(closes, place, condition, pl.col("start") + delay, "close", "volume")
        for place, condition in ((0, CLOSING_AUCTION), (1, OFFICIAL_CLOSE))
    ]


def _print(rows: pl.DataFrame, place: int, condition: str, at: pl.Expr, cents: str, size: str) -> pl.DataFrame:
    return rows.select(
        *("symbol", "date", "number"),
        pl.lit(place, pl.Int64).alias("place"),
        at.alias("at"),
        pl.col(cents).alias("cents"),
        pl.col(size).alias("size"),
        pl.lit(condition).alias("condition"),
    )
