"""Stored raw daily bars with what is known of their symbols: what the quality rules read."""

from collections.abc import Sequence

import polars as pl

from storage.market.database import Database, statement, table_name


class DailyStore:
    """Reads of raw daily rows as they came, of every source."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    def symbols(self) -> dict[str, str]:
        """The symbols that have raw daily rows, in order, and their markets."""
        found = self._database.frame(
            statement(
                "SELECT i.symbol, i.market FROM instruments i WHERE EXISTS (SELECT 1 FROM {bars} b"
                " WHERE b.symbol = i.symbol AND b.granularity = '1d') ORDER BY 1",
                bars=table_name("stock_data"),
            )
        )
        return dict(found.iter_rows())

    def bars(self, symbols: Sequence[str]) -> pl.DataFrame:
        """RAW_BARS columns and `price_basis` of every daily row of these symbols, in the order of the key."""
        return self._database.frame(
            statement(
                "SELECT symbol, granularity, timestamp, source, open, high, low, close, volume, adjusted_close,"
                " price_basis FROM {bars} WHERE symbol = ANY({symbols}) AND granularity = '1d'"
                " ORDER BY symbol, timestamp, source",
                bars=table_name("stock_data"),
                symbols=list(symbols),
            )
        )

    def rejected(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Bars and actions of these symbols that ingest set aside: symbol, dataset, rule, rows."""
        return self._database.frame(
            statement(
                "SELECT symbol, dataset, rule, count(*) AS rows FROM {rejected}"
                " WHERE symbol = ANY({symbols}) AND dataset IN ('bars', 'actions') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
                rejected=table_name("rejected_rows"),
                symbols=list(symbols),
            )
        )
