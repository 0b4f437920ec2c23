"""What a source is: something that hands over raw rows batch by batch, and says so when it cannot."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final, Literal, Protocol

import polars as pl

from transforms.calendars import calendar_sessions, market_timezone
from transforms.errors import PermanentError
from transforms.schema import RAW_SCHEMAS, Dataset, PriceBasis
from transforms.validate import REJECTED, validate

Mode = Literal["upsert", "replace"]

REFUSED: Final = pl.Schema([("digest", pl.String), ("origin", pl.String), *REJECTED.items()])
"""Rejected rows with the file they come from."""

LINE: Final = "line"
"""1-based number of a row among the data rows of its file."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows come from: a file and the BLAKE2b digest of its bytes, or a generator and its parameters."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Markets:
    """What sources have to know of exchanges.

    `market_of`: the exchange calendar of a symbol, None where nothing says. `default`: the one it then is.
    `sessions_of`: its sessions (`SESSIONS`). `time_zone_of`: the IANA name of its time zone.
    """

    default: str
    market_of: Callable[[str], str | None]
    sessions_of: Callable[[str], pl.DataFrame]
    time_zone_of: Callable[[str], str]

    @classmethod
    def from_calendars(cls, default: str, named: dict[str, str], start: date) -> "Markets":
        """Straight from exchange_calendars; `named`: symbol = calendar, where it is not `default`."""
        sessions = cache(lambda market: calendar_sessions(market, start))
        return cls(default, named.get, sessions, cache(market_timezone))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one dataset and one market.

    `frame`: the dataset's raw schema and `line`, sorted by the dataset's key, rows of one key in file order.
    `rejected`: rows that could not be read (`REFUSED`). `replace`: the frame holds whole symbol-days, dates
    of `time_zone` (UTC dates would cut evening sessions). `notes`: what a user may want to know of the file.
    """

    dataset: Dataset
    mode: Mode
    frame: pl.DataFrame
    origin: Origin
    price_basis: PriceBasis
    market: str
    time_zone: str | None = None
    rejected: pl.DataFrame = field(default_factory=REFUSED.to_frame)
    notes: tuple[str, ...] = ()

    def checked(self, as_of: datetime, future_tolerance: timedelta) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows that pass every rule, in the raw schema, and all rejected rows, unreadable ones included."""
        good, refused = self.numbered(as_of, future_tolerance)
        return good.select(RAW_SCHEMAS[self.dataset].names()), refused

    def numbered(self, as_of: datetime, future_tolerance: timedelta) -> tuple[pl.DataFrame, pl.DataFrame]:
        """As `checked`, the good rows with their `line`."""
        good, failed = validate(self.dataset, self.frame, as_of, future_tolerance)
        refused = self.rejected if failed.is_empty() else pl.concat([self.rejected, refuse(failed, self.origin)])
        return good.select(*RAW_SCHEMAS[self.dataset].names(), LINE), refused


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be read (further); the other files of the source still go."""

    origin: Origin
    error: PermanentError


class Source(Protocol):
    """Hands over raw rows; called again, `batches` gives the same rows for the same data and `as_of`."""

    name: str

    def batches(self, as_of: datetime, batch_rows: int, scratch: Path) -> Iterator[Batch | Failure]:
        """Rows known at `as_of`, at most about `batch_rows` at a time; `scratch` is left as it was found."""
        ...


def refuse(rejected: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """Rejected rows (`REJECTED`) with their origin (`REFUSED`)."""
    return rejected.select(
        pl.lit(origin.digest).alias("digest"), pl.lit(origin.name).alias("origin"), *REJECTED.names()
    )
