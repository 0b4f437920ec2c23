"""The server-side functions: loaded when missing or older, reloaded when lost, refused by old servers with reason."""

import hashlib
import time
from pathlib import Path

import pytest
import redis

from storage.cache.client import connect
from storage.cache.freshness import Freshness
from storage.cache.keys import Keys
from storage.cache.library import CODE, VERSION, ensure_library, library_version
from storage.cache.publisher import CachePublisher, Publication
from storage.cache.reader import Reader
from storage.cache.sweeper import to_republish
from storage.settings import Settings
from tests.storage.cache.conftest import AS_OF, Server, body, free_port, publication, start_server
from transforms.errors import ConfigurationError

pytestmark = pytest.mark.redis

DIGESTS = {
    1: "a089434318b1f3c57dff2e0be2ea0593e9e94a120fdd2fbdf47b463afdaca857",
    2: "4e85826f80be4ea05519e756e331e902a7da00918cb18947946edc6a916331ef",
}


def test_a_change_of_the_library_raises_its_version() -> None:
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert DIGESTS.get(VERSION) == digest, f"library.lua changed: raise its version, then add {digest} here"


def installed(client: redis.Redis) -> str:
    ((_, library),) = [("warmbars", entry) for entry in client.function_list("warmbars", withcode=True)]
    return dict(library)[b"library_code"].decode()


def test_it_is_loaded_once(client: redis.Redis) -> None:
    assert ensure_library(client)
    assert not ensure_library(client)
    assert installed(client) == CODE


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace(f"version {VERSION}:", "version 0:"),
        CODE.replace("-- version", "-- no version"),
        CODE + "-- edited\n",
    ],
    ids=["older", "unversioned", "edited"],
)
def test_an_older_or_edited_library_is_replaced(client: redis.Redis, other: str) -> None:
    client.function_load(other)
    assert ensure_library(client)
    assert installed(client) == CODE


def test_a_later_library_is_left_alone(client: redis.Redis) -> None:
    later = CODE.replace(f"version {VERSION}:", f"version {VERSION + 1}:")
    assert library_version(later) == VERSION + 1
    client.function_load(later)
    assert not ensure_library(client)
    assert installed(client) == later


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.usefixtures("client")
def test_either_protocol(server: Server, protocol: int) -> None:
    with redis.Redis.from_url(server.url, protocol=protocol) as other:
        assert ensure_library(other)
        assert not ensure_library(other)
        assert CachePublisher(other, Keys("main")).send([publication(1, {"quote": body(1, 2500)})])[0].written == 1


def test_a_publisher_survives_the_loss_of_the_library(
    client: redis.Redis, publisher: CachePublisher, rows: int
) -> None:
    publisher.send([publication(1, {"quote": body(1, rows)})])
    client.flushall()
    client.function_flush()
    many = [Publication(f"S{i}", 1, 2, AS_OF, "run", {"quote": body(i, rows)}) for i in range(7)]
    assert [outcome.status for outcome in publisher.send(many)] == ["published"] * 7
    assert publisher.send(many)[3].symbol == "S3"
    client.function_flush()
    assert publisher.set_checked(1, AS_OF)
    client.function_flush()
    publisher.claim_namespace("database-1")


def test_a_server_without_functions_is_told_so(tmp_path: Path) -> None:
    old = start_server(tmp_path, "--rename-command", "FUNCTION", "")
    try:
        with connect(old.url) as client, pytest.raises(ConfigurationError, match="has no functions; use Redis 7"):
            CachePublisher(client, Keys("main")).send([publication(1, {})])
    finally:
        old.stop()


def test_a_publication_stays_in_one_slot_of_a_cluster(tmp_path: Path) -> None:
    """A node of a cluster refuses calls across slots, and functions that touch keys of another."""
    node = start_server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        with connect(node.url) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                time.sleep(0.01)
            publisher = CachePublisher(client, Keys("main"))
            publisher.send([publication(1, {"quote": body(1), "bars:1d": body(1, 2500), "bars:1h": body(1)})])
            (outcome,) = publisher.send([publication(2, {"quote": body(2), "bars:1d": body(2, 2500)})])
            assert (outcome.written, outcome.deleted) == (2, 1)
            reader = Reader(client, Keys("main"), Freshness(Settings().soft_ttl_seconds))
            assert reader.snapshot("AAPL").values["bars:1d"].value["close"][0] == 2
            client.delete("wb:1:main:{AAPL}:quote")
            assert to_republish(client, Keys("main"), {"AAPL": (1, 2)}) == ["AAPL"]
    finally:
        node.stop()
