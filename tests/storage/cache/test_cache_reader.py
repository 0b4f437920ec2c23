"""Reads: from the cache in one round trip, from the database only where the cache has no answer."""

import logging
import threading
from collections.abc import Iterator
from datetime import date, datetime, timedelta

import polars as pl
import pytest
import redis
from polars.testing import assert_frame_equal

from storage.cache.client import connect
from storage.cache.codec import Body, encode
from storage.cache.errors import CorruptEntry, TornRead
from storage.cache.freshness import Freshness, Traded
from storage.cache.keys import Keys
from storage.cache.library import ensure_library
from storage.cache.publisher import CachePublisher, Publication
from storage.cache.reader import Reader
from storage.settings import Settings
from tests.storage.cache.conftest import AS_OF, Server, body, frame, free_port, publication
from transforms.errors import StoreUnavailable, UnknownSymbol

pytestmark = pytest.mark.redis

SOFT_TTL = Settings().soft_ttl_seconds
NOW = AS_OF + timedelta(hours=1)
BODIES = {"quote": body(1), "bars:5m": body(2), "bars:1d": body(3, 2500)}


class CountingLoader:
    """A database: what it has, and how often it was asked."""

    def __init__(self, *publications: Publication) -> None:
        self.publications = {publication.symbol: publication for publication in publications}
        self.asked: list[str] = []

    def load(self, symbol: str) -> Publication | None:
        self.asked.append(symbol)
        return self.publications.get(symbol)


def freshness(now: datetime = NOW) -> Freshness:
    return Freshness(SOFT_TTL, now=lambda: now)


def reader(client: redis.Redis, loader: CountingLoader | None = None, now: datetime = NOW) -> Reader:
    return Reader(client, Keys("main"), freshness(now), loader)


@pytest.fixture
def nobody() -> Iterator[redis.Redis]:
    with connect(f"redis://127.0.0.1:{free_port()}/0", timeout=0.5) as client:
        yield client


def test_every_typed_read_finds_its_key(client: redis.Redis, publisher: CachePublisher) -> None:
    names = ["quote", "bars:5m", "indicators:1h", "sentiment:current", "sentiment:1h", "sentiment:1d", "correlation"]
    names += ["forecast", "correlation:rolling"]
    bodies = {name: body(i) for i, name in enumerate(names)} | {"forecast": forecast_of(NOW.date(), 7)}
    publisher.send([publication(1, bodies)])
    market = {"quotes": body(10), "catalogue": body(11), "correlations": body(12), "matrix": body(13)}
    publisher.send([publication(1, market, symbol="@market")])
    read = reader(client)
    found = [
        read.quote("AAPL"),
        read.bars("AAPL", "5m"),
        read.indicators("AAPL", "1h"),
        read.sentiment_current("AAPL"),
        read.sentiment_history("AAPL", "1h"),
        read.sentiment_history("AAPL", "1d"),
        read.correlations("AAPL"),
        read.forecast("AAPL"),
        read.rolling_correlations("AAPL"),
        read.quotes(),
        read.catalogue(),
        read.findings(),
        read.matrix(),
    ]
    assert [cached.value["close"][0] for cached in found] == [*range(9), *range(10, 14)]


def test_a_value_comes_with_what_is_known_about_it(client: redis.Redis, publisher: CachePublisher) -> None:
    publisher.send([publication(1, BODIES)])
    publisher.set_checked(1, NOW)
    later = AS_OF + timedelta(minutes=5)
    publisher.send([Publication("AAPL", 1, 2, later, "run-2", BODIES | {"quote": body(9)})])
    loader = CountingLoader()
    bars, quote = reader(client, loader).bars("AAPL", "1d"), reader(client, loader).quote("AAPL")
    assert_frame_equal(bars.value, frame(3, 2500))
    assert (bars.version, quote.version) == ((1, 1), (1, 2))  # of the content
    assert (bars.as_of, quote.as_of) == (later, later)  # unchanged is as good as new
    assert (bars.etag, bars.stale, bars.origin) == (BODIES["bars:1d"].etag, False, "cache")
    assert loader.asked == []


def test_a_key_the_publication_did_not_have_is_empty_and_asks_nobody(
    client: redis.Redis, publisher: CachePublisher
) -> None:
    publisher.send([publication(4, {"quote": body(1)})])
    loader = CountingLoader(publication(9, BODIES))
    found = reader(client, loader).bars("AAPL", "1d")
    assert found.value.schema.names() == ["timestamp", "session", "open", "high", "low", "close", "volume"]
    assert (found.value.height, found.version, found.as_of, found.origin) == (0, (1, 4), AS_OF, "cache")
    assert reader(client, loader).bars("AAPL", "5m").value.schema.names() == [
        *("timestamp", "open", "high", "low", "close", "volume")
    ]
    assert reader(client, loader).correlations("AAPL").value.is_empty()
    assert loader.asked == []


