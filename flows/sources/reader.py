"""One file, from its first byte to batches in the raw schema."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl

from flows.sources.base import LINE, REFUSED, Batch, Markets, Mode, Origin, refuse
from flows.sources.chunks import GROUP, Plan, counted, cut, largest, planned, sorted_out
from flows.sources.columns import match
from flows.sources.finish import finished
from flows.sources.labels import SESSION, dates_by_symbol, labelled, placed, told_granularity
from flows.sources.parse import expect_types, parse
from flows.sources.tables import open_table
from storage.settings import SourceSettings
from transforms.errors import ConfigurationError, UnreadableSource
from transforms.schema import RAW_SCHEMAS, Dataset
from transforms.validate import REJECTED

MODES: Final[dict[Dataset, Mode]] = {
    "ticks": "replace",
    "bars": "upsert",
    "sentiment": "upsert",
    "actions": "upsert",
}
"""How each dataset is ingested unless the source says otherwise."""

_REJECTS_HELD: Final = 100_000
"""Rejected rows after which they are handed on in a batch of their own."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the files of one source share. `taken`: symbol-days handed out for replacement, and by which file."""

    name: str
    settings: SourceSettings
    markets: Markets
    several: bool
    taken: dict[tuple[str, str, date], str] = field(default_factory=dict)

    def market_of(self, symbol: str) -> str:
        """The market of a symbol: what is known of it, else the source's, else the default."""
        return self.markets.market_of(symbol) or self.settings.market or self.markets.default

    def zone_of(self, symbol: str) -> str:
        """The time zone of a symbol's market."""
        return self.markets.time_zone_of(self.market_of(symbol))


