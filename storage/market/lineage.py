"""Where stored rows come from: the runs that wrote them, the raw rows beneath them, and what those were before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
from psycopg import sql

from storage.market.database import Database, statement, table_name
from storage.market.merge import Target
from storage.market.tables import metadata
from transforms.schema import Dataset

_RUN = ("id", "kind", "state", "code_version", "as_of", "started_at", "finished_at", "error")
_GROUPED = {"bars": ("source", "granularity", "price_basis")}


@dataclass(frozen=True, slots=True)
class RawRange:
    """Rows of one source in a raw table: how many, of which times, when they arrived, oldest and newest run."""

    table: str
    source: str
    granularity: str | None
    price_basis: str
    rows: int
    first: datetime | date
    last: datetime | date
    first_arrived: datetime
    last_arrived: datetime
    first_run: int
    last_run: int


@dataclass(frozen=True, slots=True)
class Written:
    """Rows of a derived table that one run wrote, and which times they are of."""

    table: str
    run_id: int
    rows: int
    first: datetime | date
    last: datetime | date


class LineageStore:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        """Read through `database`."""
        self._database = database

    def runs(self, ids: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """The runs that are still on record, by id."""
        columns = sql.SQL(", ").join(map(sql.Identifier, _RUN))
        found = self._frame(
            "SELECT {columns} FROM runs WHERE id = ANY({ids}::bigint[]) ORDER BY id", columns=columns, ids=list(ids)
        )
        return {row["id"]: row for row in found.to_dicts()}

    def derived(self, table: str, symbol: str, start: datetime | None, end: datetime | None) -> pl.DataFrame:
        """Whole rows of a derived table with start <= timestamp < end, in order; None: wherever they begin or end."""
        bounds = [
            statement(text, at=at)
            for text, at in ((" AND timestamp >= {at}", start), (" AND timestamp < {at}", end))
            if at
        ]
        order = " ORDER BY timestamp" if "timestamp" in _columns(table) else ""
        return self._frame(
            "SELECT * FROM {table} WHERE symbol = {symbol}{bounds}{order}",
            table=table_name(table),
            symbol=symbol,
            bounds=sql.SQL("").join(bounds),
            order=sql.SQL(order),
        )

    def before(self, table: str, symbol: str, at: datetime, rows: int) -> pl.DataFrame:
        """The newest `rows` rows before a moment, in order."""
        newest = self._frame(
            "SELECT * FROM {table} WHERE symbol = {symbol} AND timestamp < {at} ORDER BY timestamp DESC LIMIT {rows}",
            table=table_name(table),
            symbol=symbol,
            at=at,
            rows=rows,
        )
        return newest.reverse()

    def nearest(self, table: str, symbol: str, at: datetime) -> list[datetime]:
        """The timestamps of the last row at or before a moment, and of the first after it, where there are such."""
        found = self._frame(
            "SELECT max(timestamp) AS at FROM {table} WHERE symbol = {symbol} AND timestamp <= {at}"
            " UNION ALL SELECT min(timestamp) FROM {table} WHERE symbol = {symbol} AND timestamp > {at}",
            table=table_name(table),
            symbol=symbol,
            at=at,
        )
        return found["at"].drop_nulls().sort().to_list()

    def counted(self, table: str, symbol: str, since: datetime) -> tuple[int, datetime | None]:
        """How many rows of a derived table there are from a moment on, and the timestamp of the last one."""
        found = self._frame(
            "SELECT count(*), max(timestamp) FROM {table} WHERE symbol = {symbol} AND timestamp >= {since}",
            table=table_name(table),
            symbol=symbol,
            since=since,
        )
        rows, last = found.row(0)
        return rows, last

    def raw(self, dataset: Dataset, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Raw rows with start <= timestamp < end as they are now, bookkeeping included, in the order of their key."""
        return self._inside(Target.of(dataset), Target.of(dataset).name, symbol, start, end)

    def superseded(self, dataset: Dataset, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """What raw rows with start <= timestamp < end were before, the newest version first."""
        target = Target.of(dataset)
        history = self._inside(target, f"{target.name}_history", symbol, start, end)
        return history.sort("superseded_at", descending=True, maintain_order=True)

    def actions(self, symbol: str) -> pl.DataFrame:
        """Every corporate action of a symbol, bookkeeping included, in order."""
        return self._frame(
            "SELECT * FROM corporate_actions WHERE symbol = {symbol} ORDER BY ex_date, action, source, ordinal",
            symbol=symbol,
        )

    def superseded_actions(self, symbol: str) -> pl.DataFrame:
        """What a symbol's corporate actions were before, the newest version first."""
        return self._frame(
            "SELECT * FROM corporate_actions_history WHERE symbol = {symbol} ORDER BY superseded_at DESC, ex_date",
            symbol=symbol,
        )

    def ranges(self, dataset: Dataset, symbol: str, start: datetime, end: datetime) -> list[RawRange]:
        """The raw rows with start <= timestamp < end, summed up by source (bars also by granularity and basis).

        It looks at every one of them: of years of trades that takes a while.
        """
        name, group = Target.of(dataset).name, _GROUPED.get(dataset, ("source", "price_basis"))
        columns = sql.SQL(", ").join(map(sql.Identifier, group))
        query = statement(
            "SELECT {columns}, count(*) AS rows, min(timestamp) AS first, max(timestamp) AS last,"
            " min(arrived_at) AS first_arrived, max(arrived_at) AS last_arrived,"
            " min(run_id) AS first_run, max(run_id) AS last_run"
            " FROM {table} WHERE symbol = {symbol} AND timestamp >= {start} AND timestamp < {end}"
            " GROUP BY {columns} ORDER BY {columns}",
            columns=columns,
            table=table_name(name),
            symbol=symbol,
            start=start,
            end=end,
        )
        with self._database.transaction(bulk=True) as connection:
            cursor = connection.execute(query)
            names = [column.name for column in cursor.description or ()]
            found = [dict(zip(names, row, strict=True)) for row in cursor]
        return [RawRange(**{"table": name, "granularity": None, **row}) for row in found]

    def written(self, table: str, symbol: str | None, since: datetime | date | None) -> list[Written]:
        """The rows of a derived table by the run that wrote them, oldest run first; symbol None: of all symbols.

        `since`: of rows from this time on; tables without a timestamp are dated by session.
        """
        columns = _columns(table)
        time = next((c for c in ("timestamp", "session", "from_date", "made_from") if c in columns), None)
        conditions = [statement("symbol = {symbol}", symbol=symbol)] if symbol else []
        if since is not None and time is not None:
            conditions.append(statement("{time} >= {since}", time=sql.Identifier(time), since=since))
        when = sql.Identifier(time) if time else sql.SQL("NULL::date")
        found = self._frame(
            "SELECT run_id, count(*) AS rows, min({when}) AS first, max({when}) AS last FROM {table}{where}"
            " GROUP BY run_id ORDER BY run_id",
            when=when,
            table=table_name(table),
            where=statement(" WHERE {all}", all=sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL(""),
        )
        return [Written(table, **row) for row in found.to_dicts()]

    def windows(self, symbol: str) -> Sequence[Mapping[str, Any]]:
        """What of a symbol waits to be refreshed, if `due`: dataset, starts_at, ends_at, due_at, run_id."""
        found = self._frame(
            "SELECT dataset, starts_at, ends_at, due_at, run_id, due_at <= now() AS due FROM dirty_windows"
            " WHERE symbol = {symbol} ORDER BY id",
            symbol=symbol,
        )
        return found.to_dicts()

    def publication(self, symbol: str) -> Mapping[str, Any] | None:
        """A symbol's line in the outbox; None if it was never refreshed."""
        found = self._frame("SELECT * FROM publications WHERE symbol = {symbol}", symbol=symbol)
        return found.row(0, named=True) if len(found) else None

    def coverage(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Declarations of a source to be the whole truth about a stretch that meets [start, end)."""
        return self._frame(
            "SELECT * FROM coverage WHERE symbol = {symbol} AND starts_at < {end} AND ends_at > {start}"
            " ORDER BY dataset, source, starts_at",
            symbol=symbol,
            start=start,
            end=end,
        )

    def _inside(self, target: Target, table: str, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        return self._frame(
            "SELECT * FROM {table} WHERE symbol = {symbol} AND timestamp >= {start} AND timestamp < {end}"
            " ORDER BY {key}",
            table=table_name(table),
            symbol=symbol,
            start=start,
            end=end,
            key=sql.SQL(", ").join(map(sql.Identifier, target.key)),
        )

    def _frame(self, text: Any, **parts: object) -> pl.DataFrame:
        return self._database.frame(statement(text, **parts))


def _columns(table: str) -> set[str]:
    """Columns of a table; a view of bars has those of its tables."""
    found = metadata.tables.get(f"{metadata.schema}.{table}")
    return {column.name for column in found.columns} if found is not None else {"timestamp", "session"}
