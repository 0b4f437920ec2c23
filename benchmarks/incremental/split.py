"""A split of a symbol with a long history, against reading and writing what it changes once."""

from collections.abc import Mapping
from contextlib import ExitStack

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import psycopg
from psycopg import sql

from benchmarks.copying import encoded
from benchmarks.harness import Measure, Stages, seconds
from benchmarks.incremental.changes import split
from benchmarks.incremental.passes import refresh_and_publish
from benchmarks.incremental.store import Stores
from storage.market.tables import COARSE, SCHEMA


class Split(Measure):
    """The value of a split half way through the history changes."""

    name = "split"
    unit = "s"
    target = 1.5
    direction = "at most"

    def __init__(self, stores: Stores) -> None:
        """Measure in the longest store of `stores`."""
        self._stores = stores
        self._parts = Stages()
        self._value = 2.0

    @property
    def about(self) -> str:
        """Both sides in full."""
        return (
            f"one symbol of {self._stores.sizes.long.about}; the value of a split in the middle of its history is "
            "corrected. Ours: steps.refresh and steps.publish. Reference: the symbol's coarser bars and its indicators "
            "are read over ADBC, and the rows that ours wrote (found by their run) deleted and written again by COPY, "
            "encoding included, in one transaction. Minutes are in neither: a split changes none."
        )

    def setup(self) -> None:
        """Build the store."""
        self._store = self._stores.get(self._stores.sizes.long, self.progress)
        self._stack = ExitStack()
        url = self._store.deps.database.url
        self._writer = self._stack.enter_context(psycopg.connect(url))
        self._reader = self._stack.enter_context(adbc.connect(url))
        self._symbol = self._store.names[0]

    def ours(self) -> float:
        """Seconds from the commit of the action to the keys."""
        self._value = 6.0 - self._value
        split(self._store, self._symbol, self._store.shape.sessions // 2, self._value)
        return seconds(lambda: refresh_and_publish(self._store))

    def reference(self) -> float:
        """Seconds of the reads and writes alone."""
        newest = max(self._newest(f"indicators_{interval}") for interval in COARSE)
        rows: list[int] = []
        taken = seconds(lambda: rows.extend(self._once(newest)))
        self._parts.add({"rows read": rows[0], "rows written": rows[1]})
        return taken

    def _newest(self, table: str) -> int:
        query = sql.SQL("SELECT max(run_id) FROM {} WHERE symbol = %s").format(sql.Identifier(SCHEMA, table))
        found = self._writer.execute(query, [self._symbol]).fetchone()
        self._writer.commit()
        return int(found[0]) if found else 0

    def _once(self, run: int) -> tuple[int, int]:
        read = written = 0
        for interval in COARSE:
            read += self._read(f"bars_{interval}").height
            table = f"indicators_{interval}"
            rows = self._read(table)
            changed = rows.filter(pl.col("run_id") == run)
            self._write(table, changed, run)
            read, written = read + rows.height, written + changed.height
        self._writer.commit()
        return read, written

    def _read(self, table: str) -> pl.DataFrame:
        with self._reader.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {SCHEMA}.{table} WHERE symbol = '{self._symbol}'")
            rows = pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table()))
        self._reader.rollback()
        return rows

    def _write(self, table: str, rows: pl.DataFrame, run: int) -> None:
        name = sql.Identifier(SCHEMA, table)
        self._writer.execute(
            sql.SQL("DELETE FROM {} WHERE symbol = %s AND run_id = %s").format(name), [self._symbol, run]
        )
        columns = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
        into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(name, columns)
        with self._writer.cursor() as cursor, cursor.copy(into) as copy:
            for piece in encoded(rows):
                copy.write(piece)

    def details(self) -> Mapping[str, float]:
        """How much is read and written."""
        return self._parts.medians()

    def teardown(self) -> None:
        """Close the reference's connections."""
        self._stack.close()
