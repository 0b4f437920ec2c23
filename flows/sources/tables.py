"""Parquet and CSV files as a run of small frames, so that a file larger than memory is never held."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol, cast

import polars as pl

from flows.sources.base import LINE
from flows.sources.columns import FILE_NAME
from flows.sources.parse import EXTRA
from transforms.errors import UnreadableSource

PIECE_ROWS: Final = 200_000
"""Rows of a Parquet file read at a time."""
BLOCK_BYTES: Final = 1 << 23
"""Text of a CSV file read at a time."""
PARQUET_ENDINGS: Final = (".parquet", ".pq")
CSV_ENDINGS: Final = (".csv", ".csv.gz")
ENDINGS: Final = (*PARQUET_ENDINGS, *CSV_ENDINGS)

_PARQUET_MARK: Final = b"PAR1"
_GZIP_MARK: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_SEPARATORS: Final = ",;\t|"
_ABSENT: Final = ("", "null", "NULL", "None", "NA", "N/A", "-")


class Table(Protocol):
    """A file of rows under these column names."""

    names: tuple[str, ...]

    def types(self, columns: Mapping[str, str]) -> dict[str, pl.DataType]:
        """Types of our columns (ours = theirs) as the file has them."""
        ...

    def pieces(self, columns: Mapping[str, str]) -> Iterator[pl.DataFrame]:
        """`line` and our columns (ours = theirs), untouched, in file order."""
        ...


def open_table(path: Path) -> Table:
    """The reader of a file, by its ending; raises `UnreadableSource` unless its first bytes agree."""
    name = path.name.lower()
    with readable(path):
        with path.open("rb") as file:
            start = file.read(4)
        if not start:
            raise UnreadableSource(f"{path}: the file is empty")
        if name.endswith(PARQUET_ENDINGS):
            if start != _PARQUET_MARK:
                raise UnreadableSource(f"{path}: not a Parquet file, its first bytes are {start!r}")
            return ParquetTable(path)
        if not name.endswith(CSV_ENDINGS):
            raise UnreadableSource(f"{path}: unknown ending; known are {', '.join(ENDINGS)}")
        if (start[:2] == _GZIP_MARK) != name.endswith(".gz"):
            is_or_not = "is not" if name.endswith(".gz") else "is"
            raise UnreadableSource(f"{path}: {is_or_not} compressed by gzip, against its ending")
        if start == _PARQUET_MARK:
            raise UnreadableSource(f"{path}: holds Parquet, not CSV; rename it to {path.stem}.parquet")
        return CsvTable(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What goes wrong inside is the file's fault, and is said with its name."""
    try:
        yield
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeError) as exc:
        raise UnreadableSource(f"{path}: {exc}") from exc
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as exc:  # Polars panics over some corrupt files
        raise UnreadableSource(f"{path}: {str(exc).splitlines()[0]}") from exc


def file_stem(path: Path) -> str:
    """The file's name without the endings of `ENDINGS`: AAPL of AAPL.csv.gz, BRK.B of BRK.B.csv."""
    name = path.name
    ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)]


class ParquetTable:
    """A Parquet file, read by slices of rows."""

    def __init__(self, path: Path) -> None:
        """Read the schema and the number of rows, not the rows."""
        self._path = path
        self._scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        self._schema = self._scan.collect_schema()
        self.names = tuple(self._schema)
        self._rows = int(self._scan.select(pl.len()).collect().item())

    def types(self, columns: Mapping[str, str]) -> dict[str, pl.DataType]:
        """Types of our columns as the file has them; the file's name is text."""
        return {ours: self._schema.get(theirs, pl.String()) for ours, theirs in columns.items()}

    def pieces(self, columns: Mapping[str, str]) -> Iterator[pl.DataFrame]:
        """Slices of `PIECE_ROWS` rows."""
        wanted = self._scan.select(_renamed(columns, self._path))
        for start in range(0, self._rows, PIECE_ROWS):
            piece = wanted.slice(start, PIECE_ROWS).collect()
            numbers = pl.int_range(start + 1, start + piece.height + 1, dtype=pl.Int64, eager=True)
            yield piece.select(numbers.alias(LINE), *columns)


