"""Every measure of the pipeline runs at toy size, and the floors do the work that ours does."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from psycopg import sql

from benchmarks.bench import Bench, Place
from benchmarks.data import TOY, market_data, tiled
from benchmarks.harness import run
from benchmarks.suites.pipeline import measures
from benchmarks.whole import WholeRun
from transforms.errors import ConfigurationError


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(Place.at(tmp_path_factory.mktemp("benchmarks")), TOY) as made:
        yield made


def silent(_: str) -> None:
    pass


@pytest.mark.postgres
@pytest.mark.redis
def test_every_measure_runs(bench: Bench) -> None:
    results = [run(measure, 1, silent) for measure in measures(bench)]
    names = ["ingest of ticks", "publish, 8 KB bodies", "publish, usual bodies", "whole run", "memory"]
    assert [r.measure for r in results] == names
    assert all(r.ours > 0 and r.reference > 0 and r.details for r in results)
    assert all(r.about for r in results)


@pytest.mark.postgres
@pytest.mark.redis
def test_the_floors_derive_what_ours_derives(bench: Bench) -> None:
    measure = WholeRun(bench)
    measure.setup()
    try:
        for table, floor in measure.derived.items():
            names = [sql.Identifier(name) for name in floor.columns if name != "run_id"]
            query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(names), sql.Identifier("warmbars", table))
            ours = bench.deps.database.frame(query)
            assert not ours.is_empty() or table == "adjustment_factors"
            assert_frame_equal(ours, floor.drop("run_id"), check_row_order=False, rel_tol=1e-9, abs_tol=1e-9)
    finally:
        measure.teardown()


def test_ticks_are_laid_end_to_end_on_sessions(tmp_path: Path) -> None:
    week = Path(market_data(tmp_path, TOY).files["ticks"].path or "")
    once, thrice = (pl.read_parquet(tiled(week, n, tmp_path / f"{n}.parquet")) for n in (1, 3))
    assert_frame_equal(once, pl.read_parquet(week))
    assert thrice.height == 3 * once.height
    days = thrice["timestamp"].dt.date().unique().sort()
    assert (len(days), days[-1]) == (15, once["timestamp"].dt.date().max())
    assert (days.dt.weekday() <= 5).all()
    of_day = pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.time().alias("of_day")
    assert thrice.select(of_day).to_series().n_unique() == once.select(of_day).to_series().n_unique()


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(ConfigurationError, match="not made by the benchmarks"):
        Place.at(tmp_path)
    assert Place.at(tmp_path / "new") == Place.at(tmp_path / "new")
