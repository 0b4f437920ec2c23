"""The real market data as configured sources, one a file, with each file's quirks said."""

from datetime import UTC, datetime
from pathlib import Path

from flows.sources import Source
from flows.sources_of import sources_of
from flows.wiring import Deps
from storage.settings import SourceSettings


def sources(shared: Path) -> dict[str, SourceSettings]:
    """How each file of the shared folder is read; `dirty_daily.parquet` is for the quality rules, not for ingest."""

    def parquet(name: str, **settings: object) -> SourceSettings:
        return SourceSettings.model_validate({"path": str(shared / "data" / f"{name}.parquet"), **settings})

    return {
        "lean": parquet("ticks", dataset="ticks"),
        "minutes": parquet("minute_bars", dataset="bars", granularity="1m"),
        "lean_hours": parquet("hour_bars", dataset="bars", granularity="1h", label="start"),
        "stocknet": parquet("daily", dataset="bars", granularity="1d", price_basis="split"),
        "quandl_wiki": parquet("daily_adjusted", dataset="bars", granularity="1d"),
        "twitter": parquet("sentiment", dataset="sentiment"),
        "actions": parquet("corporate_actions", dataset="actions"),
    }


RANK = ("lean", "quandl_wiki", "stocknet", "reactstockcharts_splithistory", "lean_factor_file")
"""Explicit splits before those derived from factors, raw vendor prices before adjusted ones."""


def build(deps: Deps, shared: Path) -> list[Source]:
    """The sources, ready to be ingested."""
    return sources_of(deps, sources(shared).items(), datetime.now(UTC))
