"""All the real data through the whole pipeline, once a session, in servers of its own."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows import steps
from flows.wiring import Deps, wire
from storage.settings import Settings
from tests.acceptance.market import RANK, build


@pytest.fixture(scope="session")
def real_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """As many rolling rows as other rows: messages end more than 250 sessions before the bars."""
    return Settings(home=tmp_path_factory.mktemp("real") / "home", source_rank=RANK, published_rolling=500)


@pytest.fixture(scope="session")
def real(shared: Path, real_settings: Settings) -> Iterator[Deps]:
    """A store that has ingested every file of the shared folder and published what follows."""
    with wire(real_settings) as deps:
        report = steps.run(deps, build(deps, shared), datetime.now(UTC))
        assert report.ingested.failures == []
        yield deps
