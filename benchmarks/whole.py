"""A whole run, against the sum of its floors."""

from collections.abc import Mapping
from contextlib import ExitStack

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import redis
from psycopg import sql

from benchmarks.bench import Bench, soon
from benchmarks.copying import twins
from benchmarks.floors import Floors, Given, floors
from benchmarks.harness import Measure, Stages, seconds
from benchmarks.ingest import read, stamped
from benchmarks.publish import Row
from flows import steps
from storage.market.tables import RAW_TABLES, SCHEMA, metadata

FILES = ("ticks", "daily", "sentiment", "actions")


class WholeRun(Measure):
    """`steps.run`: files in, keys out."""

    name = "whole run"
    unit = "s"
    target = 1.5
    direction = "at most"

    def __init__(self, bench: Bench) -> None:
        """Run on all files of `bench`."""
        self._bench = bench
        self._stack = ExitStack()
        self._parts = Stages()

    @property
    def about(self) -> str:
        """With the data of this run."""
        return (
            f"{self._bench.data.about}: {', '.join(FILES)}, into an empty store and cache, servers, pools and session "
            "tables warm. Ours: steps.run from the Parquet files (reading and parsing them is counted) to the cache. "
            "Reference: benchmarks/floors.py, rows in memory (no file is read), COPY in with its encoding, ADBC read, "
            "the same expressions, COPY out, HSET of the bodies that ours published (their JSON made beforehand)."
        )

    def setup(self) -> None:
        """Run once for the bodies; lay out the floors' tables and check that the floors derive the same rows."""
        bench = self._bench
        bench.clear()
        steps.run(bench.deps, bench.sources(FILES), soon())
        tables = [table.name for table in metadata.sorted_tables]
        self._connection = self._stack.enter_context(twins(bench.servers.owner_url, tables))
        self._frames = self._stack.enter_context(adbc.connect(bench.servers.owner_url))
        self._cache = self._stack.enter_context(redis.Redis.from_url(bench.servers.redis_url))
        self._given = self._what_is_given()
        self.derived = self._floors().derived
        self._tables = [*self._given.raw, *self.derived]
        self._compare()

    def _what_is_given(self) -> Given:
        bench, settings, as_of = self._bench, self._bench.settings, soon()
        raw: dict[str, pl.DataFrame] = {}
        for name in FILES:
            for batch in read(bench, name):
                good, _ = batch.checked(as_of, settings.future_tolerance)
                raw[RAW_TABLES[batch.dataset].name] = stamped(good, as_of, batch.price_basis)
        sessions = bench.deps.market(settings.market, as_of).sessions.collect()
        return Given(
            raw,
            sessions,
            settings.indicators,
            settings.correlation_lags,
            settings.correlation_windows,
            settings.rolling_lags,
            settings.correlation_min_n,
            self._bodies(),
        )

    def _bodies(self) -> list[Row]:
        """Every body in the cache, to be written under a key of the floors."""
        client = self._bench.deps.client
        keys = sorted(key for key in client.scan_iter(match="wb:*{*", count=1000) if not key.endswith(b":head"))
        return [
            (f"floors:{key.decode()}", {f.decode(): v for f, v in client.hgetall(key).items()})  # type: ignore[union-attr]
            for key in keys
        ]

    def ours(self) -> float:
        """Seconds of `steps.run`."""
        bench, report = self._bench, []
        bench.clear()
        taken = seconds(lambda: report.append(steps.run(bench.deps, bench.sources(FILES), soon())))
        (done,) = report
        parts = {"ingest": done.ingested.seconds, "refresh": done.refreshed.seconds, "publish": done.published.seconds}
        self._parts.add({f"s of our {name}": value for name, value in parts.items()})
        return taken

    def reference(self) -> float:
        """Seconds of the floors together."""
        names = sql.SQL(", ").join(sql.Identifier("floors", table) for table in self._tables)
        self._connection.execute(sql.SQL("TRUNCATE {}").format(names))
        done = self._floors()
        self._parts.add({f"s of the floor {name}": value for name, value in done.seconds.items()})
        return done.total

    def _floors(self) -> Floors:
        return floors(self._given, self._connection, self._frames, self._cache)

    def _compare(self) -> None:
        """Raise unless the floors' tables hold as many rows as ours: both did the same work."""
        count = "SELECT (SELECT count(*) FROM {ours}), (SELECT count(*) FROM {theirs})"
        for table in self._tables:
            sides = {"ours": sql.Identifier(SCHEMA, table), "theirs": sql.Identifier("floors", table)}
            found = self._connection.execute(sql.SQL(count).format(**sides)).fetchone()
            if found is None or found[0] != found[1]:
                raise RuntimeError(f"{table}: rows of ours and of the floors are {found}")

    def details(self) -> Mapping[str, float]:
        """Seconds of each part."""
        return self._parts.medians()

    def teardown(self) -> None:
        """Drop the floors' tables."""
        self._stack.close()
