"""What tables are made of: the schema's name, the columns that many have, and the catalogue of all tables.

Symbols sort as bytes (`COLLATE "C"`), as Polars sorts them. Floats are double precision, instants `timestamptz`.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    MetaData,
    Text,
    text,
)

from transforms.schema import INTERVALS

SCHEMA = "warmbars"
COARSE = INTERVALS[1:]
"""Every interval above the base."""

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)


def symbol() -> Column[str]:
    """Ours; sorted as bytes."""
    return Column("symbol", Text(collation="C"), nullable=False)


def string(name: str, *, nullable: bool = False, default: str | None = None) -> Column[str]:
    """Text."""
    return Column(name, Text, nullable=nullable, server_default=default)


def instant(name: str, *, nullable: bool = False, now: bool = False) -> Column[Any]:
    """A moment; `now`: that of the insert unless told."""
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=text("now()") if now else None)


def number(name: str, *, nullable: bool = False) -> Column[float]:
    """Double precision."""
    return Column(name, Double, nullable=nullable)


def run_id() -> Column[int]:
    """Of the run that wrote the row."""
    return Column("run_id", BigInteger, nullable=False)


def source() -> Column[str]:
    """Who told the row; sorted as bytes."""
    return Column("source", Text(collation="C"), nullable=False)