def test_a_symbol_never_published_is_loaded_once_and_filled(client: redis.Redis, keys: Keys) -> None:
    loader = CountingLoader(publication(3, BODIES))
    first = reader(client, loader).bars("AAPL", "5m")
    assert (first.origin, first.version, first.as_of) == ("database", (1, 3), AS_OF)
    assert_frame_equal(first.value, frame(2))
    second = reader(client, loader).bars("AAPL", "1d")
    assert (second.origin, second.version) == ("cache", (1, 3))
    assert loader.asked == ["AAPL"]
    assert CachePublisher(client, keys).heads(["AAPL"]) == {"AAPL": (1, 3)}


def test_a_lost_body_is_loaded_and_restored(client: redis.Redis, publisher: CachePublisher, keys: Keys) -> None:
    publisher.send([publication(3, BODIES)])
    client.delete(keys.bars("AAPL", "1d"))
    loader = CountingLoader(publication(3, BODIES))
    assert reader(client, loader).bars("AAPL", "1d").origin == "database"
    assert reader(client, loader).bars("AAPL", "1d").origin == "cache"
    assert loader.asked == ["AAPL"]


def test_without_a_loader_the_reader_says_what_to_do(
    client: redis.Redis, publisher: CachePublisher, keys: Keys
) -> None:
    with pytest.raises(UnknownSymbol, match="never published for AAPL in namespace 'main'; ingest|nothing was ever"):
        reader(client).quote("AAPL")
    publisher.send([publication(1, BODIES)])
    client.delete(keys.quote("AAPL"))
    with pytest.raises(StoreUnavailable, match="a key of AAPL was lost.*next sweep"):
        reader(client).quote("AAPL")


def test_a_symbol_nobody_has_is_unknown(client: redis.Redis) -> None:
    with pytest.raises(UnknownSymbol, match="NOPE"):
        reader(client, CountingLoader()).quote("NOPE")
    assert not list(client.scan_iter())


def test_a_fill_that_comes_too_late_is_not_served(client: redis.Redis, publisher: CachePublisher) -> None:
    """While the database was read, somebody published a newer version: the reader takes that."""

    class Overtaken(CountingLoader):
        def load(self, symbol: str) -> Publication | None:
            publisher.send([publication(8, {"quote": body(8)})])
            return super().load(symbol)

    found = reader(client, Overtaken(publication(3, BODIES))).quote("AAPL")
    assert (found.value["close"][0], found.version, found.origin) == (8, (1, 8), "cache")


def test_a_database_behind_the_cache_still_answers_for_a_lost_body(
    client: redis.Redis, publisher: CachePublisher, keys: Keys
) -> None:
    publisher.send([publication(8, BODIES)])
    client.delete(keys.quote("AAPL"))
    found = reader(client, CountingLoader(publication(3, BODIES))).quote("AAPL")
    assert (found.version, found.origin) == ((1, 3), "database")


