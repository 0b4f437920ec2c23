"""A run killed at any moment leaves a state from which the next run finishes."""

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import psycopg
import pytest

from flows import steps
from flows.sources import Source
from flows.sources_of import sources_of
from flows.wiring import Deps, wire
from storage.embedded import Servers
from storage.settings import Settings, SourceSettings
from tests.acceptance.projection import projection
from tests.conftest import truncate

pytestmark = [pytest.mark.data, pytest.mark.postgres, pytest.mark.redis]
ROOT = Path(__file__).parents[2]
RUN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from flows import steps
from flows.wiring import wire
from tests.acceptance.test_kill import sources, settings_for
home, data, namespace = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
with wire(settings_for(home, namespace)) as deps:
    print("ready", flush=True)
    steps.run(deps, sources(deps, data), datetime.now(UTC))
    print("finished", flush=True)
"""


def settings_for(home: Path, namespace: str) -> Settings:
    return Settings(home=home, namespace=namespace, refresh_batch_rows=20_000, refresh_batch_symbols=2)


def sources(deps: Deps, data: Path) -> list[Source]:
    """Parts of the real data, small enough to be ingested many times."""
    files = {
        "ticks": SourceSettings(path=str(data / "ticks.parquet"), dataset="ticks"),
        "daily": SourceSettings(
            path=str(data / "daily.parquet"), dataset="bars", granularity="1d", price_basis="split"
        ),
        "twitter": SourceSettings(path=str(data / "sentiment.parquet"), dataset="sentiment"),
        "actions": SourceSettings(path=str(data / "actions.parquet"), dataset="actions"),
    }
    return sources_of(deps, files.items(), datetime.now(UTC))


@pytest.fixture(scope="module")
def data(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("parts")
    few = pl.col("symbol").is_in(["IBM", "AAPL", "BAC", "FB"])
    ticks = pl.scan_parquet(shared / "data" / "ticks.parquet").filter(pl.col("symbol") == "IBM")
    ticks.sink_parquet(place / "ticks.parquet")
    for name, file in {"daily": "daily", "sentiment": "sentiment", "actions": "corporate_actions"}.items():
        pl.scan_parquet(shared / "data" / f"{file}.parquet").filter(few).sink_parquet(place / f"{name}.parquet")
    return place


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.soak)])
def test_killed_at_any_moment_the_content_is_that_of_an_undisturbed_run(
    empty: Servers, settings: Settings, data: Path, kills: int
) -> None:
    """Each kill strikes an empty store at a random moment; the run after it must make up for it."""
    _finished(settings, data)  # the first of a process is slower
    truncate(empty)
    calm = settings.model_copy(update={"namespace": f"{settings.namespace}-calm"})
    expected, seconds = _finished(calm, data)
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    interrupted = 0
    for number in range(kills):
        truncate(empty)
        strike = settings.model_copy(update={"namespace": f"{settings.namespace}-{number}"})
        after = draw.uniform(0, seconds)
        interrupted += _killed(strike, data, after)
        _wait_for_the_dead(empty)
        content, _ = _finished(strike, data)
        differing = sorted(name for name in {*content, *expected} if content.get(name) != expected.get(name))
        assert differing == [], f"killed {after:.3f} s after its start (seed {seed})"
    assert interrupted >= kills // 2


def _finished(settings: Settings, data: Path) -> tuple[dict[str, object], float]:
    """The content after a run, and how long the run took."""
    with wire(settings_for(settings.home, settings.namespace)) as deps:
        started = time.perf_counter()
        steps.run(deps, sources(deps, data), datetime.now(UTC))
        return projection(deps), time.perf_counter() - started


def _killed(settings: Settings, data: Path, after: float) -> bool:
    """Start a run in a process of its own and kill it; whether it was still at work."""
    command = [sys.executable, "-c", RUN, str(settings.home), str(data), settings.namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        return "finished" not in process.stdout.read()


def _wait_for_the_dead(servers: Servers) -> None:
    """Wait until the server has noticed that the killed client is gone."""
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'wb_app' AND pid <> pg_backend_pid()"
        while (left := connection.execute(query).fetchone()) is not None and left[0]:
            time.sleep(0.02)
