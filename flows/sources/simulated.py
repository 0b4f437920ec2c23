"""A simulated market: honest rows of every dataset, from a seed, with a relation planted for the pipeline to find.

The newest `TICK_SESSIONS` sessions have trades, the newest `MINUTE_SESSIONS` 1m bars, all of them 1d bars, messages
and splits; where they overlap they agree exactly. A later `as_of` only adds rows, and no row lies after it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from flows.sources.base import LINE, Batch, Failure, Markets, Mode, Origin
from flows.sources.chunks import GROUP, counted, planned
from flows.sources.finish import finished, ordinal
from flows.sources.noise import Ints, Purpose, uniform
from flows.sources.simulated_days import ANCHOR, Days, simulate_days
from flows.sources.simulated_messages import messages_of
from flows.sources.simulated_minutes import has_auction, minutes_of, ticks_of
from flows.sources.times import local_dates
from storage.settings import SourceSettings
from transforms.schema import DATASETS, OHLC, UTC_US, Dataset

TICK_SESSIONS: Final = 3
MINUTE_SESSIONS: Final = 40
LATE_BY: Final = timedelta(days=1)
"""How long after its time a late row arrives, and a wrong price is corrected."""
SETTLED: Final = timedelta(minutes=2)
"""How long after the close a session's daily bar is known."""
WRONG_BY: Final = 5
"""Cents by which a price is wrong until it is corrected."""

_PER_SESSION: Final[dict[Dataset, int]] = {"actions": 1, "bars": 400, "ticks": 3_000, "sentiment": 40}
"""Rows to expect of a symbol, to choose how many symbols are made at a time."""
_WORDS: Final = (
    *("WARM", "EMBR", "GLOW", "KILN", "ASHE", "COAL", "FLRE", "HRTH", "SPRK", "TRCH"),
    *("BLZE", "CNDL", "FURN", "HEAT", "LAVA", "OVEN", "PYRE", "SMLT", "STOV", "TOST"),
)


@dataclass(frozen=True, slots=True)
class Wrongs:
    """Rows that misbehave on request, as shares of all.

    `late`: trades, minutes and messages that arrive `LATE_BY` after their time. `corrected`: trades and bars whose
    prices are `WRONG_BY` cents too high until `LATE_BY` after.
    """

    late: float = 0.0
    corrected: float = 0.0