def test_a_reader_who_may_not_write_still_answers(
    server: Server, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    ensure_library(client)
    client.execute_command(
        "ACL", "SETUSER", "looker", "on", "nopass", "~*", "&*", "+@read", "+@connection", "+function|list", "+fcall"
    )
    try:
        with connect(f"redis://looker:x@127.0.0.1:{server.port}/0") as own:
            found = reader(own, CountingLoader(publication(3, BODIES))).quote("AAPL")
    finally:
        client.execute_command("ACL", "DELUSER", "looker")
    assert (found.value["close"][0], found.origin) == (1, "database")
    assert "AAPL could not be filled" in caplog.text
    assert not list(client.scan_iter())


def test_a_cache_out_of_reach_is_a_logged_detour(nobody: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    loader = CountingLoader(publication(3, BODIES))
    found = reader(nobody, loader).bars("AAPL", "5m")
    assert (found.value["close"][0], found.version, found.origin) == (2, (1, 3), "database")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the cache does not answer" in caplog.text
    together = reader(nobody, loader).snapshot("AAPL")
    assert {name: cached.origin for name, cached in together.values.items()} == dict.fromkeys(BODIES, "database")


def test_a_cache_out_of_reach_without_a_loader_is_a_passing_failure(nobody: redis.Redis) -> None:
    with pytest.raises(StoreUnavailable):
        reader(nobody).quote("AAPL")
    with pytest.raises(StoreUnavailable):
        reader(nobody).snapshot("AAPL")


@pytest.mark.parametrize(
    ("field", "value"),
    [("body", b"\x00"), ("body", None), ("etag", None), ("version", b"x"), ("as_of", b"soon"), ("encoding", b"zstd")],
)
def test_a_damaged_body_is_named(
    client: redis.Redis, publisher: CachePublisher, keys: Keys, field: str, value: bytes | None
) -> None:
    publisher.send([publication(1, BODIES)])
    if value is None:
        client.hdel(keys.quote("AAPL"), field)
    else:
        client.hset(keys.quote("AAPL"), field, value)
    with pytest.raises(CorruptEntry, match=r"wb:1:main:\{AAPL\}:quote.*delete this key"):
        reader(client, CountingLoader()).quote("AAPL")


def test_foreign_keys_under_our_names_are_named(client: redis.Redis, publisher: CachePublisher, keys: Keys) -> None:
    publisher.send([publication(1, BODIES)])
    client.delete(keys.quote("AAPL"))
    client.set(keys.quote("AAPL"), "mine")
    for call in (reader(client).quote, reader(client).snapshot):
        with pytest.raises(CorruptEntry, match=r"wb:1:main:\{AAPL\}:quote: it is not a hash"):
            call("AAPL")
    client.hset(keys.head("AAPL"), "bars:5m", "nonsense")
    with pytest.raises(CorruptEntry, match=r"wb:1:main:\{AAPL\}:head"):
        reader(client).bars("AAPL", "5m")
    client.hset(keys.checked(), "moment", "noon")
    with pytest.raises(CorruptEntry, match="wb:1:main:checked"):
        reader(client).bars("AAPL", "1d")


def open_all_night(symbol: str, start: datetime, end: datetime) -> bool:
    return True


def closed(symbol: str, start: datetime, end: datetime) -> bool:
    assert start < end
    return False


@pytest.mark.parametrize(
    ("name", "age", "traded", "stale"),
    [
        ("quote", 60, open_all_night, False),
        ("quote", 61, open_all_night, True),
        ("quote", 61, closed, False),
        ("bars:5m", 300, open_all_night, False),
        ("bars:5m", 301, open_all_night, True),
        ("indicators:5m", 301, open_all_night, True),
        ("sentiment:current", 181, open_all_night, True),
        ("sentiment:1d", 599, open_all_night, False),
        ("correlation", 1799, open_all_night, False),
        ("correlation", 1801, open_all_night, True),
        ("quote", -60, open_all_night, False),
        ("quote", -61, closed, True),
        ("quote", None, closed, True),
    ],
)
def test_a_value_is_stale_when_the_last_check_is_too_old(
    name: str, age: int | None, traded: object, stale: bool
) -> None:
    rule = Freshness(SOFT_TTL, traded, lambda: NOW)  # type: ignore[arg-type]
    checked = None if age is None else NOW - timedelta(seconds=age)
    assert rule.stale("AAPL", name, checked) is stale


def forecast_of(session: date, value: float = 0) -> Body:
    return encode(frame(value).with_columns(session=pl.lit(session)))


@pytest.mark.parametrize(
    ("later", "traded", "stale"),
    [
        (timedelta(hours=2), open_all_night, False),
        (timedelta(days=1), open_all_night, True),
        (timedelta(days=1), closed, False),
    ],
)
def test_a_forecast_is_stale_once_the_market_has_traded_after_its_session(
    client: redis.Redis, publisher: CachePublisher, keys: Keys, later: timedelta, traded: Traded, stale: bool
) -> None:
    """However well everything was checked: no check speaks of forecasts."""
    publisher.send([publication(1, {"forecast": forecast_of(NOW.date()), "quote": body(1)})])
    publisher.set_checked(1, NOW + later)
    read = Reader(client, keys, Freshness(SOFT_TTL, traded, lambda: NOW + later))
    assert read.forecast("AAPL").stale is stale
    assert read.snapshot("AAPL").values["forecast"].stale is stale
    assert not read.quote("AAPL").stale
    filled = CountingLoader(publication(1, {"forecast": forecast_of(NOW.date())}, symbol="MSFT"))
    client.delete(keys.head("MSFT"))
    loading = Reader(client, keys, Freshness(SOFT_TTL, traded, lambda: NOW + later), filled)
    assert (loading.forecast("MSFT").stale, filled.asked) == (stale, ["MSFT"])


def test_staleness_follows_the_check_not_the_publication(client: redis.Redis, publisher: CachePublisher) -> None:
    publisher.send([publication(1, BODIES)])
    assert reader(client).quote("AAPL").stale
    publisher.set_checked(1, NOW - timedelta(seconds=61))
    assert reader(client).quote("AAPL").stale
    assert not reader(client).bars("AAPL", "5m").stale
    publisher.set_checked(1, NOW)
    assert not reader(client).quote("AAPL").stale
    assert not reader(client).snapshot("AAPL", "quote").values["quote"].stale


def test_a_snapshot_holds_what_belongs_together(client: redis.Redis, publisher: CachePublisher) -> None:
    publisher.send([publication(1, BODIES)])
    publisher.send([publication(2, BODIES | {"quote": body(7)})])
    together = reader(client).snapshot("AAPL", "quote", "bars:1d", "correlation")
    assert (together.version, together.as_of) == ((1, 2), AS_OF)
    assert together.values["quote"].value["close"][0] == 7
    assert {name: cached.version.n for name, cached in together.values.items()} == {
        "quote": 2,
        "bars:1d": 1,
        "correlation": 2,
    }
    assert together.values["correlation"].value.is_empty()
    assert set(reader(client).snapshot("AAPL").values) == set(BODIES)


def test_a_snapshot_is_one_transaction_and_a_read_one_round_trip(
    client: redis.Redis, publisher: CachePublisher
) -> None:
    publisher.send([publication(1, BODIES)])
    client.config_resetstat()
    reader(client).snapshot("AAPL", "quote", "bars:1d")
    calls = {name: stats["calls"] for name, stats in client.info("commandstats").items()}
    assert (calls["cmdstat_multi"], calls["cmdstat_exec"], calls["cmdstat_hmget"]) == (1, 1, 2)
    client.config_resetstat()
    reader(client).bars("AAPL", "5m")
    calls = {name: stats["calls"] for name, stats in client.info("commandstats").items()}
    assert (calls["cmdstat_hmget"], calls["cmdstat_hget"]) == (2, 1)
    assert "cmdstat_multi" not in calls


def test_a_snapshot_of_something_lost_is_loaded_whole(
    client: redis.Redis, publisher: CachePublisher, keys: Keys
) -> None:
    loader = CountingLoader(publication(1, BODIES))
    assert reader(client, loader).snapshot("AAPL", "quote").values["quote"].origin == "database"
    client.delete(keys.bars("AAPL", "5m"))
    assert reader(client, loader).snapshot("AAPL").values["quote"].origin == "database"
    assert reader(client, loader).snapshot("AAPL").values["quote"].origin == "cache"
    assert loader.asked == ["AAPL", "AAPL"]


def of_version(n: int) -> dict[str, Body]:
    return {"quote": body(n), "bars:1d": body(n, 2500), "bars:5m": body(n // 3)}


def tears(server: Server, publish: threading.Thread, least: int) -> tuple[int, int]:
    """Consistent reads while `publish` runs: how many were whole, how many torn."""
    whole, torn = 0, 0
    with connect(server.url) as own:
        read = reader(own)
        publish.start()
        while publish.is_alive() or whole + torn < least:
            try:
                together = read.snapshot("AAPL")
            except TornRead:
                torn += 1
                continue
            whole += 1
            n = together.version.n
            values = {name: cached.value["close"][0] for name, cached in together.values.items()}
            assert values == {"quote": n, "bars:1d": n, "bars:5m": n // 3}
    publish.join()
    return whole, torn


def test_a_snapshot_is_never_torn_while_publishing(server: Server, client: redis.Redis, keys: Keys) -> None:
    publisher = CachePublisher(client, keys)
    publisher.send([publication(0, of_version(0))])

    def publish() -> None:
        publisher.send(publication(n, of_version(n)) for n in range(1, 200))

    whole, torn = tears(server, threading.Thread(target=publish), least=30)
    assert torn == 0
    assert whole >= 30


def test_a_torn_writer_is_caught_by_the_same_check(server: Server, client: redis.Redis, keys: Keys) -> None:
    """The same bodies, put in place one by one and the head last."""
    CachePublisher(client, keys).send([publication(0, of_version(0))])

    def publish() -> None:
        for n in range(1, 60):
            changed = {name: its for name, its in of_version(n).items() if its != of_version(n - 1)[name]}
            for name, its in changed.items():
                fields = {"body": its.content, "etag": its.etag, "version": f"1-{n}"}
                client.hset(keys.of("AAPL", name), mapping=fields)
            listed = {name: f"1-{n} {its.etag}" for name, its in changed.items()}
            client.hset(keys.head("AAPL"), mapping={"version": str(n), **listed})

    whole, torn = tears(server, threading.Thread(target=publish), least=30)
    assert torn > 0
    assert whole > 0


def test_an_empty_frame_is_published_as_such(client: redis.Redis, publisher: CachePublisher) -> None:
    publisher.send([publication(1, {"bars:5m": encode(frame(1).clear())})])
    assert_frame_equal(reader(client).bars("AAPL", "5m").value, pl.DataFrame(schema=frame(1).schema))
