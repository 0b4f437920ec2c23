"""Raw rows out: what is deleted moves to the history, with its dirty windows in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import polars as pl
from psycopg import sql

from storage.market.database import Connection, Database, statement, table_name
from storage.market.horizons import BEGINNING, Span, is_retained
from storage.market.locks import lock_raw
from storage.market.merge import CHANGED_DAYS, Target, columns_of
from storage.market.raw import covered_days, now
from storage.market.refusals import closed_to
from storage.market.windows import mark_dirty
from transforms.errors import PermanentError
from transforms.schema import Dataset, Granularity

_OPEN: Final = {"since": "-infinity", "until": "infinity"}


@dataclass(frozen=True, slots=True)
class Removal:
    """Which rows of one symbol: those from `since` up to `until` (dates of actions, else instants; None: all).

    `granularity`: of bars only. `source`: of any when None.
    """

    dataset: Dataset
    symbol: str
    since: datetime | date | None = None
    until: datetime | date | None = None
    granularity: Granularity | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """Stored rows that a removal is of, by source: rows, first and last (an instant, or the date of an action)."""

    source: str
    rows: int
    first: datetime | date
    last: datetime | date


@dataclass(frozen=True, slots=True)
class Removed:
    """Rows deleted, stretches of coverage withdrawn, and dirty windows left."""

    symbol: str
    rows: int
    withdrawn: int
    windows: int


class RemovalStore:
    """Deletes raw rows. What has expired is gone already and cannot be deleted: `PermanentError`."""

    def __init__(self, database: Database) -> None:
        """Write through `database`."""
        self._database = database

    def match(self, removal: Removal) -> list[Matched]:
        """What would be deleted, by source."""
        with self._database.transaction(bulk=True) as connection:
            closed = _closed(connection, removal)
            rows = connection.execute(
                statement(
                    "SELECT source, count(*), min({time}), max({time}) FROM {table} t WHERE {inside}"
                    " GROUP BY source ORDER BY source",
                    time=sql.Identifier(Target.of(removal.dataset).time),
                    table=table_name(Target.of(removal.dataset).name),
                    inside=_inside(removal, closed),
                )
            ).fetchall()
        return [Matched(*row) for row in rows]

    def delete(self, removal: Removal, run_id: int) -> Removed:
        """Move the rows to the history, in one transaction; nothing to move makes nothing dirty.

        Coverage of a source that lies wholly in what is deleted, and of which the source has no row left, is withdrawn
        with it: the source no longer says that there was nothing else.
        """
        with self._database.transaction(bulk=True) as connection:
            lock_raw(connection, removal.dataset, [removal.symbol])
            at = now(connection)
            closed = _closed(connection, removal)
            days = _moved(connection, removal, closed, at)
            withdrawn = [] if removal.dataset == "actions" else _withdrawn(connection, removal, closed, at)
            if removal.dataset == "ticks":
                days = pl.concat([days, covered_days(withdrawn)])
            windows = mark_dirty(connection, removal.dataset, days, run_id)
        return Removed(removal.symbol, int(days["removed"].sum()), len(withdrawn), windows)


def _closed(connection: Connection, removal: Removal) -> list[Span]:
    """The stretches whose rows have expired; refused is a removal of nothing else."""
    if removal.dataset == "actions" or not is_retained(connection):
        return []
    spans = closed_to(removal.dataset, connection, [removal.symbol]).get(removal.symbol, [])
    since = removal.since or BEGINNING
    for lo, hi in spans:
        if removal.until is not None and lo <= since and removal.until <= hi:
            raise PermanentError(
                f"{removal.dataset} of {removal.symbol} before {hi:%Y-%m-%d %H:%M} UTC have expired: nothing is there"
                " to delete, and what was computed of them stays (see: warmbars retention show)"
            )
    return spans


def _inside(removal: Removal, closed: Sequence[Span]) -> sql.Composed:
    """The condition that rows `t` of a removal meet."""
    time = sql.Identifier("t", Target.of(removal.dataset).time)
    parts = [statement("t.symbol = {symbol}", symbol=removal.symbol)]
    if removal.granularity is not None:
        parts.append(statement("t.granularity = {granularity}", granularity=removal.granularity))
    if removal.source is not None:
        parts.append(statement("t.source = {source}", source=removal.source))
    if removal.since is not None:
        parts.append(statement("{time} >= {since}", time=time, since=removal.since))
    if removal.until is not None:
        parts.append(statement("{time} < {until}", time=time, until=removal.until))
    parts += [statement("NOT ({time} >= {lo} AND {time} < {hi})", time=time, lo=lo, hi=hi) for lo, hi in closed]
    return sql.SQL(" AND ").join(parts)


def _moved(connection: Connection, removal: Removal, closed: Sequence[Span], at: datetime) -> pl.DataFrame:
    """Move the rows to the history; the changed days."""
    target = Target.of(removal.dataset)
    rows = connection.execute(
        statement(
            """
            WITH gone AS (
                DELETE FROM {table} t WHERE {inside} RETURNING {columns}
            ), kept AS (
                INSERT INTO {history} ({columns}, superseded_at) SELECT {columns}, {at} FROM gone
            )
            SELECT symbol, min({moment}), max({moment}), 0, 0, count(*) FROM gone GROUP BY symbol, ({moment})::date
            """,
            table=table_name(target.name),
            inside=_inside(removal, closed),
            columns=columns_of(target.every),
            history=table_name(f"{target.name}_history"),
            at=at,
            moment=target.moment,
        )
    ).fetchall()
    return pl.DataFrame(rows, schema=CHANGED_DAYS, orient="row")


def _withdrawn(
    connection: Connection, removal: Removal, closed: Sequence[Span], at: datetime
) -> list[tuple[str, datetime, datetime]]:
    """Move coverage that lies in the removal and has no row left to its history; symbol, start and end of each."""
    target = Target.of(removal.dataset)
    expired = [statement(" AND NOT (c.starts_at < {hi} AND c.ends_at > {lo})", lo=lo, hi=hi) for lo, hi in closed]
    return connection.execute(
        statement(
            """
            WITH gone AS (
                DELETE FROM coverage c WHERE c.symbol = {symbol} AND c.dataset = {dataset} AND {of_source}
                    AND c.starts_at >= {since} AND c.ends_at <= {until} AND NOT EXISTS (
                        SELECT FROM {table} t WHERE t.symbol = c.symbol AND t.source = c.source
                            AND t.timestamp >= c.starts_at AND t.timestamp < c.ends_at){still_there}
                RETURNING *
            ), kept AS (
                INSERT INTO coverage_history (symbol, dataset, source, starts_at, ends_at, arrived_at, superseded_at)
                SELECT symbol, dataset, source, starts_at, ends_at, arrived_at, {at} FROM gone
            )
            SELECT symbol, starts_at, ends_at FROM gone ORDER BY starts_at
            """,
            symbol=removal.symbol,
            dataset=removal.dataset,
            still_there=sql.SQL("").join(expired),
            of_source=statement("c.source = {source}", source=removal.source) if removal.source else sql.SQL("true"),
            since=removal.since or _OPEN["since"],
            until=removal.until or _OPEN["until"],
            table=table_name(target.name),
            at=at,
        )
    ).fetchall()