class SimulatedSource:
    """The simulated market of one configured source."""

    def __init__(self, name: str, settings: SourceSettings, markets: Markets, wrongs: Wrongs | None = None) -> None:
        """Nothing is made before `batches` is asked."""
        self.name = name
        self._settings = settings
        self._markets = markets
        self._wrongs = wrongs or Wrongs()
        self._market = settings.market or markets.default
        told = (settings.seed, settings.symbols, settings.sessions, self._market, self._wrongs)
        self._origin = Origin("simulated", hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest())

    def batches(self, as_of: datetime, batch_rows: int, scratch: Path) -> Iterator[Batch | Failure]:
        """Splits, bars, trades and messages known at `as_of`; nothing before two sessions have opened."""
        sessions = self._sessions()
        opened = sessions.filter(pl.col("open") <= as_of).height
        if opened < 2:
            return
        count, last = self._settings.symbols, self._settings.sessions
        known = sessions.head(opened + 1)  # the next session collects messages already
        ahead = known.height - opened
        days = simulate_days(self._settings.seed, count, known, last + ahead)
        kept: dict[Dataset, int] = {"actions": last, "bars": MINUTE_SESSIONS, "ticks": TICK_SESSIONS, "sentiment": last}
        for dataset, recent in kept.items():
            block = max(batch_rows // (_PER_SESSION[dataset] * min(recent, last)), 1)
            for start in range(0, count, block):
                some = days.pick(slice(start, start + block), slice(None))
                yield from self._batches(dataset, self._rows(dataset, some, ahead, as_of), batch_rows)

    def _sessions(self) -> pl.DataFrame:
        """The market's sessions since the anchor, with the close before (`after`) and whether an auction ends them."""
        table = self._markets.sessions_of(self._market).filter(pl.col("session") >= ANCHOR).sort("session")
        return table.with_columns(after=pl.col("close").shift(1), auction=has_auction())

    def _rows(self, dataset: Dataset, days: Days, ahead: int, as_of: datetime) -> pl.DataFrame:
        """Rows of a dataset, named and known at `as_of`."""
        traded = days.pick(slice(None), slice(0, days.sessions.height - ahead))
        if dataset == "actions":
            return self._splits(traded)
        if dataset == "sentiment":
            return self._messages(days, as_of)
        return self._bars(traded, as_of) if dataset == "bars" else self._ticks(traded, as_of)

    def _splits(self, days: Days) -> pl.DataFrame:
        """Splits of sessions that have opened."""
        symbol, session = (days.split != 1.0).nonzero()
        rows = pl.DataFrame({"symbol": days.symbols[symbol], "ex_date": days.sessions["session"].gather(session)})
        values = pl.Series("value", days.split[symbol, session])
        return self._named(rows.with_columns(values, action=pl.lit("split")))

    def _bars(self, days: Days, as_of: datetime) -> pl.DataFrame:
        """1d bars of all sessions and 1m bars of the newest, once they have closed."""
        recent = days.pick(slice(None), slice(max(days.sessions.height - MINUTE_SESSIONS, 0), None))
        minutes = minutes_of(self._settings.seed, recent).select(
            *("symbol", "date", "number", *OHLC, "volume"),
            at=pl.col("start") + 60_000_000,
            timestamp=pl.col("start").cast(UTC_US),
            granularity=pl.lit("1m"),
        )
        rows = pl.concat([minutes, _daily_rows(days).select(minutes.columns)])
        return self._known("bars", rows, ("symbol", "date", "number"), OHLC, as_of)

    def _ticks(self, days: Days, as_of: datetime) -> pl.DataFrame:
        """Trades of the newest sessions; their sequence does not depend on what has arrived.

        Whole local days only, since days are replaced: a first session's evening before is left to the minutes.
        """
        recent = days.pick(slice(None), slice(max(days.sessions.height - TICK_SESSIONS, 0), None))
        whole = pl.col("timestamp") >= recent.sessions["day_start"][0]
        rows = (
            ticks_of(self._settings.seed, minutes_of(self._settings.seed, recent))
            .select(
                *("symbol", "date", "number", "place", "at", "condition"),
                timestamp=pl.col("at").cast(UTC_US),
                price="cents",
                size=pl.col("size").cast(pl.Float64),
                sequence=ordinal(("symbol", "at")),
            )
            .filter(whole)
        )
        return self._known("ticks", rows, ("symbol", "date", "number", "place"), ("price",), as_of)

    def _messages(self, days: Days, as_of: datetime) -> pl.DataFrame:
        rows = messages_of(self._settings.seed, days).with_columns(timestamp=pl.col("at").cast(UTC_US))
        known = self._known("sentiment", rows, ("symbol", "date", "place"), (), as_of)
        day = pl.col("date").cast(pl.Int32).cast(pl.Date).dt.strftime("%Y%m%d")
        return known.with_columns(external_id=pl.concat_str("symbol", day, "place", separator="-"))

    def _known(
        self, dataset: Dataset, rows: pl.DataFrame, key: tuple[str, ...], prices: tuple[str, ...], as_of: datetime
    ) -> pl.DataFrame:
        """Rows that have arrived by `as_of`, late and wrong ones as they then are.

        `at`: when a row is known, in microseconds since 1970. `prices`: columns in cents. `key`: what draws go by.
        """
        coordinates: list[Ints | int] = [DATASETS.index(dataset), *(rows[name].to_numpy() for name in key)]
        late, wrong = (
            pl.Series(uniform(self._settings.seed, purpose, *coordinates) < share)
            for purpose, share in (
                (Purpose.LATE, self._wrongs.late),
                (Purpose.CORRECTED, self._wrongs.corrected),
            )
        )
        now, later = _microseconds(as_of), LATE_BY // timedelta(microseconds=1)
        arrived = pl.col("at") + pl.when(late).then(later).otherwise(0) <= now
        off = np.where((wrong & (rows["at"] + later > now)).to_numpy(), WRONG_BY, 0)
        # numpy divides exactly; Polars multiplies by 1/100, which misses the cent in the last bit
        shown = rows.with_columns(pl.Series(name, (rows[name].to_numpy() + off) / 100) for name in prices)
        return self._named(shown.filter(arrived))

    def _named(self, rows: pl.DataFrame) -> pl.DataFrame:
        names = pl.Series(symbol_names(self._settings.symbols))
        return rows.with_columns(symbol=names.gather(rows["symbol"]))

    def _batches(self, dataset: Dataset, rows: pl.DataFrame, batch_rows: int) -> Iterator[Batch]:
        if rows.is_empty():
            return
        typed = rows.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(LINE))
        frame = finished(typed, dataset, self.name)
        mode: Mode = "replace" if dataset == "ticks" else "upsert"
        zone = self._markets.time_zone_of(self._market) if mode == "replace" else None
        for part in _whole_days(frame, batch_rows, zone) if zone else frame.iter_slices(batch_rows):
            yield Batch(dataset, mode, part, self._origin, self._settings.price_basis, self._market, zone)


def symbol_names(count: int) -> list[str]:
    """WARM, EMBR, GLOW and so on; after the words, syllables."""
    consonants, vowels = "BCDFGHKLMNPRSTVW", "AEIOU"
    syllables = (
        f"{a}{b}{c}{consonants[(number * 7) % 16]}"
        for number, (c, b, a) in enumerate(product(consonants, vowels, consonants))
    )
    return [*_WORDS, *(name for name in syllables if name not in _WORDS)][:count]


def _daily_rows(days: Days) -> pl.DataFrame:
    """1d bars, stamped with their session's open, as the minutes' columns."""
    shape = days.close.shape
    opens = days.sessions["open"].to_physical().to_numpy()
    known = days.sessions["close"].to_physical().to_numpy() + SETTLED // timedelta(microseconds=1)
    grids = {
        "symbol": np.broadcast_to(days.symbols[:, None], shape),
        "date": np.broadcast_to(days.dates[None, :], shape),
        "number": np.full(shape, -1),
        **{name: getattr(days, name) for name in (*OHLC, "volume")},
        "at": np.broadcast_to(known, shape),
        "timestamp": np.broadcast_to(opens, shape),
    }
    rows = pl.DataFrame({name: grid.ravel() for name, grid in grids.items()})
    return rows.with_columns(pl.col("timestamp").cast(UTC_US), granularity=pl.lit("1d"))


def _whole_days(ticks: pl.DataFrame, batch_rows: int, time_zone: str) -> Iterator[pl.DataFrame]:
    """Sorted ticks in parts of whole symbol-days."""
    if ticks.height <= batch_rows:
        return iter([ticks])
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    days = local_dates(ticks["timestamp"], time_zone).alias(GROUP[1])
    plan = planned([counted(ticks.select("symbol", days, place.alias(LINE)))], batch_rows)
    ends = plan.ends or ()
    bounds = zip([-1, *ends], ends, strict=False)
    return (ticks.slice(before + 1, end - before) for before, end in bounds)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
