"""What the publisher sends: the symbols with a newer version than the cache was given, and their rows at one moment.

Prices and indicators leave here split-adjusted (adjusted = raw x factor of the row's session).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import orjson
import polars as pl
from psycopg import sql

from storage.market.columns import COARSE
from storage.market.database import Database, Snapshot, statement, table_name
from transforms.schema import MARKET_SYMBOL

SENTIMENT_COLUMNS: Final = (
    "timestamp",
    "session",
    "count",
    "mean_score",
    "weighted_score",
    "mean_confidence",
    "std_score",
    "positive_share",
    "negative_share",
)
"""What is published of every sentiment bucket."""


@dataclass(frozen=True, slots=True)
class Version:
    """The newest publication of a symbol, and the one that the cache was given last, by which recipe.

    `changed`: at which version rows of each table last changed; `at`: the version up to which that is known; `*`: the
    version at which anything may have.
    """

    symbol: str
    epoch: int
    version: int
    as_of: datetime
    run_id: int
    published_epoch: int
    published_version: int
    recipe: str
    changed: Mapping[str, int]

    def stands(self, tables: Collection[str]) -> bool:
        """Whether no row of these tables has changed since the version that the cache was given."""
        if self.published_epoch != self.epoch or self.changed.get("at") != self.version:
            return False
        return max(self.changed.get(table, 0) for table in ("*", *tables)) <= self.published_version


class Sent(NamedTuple):
    """A version that the cache was given; `recipe`: by which its bodies were made, if that is known."""

    symbol: str
    epoch: int
    version: int
    recipe: str = ""


class SymbolRows:
    """Reads of everything that is published of some symbols, all at the same moment."""

    def __init__(self, snapshot: Snapshot, symbols: Sequence[str]) -> None:
        """Read through `snapshot`."""
        self._snapshot = snapshot
        self._symbols = list(symbols)

    def of(self, symbols: Sequence[str]) -> "SymbolRows":
        """Of some of them, at the same moment."""
        return SymbolRows(self._snapshot, symbols)

    def versions(self) -> list[Version]:
        """The version each of the symbols has at this moment; those never refreshed are left out."""
        frame = self._snapshot.frame(
            statement(
                "SELECT symbol, epoch, version, as_of, run_id, published_epoch, published_version, recipe,"
                " changed::text AS changed FROM publications WHERE symbol = ANY({symbols})",
                symbols=self._symbols,
            )
        )
        rows = frame.iter_rows(named=True)
        return [Version(**{**row, "changed": orjson.loads(row["changed"])}) for row in rows]

    def bars(self, interval: str, newest: int) -> pl.DataFrame:
        """The newest bars of each symbol, split-adjusted, in order; those of sessions with their date."""
        prices = sql.SQL(", ").join(
            sql.SQL("r.{0} * coalesce(f.price, 1) AS {0}").format(sql.Identifier(c))
            for c in ("open", "high", "low", "close")
        )
        return self._newest(
            f"bars_{interval}",
            newest,
            statement(
                "{moment}, {prices}, r.volume * coalesce(f.volume, 1) AS volume",
                moment=_moment(interval),
                prices=prices,
            ),
            sql.SQL(
                " LEFT JOIN adjustment_factors f"
                " ON f.symbol = r.symbol AND r.session >= f.from_date AND r.session < f.to_date"
            ),
        )

    def indicators(self, interval: str, newest: int, columns: Sequence[str]) -> pl.DataFrame:
        """The newest values of the configured indicators, in order; those of sessions with their date."""
        chosen = sql.SQL(", ").join([_moment(interval), *(sql.Identifier("r", c) for c in columns)])
        return self._newest(f"indicators_{interval}", newest, chosen)

    def sentiment(self, interval: str, newest: int) -> pl.DataFrame:
        """The newest sentiment buckets, in order; those of sessions with their momentum."""
        columns = (*SENTIMENT_COLUMNS, "momentum") if interval == "1d" else SENTIMENT_COLUMNS
        chosen = sql.SQL(", ").join(sql.Identifier("r", c) for c in columns)
        return self._newest(f"sentiment_{interval}", newest, chosen)

    def correlations(self) -> pl.DataFrame:
        """Every stored correlation."""
        return self._snapshot.frame(
            statement(
                "SELECT symbol, x, y, session, window_sessions, lag, method, r, n, n_effective, p, ci_low, ci_high"
                " FROM correlations"
                " WHERE symbol = ANY({symbols}) ORDER BY symbol, x, y, window_sessions, lag, method",
                symbols=self._symbols,
            )
        )

    def rolling_correlations(self, newest: int) -> pl.DataFrame:
        """Those of the newest sessions with a bar, a run of sessions per window and lag."""
        return self._snapshot.frame(
            statement(
                "SELECT r.symbol, r.session, r.window_sessions, r.lag, r.n, r.pearson, r.spearman"
                " FROM unnest({symbols}::text[]) AS s (symbol), LATERAL (SELECT * FROM rolling_correlations t"
                ' WHERE t.symbol = s.symbol COLLATE "C" AND t.timestamp >= coalesce((SELECT timestamp FROM bars_1d b'
                ' WHERE b.symbol = s.symbol COLLATE "C" ORDER BY timestamp DESC OFFSET {skipped} LIMIT 1),'
                " '-infinity') OFFSET 0) AS r ORDER BY r.symbol, r.window_sessions, r.lag, r.session",
                symbols=self._symbols,
                skipped=newest - 1,
            )
        )

    def findings(self) -> pl.DataFrame:
        """Every correlation tested of every symbol, those least likely to be chance first."""
        return self._snapshot.frame(
            statement(
                "SELECT symbol, x, y, lag, method, r, n, p, p_adjusted, family_size, ci_low, ci_high"
                " FROM correlation_findings ORDER BY p_adjusted, p, symbol, x, y, lag, method"
            )
        )

    def matrix(self) -> pl.DataFrame:
        """How the daily returns of symbols move together: symbol, n, r with each of them, in the order of display."""
        return self._snapshot.frame(statement("SELECT symbol, n, r FROM return_matrix ORDER BY position"))

    def forecasts(self) -> pl.DataFrame:
        """What the next session is expected to bring: of each target the forecast first, then what it is held to.

        Nothing of a symbol that has no daily bar left; its stored forecasts go with the next `forecast`.
        """
        return self._snapshot.frame(
            statement(
                "SELECT symbol, target, model, role, session, made_from, point, low_50, high_50, low_80, high_80,"
                " low_95, high_95, beats_baseline, verdict, n, mase, mae, skill, p, interval_score, interval_skill,"
                " coverage_50, coverage_80, coverage_95 FROM forecasts f WHERE symbol = ANY({symbols})"
                " AND EXISTS (SELECT FROM bars_1d b WHERE b.symbol = f.symbol)"
                " ORDER BY symbol, target, role <> 'forecast', role, model",
                symbols=self._symbols,
            )
        )

    def quotes(self) -> pl.DataFrame:
        """The quotes of the symbols."""
        return self._snapshot.frame(
            statement("{select} WHERE symbol = ANY({symbols})", select=_QUOTES, symbols=self._symbols)
        )

    def board(self) -> pl.DataFrame:
        """The quotes of every symbol, in order; without those whose last day was over at the market's own as-of."""
        return self._snapshot.frame(
            statement(
                "{select} LEFT JOIN instruments i USING (symbol) WHERE coalesce(i.active_to >="
                " (SELECT (as_of AT TIME ZONE 'UTC')::date FROM publications WHERE symbol = {market}), true)"
                " ORDER BY symbol",
                select=_QUOTES,
                market=MARKET_SYMBOL,
            )
        )

    def catalogue(self) -> pl.DataFrame:
        """Every symbol of which anything is stored that was computed, in order: what it is, and when it is traded.

        `market`, `currency`, `active_from`, `active_to` (dates, both included; null: not known).
        """
        return self._snapshot.frame(
            statement(
                "SELECT symbol, market, currency, active_from, active_to FROM instruments i WHERE EXISTS"
                " (SELECT FROM publications p WHERE p.symbol = i.symbol) AND ({held}) ORDER BY symbol",
                held=sql.SQL(" OR ").join(_HELD),
            )
        )

    def _newest(
        self, table: str, newest: int, columns: sql.Composable, join: sql.Composable | None = None
    ) -> pl.DataFrame:
        return self._snapshot.frame(
            statement(
                "SELECT r.symbol, {columns} FROM unnest({symbols}::text[]) AS s (symbol),"
                " LATERAL (SELECT * FROM {table} t"
                ' WHERE t.symbol = s.symbol COLLATE "C" ORDER BY t.timestamp DESC LIMIT {newest}) AS r{join}'
                " ORDER BY r.symbol, r.timestamp",
                columns=columns,
                symbols=self._symbols,
                table=table_name(table),
                newest=newest,
                join=join or sql.SQL(""),
            )
        )