class CsvTable:
    """A CSV file, plain or gzip: every cell text, read by blocks of whole rows.

    UTF-8 with or without mark; commas, semicolons, tabs or bars; either line end. A row that is longer than
    the header shows in `EXTRA`.
    """

    def __init__(self, path: Path) -> None:
        """Read the header."""
        self._path = path
        with self._open() as file:
            header = _decoded(file.readline().removeprefix(_BOM), path).strip("\r\n")
        self._separator = max(_SEPARATORS, key=header.count)
        cells = next(csv.reader([header], delimiter=self._separator), [])
        self.names = tuple(_unique([cell.strip() for cell in cells]))
        if not any(self.names):
            raise UnreadableSource(f"{path}: its first line names no columns")

    def types(self, columns: Mapping[str, str]) -> dict[str, pl.DataType]:
        """All text."""
        return {ours: pl.String() for ours in columns}

    def pieces(self, columns: Mapping[str, str]) -> Iterator[pl.DataFrame]:
        """Blocks of about `BLOCK_BYTES`."""
        line = 1
        for block in self._blocks():
            piece = self._scanned(block).select(*_renamed(columns, self._path), EXTRA).collect()
            numbers = pl.int_range(line, line + piece.height, dtype=pl.Int64, eager=True)
            line += piece.height
            yield piece.select(numbers.alias(LINE), *(_cleaned(piece[c]) for c in columns), EXTRA)

    def _open(self) -> IO[bytes]:
        gzipped = self._path.name.lower().endswith(".gz")
        return cast(IO[bytes], gzip.open(self._path, "rb")) if gzipped else self._path.open("rb")

    def _blocks(self) -> Iterator[bytes]:
        """The file after its header, cut between rows: at line ends outside quotes."""
        with self._open() as file:
            file.readline()
            rest = b""
            while chunk := file.read(BLOCK_BYTES):
                rest += chunk
                cut = _last_row_end(rest)
                if cut:
                    yield rest[:cut]
                    rest = rest[cut:]
            if rest:
                yield rest

    def _scanned(self, block: bytes) -> pl.LazyFrame:
        return pl.scan_csv(
            block,
            has_header=False,
            separator=self._separator,
            schema=dict.fromkeys((*self.names, EXTRA), pl.String),
            missing_columns="insert",
            truncate_ragged_lines=True,
            encoding="utf8-lossy",
        )


def _renamed(columns: Mapping[str, str], path: Path) -> list[pl.Expr]:
    return [
        (pl.lit(file_stem(path)) if theirs == FILE_NAME else pl.col(theirs)).alias(ours)
        for ours, theirs in columns.items()
    ]


def _cleaned(cells: pl.Series) -> pl.Series:
    """Cells without the blanks around them; the usual words for nothing are null."""
    padded = cells.str.starts_with(" ") | cells.str.ends_with(" ")
    if padded.any():
        cells = cells.str.strip_chars()
    absent = cells.is_in(_ABSENT)
    return cells.set(absent, None) if absent.any() else cells


def _last_row_end(text: bytes) -> int:
    """How much of `text` is whole rows: up to the last line end with an even number of quotes before it."""
    cut = text.rfind(b"\n") + 1
    while cut and text.count(b'"', 0, cut) % 2:
        cut = text.rfind(b"\n", 0, cut - 1) + 1
    return cut


def _decoded(header: bytes, path: Path) -> str:
    if b"\0" in header:
        raise UnreadableSource(f"{path}: not text in UTF-8 (UTF-16 perhaps?)")
    return header.decode("utf-8", errors="replace")


def _unique(names: list[str]) -> list[str]:
    """Names that occur again get their number: close, close_2."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    counted = dict.fromkeys(seen, 0)
    unique = []
    for name in names:
        counted[name] += 1
        unique.append(name if counted[name] == 1 else f"{name}_{counted[name]}")
    return unique
