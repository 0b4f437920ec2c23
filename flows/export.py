"""Frames to a file, one after the other: Parquet or CSV, whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import polars as pl

from transforms.errors import PermanentError

Write = Callable[[pl.DataFrame], None]
FORMATS = (".parquet", ".csv")


@contextmanager
def exported(path: Path) -> Iterator[Write]:
    """Write frames of one schema to a file, its format told by its name.

    They go to a file beside it that takes its name at the end. If it ends early, by an error or Ctrl-C, what stood
    under the name before still does, and nothing else is left. Without a frame there is no file.
    """
    if path.suffix not in FORMATS:
        raise PermanentError(f"{path.name}: write to a file called .parquet or .csv, or to - (CSV on stdout)")
    if not path.parent.is_dir():
        raise PermanentError(f"there is no directory {path.parent} to write {path.name} to")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with ExitStack() as stack:
            yield _parquet(partial, stack) if path.suffix == ".parquet" else _csv_file(partial, stack)
        if partial.exists():
            partial.replace(path)
    except OSError as exc:
        raise PermanentError(f"{path} cannot be written: {exc}") from exc
    finally:
        partial.unlink(missing_ok=True)


def csv_to(stream: BinaryIO) -> Write:
    """CSV with one header line, however many frames."""
    first = True

    def write(frame: pl.DataFrame) -> None:
        nonlocal first
        frame.write_csv(stream, include_header=first, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
        first = False

    return write


def _csv_file(path: Path, stack: ExitStack) -> Write:
    return csv_to(stack.enter_context(path.open("wb")))


def _parquet(path: Path, stack: ExitStack) -> Write:
    """A row group a frame, so that a reader of some symbols skips the others."""
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None

    def write(frame: pl.DataFrame) -> None:
        nonlocal writer
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if writer is None:
            writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
        writer.write_table(table)

    return write
