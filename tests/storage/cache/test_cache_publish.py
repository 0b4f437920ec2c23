"""Publishing: fenced, atomic, only what changed, nothing written by a wrong call; against a real server."""

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import redis

from storage.cache.client import connect
from storage.cache.codec import Body
from storage.cache.entries import Head, Version
from storage.cache.fetch import Fetcher
from storage.cache.keys import Keys
from storage.cache.publisher import CachePublisher, Outcome, PartlyPublished, Publication
from tests.storage.cache.conftest import AS_OF, Server, body, free_port, publication, stored
from transforms.errors import NamespaceTaken, PermanentError, StoreUnavailable

pytestmark = pytest.mark.redis
BIG = 2**53 - 1


def head_of(client: redis.Redis) -> Head:
    head = Fetcher(client, Keys("main")).head("AAPL")
    assert head is not None
    return head


def content_versions(client: redis.Redis) -> dict[str, Version]:
    return {name: listed.version for name, listed in head_of(client).listed.items()}


def send(publisher: CachePublisher, n: int, bodies: dict[str, Body], **how: Any) -> Outcome:
    (outcome,) = publisher.send([publication(n, bodies, **how)])
    return outcome


def test_a_publication_is_all_there(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    quote, bars = body(1), body(2, rows)
    outcome = send(publisher, 17, {"quote": quote, "bars:5m": bars}, epoch=3)
    assert outcome == Outcome("AAPL", "published", 2, 0, 0, Version(3, 17))
    assert client.hgetall("wb:1:main:{AAPL}:bars:5m") == {
        b"body": bars.content,
        b"encoding": b"identity",
        b"type": b"application/json",
        b"etag": bars.etag.encode(),
        b"version": b"3-17",
        b"as_of": b"2024-01-02T21:00:00Z",
        b"run": b"run-17",
    }
    assert client.hgetall("wb:1:main:{AAPL}:head") == {
        b"epoch": b"3",
        b"version": b"17",
        b"as_of": b"2024-01-02T21:00:00Z",
        b"run": b"run-17",
        b"refused": b"0",
        b"quote": f"3-17 {quote.etag}".encode(),
        b"bars:5m": f"3-17 {bars.etag}".encode(),
    }
    assert all(client.ttl(key) == -1 for key in client.scan_iter())


def test_an_older_version_is_refused_and_counted(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    send(publisher, 5, {"bars:1d": body(5, rows)})
    before = stored(client)
    outcome = send(publisher, 4, {"bars:1d": body(4, rows), "quote": body(4)})
    assert outcome == Outcome("AAPL", "refused", 0, 0, 0, Version(1, 5))
    assert head_of(client).refused == 1
    client.hset("wb:1:main:{AAPL}:head", "refused", 0)
    assert stored(client) == before


def test_a_newer_version_wins_and_an_epoch_outranks_any_number(
    client: redis.Redis, publisher: CachePublisher, rows: int
) -> None:
    send(publisher, BIG, {"quote": body(1, rows)})
    assert send(publisher, BIG - 1, {"quote": body(2, rows)}).status == "refused"
    assert send(publisher, 0, {"quote": body(3, rows)}, epoch=2).status == "published"
    assert send(publisher, BIG, {"quote": body(4, rows)}).status == "refused"
    assert send(publisher, BIG - 1, {"quote": body(5)}, epoch=BIG).status == "published"
    assert send(publisher, BIG, {"quote": body(6)}, epoch=BIG).status == "published"
    assert head_of(client).version == (BIG, BIG)
    assert client.hget("wb:1:main:{AAPL}:quote", "body") == body(6).content


def test_an_unchanged_body_keeps_its_content_version(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    same = body(1, rows)
    send(publisher, 1, {"bars:1d": same, "quote": body(1)})
    outcome = send(publisher, 2, {"bars:1d": same, "quote": body(2)})
    assert (outcome.written, outcome.kept) == (1, 1)
    assert content_versions(client) == {"bars:1d": (1, 1), "quote": (1, 2)}
    assert client.hmget("wb:1:main:{AAPL}:bars:1d", "version", "run") == [b"1-1", b"run-1"]
    assert head_of(client).run == "run-2"


def test_keys_no_longer_listed_are_deleted(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    send(publisher, 1, {"bars:1d": body(1, rows), "bars:1h": body(1, rows), "quote": body(1)})
    outcome = send(publisher, 2, {"quote": body(1)})
    assert (outcome.written, outcome.kept, outcome.deleted) == (0, 1, 2)
    assert list(head_of(client).listed) == ["quote"]
    assert set(client.scan_iter()) == {b"wb:1:main:{AAPL}:head", b"wb:1:main:{AAPL}:quote"}
    assert send(publisher, 3, {}).deleted == 1
    assert set(client.scan_iter()) == {b"wb:1:main:{AAPL}:head"}


def test_the_same_version_again_restores_only_what_is_missing(
    client: redis.Redis, publisher: CachePublisher, rows: int
) -> None:
    bodies = {"bars:1d": body(1, rows), "quote": body(1)}
    send(publisher, 1, bodies)
    send(publisher, 2, bodies | {"quote": body(2)})
    complete = {key: client.hgetall(key) for key in client.scan_iter()}
    assert send(publisher, 2, bodies | {"quote": body(2)}).status == "equal"
    client.delete("wb:1:main:{AAPL}:bars:1d")
    outcome = send(publisher, 2, bodies | {"quote": body(9)})
    assert (outcome.status, outcome.written, outcome.kept) == ("restored", 1, 1)
    restored = {key: client.hgetall(key) for key in client.scan_iter()}
    assert restored[b"wb:1:main:{AAPL}:bars:1d"].pop(b"run") == b"run-2"  # who wrote it, at whose content version
    assert complete[b"wb:1:main:{AAPL}:bars:1d"].pop(b"run") == b"run-1"
    assert restored == complete


def test_a_lost_head_is_written_anew(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    send(publisher, 7, {"quote": body(1, rows)})
    complete = stored(client)
    client.delete("wb:1:main:{AAPL}:head")
    assert send(publisher, 7, {"quote": body(1, rows)}).status == "published"
    assert stored(client).keys() == complete.keys()
    assert head_of(client).version == (1, 7)


def test_a_missing_unchanged_body_is_noticed_by_a_newer_version(
    client: redis.Redis, publisher: CachePublisher, rows: int
) -> None:
    bodies = {"bars:1d": body(1, rows), "quote": body(1)}
    send(publisher, 1, bodies)
    client.delete("wb:1:main:{AAPL}:bars:1d")
    assert send(publisher, 2, bodies).written == 1
    assert client.hget("wb:1:main:{AAPL}:bars:1d", "version") == b"1-1"
    assert content_versions(client)["bars:1d"] == (1, 1)


def test_something_else_under_our_name_is_replaced(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    client.set("wb:1:main:{AAPL}:quote", "mine")
    assert send(publisher, 1, {"quote": body(1, rows)}).status == "published"
    assert client.hget("wb:1:main:{AAPL}:quote", "body") == body(1, rows).content


def test_every_publication_is_announced_once(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("wb:1:main:events")
        pubsub.get_message(timeout=1)
        send(publisher, 1, {"quote": body(1), "bars:1d": body(1, rows)}, epoch=BIG)
        send(publisher, 2, {"quote": body(2)}, epoch=BIG)
        send(publisher, 2, {"quote": body(2)}, epoch=BIG)
        send(publisher, 1, {"quote": body(1)}, epoch=BIG)
        events = list(_events(pubsub))
    assert events == [
        {"symbol": "AAPL", "epoch": BIG, "version": 1, "changed": ["quote", "bars:1d"], "deleted": []},
        {"symbol": "AAPL", "epoch": BIG, "version": 2, "changed": ["quote"], "deleted": ["bars:1d"]},
    ]


def _events(pubsub: Any) -> Iterator[Any]:
    while (message := pubsub.get_message(timeout=0.2)) is not None:
        yield json.loads(message["data"])


PREFIX = "wb:1:main:{AAPL}:"
ETAG = "0" * 32
GOOD_HEAD = (9, 9, "2024-01-02T21:00:00Z", "run", "wb:1:main:events")
GOOD_BODY = (ETAG, "identity", "application/json", "new")
WRONG_CALLS: dict[str, tuple[list[str], list[Any]]] = {
    "no keys": ([], [*GOOD_HEAD]),
    "no head": ([f"{PREFIX}quote"], [*GOOD_HEAD]),
    "head without braces": (["wb:1:main:AAPL:head"], [*GOOD_HEAD]),
    "no arguments": ([f"{PREFIX}head"], []),
    "too few arguments": ([f"{PREFIX}head", f"{PREFIX}quote"], [*GOOD_HEAD, *GOOD_BODY[:3]]),
    "too many arguments": ([f"{PREFIX}head"], [*GOOD_HEAD, *GOOD_BODY]),
    "fraction": ([f"{PREFIX}head"], [9.5, *GOOD_HEAD[1:]]),
    "negative": ([f"{PREFIX}head"], [-1, *GOOD_HEAD[1:]]),
    "leading zero": ([f"{PREFIX}head"], ["09", *GOOD_HEAD[1:]]),
    "hexadecimal": ([f"{PREFIX}head"], ["0x9", *GOOD_HEAD[1:]]),
    "exponent": ([f"{PREFIX}head"], ["1e3", *GOOD_HEAD[1:]]),
    "not a number": ([f"{PREFIX}head"], ["nan", *GOOD_HEAD[1:]]),
    "2^53": ([f"{PREFIX}head"], [9, 2**53, *GOOD_HEAD[2:]]),
    "2^53 + 1": ([f"{PREFIX}head"], [9, 2**53 + 1, *GOOD_HEAD[2:]]),
    "local time": ([f"{PREFIX}head"], [9, 9, "2024-01-02T21:00:00", *GOOD_HEAD[3:]]),
    "another symbol's body": ([f"{PREFIX}head", "wb:1:main:{MSFT}:quote"], [*GOOD_HEAD, *GOOD_BODY]),
    "head as a body": ([f"{PREFIX}head", f"{PREFIX}head"], [*GOOD_HEAD, *GOOD_BODY]),
    "a field of head as a body": ([f"{PREFIX}head", f"{PREFIX}epoch"], [*GOOD_HEAD, *GOOD_BODY]),
    "a name that breaks JSON": ([f"{PREFIX}head", f'{PREFIX}a"b'], [*GOOD_HEAD, *GOOD_BODY]),
    "short etag": ([f"{PREFIX}head", f"{PREFIX}quote"], [*GOOD_HEAD, "ab", *GOOD_BODY[1:]]),
    "neither type nor staged": ([f"{PREFIX}head", f"{PREFIX}quote"], [*GOOD_HEAD, ETAG, "", "", ""]),
    "not staged": ([f"{PREFIX}head", f"{PREFIX}quote", f"{PREFIX}quote~"], [*GOOD_HEAD, ETAG, "", "", ""]),
    "staged key of another": ([f"{PREFIX}head", f"{PREFIX}quote", f"{PREFIX}bars:1d~"], [*GOOD_HEAD, ETAG, "", "", ""]),
    "staged key too many": ([f"{PREFIX}head", f"{PREFIX}quote", f"{PREFIX}quote~"], [*GOOD_HEAD, *GOOD_BODY]),
    "second body wrong": (
        [f"{PREFIX}head", f"{PREFIX}quote", f"{PREFIX}bars:1d"],
        [*GOOD_HEAD, *GOOD_BODY, "ab", *GOOD_BODY[1:]],
    ),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_a_wrong_call_changes_nothing(client: redis.Redis, publisher: CachePublisher, case: str) -> None:
    send(publisher, 1, {"quote": body(1), "bars:1d": body(1)})
    before = stored(client)
    names, args = WRONG_CALLS[case]
    with pytest.raises(redis.ResponseError, match="^WBARGS .* nothing was "):
        client.fcall("wb_publish", len(names), *names, *args)
    assert stored(client) == before


def test_a_wrong_call_leaves_no_staged_body(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    send(publisher, 1, {"quote": body(1)})
    before = stored(client)
    wrong = publication(2**53, {"quote": body(2, rows)})
    right = publication(1, {"quote": body(3)}, symbol="MSFT")
    with pytest.raises(PartlyPublished, match=r"publishing AAPL.*below 2\^53") as failure:
        publisher.send([wrong, right])
    assert [outcome.symbol for outcome in failure.value.outcomes] == ["MSFT"]
    after = stored(client)
    assert {key: after[key] for key in before} == before
    assert not [key for key in after if b"~" in key]


def test_a_damaged_head_is_refused_by_name(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    client.hset("wb:1:main:{AAPL}:head", mapping={"epoch": "x", "version": "1"})
    with pytest.raises(PartlyPublished, match=r"damaged, delete it: wb:1:main:\{AAPL\}:head"):
        send(publisher, 1, {"quote": body(1, rows)})
    client.delete("wb:1:main:{AAPL}:head")
    client.set("wb:1:main:{AAPL}:head", "x")
    with pytest.raises(PartlyPublished, match="WRONGTYPE"):
        send(publisher, 1, {"quote": body(1)})
    assert set(client.scan_iter()) == {b"wb:1:main:{AAPL}:head"}


def test_a_time_without_a_zone_is_refused(publisher: CachePublisher) -> None:
    with pytest.raises(PermanentError, match="no time zone"):
        publisher.send([Publication("AAPL", 1, 1, datetime(2024, 1, 2), "run", {})])  # noqa: DTZ001 - on purpose


def test_a_publisher_that_dies_midway_leaves_nothing(client: redis.Redis, server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"MULTI\r\nHSET wb:1:main:{AAPL}:quote~ body x\r\n")
        assert half.recv(100).startswith(b"+OK\r\n")
    assert not list(client.scan_iter())


def test_many_symbols_in_one_call(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    symbols = [f"S{i}" for i in range(50)]
    sizes = {symbol: rows if i % 3 else 1 for i, symbol in enumerate(symbols)}
    many = [publication(i, {"quote": body(i, sizes[s])}, symbol=s) for i, s in enumerate(symbols)]
    outcomes = publisher.send(iter(many))
    assert [outcome.symbol for outcome in outcomes] == symbols
    assert {outcome.status for outcome in outcomes} == {"published"}
    assert publisher.heads([*symbols, "NONE"]) == {s: (1, i) for i, s in enumerate(symbols)} | {"NONE": None}
    assert publisher.count() == 50


def test_a_source_that_fails_midway_does_not_mix_up_answers(publisher: CachePublisher) -> None:
    def failing() -> Iterator[Publication]:
        for i in range(10):
            yield publication(1, {"quote": body(i)}, symbol=f"S{i}")
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError, match="went away"):
        publisher.send(failing())
    assert send(publisher, 1, {"quote": body(1)}, symbol="LAST").symbol == "LAST"
    assert publisher.heads(["LAST"]) == {"LAST": (1, 1)}


def test_concurrent_publishers_never_go_backwards(server: Server, client: redis.Redis, keys: Keys, rows: int) -> None:
    """Four publish all versions in different orders; a reader may see the head and the bodies only rise together."""
    versions, seen, done = range(1, 101), list[tuple[int, list[float]]](), threading.Event()

    def publish(seed: int) -> None:
        with connect(server.url) as own:
            publisher, order = CachePublisher(own, keys), list(versions)
            random.Random(seed).shuffle(order)
            for n in order:
                publisher.send([publication(n, {"quote": body(n), "bars:1d": body(n, rows)})])

    def watch() -> None:
        with connect(server.url) as own:
            fetcher = Fetcher(own, keys)
            while not done.is_set():
                found = fetcher.together("AAPL", ("quote", "bars:1d"))
                if hasattr(found, "head"):
                    values = [json.loads(s.body.content)["columns"]["close"][0] for s in found.stored.values() if s]
                    seen.append((found.head.version.n, values))

    publishers = [threading.Thread(target=publish, args=(seed,)) for seed in range(4)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *publishers):
        thread.start()
    for thread in publishers:
        thread.join()
    done.set()
    watcher.join()
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert all(values == [n, n] for n, values in seen)
    assert head_of(client).version == (1, 100)
    assert client.hget(keys.quote("AAPL"), "body") == body(100).content


def test_checked_moves_forward_only_and_anew_with_a_later_epoch(client: redis.Redis, publisher: CachePublisher) -> None:
    fetcher = Fetcher(client, Keys("main"))
    assert fetcher.checked() is None
    noon, one = AS_OF.replace(hour=12, microsecond=123_457), AS_OF.replace(hour=13)
    assert publisher.set_checked(2, noon)
    assert fetcher.checked() == noon
    assert client.hgetall("wb:1:main:checked") == {b"epoch": b"2", b"moment": b"1704196800123457"}
    assert publisher.set_checked(2, one)
    assert not publisher.set_checked(2, noon)
    assert not publisher.set_checked(1, AS_OF)
    assert fetcher.checked() == one
    assert publisher.set_checked(3, noon)
    assert fetcher.checked() == noon


def test_a_namespace_belongs_to_one_database(client: redis.Redis, publisher: CachePublisher) -> None:
    publisher.claim_namespace("database-1 XNYS")
    publisher.claim_namespace("database-1 XNYS")
    with pytest.raises(NamespaceTaken, match="'main' belongs to database 'database-1 XNYS'.*WARMBARS_NAMESPACE"):
        publisher.claim_namespace("database-2 XNYS")
    with pytest.raises(NamespaceTaken):
        publisher.claim_namespace("database-3 XNYS", replaces="database-2 XNYS")
    publisher.claim_namespace("database-2 XNYS", replaces="database-1 XNYS")
    assert client.get("wb:1:main:owner") == b"database-2 XNYS"


def test_memory_and_count(client: redis.Redis, publisher: CachePublisher) -> None:
    assert publisher.memory().share is None
    client.config_set("maxmemory", "200mb")
    try:
        memory = publisher.memory()
        assert memory.limit == 200 << 20
        assert 0 < memory.used < memory.limit
        assert memory.share == memory.used / memory.limit
    finally:
        client.config_set("maxmemory", "0")
    send(publisher, 1, {"quote": body(1), "bars:1d": body(1)})
    client.set("somebody:else", "x")
    assert publisher.count() == 2


def test_a_full_server_is_reported_and_nothing_is_written(
    client: redis.Redis, publisher: CachePublisher, rows: int
) -> None:
    send(publisher, 1, {"quote": body(1)})
    before = stored(client)
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreUnavailable, match="full; raise its maxmemory"):
            send(publisher, 2, {"quote": body(2, rows)})
    finally:
        client.config_set("maxmemory", "0")
    assert stored(client) == before


@pytest.mark.parametrize(
    ("denied", "size"),
    [("-publish", 1), ("resetchannels", 2500), ("-rename", 2500), ("-hdel", 2500), ("-unlink", 1), ("-hset", 1)],
)
def test_a_user_who_may_not_do_all_of_it_does_nothing(
    server: Server, client: redis.Redis, publisher: CachePublisher, denied: str, size: int
) -> None:
    send(publisher, 1, {"quote": body(1), "bars:1d": body(1)})
    before = stored(client)
    client.execute_command("ACL", "SETUSER", "half", "on", "nopass", "~*", "&*", "+@all", denied)
    try:
        with connect(f"redis://half:x@127.0.0.1:{server.port}/0") as own:
            half = CachePublisher(own, Keys("main"))
            with pytest.raises(PartlyPublished, match="may not"):
                half.send([publication(2, {"quote": body(2, size)})])
    finally:
        client.execute_command("ACL", "DELUSER", "half")
    assert stored(client) == before


def test_nobody_answering_is_a_passing_failure() -> None:
    with connect(f"redis://127.0.0.1:{free_port()}/0") as nobody, pytest.raises(StoreUnavailable):
        CachePublisher(nobody, Keys("main")).send([publication(1, {})])


def test_a_paused_server_is_a_passing_failure(server: Server, client: redis.Redis) -> None:
    with connect(server.url, timeout=0.1) as impatient:
        publisher = CachePublisher(impatient, Keys("main"))
        publisher.send([publication(1, {"quote": body(1)})])
        client.execute_command("CLIENT", "PAUSE", 400, "WRITE")
        with pytest.raises(StoreUnavailable):
            publisher.send([publication(2, {"quote": body(2)})])
        time.sleep(0.5)
        assert publisher.send([publication(2, {"quote": body(2)})])[0].head == (1, 2)


def standing(n: int, bodies: dict[str, Body], names: tuple[str, ...], since: int, epoch: int = 1) -> Publication:
    return Publication("AAPL", epoch, n, AS_OF, f"run-{n}", bodies, names, since)


def test_what_stands_is_left_as_it_is(client: redis.Redis, publisher: CachePublisher, rows: int) -> None:
    send(publisher, 1, {"quote": body(1), "bars:1d": body(1, rows), "bars:5m": body(1)})
    before = client.dump(f"{PREFIX}bars:1d")
    (outcome,) = publisher.send([standing(2, {"quote": body(2)}, ("bars:1d", "forecast"), since=1)])
    assert outcome == Outcome("AAPL", "published", 1, 1, 1, Version(1, 2))
    assert content_versions(client) == {"quote": Version(1, 2), "bars:1d": Version(1, 1)}
    assert client.dump(f"{PREFIX}bars:1d") == before
    assert not client.exists(f"{PREFIX}bars:5m", f"{PREFIX}forecast")


@pytest.mark.parametrize(("since", "epoch"), [(1, 1), (3, 1), (2, 2)])
def test_what_stood_at_another_version_is_lacking(
    client: redis.Redis, publisher: CachePublisher, rows: int, since: int, epoch: int
) -> None:
    send(publisher, 1, {"quote": body(1), "bars:1d": body(1)})
    send(publisher, 2, {"quote": body(2), "bars:1d": body(2)})
    before = stored(client)
    (outcome,) = publisher.send([standing(4, {"quote": body(4, rows)}, ("bars:1d",), since, epoch)])
    assert outcome == Outcome("AAPL", "lacking", 0, 0, 0, Version(1, 2))
    assert stored(client) == before


def test_a_body_that_should_stand_and_is_gone_is_lacking(client: redis.Redis, publisher: CachePublisher) -> None:
    send(publisher, 1, {"quote": body(1), "bars:1d": body(1)})
    client.delete(f"{PREFIX}bars:1d")
    before = stored(client)
    (outcome,) = publisher.send([standing(2, {"quote": body(2)}, ("bars:1d",), since=1)])
    assert outcome.status == "lacking"
    assert stored(client) == before


def test_nothing_stands_where_nothing_was_published(client: redis.Redis, publisher: CachePublisher) -> None:
    (outcome,) = publisher.send([standing(2, {"quote": body(2)}, ("bars:1d",), since=1)])
    assert outcome.status == "lacking"
    assert stored(client) == {}
