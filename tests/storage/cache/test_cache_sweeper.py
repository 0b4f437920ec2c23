"""What the cache lost is found: heads, bodies, whole servers."""

from pathlib import Path

import pytest
import redis

from storage.cache.client import connect
from storage.cache.keys import Keys
from storage.cache.publisher import CachePublisher
from storage.cache.sweeper import lost_bodies, missing_or_lower, server_identity, to_republish, unknown
from tests.storage.cache.conftest import AS_OF, body, publication, start_server

pytestmark = pytest.mark.redis


def test_lower_and_missing_heads_are_found_and_newer_ones_left() -> None:
    heads = {"A": (1, 5), "B": (1, 4), "C": None, "D": (2, 0), "E": (1, 9)}
    expected = {"A": (1, 5), "B": (1, 5), "C": (1, 1), "D": (1, 9), "E": (2, 0), "F": (1, 1)}
    assert missing_or_lower(heads, expected) == ["B", "C", "E", "F"]


def test_lost_bodies_are_found(client: redis.Redis, publisher: CachePublisher, keys: Keys) -> None:
    bodies = {"quote": body(1), "bars:1d": body(1)}
    symbols = [f"S{i:03}" for i in range(600)]
    publisher.send(publication(1, bodies, symbol=symbol) for symbol in symbols)
    publisher.send([publication(2, {}, symbol="S004")])
    assert lost_bodies(client, keys, [*symbols, "NEVER"]) == []
    client.delete(keys.quote("S003"), keys.bars("S599", "1d"), keys.head("S100"))
    assert lost_bodies(client, keys, symbols) == ["S003", "S599"]
    expected = dict.fromkeys(symbols, (1, 1)) | {"S200": (1, 2)}
    assert to_republish(client, keys, expected) == ["S003", "S100", "S200", "S599"]


def test_symbols_that_the_database_does_not_know_are_found(
    client: redis.Redis, publisher: CachePublisher, keys: Keys
) -> None:
    """Only those that have keys left, and nobody else's."""
    publisher.send(publication(1, {"quote": body(1)}, symbol=symbol) for symbol in ("KNOWN", "LEFT", "EMPTIED"))
    publisher.send([publication(2, {}, symbol="EMPTIED")])
    CachePublisher(client, Keys("another")).send([publication(1, {"quote": body(1)}, symbol="THEIRS")])
    assert unknown(client, keys, {"KNOWN": (1, 1)}) == {"LEFT": AS_OF}


def test_publishing_what_a_sweep_found_repairs_it(client: redis.Redis, publisher: CachePublisher, keys: Keys) -> None:
    publisher.send([publication(1, {"quote": body(1), "bars:1d": body(1)})])
    client.delete(keys.quote("AAPL"))
    expected = {"AAPL": (1, 1)}
    assert to_republish(client, keys, expected) == ["AAPL"]
    publisher.send([publication(1, {"quote": body(1), "bars:1d": body(1)})])
    assert to_republish(client, keys, expected) == []


def test_a_restarted_server_is_noticed(tmp_path: Path, keys: Keys) -> None:
    first = start_server(tmp_path)
    try:
        with connect(first.url) as client:
            publisher = CachePublisher(client, keys)
            publisher.send([publication(1, {"quote": body(1)})])
            before = server_identity(client)
            assert server_identity(client) == before
            first.stop()
            second = start_server(tmp_path, port=first.port)
            try:
                assert server_identity(client).run_id != before.run_id
                assert to_republish(client, keys, {"AAPL": (1, 1)}) == ["AAPL"]
                assert publisher.send([publication(1, {"quote": body(1)})])[0].status == "published"
            finally:
                second.stop()
    finally:
        first.process.kill()
        first.process.wait()