def _moment(interval: str) -> sql.SQL:
    """Only daily rows carry their session's date; an intraday bar's instant says as much."""
    return sql.SQL("r.timestamp, r.session") if interval == "1d" else sql.SQL("r.timestamp")


_QUOTES = statement(
    "SELECT symbol, timestamp, session, last, open, high, low, volume, previous_close, change, change_pct FROM quotes"
)
_HELD: Final = [
    statement("EXISTS (SELECT FROM {table} t WHERE t.symbol = i.symbol)", table=table_name(table))
    for table in ("quotes", "sentiment_1d", "sentiment_1h", "bars_1m", *(f"bars_{interval}" for interval in COARSE))
]
"""What makes a symbol one: a key with a row."""


class Outbox:
    """The publications of the market store."""

    def __init__(self, database: Database) -> None:
        """Read and write through `database`."""
        self._database = database

    def pending(self) -> list[str]:
        """Symbols whose newest version was not sent yet, the market's own last."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT symbol FROM publications"
                " WHERE (published_epoch, published_version) < (epoch, version)"
                ' ORDER BY symbol = %s, symbol COLLATE "C"',
                [MARKET_SYMBOL],
            ).fetchall()
        return [row[0] for row in rows]

    def versions(self) -> dict[str, tuple[int, int]]:
        """(epoch, version) of every symbol ever refreshed: what the cache should show, or be newer than."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT symbol, epoch, version FROM publications").fetchall()
        return {symbol: (epoch, version) for symbol, epoch, version in rows}

    def newest(self, symbols: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(epoch, version) of these symbols right now."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT symbol, epoch, version FROM publications WHERE symbol = ANY(%s)", [list(symbols)]
            ).fetchall()
        return {symbol: (epoch, version) for symbol, epoch, version in rows}

    @contextmanager
    def rows(self, symbols: Sequence[str]) -> Iterator[SymbolRows]:
        """What is to be published of these symbols, read in one REPEATABLE READ READ ONLY snapshot."""
        with self._database.snapshot() as snapshot:
            yield SymbolRows(snapshot, symbols)

    def sent(self, versions: Sequence[Sent]) -> None:
        """Record that the cache has these versions (or newer ones).

        A row that a refresh holds is passed over: that refresh draws a newer version, which will be sent anyway.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "WITH free AS (SELECT symbol FROM publications WHERE symbol = ANY(%(symbols)s)"
                " FOR UPDATE SKIP LOCKED)"
                " UPDATE publications p SET published_epoch = s.epoch, published_version = s.version,"
                " published_at = clock_timestamp(), recipe = s.recipe"
                " FROM unnest(%(symbols)s::text[], %(epochs)s::bigint[], %(versions)s::bigint[], %(recipes)s::text[])"
                " AS s (symbol, epoch, version, recipe) JOIN free USING (symbol)"
                " WHERE p.symbol = s.symbol AND (p.published_epoch, p.published_version) < (s.epoch, s.version)",
                {
                    "symbols": [v.symbol for v in versions],
                    "epochs": [v.epoch for v in versions],
                    "versions": [v.version for v in versions],
                    "recipes": [v.recipe for v in versions],
                },
            )
