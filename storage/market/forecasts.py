"""The tables of forecasts: whose daily bars are no longer those that were forecast from, and the right to say so.

A fingerprint is a hash over the newest split-adjusted daily bars and the date of the session that comes next, made by
the database, so that a series that did not change is not read. Bars and factors of a symbol change only under its
lock, which is also the one that forecasts are written under: a fingerprint that is still the same then speaks for the
forecasts made of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

import polars as pl
from psycopg import sql

from storage.market.database import Database, statement
from storage.market.derived import WINDOWS, Claim
from storage.market.locks import try_derived
from transforms.schema import MARKET_SYMBOL, OHLC

INPUTS: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "market": pl.String(),
        "made_from": pl.Date(),
        "session": pl.Date(),
        "fingerprint": pl.String(),
    }
)
"""What there is to forecast from: a row a symbol with daily bars.

`made_from` is the session of the newest, `session` the one after it in the market's calendar.
"""

_NEWEST: Final = sql.SQL(
    "FROM instruments i, LATERAL (SELECT max(s.session) AS session FROM sessions s"
    "  WHERE s.market = i.market AND s.close <= {as_of}) AS closed,"
    ' LATERAL (SELECT * FROM bars_1d t WHERE t.symbol = i.symbol COLLATE "C" AND t.session <= closed.session'
    "  ORDER BY t.timestamp DESC LIMIT {rows}) AS r"
    " LEFT JOIN adjustment_factors f ON f.symbol = r.symbol AND r.session >= f.from_date AND r.session < f.to_date"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Of how many symbols a target is forecast by a model, and of how many it beats its baseline."""

    target: str
    model: str
    symbols: int
    beat: int


class ForecastStore:
    """Reads of what forecasts are made of, and claims under which they are written."""

    def __init__(self, database: Database) -> None:
        """Read and write through `database`."""
        self._database = database

    def inputs(self, rows: int, as_of: datetime, symbols: Sequence[str] | None = None) -> pl.DataFrame:
        """What the newest `rows` daily bars of sessions that closed by `as_of` are, in order of the symbol (INPUTS)."""
        return self._database.frame(_inputs(rows, as_of, symbols)).cast(INPUTS)

    def read(self, rows: int, as_of: datetime, symbols: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The inputs of these symbols and the bars they speak of, read at one moment.

        Bars are split-adjusted: symbol, session, open, high, low, close, in order.
        """
        bars = statement(
            "SELECT r.symbol, r.session, {prices} {newest} WHERE i.symbol = ANY({symbols})"
            " ORDER BY r.symbol, r.session",
            prices=_prices("{adjusted} AS {name}"),
            newest=_NEWEST.format(rows=rows, as_of=as_of),
            symbols=list(symbols),
        )
        with self._database.snapshot() as snapshot:
            return snapshot.frame(_inputs(rows, as_of, symbols)).cast(INPUTS), snapshot.frame(bars)

    def made(self, symbols: Sequence[str] | None = None) -> pl.DataFrame:
        """What stored forecasts were made of: symbol, fingerprint, method, made_from, missing, as_of (of their run)."""
        chosen = sql.SQL("true") if symbols is None else sql.SQL("f.symbol = ANY({})").format(list(symbols))
        return self._database.frame(
            statement(
                "SELECT f.symbol, f.fingerprint, f.method, f.made_from, f.missing, r.as_of FROM forecast_inputs f"
                " LEFT JOIN runs r ON r.id = f.run_id WHERE {chosen} ORDER BY f.symbol",
                chosen=chosen,
            )
        )

    def standing(self) -> list[Standing]:
        """How the forecasts of all symbols stand, by target and model."""
        rows = self._database.frame(
            statement(
                "SELECT target, model, count(*) AS symbols, count(*) FILTER (WHERE beats_baseline) AS beat"
                " FROM forecasts WHERE role = 'forecast' GROUP BY 1, 2 ORDER BY 1, 2"
            )
        )
        return [Standing(*row) for row in rows.iter_rows()]

    @contextmanager
    def claim(self, symbols: Sequence[str], run_id: int) -> Iterator[Claim]:
        """The right to write the forecasts of these symbols, until the end, where it commits; busy ones are left out.

        It is the right to refresh them, so nobody else draws their versions meanwhile; their dirty windows stay.
        """
        with self._database.transaction(bulk=True) as connection:
            locked = try_derived(connection, symbols)
            yield Claim(connection, locked, pl.DataFrame(schema=WINDOWS), run_id, self._database.idle_seconds)


def _inputs(rows: int, as_of: datetime, symbols: Sequence[str] | None) -> sql.Composed:
    chosen = statement("i.symbol <> {market}", market=MARKET_SYMBOL)
    if symbols is not None:
        chosen = statement("i.symbol = ANY({symbols})", symbols=list(symbols))
    return statement(
        "SELECT bars.symbol, bars.market, bars.made_from, following.session,"
        " concat_ws(' ', bars.hash, following.session) AS fingerprint FROM ("
        "SELECT r.symbol, i.market, max(r.session) AS made_from,"
        " sum(hash_record_extended(ROW(r.session, {prices}), 0)::numeric) AS hash"
        " {newest} WHERE {chosen} GROUP BY r.symbol, i.market) AS bars,"
        " LATERAL (SELECT min(s.session) AS session FROM sessions s"
        "  WHERE s.market = bars.market AND s.session > bars.made_from) AS following ORDER BY bars.symbol",
        prices=_prices("{adjusted}"),
        newest=_NEWEST.format(rows=rows, as_of=as_of),
        chosen=chosen,
    )


def _prices(column: LiteralString) -> sql.Composed:
    """The split-adjusted prices of a bar, each written as `column` says."""
    adjusted = {name: statement("r.{name} * coalesce(f.price, 1)", name=sql.Identifier(name)) for name in OHLC}
    columns = [statement(column, adjusted=price, name=sql.Identifier(name)) for name, price in adjusted.items()]
    return sql.SQL(", ").join(columns)
