"""What `quality` looks like. Pure: everything drawn here is handed in."""

from collections.abc import Iterator, Sequence

import polars as pl
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.chart import FAINT
from flows.page import count
from flows.quality import CorrectionFile, Inspected

SHOWN = 40
"""Findings in the table; the rest is counted."""


def quality_page(found: Inspected, files: Sequence[CorrectionFile], program: str = "warmbars") -> RenderableType:
    """Findings, the most certain first, their totals by rule, and how to accept corrections."""
    parts: list[RenderableType] = [_title(found)]
    if not found.findings.is_empty():
        parts += ["", _findings(found.findings.head(SHOWN)), *_more(found), "", _totals(found.findings)]
    if not found.rejected.is_empty():
        parts += ["", _rejected(found.rejected)]
    parts += list(_accepting(found, files, program))
    return Padding(Group(*parts), (1, 2))


def _title(found: Inspected) -> Text:
    n = found.findings.height
    words = count(n, "finding") if n else "nothing found"
    looked = f" in {count(found.rows, 'daily row')} of {count(found.symbols, 'symbol')}"
    title = Text.assemble((words, "bold"), looked)
    if found.less_certain:
        title.append(f"; {found.less_certain:,} less certain, see --min-confidence", FAINT)
    return title


def _findings(findings: pl.DataFrame) -> Table:
    table = Table(box=None, pad_edge=False, header_style=FAINT)
    for name in ("symbol", "sessions", "rows", "rule", "sure", "why"):
        table.add_column(name, justify="right" if name in ("rows", "sure") else "left", no_wrap=name != "why")
    for row in findings.iter_rows(named=True):
        span = f"{row['first']}" if row["first"] == row["last"] else f"{row['first']} to {row['last']}"
        sure = f"{row['confidence']:.2f}"
        table.add_row(row["symbol"], span, f"{row['rows']:,}", row["rule"], sure, Text(row["reason"]))
    return table


def _more(found: Inspected) -> Iterator[RenderableType]:
    if found.findings.height > SHOWN:
        yield Text(f"and {found.findings.height - SHOWN:,} more; --json has all of them", FAINT)


def _totals(findings: pl.DataFrame) -> Table:
    totals = (
        findings.group_by("rule")
        .agg(n=pl.len(), symbols=pl.col("symbol").n_unique(), correctable=pl.col("correctable").sum())
        .sort("n", "rule", descending=[True, False])
    )
    table = Table(box=None, pad_edge=False, header_style=FAINT)
    for name in ("rule", "findings", "symbols", "with a correction"):
        table.add_column(name, justify="left" if name == "rule" else "right")
    for rule, n, symbols, correctable in totals.iter_rows():
        table.add_row(rule, f"{n:,}", f"{symbols:,}", f"{correctable:,}")
    return table


def _rejected(rejected: pl.DataFrame) -> Text:
    rules = rejected.group_by("rule").agg(pl.col("rows").sum()).sort("rows", "rule", descending=[True, False])
    told = ", ".join(f"{n:,} {rule}" for rule, n in rules.iter_rows())
    return Text(f"set aside when they were ingested, not looked at here: {told}", FAINT)


def _accepting(found: Inspected, files: Sequence[CorrectionFile], program: str) -> Iterator[RenderableType]:
    if files:
        yield ""
        yield "Nothing was changed. Look at the rows; to accept them:"
        for file in files:
            yield Text(f"  {program} ingest {' '.join(file.arguments)}", "cyan")
        yield Text(f"  {program} refresh", "cyan")
    elif found.findings["correctable"].any():
        yield ""
        yield Text("--corrections FILE.parquet writes the rows as they should be, for you to look at", FAINT)
