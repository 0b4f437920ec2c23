"""Rows that are right and still not let in: below the retention horizon, or of a symbol that has another name now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
from psycopg import sql

from storage.market.database import Connection, copy_in
from storage.market.horizons import PRICED, Span, is_retained, spans_of
from storage.market.merge import Window
from transforms.schema import UTC_US, Dataset

Rejecter = Callable[[Dataset, pl.DataFrame, pl.Series], pl.DataFrame]
"""Dataset, rows with their `line`, and the rule each fails: line, rule, dataset, symbol, row."""

BELOW, RENAMED = "below_retention", "renamed_symbol"
_SPAN: Final = {"symbol": pl.String(), "_lo": UTC_US, "_hi": UTC_US}


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that rows come from: the digest of its bytes and its name. `room`: most refused rows that are kept.

    Without a digest, each refused row is told apart by its own content.
    """

    digest: str = ""
    name: str = ""
    room: int = 10_000

    def of(self, rejected: pl.DataFrame) -> pl.DataFrame:
        """Rejected rows with their origin, as many as there is room for."""
        content = pl.concat_str("dataset", "row").hash(seed=0).cast(pl.String)
        digest = pl.lit(self.digest) if self.digest else content
        return rejected.head(self.room).select(
            digest.alias("digest"), pl.lit(self.name).alias("origin"), *rejected.columns
        )


@dataclass(frozen=True, slots=True)
class Sieved:
    """Rows that are let in, those refused with the `rule` they fail and their `line`, and what a user is told of it.

    `window`: the part of a replaced window that is open.
    """

    frame: pl.DataFrame
    window: Window | None
    refused: pl.DataFrame
    notes: tuple[str, ...] = ()


def sieve(connection: Connection, dataset: Dataset, frame: pl.DataFrame, window: Window | None) -> Sieved:
    """Tell the rows that are let in from those that are refused; to be called under the raw lock of their symbols."""
    symbols = frame["symbol"].unique().to_list()
    renamed = _renamed(connection, symbols)
    spans: Mapping[str, list[Span]] = {}
    if dataset != "actions" and is_retained(connection):
        spans = closed_to(dataset, connection, symbols)
    bare = frame.drop("line", strict=False)
    if not renamed and not spans:
        return Sieved(bare, window, frame.clear())
    if window is not None:
        window = _open_part(window, spans.get(frame["symbol"][0], []))
    rule = _rules(frame, renamed, spans, window)
    lined = frame if "line" in frame.columns else frame.with_row_index("line", offset=1)
    refused = lined.with_columns(rule=rule).filter(rule.is_not_null())
    return Sieved(bare.filter(rule.is_null()), window, refused, tuple(_notes(dataset, refused, renamed, spans)))


def closed_to(dataset: str, connection: Connection, symbols: list[str]) -> dict[str, list[Span]]:
    """Where rows of a dataset are not let in: below its horizon and, of prices, where either kind has expired."""
    found = spans_of(connection, symbols)
    kinds = (dataset, "prices") if dataset in PRICED else (dataset,)
    return {
        symbol: spans for symbol in symbols if (spans := [s for k in kinds for s in found.get(k, {}).get(symbol, [])])
    }


def reject(connection: Connection, rejected: pl.DataFrame, run_id: int) -> int:
    """Store rejected rows once each, in order of their key; how many were new."""
    if rejected.is_empty():
        return 0
    connection.execute("CREATE TEMP TABLE refused (LIKE rejected_rows INCLUDING DEFAULTS) ON COMMIT DROP")
    copy_in(connection, sql.Identifier("refused"), rejected.with_columns(run_id=pl.lit(run_id, dtype=pl.Int64)))
    inserted = connection.execute(
        "INSERT INTO rejected_rows SELECT * FROM refused ORDER BY digest, line, rule ON CONFLICT DO NOTHING"
    )
    return inserted.rowcount


def _renamed(connection: Connection, symbols: list[str]) -> dict[str, str]:
    rows = connection.execute(
        "SELECT symbol, renamed_to FROM instruments WHERE symbol = ANY(%s) AND renamed_to IS NOT NULL", [symbols]
    )
    return dict(rows.fetchall())


def _open_part(window: Window, spans: list[Span]) -> Window:
    """What of a replaced window is open: from the last closed stretch in it on. Nothing when it reaches the end."""
    closed = [hi for lo, hi in spans if lo < window.end and hi > window.start]
    start = min(max(closed, default=window.start), window.end)
    return Window(window.source, max(start, window.start), window.end)


def _rules(
    frame: pl.DataFrame, renamed: Mapping[str, str], spans: Mapping[str, list[Span]], window: Window | None
) -> pl.Series:
    """The rule that each row fails; null for none."""
    below = pl.Series(values=[False], dtype=pl.Boolean).new_from_index(0, frame.height)
    if spans:
        flat = [(symbol, *span) for symbol, some in spans.items() for span in some]
        closed = pl.DataFrame(flat, schema=_SPAN, orient="row")
        met = (
            frame.select("symbol", "timestamp")
            .with_row_index("_row")
            .lazy()
            .join(closed.lazy(), on="symbol")
            .filter((pl.col("timestamp") >= pl.col("_lo")) & (pl.col("timestamp") < pl.col("_hi")))
            .select("_row")
            .unique()
            .collect()
        )
        below = frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).is_in(met["_row"].implode())).to_series()
        if window is not None:
            below = below | (frame["timestamp"] < window.start)
    return frame.select(
        pl.when(pl.col("symbol").is_in([*renamed])).then(pl.lit(RENAMED)).when(below).then(pl.lit(BELOW))
    ).to_series()


def _notes(
    dataset: Dataset, refused: pl.DataFrame, renamed: Mapping[str, str], spans: Mapping[str, list[Span]]
) -> list[str]:
    """What a user is told of the rows that were refused."""
    notes = [
        f"rows of {old} were set aside: it was renamed to {new}. Name them {new}, or let {old} be a symbol of its own"
        f" again with: warmbars symbol reopen {old}"
        for old, new in sorted(renamed.items())
    ]
    below = refused.filter(pl.col("rule") == BELOW)
    if not below.is_empty():
        until: datetime = max(hi for symbol in below["symbol"].unique() for _, hi in spans[symbol])
        notes.append(
            f"rows were set aside: {dataset} before {until:%Y-%m-%d %H:%M} UTC have expired (to bring whole days back:"
            " warmbars retention hold --help)"
        )
    return notes
