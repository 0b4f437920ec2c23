"""Stored rows of a table held against recomputed ones: which differ, and the first of each symbol. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import polars as pl

from flows.full import RETURNS, Table
from transforms.equal import not_equal
from transforms.schema import UTC_US

Kind = Literal["different", "missing", "unexpected"]
"""A value differs; the stored row is missing; a row is stored that should not be there."""

_KINDS = pl.Enum(["different", "missing", "unexpected"])


@dataclass(frozen=True, slots=True)
class Difference:
    """What is wrong with one symbol's rows of one table: how many, and the first in the order of the key.

    `key`: of the first row, without the symbol. `column`, `stored`, `recomputed`: the first column that differs and its
    values; of a row that is missing or unexpected all of its values. `run_id`: of the run that wrote the stored row.
    """

    symbol: str
    table: str
    kind: Kind
    key: Mapping[str, Any]
    column: str | None
    stored: Any
    recomputed: Any
    run_id: int | None
    rows: Mapping[Kind, int]

    @property
    def at(self) -> datetime | date | None:
        """The time of the first row; None where rows have none."""
        found = self.key.get("timestamp") or self.key.get("session") or self.key.get("from_date")
        return found if isinstance(found, date) else None


@dataclass(frozen=True, slots=True)
class Compared:
    """A table of some symbols compared: rows that should be there, `wrong` ones, and what is wrong by symbol.

    `wrong`: the key, `kind`, and `also`: another time at which to look, that of the recomputed row of a quote.
    """

    rows: int
    wrong: pl.DataFrame
    differences: list[Difference]


def compare(table: Table, computed: pl.DataFrame, stored: pl.DataFrame) -> Compared:
    """Hold `stored` (the table's columns and `run_id`) against `computed`, which may have more columns."""
    if table is RETURNS:
        computed, stored = _exploded(computed), _exploded(stored)
        table = Table(table.name, ("symbol", "with"), table.scales)
    extra = [name for name in computed.columns if name not in table.columns]
    ours = computed.lazy().select(*table.columns, *extra, _ours=pl.lit(value=True))
    theirs = stored.lazy().select(
        *table.key, "run_id", pl.col(*table.scales).name.prefix("_stored_"), _theirs=pl.lit(value=True)
    )
    unlike = {name: not_equal(pl.col(name), pl.col(f"_stored_{name}"), s) for name, s in table.scales.items()}
    kind = (
        pl.when(pl.col("_theirs").is_null())
        .then(pl.lit("missing"))
        .when(pl.col("_ours").is_null())
        .then(pl.lit("unexpected"))
        .when(pl.any_horizontal(unlike.values()))
        .then(pl.lit("different"))
    )
    joined = ours.join(theirs, on=list(table.key), how="full", coalesce=True)
    column = pl.coalesce(pl.when(differs).then(pl.lit(name)) for name, differs in unlike.items())
    wrong = (
        joined.with_columns(_kind=kind.cast(_KINDS))
        .filter(pl.col("_kind").is_not_null())
        .with_columns(_column=column)
        .sort(table.key)
        .collect()
    )
    return Compared(computed.height, wrong, _differences(table, wrong))


def _differences(table: Table, wrong: pl.DataFrame) -> list[Difference]:
    found = []
    for (symbol,), rows in wrong.group_by("symbol", maintain_order=True):
        first = rows.row(0, named=True)
        column = first["_column"] if first["_kind"] == "different" else None
        names = [column] if column else list(table.scales)
        stored = {name: first[f"_stored_{name}"] for name in names} if first["_kind"] != "missing" else None
        recomputed = {name: first[name] for name in names} if first["_kind"] != "unexpected" else None
        found.append(
            Difference(
                symbol=str(symbol),
                table=table.name,
                kind=first["_kind"],
                key={name: first[name] for name in table.key if name != "symbol"},
                column=column,
                stored=stored[column] if stored and column else stored,
                recomputed=recomputed[column] if recomputed and column else recomputed,
                run_id=first["run_id"],
                rows=dict(rows["_kind"].cast(pl.String).value_counts().iter_rows()),
            )
        )
    return found


def times(table: Table, wrong: pl.DataFrame) -> pl.DataFrame:
    """Where a table's wrong rows are: symbol, timestamp; of a quote both where it is and where it should be."""
    if "timestamp" in table.key:
        return wrong.select("symbol", "timestamp")
    if "timestamp" in table.scales:
        both = [wrong.select("symbol", timestamp=name) for name in ("timestamp", "_stored_timestamp")]
        return pl.concat(both).drop_nulls()
    return wrong.select("symbol", pl.lit(None, dtype=UTC_US).alias("timestamp"))


def _exploded(matrix: pl.DataFrame) -> pl.DataFrame:
    """A row for each element of the matrix: `with` the symbol of that position."""
    names = matrix.sort("position")["symbol"].to_list()
    width: Sequence[int] = range(len(names))
    books = [name for name in ("run_id",) if name in matrix.columns]
    cells = matrix.select("symbol", "position", "n", "r", *books, place=pl.lit(list(width), dtype=pl.List(pl.Int64)))
    if not names:
        return cells.select("symbol", pl.lit("").alias("with"), "position", "n", pl.lit(0.0).alias("r"), *books)
    padded = cells.with_columns(pl.col("place"), pl.col("r").list.gather(pl.col("place"), null_on_oob=True)).explode(
        "place", "r"
    )
    return padded.with_columns(pl.col("place").replace_strict(dict(enumerate(names))).alias("with")).drop("place")
