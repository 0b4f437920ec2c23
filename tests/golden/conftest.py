"""Others' market data and reference values; see the README of the shared folder."""

import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from transforms.sessions import calendar_sessions


@pytest.fixture(scope="session")
def shared() -> Path:
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("WARMBARS_SHARED", beside))
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared market data in {folder}; name the folder with WARMBARS_SHARED")
    return folder


@pytest.fixture(scope="session")
def nyse() -> pl.DataFrame:
    return calendar_sessions("XNYS", date(1998, 1, 1), date(2024, 1, 1))
