"""The bare way into PostgreSQL: Arrow to binary COPY, with nothing of warmbars in between."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import polars as pl
import psycopg
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from storage.market.tables import SCHEMA

ROWS = 65_536
"""Rows encoded at once, as ours."""


def encoded(frame: pl.DataFrame) -> Iterator[bytes]:
    """A frame as the bytes of a binary COPY, piece by piece."""
    batches = frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches(ROWS)
    if batches:
        encoder = ArrowToPostgresBinaryEncoder(batches[0].schema)
        yield encoder.write_header()
        yield from map(encoder.write_batch, batches)
        yield encoder.finish()


def copy_rows(connection: psycopg.Connection, table: str, columns: Iterable[str], pieces: Iterable[bytes]) -> None:
    """Write encoded rows into `schema.table` in one transaction."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(*table.split(".")), names)
    with connection.transaction(), connection.cursor() as cursor, cursor.copy(into) as copy:
        for piece in pieces:
            copy.write(piece)


@contextmanager
def twins(url: str, tables: Iterable[str]) -> Iterator[psycopg.Connection]:
    """A schema `floors` with empty tables of the same columns and keys as ours, and a connection; gone afterwards."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS floors CASCADE")
        connection.execute("CREATE SCHEMA floors")
        for table in tables:
            connection.execute(
                sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(
                    sql.Identifier("floors", table), sql.Identifier(SCHEMA, table)
                )
            )
        try:
            yield connection
        finally:
            connection.execute("DROP SCHEMA floors CASCADE")
