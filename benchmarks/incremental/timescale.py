"""A late trade, against an open-window refresh of TimescaleDB's continuous aggregates over the same minutes."""

import os
from contextlib import ExitStack
from typing import Final

import psycopg
from psycopg import sql

from benchmarks.copying import encoded
from benchmarks.harness import Measure, Unmeasurable, seconds
from benchmarks.incremental.changes import arrive, late_trade
from benchmarks.incremental.passes import refresh_and_publish
from benchmarks.incremental.store import Stores
from transforms.schema import BARS

URL: Final = "WARMBARS_TEST_TIMESCALE_URL"
_SCHEMA: Final = "warmbars_benchmark"
_BUCKETS: Final = {"5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour", "1d": "1 day"}


class OpenWindow(Measure):
    """Passes a second of ours, and of a refresh that leaves it to TimescaleDB to find what is invalid."""

    name = "late tick, TimescaleDB"
    unit = "passes/s"
    target = 25.0
    direction = "at least"

    def __init__(self, stores: Stores) -> None:
        """Measure on the minutes of the widest store of `stores`."""
        self._stores = stores
        self._number = 0
        self._stack = ExitStack()

    @property
    def about(self) -> str:
        """Both sides in full."""
        return (
            f"{self._stores.sizes.wide.about}. Ours: a late trade, refreshed and published. Reference: the same "
            f"minutes in a hypertable of the server that {URL} names, one late row of it, and refreshing the "
            f"continuous aggregates {', '.join(_BUCKETS)} with an open window (NULL, NULL): bars alone, no indicators "
            "and no keys."
        )

    def setup(self) -> None:
        """Lay out the hypertable and its aggregates; not measured where there is no such server."""
        url = os.environ.get(URL)
        if not url:
            raise Unmeasurable(f"no TimescaleDB to measure beside; name one in {URL}")
        self._store = self._stores.get(self._stores.sizes.wide, self.progress)
        self._server = self._stack.enter_context(psycopg.connect(url, autocommit=True))
        self._drop()
        self._stack.callback(self._drop)
        self._run(f"CREATE SCHEMA {_SCHEMA}")
        self._run(
            f"CREATE TABLE {_SCHEMA}.bars_1m (symbol text, timestamp timestamptz, session date, open float8,"
            " high float8, low float8, close float8, volume float8, PRIMARY KEY (symbol, timestamp))"
        )
        self._run(f"SELECT create_hypertable('{_SCHEMA}.bars_1m', 'timestamp')")
        for symbol in self._store.names:
            self.progress(f"{self.name}: copying {symbol}")
            self._copy(symbol)
        for interval, width in _BUCKETS.items():
            self.progress(f"{self.name}: first refresh of {interval}")
            self._run(
                f"CREATE MATERIALIZED VIEW {_SCHEMA}.bars_{interval} WITH (timescaledb.continuous) AS"
                f" SELECT symbol, time_bucket('{width}', timestamp) AS bucket, first(open, timestamp) AS open,"
                " max(high) AS high, min(low) AS low, last(close, timestamp) AS close, sum(volume) AS volume"
                f" FROM {_SCHEMA}.bars_1m GROUP BY 1, 2 WITH NO DATA"
            )
        self._refresh()

    def _copy(self, symbol: str) -> None:
        rows = self._store.deps.derived.whole("bars_1m", [symbol], BARS.names())
        columns = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
        into = sql.SQL("COPY {}.bars_1m ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(_SCHEMA), columns)
        with self._server.cursor() as cursor, cursor.copy(into) as copy:
            for piece in encoded(rows):
                copy.write(piece)

    def _refresh(self) -> None:
        for interval in _BUCKETS:
            self._run(f"CALL refresh_continuous_aggregate('{_SCHEMA}.bars_{interval}', NULL, NULL)")

    def _run(self, statement: str) -> None:
        self._server.execute(statement.encode())

    def _drop(self) -> None:
        self._run(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")

    def ours(self) -> float:
        """Passes a second of ours."""
        self._number += 1
        self._trade = late_trade(self._store, 0, 1 + self._number % self._stores.sizes.late)
        arrive(self._store, [self._trade])
        return 1 / seconds(lambda: refresh_and_publish(self._store))

    def reference(self) -> float:
        """Refreshes a second of the aggregates."""
        trade = self._trade
        self._server.execute(
            f"INSERT INTO {_SCHEMA}.bars_1m VALUES (%s, date_trunc('minute', %s), %s, %s, %s, %s, %s, 100)".encode(),
            [trade.symbol, trade.at, trade.at.date(), *[trade.price] * 4],
        )
        return 1 / seconds(self._refresh)

    def teardown(self) -> None:
        """Drop the schema."""
        self._stack.close()
