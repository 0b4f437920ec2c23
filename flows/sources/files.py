"""Files as a source: Parquet and CSV, one or many, of any size."""

import glob
import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from flows.sources.base import Batch, Failure, Markets, Origin
from flows.sources.reader import FileReader, Job
from flows.sources.tables import ENDINGS, readable
from storage.settings import SourceSettings
from transforms.errors import PermanentError, UnreadableSource


class FileSource:
    """The files of one configured source, in the order of their paths."""

    def __init__(self, name: str, settings: SourceSettings, markets: Markets) -> None:
        """`name` is the source of rows that name none."""
        self.name = name
        self._settings = settings
        self._markets = markets

    def batches(self, as_of: datetime, batch_rows: int, scratch: Path) -> Iterator[Batch | Failure]:
        """Batches of one file after the other; a file that cannot be read (further) gives a `Failure`."""
        place = self._settings.path or ""
        try:
            found = find_files(place)
        except PermanentError as exc:
            yield Failure(Origin(place, ""), exc)
            return
        job = Job(self.name, self._settings, self._markets, several=len(found) > 1)
        for shown, path in found:
            origin = Origin(shown, "")
            try:
                with readable(path):
                    origin = Origin(shown, _digest(path))
                    yield from FileReader(path, origin, job).batches(batch_rows, scratch)
            except PermanentError as exc:
                yield Failure(origin, exc)


def find_files(place: str) -> list[tuple[str, Path]]:
    """Files a path, a directory (with those below it) or a glob names, each with its name as seen from there."""
    path = Path(place).expanduser()
    if path.is_file():
        return [(path.name, path)]
    if path.is_dir():
        found = [f for f in sorted(path.rglob("*")) if f.is_file() and f.name.lower().endswith(ENDINGS)]
        if not found:
            raise UnreadableSource(f"{place}: no files ending in {', '.join(ENDINGS)} in this directory")
        return [(str(f.relative_to(path)), f) for f in found]
    if glob.has_magic(place):
        named = [Path(f) for f in sorted(glob.glob(str(path), recursive=True)) if Path(f).is_file()]
        if not named:
            raise UnreadableSource(f"{place}: no file matches")
        return [(f.name if len({n.name for n in named}) == len(named) else str(f), f) for f in named]
    raise UnreadableSource(f"{place}: no such file or directory")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
