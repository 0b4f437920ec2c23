"""A cache server that comes back with less than it had: readers see that much, the sweep repairs it, versions go on."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from flows import steps
from flows.wiring import Deps, wire
from storage.cache.client import connect
from storage.cache.sweeper import server_identity, to_republish
from storage.settings import Settings
from tests.acceptance.projection import Content, differing, projection
from tests.flows.test_refresh import EVENING, replace
from tests.flows.watch import Watch
from tests.storage.cache.conftest import Server, free_port, start_server
from tests.storage.market.rows import ticks
from tests.storage.servers import until

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "everysec")


@dataclass
class Machine:
    """A Redis-protocol server of the test's own, which writes what it is told to a file."""

    place: Path
    server: Server

    def kill(self) -> None:
        self.server.process.kill()
        self.server.process.wait(10)

    def start_again(self) -> None:
        self.server = start_server(self.place, *PERSISTENT, port=self.server.port)

    @property
    def file(self) -> Path:
        """Where the newest writes are appended."""
        (found,) = (self.place / "appendonlydir").glob("*.incr.aof")
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Start a server; none is left behind."""
    started: list[Machine] = []

    def start(name: str, *options: str) -> Machine:
        place = tmp_path / name
        place.mkdir()
        started.append(Machine(place, start_server(place, *PERSISTENT, *options)))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def primary(machine: Callable[..., Machine]) -> Machine:
    return machine("primary")


@pytest.fixture
def store(settings: Settings, primary: Machine) -> Iterator[Deps]:
    """The embedded database, and the test's own cache."""
    with wire(settings.model_copy(update={"redis_url": SecretStr(primary.server.url)})) as deps:
        yield deps


def change(deps: Deps, price: float) -> None:
    """A change of the raw rows, up to the keys."""
    replace(deps, ticks(80, price=price))
    steps.refresh(deps, EVENING)
    steps.publish(deps, EVENING)


def highest(deps: Deps) -> tuple[str, float]:
    """Where the newest daily high is read, and what it is."""
    found = deps.reader().bars("AAA", "1d")
    return found.origin, found.value["high"].item()


def repaired(deps: Deps, expected: Content, watch: Watch) -> None:
    """The sweep finds what is lower or missing; then everything is as before, and a change makes a newer version."""
    versions = deps.outbox.versions()
    assert deps.outbox.pending() == []  # the database knows of nothing to send
    assert set(to_republish(deps.client, deps.keys, versions)) == set(versions)
    assert steps.sweep(deps).symbols == len(versions)
    assert deps.cache.heads(list(versions)) == versions
    assert differing(projection(deps), expected) == []
    watch.look()
    assert steps.sweep(deps).symbols == 0
    change(deps, 70.0)
    watch.look()
    assert highest(deps) == ("cache", 70.79)
    assert all(version > versions[symbol] for symbol, version in deps.outbox.versions().items())


def test_a_replica_that_was_behind_is_promoted(store: Deps, primary: Machine, machine: Callable[..., Machine]) -> None:
    replica = machine("replica", "--replicaof", "127.0.0.1", str(primary.server.port))
    change(store, 20.0)
    with connect(replica.server.url) as there:
        until(lambda: there.info("replication")["master_link_status"] == "up")
        assert store.client.wait(1, 5000) == 1
        there.replicaof("127.0.0.1", str(free_port()))  # the network between them is cut
        change(store, 30.0)
        expected, watch, before = projection(store), Watch(store), server_identity(store.client)
        watch.look()
        primary.kill()
        there.replicaof("NO", "ONE")
        there.config_set("port", primary.server.port)  # the address moves to the replica
    after = server_identity(store.client)
    assert after.run_id != before.run_id
    assert after.replication_id != before.replication_id
    assert highest(store) == ("cache", 20.79)  # older, whole, and until the next sweep
    repaired(store, expected, watch)


def test_a_server_that_lost_its_last_second(store: Deps, primary: Machine) -> None:
    change(store, 20.0)
    synced = primary.file.stat().st_size
    change(store, 30.0)
    expected, watch, before = projection(store), Watch(store), server_identity(store.client)
    watch.look()
    primary.kill()
    with primary.file.open("r+b") as file:
        file.truncate(synced + 500)  # in the middle of a command, as a loss of power leaves it
    primary.start_again()
    assert server_identity(store.client).run_id != before.run_id
    assert highest(store) == ("cache", 20.79)
    repaired(store, expected, watch)


def test_a_server_that_lost_everything(store: Deps, primary: Machine) -> None:
    change(store, 30.0)
    expected, watch = projection(store), Watch(store)
    watch.look()
    primary.kill()
    shutil.rmtree(primary.place / "appendonlydir")
    primary.start_again()
    assert to_republish(store.client, store.keys, store.outbox.versions()) == list(store.outbox.versions())
    assert highest(store) == ("database", 30.79)
    assert highest(store) == ("cache", 30.79)  # a read filled it, with the functions
    store.client.flushall()
    repaired(store, expected, watch)


def test_a_publisher_that_was_refused_by_what_is_lost_now_is_repaired_too(store: Deps, primary: Machine) -> None:
    """An older version that reaches a server after it lost the newer one stays until the sweep, and no longer."""
    change(store, 20.0)
    (old,) = store.loader.load_many(["AAA"])
    change(store, 30.0)
    expected = projection(store)
    assert [outcome.status for outcome in store.cache.send([old])] == ["refused"]
    primary.kill()
    shutil.rmtree(primary.place / "appendonlydir")
    primary.start_again()
    assert [outcome.status for outcome in store.cache.send([old])] == ["published"]
    assert highest(store) == ("cache", 20.79)
    repaired(store, expected, Watch(store))
