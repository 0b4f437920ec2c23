"""The tables of the market store, in SQLAlchemy Core: what statements and migrations are checked by.

Symbols sort as bytes (`COLLATE "C"`), as Polars sorts them. Floats are double precision, instants `timestamptz`.
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
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from transforms.schema import INTERVALS

SCHEMA = "warmbars"
COARSE = INTERVALS[1:]
"""Every interval above the base."""

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)


def _symbol() -> Column[str]:
    return Column("symbol", Text(collation="C"), nullable=False)


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=nullable, server_default=default)


def _instant(name: str, *, nullable: bool = False, now: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=text("now()") if now else None)


def _number(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Double, nullable=nullable)


def _run() -> Column[int]:
    return Column("run_id", BigInteger, nullable=False)


def _source() -> Column[str]:
    return Column("source", Text(collation="C"), nullable=False)


def _raw(name: str, key: int, columns: Callable[[], list[Column[Any]]], time: str = "timestamp") -> Table:
    """A raw table whose first `key` columns identify a row and, beside it, the history its superseded rows move to."""

    def all_columns() -> list[Column[Any]]:
        return [*columns(), _text("price_basis", default="raw"), _instant("arrived_at"), _run()]

    history = f"{name}_history"
    Table(
        history,
        metadata,
        *all_columns(),
        _instant("superseded_at"),
        Index(f"ix_{history}_key", "symbol", time),
    )
    table = Table(name, metadata, *all_columns())
    table.append_constraint(PrimaryKeyConstraint(*(c.name for c in list(table.columns)[:key])))
    return table


stock_data = _raw(
    "stock_data",
    4,
    lambda: [
        *(_symbol(), _text("granularity"), _instant("timestamp"), _source()),
        *(_number(c) for c in ("open", "high", "low", "close", "volume")),
        _number("adjusted_close", nullable=True),
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
        *(_symbol(), _instant("timestamp"), _source(), Column("sequence", Integer, nullable=False)),
        *(_number("price"), _number("size"), _text("condition", nullable=True)),
    ],
)
sentiment_data = _raw(
    "sentiment_data",
    5,
    lambda: [
        *(_symbol(), _instant("timestamp"), _source()),
        Column("external_id", Text(collation="C"), nullable=False),
        Column("ordinal", Integer, nullable=False),
        *(_number("sentiment_score"), _number("confidence")),
    ],
)
corporate_actions = _raw(
    "corporate_actions",
    5,
    lambda: [
        *(_symbol(), Column("ex_date", Date, nullable=False), _text("action"), _source()),
        Column("ordinal", Integer, nullable=False),
        _number("value"),
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
    _symbol(),
    _text("market"),
    _text("currency", nullable=True),
    Column("active_from", Date),
    Column("active_to", Date),
    PrimaryKeyConstraint("symbol"),
)
markets = Table(
    "markets",
    metadata,
    _text("market"),
    _text("time_zone"),
    Column("sessions_to", Date, nullable=False),
    PrimaryKeyConstraint("market"),
)
sessions = Table(
    "sessions",
    metadata,
    _text("market"),
    Column("session", Date, nullable=False),
    _instant("open"),
    _instant("close"),
    _instant("break_start", nullable=True),
    _instant("break_end", nullable=True),
    _instant("day_start"),
    _instant("day_end"),
    PrimaryKeyConstraint("market", "session"),
)
coverage = Table(
    "coverage",
    metadata,
    _symbol(),
    _text("dataset"),
    _source(),
    _instant("starts_at"),
    _instant("ends_at"),
    PrimaryKeyConstraint("symbol", "dataset", "source", "starts_at"),
)
rejected_rows = Table(
    "rejected_rows",
    metadata,
    _text("digest"),
    Column("line", BigInteger, nullable=False),
    _text("rule"),
    _text("dataset"),
    _text("origin"),
    _text("symbol", nullable=True),
    _text("row"),
    _instant("arrived_at", now=True),
    _run(),
    PrimaryKeyConstraint("digest", "line", "rule"),
)


def _bars(name: str) -> Table:
    return Table(
        name,
        metadata,
        _symbol(),
        _instant("timestamp"),
        Column("session", Date, nullable=False),
        *(_number(c) for c in ("open", "high", "low", "close", "volume")),
        _run(),
        PrimaryKeyConstraint("symbol", "timestamp"),
    )


bars_1m = _bars("bars_1m")
rollups = {interval: _bars(f"bars_{interval}_rollup") for interval in COARSE}
fills = {interval: _bars(f"bars_{interval}_fill") for interval in COARSE}
BAR_VIEWS = {
    f"bars_{interval}": (
        f"SELECT * FROM {SCHEMA}.bars_{interval}_rollup UNION ALL SELECT * FROM {SCHEMA}.bars_{interval}_fill"
    )
    for interval in COARSE
}
"""The names users type: rollups of finer data, and vendor bars where nothing finer reaches (disjoint)."""

indicators = {
    interval: Table(
        f"indicators_{interval}",
        metadata,
        _symbol(),
        _instant("timestamp"),
        Column("session", Date, nullable=False),
        _run(),
        PrimaryKeyConstraint("symbol", "timestamp"),
        info={"wide": True},
    )
    for interval in COARSE
}
"""Key columns only: one double per configured indicator column is added by `init` (the setting `indicators`)."""

sentiment_buckets = {
    interval: Table(
        f"sentiment_{interval}",
        metadata,
        _symbol(),
        _instant("timestamp"),
        Column("session", Date, nullable=False),
        Column("count", BigInteger, nullable=False),
        _number("mean_score"),
        _number("mean_confidence"),
        _number("std_score", nullable=True),
        _run(),
        PrimaryKeyConstraint("symbol", "timestamp"),
    )
    for interval in ("1h", "1d")
}
correlations = Table(
    "correlations",
    metadata,
    _symbol(),
    _text("x"),
    _text("y"),
    Column("session", Date, nullable=False),
    Column("window_sessions", Integer, nullable=False, comment="0: every session there is"),
    Column("lag", Integer, nullable=False),
    _text("method"),
    _number("r", nullable=True),
    Column("n", Integer, nullable=False),
    _number("n_effective", nullable=True),
    _number("p", nullable=True),
    _number("p_adjusted", nullable=True),
    Column("family_size", Integer),
    _number("ci_low", nullable=True),
    _number("ci_high", nullable=True),
    _run(),
    PrimaryKeyConstraint("symbol", "x", "y", "session", "window_sessions", "lag", "method"),
)
adjustment_factors = Table(
    "adjustment_factors",
    metadata,
    _symbol(),
    Column("from_date", Date, nullable=False),
    Column("to_date", Date, nullable=False),
    _number("price"),
    _number("volume"),
    _run(),
    PrimaryKeyConstraint("symbol", "from_date"),
)
quotes = Table(
    "quotes",
    metadata,
    _symbol(),
    _instant("timestamp"),
    Column("session", Date, nullable=False),
    _number("last"),
    *(_number(c) for c in ("open", "high", "low", "volume")),
    *(_number(c, nullable=True) for c in ("previous_close", "change", "change_pct")),
    _run(),
    PrimaryKeyConstraint("symbol"),
)

store_meta = Table(
    "store_meta",
    metadata,
    Column("single", Boolean, nullable=False, server_default=text("true")),
    _text("store_id"),
    Column("epoch", BigInteger, nullable=False),
    _text("database_identity"),
    PrimaryKeyConstraint("single"),
    CheckConstraint("single", name="one_row"),
)
runs = Table(
    "runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    _text("kind"),
    _text("state"),
    _text("code_version"),
    _instant("as_of"),
    _instant("started_at", now=True),
    _instant("finished_at", nullable=True),
    Column("summary", JSONB, nullable=False, server_default=text("'{}'")),
    _text("error", nullable=True),
    PrimaryKeyConstraint("id"),
)
dirty_windows = Table(
    "dirty_windows",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    _symbol(),
    _text("dataset"),
    _instant("starts_at"),
    _instant("ends_at"),
    _instant("due_at"),
    Column("rows", BigInteger, nullable=False, comment="raw rows expected inside, so that work can be split"),
    _run(),
    PrimaryKeyConstraint("id"),
    Index("ix_dirty_windows_symbol", "symbol", "due_at"),
)
publications = Table(
    "publications",
    metadata,
    _symbol(),
    Column("epoch", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    _instant("as_of"),
    _run(),
    Column("published_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("published_version", BigInteger, nullable=False, server_default=text("0")),
    _instant("published_at", nullable=True),
    PrimaryKeyConstraint("symbol"),
)
pending_rollups = Table(
    "pending_rollups",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    _text("view"),
    _instant("starts_at"),
    _instant("ends_at"),
    PrimaryKeyConstraint("id"),
)
retention_horizon = Table(
    "retention_horizon", metadata, _text("dataset"), _instant("horizon"), PrimaryKeyConstraint("dataset")
)
backfills = Table(
    "backfills",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    _text("state"),
    Column("symbols", ARRAY(Text), nullable=False),
    Column("datasets", ARRAY(Text), nullable=False),
    _instant("starts_at"),
    _instant("ends_at"),
    _text("source", nullable=True),
    _instant("created_at", now=True),
    _instant("finished_at", nullable=True),
    PrimaryKeyConstraint("id"),
)
backfill_chunks = Table(
    "backfill_chunks",
    metadata,
    Column("backfill_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("symbols", ARRAY(Text), nullable=False),
    _instant("starts_at"),
    _instant("ends_at"),
    _text("state"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    _number("seconds", nullable=True),
    _text("error", nullable=True),
    PrimaryKeyConstraint("backfill_id", "number"),
)
user_sessions = Table(
    "user_sessions",
    metadata,
    _text("id"),
    Column("body", JSONB, nullable=False),
    _instant("updated_at", now=True),
    _instant("expires_at"),
    PrimaryKeyConstraint("id"),
)
