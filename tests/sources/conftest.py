"""What the tests of the sources share: calendars without a database, files to write, batches to read."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows.sources import REFUSED, Batch, Failure, FileSource, Markets
from storage.settings import SourceSettings

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
TOLERANCE = timedelta(minutes=5)


@dataclass
class Reading:
    """What came of a source: batches and failures as they came, good and rejected rows together."""

    batches: list[Batch] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    good: pl.DataFrame = field(default_factory=pl.DataFrame)
    rejected: pl.DataFrame = field(default_factory=REFUSED.to_frame)

    @property
    def reasons(self) -> dict[int, str]:
        """Rule of each rejected line."""
        return dict(self.rejected.sort("line").select("line", "rule").rows())

    @property
    def error(self) -> str:
        """The text of the only failure."""
        (failure,) = self.failures
        return str(failure.error)


Read = Callable[..., Reading]
Write = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def markets() -> Markets:
    """New York unless a symbol says otherwise: T. Tokyo, L. London, C. never closed."""
    ends = {"T": "XTKS", "L": "XLON", "C": "24/7"}
    exchanges = Markets.from_calendars("XNYS", {}, date(2005, 1, 1))
    return Markets(
        "XNYS",
        lambda symbol: ends.get(symbol.rpartition(".")[2]) if "." in symbol else None,
        exchanges.sessions_of,
        exchanges.time_zone_of,
    )


@pytest.fixture
def read(markets: Markets, tmp_path: Path) -> Read:
    """Read a path (a file, directory or glob) as a source called `vendor`."""

    def run(path: Path | str, batch_rows: int = 1_000_000, **settings: object) -> Reading:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        source = FileSource("vendor", SourceSettings.model_validate({"path": str(path), **settings}), markets)
        found = Reading()
        for item in source.batches(AS_OF, batch_rows, scratch):
            if isinstance(item, Failure):
                found.failures.append(item)
                continue
            good, rejected = item.checked(AS_OF, TOLERANCE)
            found.batches.append(item)
            found.good = pl.concat([found.good, good]) if found.good.width else good
            found.rejected = pl.concat([found.rejected, rejected])
        assert list(scratch.iterdir()) == []
        return found

    return run


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write text to a file below the test's directory; compressed when its name says so."""

    def run(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        body = text.encode()
        path.write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
        return path

    return run
