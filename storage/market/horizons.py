"""Which stretches of time retention has closed, symbol by symbol: the statements behind `retention`.

A horizon is one instant a dataset; of a symbol it means the beginning of the local day it falls in, so that no session
is half gone. Bars are made of trades and of vendors' bars: what expired of either freezes the bars of that symbol,
from its first expired row on. That stretch is kept in `coverage`, under the datasets `expired_ticks` and
`expired_bars`. A symbol of which nothing expired is not frozen: years of its daily bars can come in though trades are
kept for a month. Of messages, a session collects some from before its day, so they are kept two sessions longer.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, LiteralString

from psycopg import sql

from storage.market.database import Connection, statement, table_name, values_list
from storage.market.tables import RAW_TABLES

PRICED: Final = ("ticks", "bars")
"""Datasets that bars are made of."""
EXPIRING: Final[Mapping[str, str]] = {"ticks": "expired_ticks", "bars": "expired_bars", "sentiment": "scores"}
"""The kind of span of each dataset that can expire whose rows may be deleted."""
GRANULARITIES: Final = ("1m", "1h", "1d")
BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)

Span = tuple[datetime, datetime]
Spans = Mapping[str, Mapping[str, list[Span]]]
"""By kind and symbol, half-open, disjoint and in order, without what is held.

`ticks`, `bars`, `sentiment`: below the horizon, closed to new rows. `expired_ticks`, `expired_bars`: rows of the symbol
that were there may be gone. `prices`: either of these. `scores`: messages that may be gone.
"""

_DAY: Final[LiteralString] = """
    SELECT d.lo, least(d.hi, n.lo) AS hi FROM (
        SELECT s.session, least(s.day_start, s.open) AS lo, greatest(s.day_end, s.close) AS hi FROM sessions s
        WHERE s.market = m.market AND s.session BETWEEN ({at})::date - 7 AND ({at})::date + 2
            AND least(s.day_start, s.open) <= {at} ORDER BY s.session DESC LIMIT 1) AS d
    LEFT JOIN LATERAL (
        SELECT least(s.day_start, s.open) AS lo FROM sessions s
        WHERE s.market = m.market AND s.session > d.session ORDER BY s.session LIMIT 1) AS n ON true
    WHERE d.lo < {at} AND d.hi > {at}
"""
"""The local day of market `m` that an instant lies strictly inside of, as in `transforms.sessions.days_of`."""

_SPANS: Final[LiteralString] = """
    WITH asked AS (
        SELECT symbol, market FROM instruments WHERE {chosen}
    ), m AS (
        SELECT DISTINCT market FROM asked
    ), horizon AS (
        SELECT m.market, h.dataset, coalesce(d.lo, h.horizon) AS day
        FROM m CROSS JOIN ({horizons}) AS h (dataset, horizon) LEFT JOIN LATERAL ({day_of_horizon}) AS d ON true
    ), held AS (
        SELECT m.market, h.dataset, range_agg(tstzrange(s.lo, s.hi)) AS spans
        FROM m CROSS JOIN retention_holds h
        LEFT JOIN LATERAL ({day_of_start}) AS f ON h.dataset <> 'sentiment'
        LEFT JOIN LATERAL ({day_of_end}) AS l ON h.dataset <> 'sentiment'
        CROSS JOIN LATERAL (SELECT coalesce(f.hi, h.starts_at) AS lo, coalesce(l.lo, h.ends_at) AS hi) AS s
        WHERE h.expires_at > clock_timestamp() AND s.lo < s.hi GROUP BY 1, 2
    ), closed AS (
        SELECT a.symbol, a.market, h.dataset AS kind, h.dataset, tstzrange({beginning}, h.day) AS span
        FROM asked a JOIN horizon h USING (market)
        UNION ALL
        SELECT a.symbol, a.market, 'scores', h.dataset, tstzrange({beginning}, p.kept_from)
        FROM asked a JOIN horizon h USING (market) CROSS JOIN LATERAL (
            SELECT coalesce((SELECT s.close - interval '25 hours' FROM sessions s
                WHERE s.market = h.market AND s.close <= h.day ORDER BY s.session DESC OFFSET 1 LIMIT 1),
                h.day - interval '30 days') AS kept_from) AS p
        WHERE h.dataset = 'sentiment'
        UNION ALL
        SELECT a.symbol, a.market, c.dataset, replace(c.dataset, 'expired_', ''), tstzrange(c.starts_at, c.ends_at)
        FROM asked a JOIN coverage c USING (symbol) WHERE c.dataset IN ('expired_ticks', 'expired_bars')
    ), spans AS (
        SELECT c.symbol, c.kind, unnest(tstzmultirange(c.span) - coalesce(h.spans, '{{}}')) AS span
        FROM closed c LEFT JOIN held h USING (market, dataset)
    ), kinds AS (
        SELECT * FROM spans
        UNION ALL SELECT symbol, 'prices', span FROM spans WHERE kind IN ('expired_ticks', 'expired_bars')
    )
    SELECT kind, symbol, lower(span) AS lo, upper(span) AS hi FROM (
        SELECT kind, symbol, unnest(range_agg(span)) AS span FROM kinds GROUP BY 1, 2) AS merged
    ORDER BY kind, symbol, lo
