"""Real servers for the tests: one embedded pair a session, emptied before each test that uses it."""

import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest

from flows.wiring import Addresses, Deps, initialise, wire
from storage.embedded import Servers, embedded
from storage.market.tables import metadata
from storage.settings import Settings

_numbers = itertools.count()


hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.register_profile("random", deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("WARMBARS_TEST_EXAMPLES", "steady"))
"""`make test` draws the same examples every time: it fails for a change and not by luck. `make soak` draws anew."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled kernels apart by their sources: numba looks for changes only in a kernel's own file."""
    kernels = sorted(Path(__file__).parents[1].glob("transforms/kernels/*.py"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in kernels)).hexdigest()[:16]
    os.environ.setdefault("NUMBA_CACHE_DIR", str(config.rootpath / ".pytest_cache" / f"kernels-{digest}"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real market data and of reference values, which are no part of the project."""
    place = Path(os.environ.get("WARMBARS_SHARED", Path(__file__).parents[2] / "shared"))
    if not (place / "data").is_dir():
        pytest.skip(f"needs the shared market data; there is none in {place} (set WARMBARS_SHARED)")
    return place


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """An embedded PostgreSQL and Valkey, with the schema in place."""
    home = tmp_path_factory.mktemp("servers") / "home"
    with embedded(home) as pair:
        settings = Settings(home=home)
        initialise(settings, Addresses(pair.database_url, pair.owner_url, pair.redis_url))
        yield pair


@pytest.fixture
def empty(servers: Servers) -> Servers:
    """The pair with nothing in its tables."""
    truncate(servers)
    return servers


def truncate(servers: Servers, *also_kept: str) -> None:
    """Empty every table but those of the calendars, which hold nothing of ours."""
    kept = {"markets", "sessions", *also_kept}
    tables = ", ".join(f"{table.schema}.{table.name}" for table in metadata.sorted_tables if table.name not in kept)
    with psycopg.connect(servers.owner_url) as connection:
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")


@pytest.fixture
def settings(empty: Servers) -> Settings:
    """Settings for the embedded pair, with a cache namespace of their own."""
    return Settings(home=empty.home, namespace=f"test{next(_numbers)}")


@pytest.fixture
def deps(settings: Settings) -> Iterator[Deps]:
    """Everything connected, nothing stored."""
    with wire(settings) as wired:
        yield wired
