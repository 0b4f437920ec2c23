"""What a store should hold, in plain Python: raw rows and the books about them, and from those everything derived.

A model knows no order of events: only the rows that there are now. What is derived of them is computed from scratch.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from flows import full
from flows.derive import Market
from flows.sources.base import Batch, Mode, Origin
from storage.market.removal import Removal
from transforms.schema import BARS, RAW_SCHEMAS, Dataset

Row = dict[str, Any]
Key = tuple[Any, ...]
WIDTH: Mapping[Dataset, int] = {"ticks": 4, "bars": 4, "sentiment": 5, "actions": 5}
"""How many of a raw row's first columns are its key."""
SCHEMAS: Mapping[Dataset, pl.Schema] = {d: pl.Schema({**RAW_SCHEMAS[d], "price_basis": pl.String()}) for d in WIDTH}
Frames = dict[str, pl.DataFrame]


def key_of(dataset: Dataset, row: Row) -> Key:
    return tuple(row[column] for column in list(RAW_SCHEMAS[dataset])[: WIDTH[dataset]])


@dataclass(frozen=True)
class Told:
    """Rows of one dataset as a source hands them over; with mode `replace` they are all there is of their days."""

    dataset: Dataset
    rows: tuple[Row, ...]
    market: str
    time_zone: str
    mode: Mode = "upsert"
    name: str = "told"

    def batches(self, _as_of: datetime, _batch_rows: int, _scratch: object) -> Iterable[Batch]:
        """What `flows.steps.ingest` asks a source for: a batch for each price basis among the rows."""
        schema = RAW_SCHEMAS[self.dataset]
        for basis in sorted({row["price_basis"] for row in self.rows}):
            some = [{c: row[c] for c in schema} for row in self.rows if row["price_basis"] == basis]
            frame = (
                pl.DataFrame(some, schema=schema)
                .sort(frame_key(self.dataset))
                .with_columns(line=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
            )
            origin = Origin("told", "")
            yield Batch(self.dataset, self.mode, frame, origin, basis, self.market, self.time_zone)


def frame_key(dataset: Dataset) -> list[str]:
    return list(RAW_SCHEMAS[dataset])[: WIDTH[dataset]]


@dataclass(frozen=True)
class Symbol:
    """What is known of a symbol beside its rows."""

    active_from: date | None = None
    active_to: date | None = None
    renamed_to: str | None = None


@dataclass
class Model:
    """Raw rows by dataset and key, what sources cover, what was superseded or withdrawn, and the symbols there are."""

    rows: dict[Dataset, dict[Key, Row]] = field(default_factory=lambda: {dataset: {} for dataset in WIDTH})
    coverage: dict[Key, datetime] = field(default_factory=dict)
    superseded: list[tuple[Dataset, Row]] = field(default_factory=list)
    withdrawn: list[tuple[Key, datetime]] = field(default_factory=list)
    symbols: dict[str, Symbol] = field(default_factory=dict)

    def copy(self) -> "Model":
        return deepcopy(self)

    def after(self, told: Told) -> "list[Model]":
        """The states that storing these rows goes through, one for each transaction, from the present one on."""
        parts = self._days(told) if told.mode == "replace" else self._bases(told)
        states = [self]
        for day, rows in parts:
            state = states[-1].copy()
            state._swap(told, day, rows) if day else state._put(told.dataset, rows)
            states.append(state)
        return states

    def without(self, removal: Removal) -> "Model":
        """The state after a removal: coverage of a source that has no row left in it goes too."""
        state = self.copy()
        rows = state.rows[removal.dataset]
        for key in [key for key, row in rows.items() if _meant(removal, row)]:
            state.superseded.append((removal.dataset, rows.pop(key)))
        for key, end in list(state.coverage.items()):
            symbol, dataset, source, start = key
            inside = (removal.since or start) <= start and end <= (removal.until or end)
            if (symbol, dataset) != (removal.symbol, removal.dataset) or not inside:
                continue
            left = [
                row for row in state.of(dataset, symbol) if row["source"] == source and start <= row["timestamp"] < end
            ]
            if not left and removal.source in (None, source):
                state.withdrawn.append((key, state.coverage.pop(key)))
        return state

    def renamed(self, old: str, new: str) -> "Model":
        """The state in which everything that was of `old` is of `new`."""
        state = Model(symbols=dict(self.symbols))
        for dataset, rows in self.rows.items():
            for row in rows.values():
                told = row | {"symbol": new if row["symbol"] == old else row["symbol"]}
                state.rows[dataset][key_of(dataset, told)] = told
        state.superseded = [
            (dataset, row | {"symbol": new if row["symbol"] == old else row["symbol"]})
            for dataset, row in self.superseded
        ]
        state.coverage = {(new if key[0] == old else key[0], *key[1:]): end for key, end in self.coverage.items()}
        state.withdrawn = [((new if key[0] == old else key[0], *key[1:]), end) for key, end in self.withdrawn]
        for symbol, known in self.symbols.items():
            if symbol == old or (known.renamed_to == old and symbol != new):
                state.symbols[symbol] = replace(known, renamed_to=new)
        state.symbols[new] = replace(self.symbols[old], renamed_to=None)
        return state

    def listed(self, symbol: str, active_from: date | None, active_to: date | None) -> "Model":
        """The state in which a symbol is traded between two dates."""
        state = self.copy()
        state.symbols[symbol] = replace(self.symbols[symbol], active_from=active_from, active_to=active_to)
        return state

    def name_of(self, symbol: str) -> str:
        """What a symbol is called now."""
        while (known := self.symbols.get(symbol)) is not None and known.renamed_to is not None:
            symbol = known.renamed_to
        return symbol

    def of(self, dataset: Dataset, symbol: str) -> list[Row]:
        """The rows of a symbol, in order of their keys."""
        return [
            row
            for key, row in sorted(self.rows[dataset].items(), key=lambda item: str(item))
            if row["symbol"] == symbol
        ]

    def _bases(self, told: Told) -> list[tuple[None, list[Row]]]:
        bases = sorted({row["price_basis"] for row in told.rows})
        return [(None, [row for row in told.rows if row["price_basis"] == basis]) for basis in bases]

    def _days(self, told: Told) -> list[tuple[tuple[str, str, date], list[Row]]]:
        """Rows by symbol, source and local day, in the order in which they are stored."""
        zone, days = ZoneInfo(told.time_zone), dict[tuple[str, str, date], list[Row]]()
        for row in sorted(told.rows, key=lambda row: str(key_of(told.dataset, row))):
            days.setdefault((row["symbol"], row["source"], row["timestamp"].astimezone(zone).date()), []).append(row)
        return list(days.items())

    def _put(self, dataset: Dataset, rows: Iterable[Row]) -> None:
        for row in rows:
            key = key_of(dataset, row)
            before = self.rows[dataset].get(key)
            if before is not None and before != row:
                self.superseded.append((dataset, before))
            self.rows[dataset][key] = row
            self.symbols.setdefault(row["symbol"], Symbol())

    def _swap(self, told: Told, day: tuple[str, str, date], rows: list[Row]) -> None:
        """A source's word about a symbol-day: what it does not repeat is gone."""
        symbol, source, local = day
        zone = ZoneInfo(told.time_zone)
        start, end = (midnight(local + timedelta(days=n), zone) for n in (0, 1))
        kept = {key_of(told.dataset, row) for row in rows}
        for key, row in list(self.rows[told.dataset].items()):
            inside = row["symbol"] == symbol and row["source"] == source and start <= row["timestamp"] < end
            if inside and key not in kept:
                self.superseded.append((told.dataset, self.rows[told.dataset].pop(key)))
        self._put(told.dataset, rows)
        self.coverage[symbol, told.dataset, source, start] = end

    # ---- what follows from the rows

    def frame(self, dataset: Dataset, symbols: Iterable[str] | None = None) -> pl.DataFrame:
        wanted = self.symbols if symbols is None else set(symbols)
        rows = [row for row in self.rows[dataset].values() if row["symbol"] in wanted]
        return pl.DataFrame(rows, schema=SCHEMAS[dataset], orient="row")

    def derived(self, market: Market, as_of: datetime) -> Frames:
        """Every derived row, by table, of symbols and of the market: computed from nothing but the raw rows."""
        covered = [
            {"symbol": symbol, "starts_at": start, "ends_at": end}
            for (symbol, dataset, _, start), end in self.coverage.items()
            if dataset == "ticks"
        ]
        raw = full.RawFrames(
            ticks=self.frame("ticks").drop("price_basis"),
            rows=self.frame("bars"),
            sentiment=self.frame("sentiment").drop("price_basis"),
            actions=self.frame("actions").drop("price_basis"),
            coverage=pl.DataFrame(covered, schema=full.COVERAGE),
        )
        found = full.full(raw, market, as_of)
        daily = pl.concat(
            [found[name].select(BARS.names()) for name in ("bars_1d_rollup", "bars_1d_fill") if name in found]
            or [BARS.to_frame()]
        )
        tested = found.get("correlations")
        if tested is not None:
            found |= full.full_market(full.AllSymbols(tested, daily, found["adjustment_factors"]), market)
        return found


def _meant(removal: Removal, row: Row) -> bool:
    moment = row["ex_date"] if removal.dataset == "actions" else row["timestamp"]
    return (
        row["symbol"] == removal.symbol
        and removal.source in (None, row["source"])
        and removal.granularity in (None, row.get("granularity"))
        and (removal.since or moment) <= moment
        and (removal.until is None or moment < removal.until)
    )


def midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