"""


def spans_statement(symbols: Sequence[str], horizons: Mapping[str, datetime] | None = None) -> sql.Composed:
    """The rows (kind, symbol, lo, hi) of `Spans`; `horizons`: instead of those that are stored."""
    stored = statement("SELECT dataset, horizon FROM retention_horizon")
    if horizons is not None:
        stored = statement("VALUES {rows}", rows=values_list([*horizons.items()])) if horizons else _NO_HORIZON
    return statement(
        _SPANS,
        chosen=statement("symbol = ANY({symbols})", symbols=list(symbols)),
        horizons=stored,
        beginning=BEGINNING,
        **{name: _day(at) for name, at in _DAYS.items()},
    )


_NO_HORIZON: Final = statement("SELECT NULL::text, NULL::timestamptz WHERE false")
_DAYS: Final[Mapping[str, LiteralString]] = {
    "day_of_horizon": "h.horizon",
    "day_of_start": "h.starts_at",
    "day_of_end": "h.ends_at",
}


def _day(at: LiteralString) -> sql.Composed:
    return statement(_DAY, at=sql.SQL(at))


def spans_of(connection: Connection, symbols: Sequence[str], horizons: Mapping[str, datetime] | None = None) -> Spans:
    """The spans of some symbols, as a transaction sees them."""
    found: dict[str, dict[str, list[Span]]] = {}
    for kind, symbol, lo, hi in connection.execute(spans_statement(symbols, horizons)):
        found.setdefault(kind, {}).setdefault(symbol, []).append((lo.astimezone(UTC), hi.astimezone(UTC)))
    return found


def is_retained(connection: Connection) -> bool:
    """Whether retention was ever applied to anything."""
    row = connection.execute("SELECT EXISTS (SELECT FROM retention_horizon)").fetchone()
    assert row is not None
    return bool(row[0])


def mark_expired(connection: Connection, dataset: str) -> None:
    """Note of every symbol from when on rows of a dataset that bars are made of expire, up to its horizon."""
    symbols = [row[0] for row in connection.execute("SELECT symbol FROM instruments ORDER BY symbol")]
    below = spans_of(connection, symbols).get(dataset, {})
    rows = [(symbol, lo, hi) for symbol, spans in below.items() for lo, hi in spans]
    connection.execute(
        statement(
            """
            WITH below AS (
                SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS b (symbol, lo, hi)
            ), found AS (
                SELECT b.symbol, min(r.at) AS first, max(b.hi) AS hi FROM below b CROSS JOIN {runs} CROSS JOIN LATERAL (
                    SELECT min(t.timestamp) AS at FROM {table} t WHERE t.symbol = b.symbol COLLATE "C"
                        AND {of_run} AND t.timestamp >= b.lo AND t.timestamp < b.hi) AS r
                WHERE r.at IS NOT NULL GROUP BY 1
            ), dated AS (
                SELECT f.symbol, coalesce(d.lo, f.first) AS lo, f.hi
                FROM found f JOIN instruments m USING (symbol) LEFT JOIN LATERAL ({day}) AS d ON true
            ), wider AS (
                UPDATE coverage c SET starts_at = least(c.starts_at, d.lo), ends_at = greatest(c.ends_at, d.hi)
                FROM dated d WHERE c.symbol = d.symbol AND c.dataset = {kind} RETURNING c.symbol
            )
            INSERT INTO coverage (symbol, dataset, source, starts_at, ends_at, arrived_at)
            SELECT symbol, {kind}, '', lo, hi, clock_timestamp() FROM dated
            WHERE symbol NOT IN (SELECT symbol FROM wider)
            """,
            table=table_name(RAW_TABLES[dataset].name),
            runs=statement(
                "unnest({names}::text[]) AS g (name)", names=list(GRANULARITIES) if dataset == "bars" else [""]
            ),
            of_run=sql.SQL("t.granularity = g.name" if dataset == "bars" else "true"),
            day=_day("f.first"),
            kind=EXPIRING[dataset],
        ),
        [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []],
    )
