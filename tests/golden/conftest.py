"""Sessions of the exchange the real data comes from."""

from datetime import date

import polars as pl
import pytest

from transforms.sessions import calendar_sessions


@pytest.fixture(scope="session")
def nyse() -> pl.DataFrame:
    return calendar_sessions("XNYS", date(1998, 1, 1), date(2024, 1, 1))
