"""Cutting a long run of rows into chunks of whole symbol-days that fit in memory.

A first pass over the file counts rows by symbol and day; a second one hands the chunks out. Where the chunks
follow each other in the file (sorted by symbol and time) they are cut from it as it is read, else rows are sorted
into scratch files on the way.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl

from flows.sources.base import LINE

GROUP: Final = ("symbol", "_group")
"""What is never cut apart: a symbol and a day, or its month where nothing asks for whole days."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which chunk each group goes to; `ends`: the chunks' last lines, where they follow each other."""

    groups: pl.DataFrame
    count: int
    ends: tuple[int, ...] | None


def counted(piece: pl.DataFrame) -> pl.DataFrame:
    """Rows, first and last line of each group of a piece (`GROUP` and `line`)."""
    line = pl.col(LINE)
    return piece.group_by(GROUP).agg(rows=pl.len().cast(pl.Int64), first=line.min(), last=line.max())


def planned(counts: Sequence[pl.DataFrame], batch_rows: int) -> Plan:
    """Fill chunks with groups in the order they begin, up to `batch_rows`; a larger group has one to itself."""
    rows, first, last = pl.col("rows").sum(), pl.col("first").min(), pl.col("last").max()
    groups = pl.concat(counts).group_by(GROUP).agg(rows, first, last).sort("first")
    sizes = _sizes(groups["rows"].cum_sum(), batch_rows)
    chunks = groups.with_columns(_numbered(sizes))
    spans = chunks.group_by("chunk").agg(first, last).sort("chunk")
    apart = bool((spans["last"] < spans["first"].shift(-1)).fill_null(value=True).all())
    return Plan(chunks.select(*GROUP, "chunk"), len(sizes), tuple(spans["last"]) if apart else None)


def largest(counts: Sequence[pl.DataFrame]) -> int:
    """Rows of the largest group."""
    return int(pl.concat(counts).group_by(GROUP).agg(pl.col("rows").sum())["rows"].max() or 0)  # type: ignore[arg-type]


def cut(pieces: Iterable[pl.DataFrame], ends: Sequence[int]) -> Iterator[pl.DataFrame]:
    """Chunks that follow each other, as the file is read."""
    held: list[pl.DataFrame] = []
    number = 0
    for piece in pieces:
        rest = piece
        while rest.height and rest[LINE][-1] >= ends[number]:
            yield pl.concat([*held, rest.filter(pl.col(LINE) <= ends[number])])
            rest = rest.filter(pl.col(LINE) > ends[number])
            held = []
            number += 1
        if rest.height:
            held.append(rest)


def sorted_out(pieces: Iterable[pl.DataFrame], plan: Plan, scratch: Path) -> Iterator[pl.DataFrame]:
    """Chunks that lie scattered, by way of files below `scratch`, which are gone afterwards."""
    with TemporaryDirectory(prefix="warmbars-ingest-", dir=scratch) as name:
        home = Path(name)
        for number, piece in enumerate(pieces):
            _scatter(piece.join(plan.groups, on=GROUP, how="left", maintain_order="left"), home, number)
        for chunk in range(plan.count):
            parts = sorted((home / str(chunk)).iterdir())
            yield pl.concat([pl.read_ipc(part) for part in parts])
            for part in parts:
                part.unlink()


def _scatter(piece: pl.DataFrame, home: Path, number: int) -> None:
    for (chunk,), part in piece.partition_by("chunk", as_dict=True, include_key=False).items():
        folder = home / str(chunk)
        folder.mkdir(exist_ok=True)
        part.write_ipc(folder / f"{number:08}.arrow", compression="lz4")


def _sizes(total: pl.Series, batch_rows: int) -> list[int]:
    """How many groups each chunk takes, from the running total of their rows."""
    sizes: list[int] = []
    start = 0
    while start < len(total):
        before = int(total[start - 1]) if start else 0
        fit = int(total.search_sorted(before + batch_rows, side="right"))
        sizes.append(max(fit - start, 1))
        start += sizes[-1]
    return sizes


def _numbered(sizes: Sequence[int]) -> pl.Series:
    """0, 0, 0, 1, 1, 2 of sizes 3, 2, 1."""
    runs = pl.DataFrame({"chunk": range(len(sizes)), "size": sizes}, schema={"chunk": pl.Int32, "size": pl.UInt32})
    return runs.select(pl.col("chunk").repeat_by("size").explode()).to_series()
