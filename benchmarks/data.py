"""The rows that are measured on: the real market where the shared folder is at hand, an invented one elsewhere."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.incremental import sizes
from benchmarks.transforms import rows
from storage.settings import SourceSettings

NEW_YORK = "America/New_York"
_MINUTES = 390


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; `real`: on the shared data if there is any, whose sizes the others imitate.

    `ticks`: trades a symbol and day, two symbols, five days. `daily_symbols`, `days`: daily bars. `messages`: scored
    messages a symbol. `publish_symbols`, `publish_rounds`: publications a round and rounds a sample. `weeks`: how
    many times the ticks are laid end to end. `transforms`, `incremental`: see there.
    """

    real: bool = True
    ticks: int = 70_000
    daily_symbols: int = 59
    days: int = 1_230
    messages: int = 1_366
    publish_symbols: int = 200
    publish_rounds: int = 5
    weeks: int = 10
    transforms: rows.Sizes = rows.FULL
    incremental: sizes.Sizes = sizes.FULL


FULL = Size()
TOY = Size(
    real=False,
    ticks=150,
    daily_symbols=2,
    days=260,
    messages=120,
    publish_symbols=5,
    publish_rounds=1,
    weeks=2,
    transforms=rows.TOY,
    incremental=sizes.TOY,
)


@dataclass(frozen=True, slots=True)
class Data:
    """Files as `warmbars.toml` would configure them: `ticks`, `daily`, `sentiment`, `actions`."""

    about: str
    files: Mapping[str, SourceSettings]


def market_data(folder: Path, size: Size) -> Data:
    """The real files, or invented ones written to `folder`."""
    real = _shared() if size.real else None
    if real is not None:
        return Data("real market data", _configured(real, actions="corporate_actions"))
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    sessions = _sessions(size.days)
    names = [f"S{n:03}" for n in range(size.daily_symbols)]
    frames = {
        "ticks": pl.concat([_ticks(random, name, day, size.ticks) for name in names[:2] for day in sessions[-5:]]),
        "daily": pl.concat([_daily(random, name, sessions) for name in names]),
        "sentiment": pl.concat([_messages(random, name, sessions, size.messages) for name in names]),
        "actions": _actions(names, sessions),
    }
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")
    return Data("an invented market", _configured(folder, actions="actions"))


def tiled(ticks: Path, weeks: int, target: Path) -> Path:
    """The trades of a week's sessions laid end to end over `weeks` times as many sessions, newest last.

    A trade keeps its time of day on the market's clock. The sessions end with the file's own, so that one week
    gives the rows of the file.
    """
    frame = pl.read_parquet(ticks)
    local = frame["timestamp"].dt.convert_time_zone(NEW_YORK).dt.replace_time_zone(None)
    dates = local.dt.date()
    days = dates.unique().sort()
    sessions = _sessions(len(days) * weeks, days[-1])
    writer: pq.ParquetWriter | None = None
    for week in range(weeks):
        onto = dict(zip(days, sessions[week * len(days) : (week + 1) * len(days)], strict=True))
        moved = local + (dates.replace_strict(onto) - dates)
        stamps = moved.dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC")
        table = frame.with_columns(stamps.alias("timestamp")).to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(target, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return target


def _shared() -> Path | None:
    place = Path(os.environ.get("WARMBARS_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    return place if place.is_dir() else None


def _configured(folder: Path, actions: str) -> dict[str, SourceSettings]:
    def file(name: str, **more: Any) -> SourceSettings:
        return SourceSettings(path=str(folder / f"{name}.parquet"), **more)

    return {
        "ticks": file("ticks", dataset="ticks"),
        "daily": file("daily", dataset="bars", granularity="1d", price_basis="split"),
        "sentiment": file("sentiment", dataset="sentiment"),
        "actions": file(actions, dataset="actions"),
    }


def _sessions(count: int, last: date = date(2013, 10, 11)) -> list[date]:
    """The newest `count` sessions of New York up to `last`, oldest first."""
    from transforms.calendars import calendar_sessions

    since = last - timedelta(days=count * 3 // 2 + 30)
    return calendar_sessions("XNYS", since, last)["session"].to_list()[-count:]


def _at(day: date, minutes: Any) -> Any:
    """Instants so many minutes after 09:30 in New York, to the millisecond."""
    opened = datetime(day.year, day.month, day.day, 13 if 3 < day.month < 11 else 14, 30, tzinfo=UTC)
    since = np.datetime64(opened.replace(tzinfo=None), "us")
    return since + (np.sort(minutes) * 60_000).astype("m8[ms]").astype("m8[us]")


def _walk(random: Any, count: int, step: float) -> Any:
    return np.round(50 * np.exp(np.cumsum(random.normal(0, step, count))), 2)


def _ticks(random: Any, symbol: str, day: date, count: int) -> pl.DataFrame:
    price = _walk(random, count, 1e-4)
    size = random.integers(1, 9, count) * 100
    stamps = _at(day, random.uniform(0, _MINUTES, count))
    frame = pl.DataFrame({"timestamp": stamps, "price": price, "size": size, "condition": ["20000001"] * count})
    return frame.with_columns(_utc(), symbol=pl.lit(symbol))


def _daily(random: Any, symbol: str, sessions: list[date]) -> pl.DataFrame:
    close = _walk(random, len(sessions), 0.01)
    opened = np.round(close * random.uniform(0.99, 1.01, len(close)), 2)
    high, low = np.maximum(opened, close) + 0.2, np.minimum(opened, close) - 0.2
    volume = random.integers(1_000, 9_000_000, len(close))
    bars = {"date": sessions, "open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return pl.DataFrame(bars).with_columns(symbol=pl.lit(symbol))


def _messages(random: Any, symbol: str, sessions: list[date], count: int) -> pl.DataFrame:
    stamps = _at(sessions[0], random.uniform(0, 1_440 * 0.99 * (sessions[-1] - sessions[0]).days, count))
    scores, confidence = np.round(random.uniform(-1, 1, count), 4), np.round(random.uniform(0, 1, count), 3)
    frame = pl.DataFrame({"timestamp": stamps, "sentiment_score": scores, "confidence": confidence})
    return frame.with_columns(_utc(), symbol=pl.lit(symbol))


def _actions(symbols: list[str], sessions: list[date]) -> pl.DataFrame:
    """Every other symbol was split 2 for 1 half way."""
    split = {"action": "split", "ex_date": sessions[len(sessions) // 2], "value": 2.0}
    return pl.DataFrame([{"symbol": symbol, **split} for symbol in symbols[::2]])


def _utc() -> pl.Expr:
    return pl.col("timestamp").dt.replace_time_zone("UTC")
