"""Sessions of the exchange the real data comes from."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.golden.sheets import spy
from transforms.calendars import calendar_sessions


@pytest.fixture(scope="session")
def nyse() -> pl.DataFrame:
    return calendar_sessions("XNYS", date(1998, 1, 1), date(2024, 1, 1))


@pytest.fixture(scope="session")
def sheet(shared: Path) -> pl.DataFrame:
    """Two years of SPY and the columns that Excel computed from them."""
    return spy(shared)
