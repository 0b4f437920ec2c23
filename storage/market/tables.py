"""The tables of the market store, in SQLAlchemy Core: what statements and migrations are checked by.

Raw rows, what is known about symbols and markets, and the books that are kept; computed tables are in
`tables_derived`.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.market.columns import COARSE, SCHEMA, instant, metadata, number, run_id, source, string, symbol
from storage.market.tables_derived import BAR_VIEWS, fills, rollups

__all__ = ["BAR_VIEWS", "COARSE", "RAW_TABLES", "SCHEMA", "fills", "metadata", "rollups"]


def _raw(name: str, key: int, columns: Callable[[], list[Column[Any]]], time: str = "timestamp") -> Table:
    """A raw table whose first `key` columns identify a row and, beside it, the history its superseded rows move to."""

    def all_columns() -> list[Column[Any]]:
        return [*columns(), string("price_basis", default="raw"), instant("arrived_at"), run_id()]

    history = f"{name}_history"
    Table(
        history,
        metadata,
        *all_columns(),
        instant("superseded_at"),
        Index(f"ix_{history}_key", "symbol", time),
    )
    table = Table(name, metadata, *all_columns())
    table.append_constraint(PrimaryKeyConstraint(*(c.name for c in list(table.columns)[:key])))
    return table


stock_data = _raw(
    "stock_data",
    4,
    lambda: [
        *(symbol(), string("granularity"), instant("timestamp"), source()),
        *(number(c) for c in ("open", "high", "low", "close", "volume")),
        number("adjusted_close", nullable=True),
    ],
)
Index(
    "ix_stock_data_adjusted",
    stock_data.c.symbol,
    stock_data.c.source,
    stock_data.c.timestamp,
    postgresql_where=text("price_basis <> 'raw'"),
)
stock_ticks = _raw(
    "stock_ticks",
    4,
    lambda: [
        *(symbol(), instant("timestamp"), source(), Column("sequence", Integer, nullable=False)),
        *(number("price"), number("size"), string("condition", nullable=True)),
    ],
)
sentiment_data = _raw(
    "sentiment_data",
    5,
    lambda: [
        *(symbol(), instant("timestamp"), source()),
        Column("external_id", Text(collation="C"), nullable=False),
        Column("ordinal", Integer, nullable=False),
        *(number("sentiment_score"), number("confidence")),
        *(Column(flag, Boolean) for flag in ("is_retweet", "is_duplicate")),
    ],
)
corporate_actions = _raw(
    "corporate_actions",
    5,
    lambda: [
        *(symbol(), Column("ex_date", Date, nullable=False), string("action"), source()),
        Column("ordinal", Integer, nullable=False),
        number("value"),
    ],
    time="ex_date",
)
RAW_TABLES = {
    "ticks": stock_ticks,
    "bars": stock_data,
    "sentiment": sentiment_data,
    "actions": corporate_actions,
}

instruments = Table(
    "instruments",
    metadata,
    symbol(),
    string("market"),
    string("currency", nullable=True),
    Column("active_from", Date),
    Column("active_to", Date),
    Column("renamed_to", Text(collation="C"), comment="the symbol that took over its rows"),
    PrimaryKeyConstraint("symbol"),
)
markets = Table(
    "markets",
    metadata,
    string("market"),
    string("time_zone"),
    Column("sessions_to", Date, nullable=False),
    PrimaryKeyConstraint("market"),
)
sessions = Table(
    "sessions",
    metadata,
    string("market"),
    Column("session", Date, nullable=False),
    instant("open"),
    instant("close"),
    instant("break_start", nullable=True),
    instant("break_end", nullable=True),
    instant("day_start"),
    instant("day_end"),
    PrimaryKeyConstraint("market", "session"),
)
coverage = Table(
    "coverage",
    metadata,
    symbol(),
    string("dataset"),
    source(),
    instant("starts_at"),
    instant("ends_at"),
    instant("arrived_at", now=True),
    PrimaryKeyConstraint("symbol", "dataset", "source", "starts_at"),
)
coverage_history = Table(
    "coverage_history",
    metadata,
    symbol(),
    string("dataset"),
    source(),
    instant("starts_at"),
    instant("ends_at"),
    instant("arrived_at"),
    instant("superseded_at"),
    Index("ix_coverage_history_key", "symbol", "dataset"),
)
rejected_rows = Table(
    "rejected_rows",
    metadata,
    string("digest"),
    Column("line", BigInteger, nullable=False),
    string("rule"),
    string("dataset"),
    string("origin"),
    string("symbol", nullable=True),
    string("row"),
    instant("arrived_at", now=True),
    run_id(),
    PrimaryKeyConstraint("digest", "line", "rule"),
)

store_meta = Table(
    "store_meta",
    metadata,
    Column("single", Boolean, nullable=False, server_default=text("true")),
    string("store_id"),
    Column("epoch", BigInteger, nullable=False),
    string("database_identity"),
    PrimaryKeyConstraint("single"),
    CheckConstraint("single", name="one_row"),
)
runs = Table(
    "runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    string("kind"),
    string("state"),
    string("code_version"),
    instant("as_of"),
    instant("started_at", now=True),
    instant("finished_at", nullable=True),
    Column("summary", JSONB, nullable=False, server_default=text("'{}'")),
    string("error", nullable=True),
    PrimaryKeyConstraint("id"),
)
dirty_windows = Table(
    "dirty_windows",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    symbol(),
    string("dataset"),
    instant("starts_at"),
    instant("ends_at"),
    instant("due_at"),
    Column("rows", BigInteger, nullable=False, comment="raw rows expected inside, so that work can be split"),
    run_id(),
    PrimaryKeyConstraint("id"),
    Index("ix_dirty_windows_symbol", "symbol", "due_at"),
)
publications = Table(
    "publications",
    metadata,
    symbol(),
    Column("epoch", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    instant("as_of"),
    run_id(),
    Column("published_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("published_version", BigInteger, nullable=False, server_default=text("0")),
    instant("published_at", nullable=True),
    Column(
        "changed",
        JSONB,
        nullable=False,
        server_default=text("'{}'"),
        comment="table: the version that last changed rows of it",
    ),
    Column(
        "recipe",
        Text,
        nullable=False,
        server_default=text("''"),
        comment="how the bodies that were sent were made: settings and code",
    ),
    PrimaryKeyConstraint("symbol"),
)
pending_rollups = Table(
    "pending_rollups",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    string("view"),
    instant("starts_at"),
    instant("ends_at"),
    PrimaryKeyConstraint("id"),
)
retention_horizon = Table(
    "retention_horizon", metadata, string("dataset"), instant("horizon"), PrimaryKeyConstraint("dataset")
)
retention_holds = Table(
    "retention_holds",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    string("dataset"),
    instant("starts_at"),
    instant("ends_at"),
    string("reason"),
    instant("created_at", now=True),
    instant("expires_at"),
    PrimaryKeyConstraint("id"),
)
"""Stretches that retention leaves alone until they expire, and in which rows below the horizon are let in."""
applied_settings = Table(
    "applied_settings",
    metadata,
    string("dataset"),
    string("fingerprint"),
    Column("chosen", JSONB, nullable=False, comment="the settings the fingerprint is of"),
    instant("applied_at", now=True),
    PrimaryKeyConstraint("dataset"),
)
"""Under which settings the rows of a derived dataset were computed, or are being computed."""
backfills = Table(
    "backfills",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    string("state"),
    Column("symbols", ARRAY(Text), nullable=False),
    Column("datasets", ARRAY(Text), nullable=False),
    instant("starts_at"),
    instant("ends_at"),
    string("source", nullable=True),
    instant("created_at", now=True),
    instant("finished_at", nullable=True),
    PrimaryKeyConstraint("id"),
)
backfill_chunks = Table(
    "backfill_chunks",
    metadata,
    Column("backfill_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("symbols", ARRAY(Text), nullable=False),
    instant("starts_at"),
    instant("ends_at"),
    string("state"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    number("seconds", nullable=True),
    string("error", nullable=True),
    PrimaryKeyConstraint("backfill_id", "number"),
)
user_sessions = Table(
    "user_sessions",
    metadata,
    string("id"),
    Column("body", JSONB, nullable=False),
    instant("updated_at", now=True),
    instant("expires_at"),
    PrimaryKeyConstraint("id"),
)