class FileReader:
    """Reads a file whole when it fits in a batch, else chunk by chunk; the rows are the same."""

    def __init__(self, path: Path, origin: Origin, job: Job) -> None:
        """Open the file and settle what its columns and its bars are."""
        self._origin = origin
        self._job = job
        self._table = open_table(path)
        settings = job.settings
        layout = match(self._table.names, settings.dataset, settings.columns, origin.name)
        expect_types(self._table.types(layout.columns), layout, origin.name)
        self._columns = layout.columns
        self._dataset: Dataset = layout.dataset
        self._mode: Mode = settings.mode or MODES[layout.dataset]
        if (self._dataset, self._mode) == ("actions", "replace"):
            raise ConfigurationError(f"{job.name}: corporate actions are upserted; leave out mode = 'replace'")
        self._notes = [] if settings.dataset else [f"told from its columns: {layout.dataset}"]
        if layout.unused:
            self._notes.append(f"columns not used: {', '.join(layout.unused)}")
        self._granularity: str | None = settings.granularity
        if layout.dataset == "bars" and not (self._granularity or "granularity" in layout.columns):
            self._granularity = self._told_granularity()

    def batches(self, batch_rows: int, scratch: Path) -> Iterator[Batch]:
        """Every row of the file, good or refused, in batches of about `batch_rows` rows."""
        held: list[pl.DataFrame] = []
        refused: list[pl.DataFrame] = []
        for typed, rejected in self._typed():
            held.append(typed)
            refused.append(rejected)
            if sum(frame.height for frame in (*held, *refused)) > batch_rows:
                held.clear()
                yield from self._in_chunks(batch_rows, scratch)
                return
        rejected = pl.concat(refused) if refused else REJECTED.to_frame()
        if not any(frame.height for frame in held):
            yield self._rejects(rejected)
            return
        frame = pl.concat(held)
        held.clear()
        self._take(self._days(frame))
        yield from self._finished(frame, rejected)

    def _told_granularity(self) -> str:
        for raw in self._table.pieces(self._columns):
            head, _ = parse(raw, "bars", self._job.settings.time_zone)
            told = told_granularity(head, self._origin.name)
            self._notes.append(f"told from their spacing: bars of {told}")
            return told
        return "1d"

    def _typed(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Typed rows and refused ones, piece by piece."""
        label = self._job.settings.label or "start"
        for raw in self._table.pieces(self._columns):
            typed, refused = parse(raw, self._dataset, self._job.settings.time_zone)
            if self._dataset == "bars":
                typed, more = labelled(typed, self._granularity, label, self._job.zone_of)
                refused = pl.concat([refused, more])
            yield typed, refused

    def _in_chunks(self, batch_rows: int, scratch: Path) -> Iterator[Batch]:
        """First pass: refused rows go out, the others are counted; second pass: chunks go out.

        Chunks are half a batch: while one is being written, the next is put together.
        """
        unit = "1d" if self._mode == "replace" or self._dataset == "ticks" else "1mo"
        counts: list[pl.DataFrame] = []
        refused: list[pl.DataFrame] = []
        days: list[pl.DataFrame] = []
        for typed, rejected in self._typed():
            counts.append(counted(self._grouped(typed, unit)))
            days.append(self._days(typed))
            refused.append(rejected)
            if sum(frame.height for frame in refused) > _REJECTS_HELD:
                yield self._rejects(pl.concat(refused))
                refused.clear()
        self._take(pl.concat(days))
        if any(frame.height for frame in refused):
            yield self._rejects(pl.concat(refused))
        if unit != "1d" and largest(counts) > batch_rows // 2:
            unit = "1d"
            counts = [counted(self._grouped(typed, unit)) for typed, _ in self._typed()]
        for chunk in self._chunks(planned(counts, batch_rows // 2), unit, scratch):
            yield from self._finished(chunk.drop(GROUP[1]), REJECTED.to_frame())

    def _chunks(self, plan: Plan, unit: str, scratch: Path) -> Iterator[pl.DataFrame]:
        pieces = (self._grouped(typed, unit) for typed, _ in self._typed())
        return sorted_out(pieces, plan, scratch) if plan.ends is None else cut(pieces, plan.ends)

    def _grouped(self, typed: pl.DataFrame, unit: str) -> pl.DataFrame:
        """Rows with the day, or the month, they are kept together with."""
        return typed.with_columns(self._dates(typed).dt.truncate(unit).alias(GROUP[1]))

    def _dates(self, typed: pl.DataFrame) -> pl.Series:
        """The rows' dates: of a daily bar its session's, else the one on the market's clocks."""
        if self._dataset == "actions":
            return typed["ex_date"]
        dates = dates_by_symbol(typed, self._job.zone_of)
        return dates.zip_with(dates.is_not_null(), typed[SESSION]) if SESSION in typed.columns else dates

    def _days(self, typed: pl.DataFrame) -> pl.DataFrame:
        """Symbol, source and day of the rows, once each; empty where nothing is replaced by several files."""
        if not (self._job.several and self._mode == "replace"):
            return pl.DataFrame()
        own = pl.col("source") if "source" in typed.columns else pl.lit(None, pl.String)
        return typed.select("symbol", own.fill_null(self._job.name), self._dates(typed).alias("day")).unique()

    def _take(self, days: pl.DataFrame) -> None:
        """Note the symbol-days of this file; raises if an earlier file has one of them, it would be undone."""
        keys = days.unique().sort(days.columns).rows() if days.height else []
        for key in keys:
            if (earlier := self._job.taken.get(key)) is not None:
                raise UnreadableSource(
                    f"{self._origin.name}: {key[0]} on {key[2]} is in {earlier} as well, and a symbol-day is "
                    "replaced as a whole; put it into one file, or ingest in mode 'upsert'"
                )
        self._job.taken.update(dict.fromkeys(keys, self._origin.name))

    def _finished(self, typed: pl.DataFrame, rejected: pl.DataFrame) -> Iterator[Batch]:
        """A batch per market, the refused rows with the first."""
        symbols = typed["symbol"].rle().struct.field("value").unique().sort()
        markets = {symbol: self._job.market_of(symbol) for symbol in symbols}
        for market in sorted(set(markets.values())):
            own = [symbol for symbol, its in markets.items() if its == market]
            rows = typed if len(own) == len(markets) else typed.filter(pl.col("symbol").is_in(own))
            if SESSION in rows.columns:
                rows, homeless = self._placed(rows, market)
                rejected = pl.concat([rejected, homeless])
            yield self._batch(finished(rows, self._dataset, self._job.name), market, rejected)
            rejected = REJECTED.to_frame()

    def _placed(self, bars: pl.DataFrame, market: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        if bars[SESSION].null_count() == bars.height:
            return bars.drop(SESSION), REJECTED.to_frame()
        bars, homeless = placed(bars, self._job.markets.sessions_of(market))
        return bars.drop(SESSION), homeless

    def _rejects(self, rejected: pl.DataFrame) -> Batch:
        """A batch without good rows."""
        schema = pl.Schema([*RAW_SCHEMAS[self._dataset].items(), (LINE, pl.Int64)])
        return self._batch(schema.to_frame(), self._job.settings.market or self._job.markets.default, rejected)

    def _batch(self, frame: pl.DataFrame, market: str, rejected: pl.DataFrame) -> Batch:
        zone = self._job.markets.time_zone_of(market) if self._mode == "replace" else None
        refused = refuse(rejected, self._origin) if rejected.height else REFUSED.to_frame()
        basis = self._job.settings.price_basis
        return Batch(self._dataset, self._mode, frame, self._origin, basis, market, zone, refused, tuple(self._notes))
