"""A real PostgreSQL and a real Redis-protocol server in a data directory, shared by the programs that use it.

    with embedded(Path(".warmbars")) as servers:
        psycopg.connect(servers.database_url)

The first user starts them, later ones join, and soon after the last one is gone, however it went, they stop:
each user holds a lock that the kernel takes back. `up` keeps them without users until `down`. Their owner is
a supervisor that is nobody's child (storage/embedded/supervisor.py). For the directory see storage/embedded/home.py.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from storage.embedded.home import MAXMEMORY, Home, Phase, State, is_held, tail, take
from transforms.errors import ServerFailed

Report = Callable[[str], None]
_POLL_SECONDS = 0.005
_SETTLED_SECONDS = 0.3


@dataclass(frozen=True, slots=True, repr=False)
class Servers:
    """Addresses of a running pair. Its repr masks the passwords; the URLs themselves hold them."""

    database_url: str  # wb_app
    owner_url: str  # wb_owner: migrations
    reader_url: str  # wb_reader
    prefect_url: str  # wb_prefect, in SQLAlchemy's asyncpg form as Prefect wants it
    redis_url: str  # wb_app
    redis_reader_url: str  # wb_reader
    home: Path
    supervisor_pid: int
    postgres_pid: int
    redis_pid: int

    def __repr__(self) -> str:
        shown = ((field.name, getattr(self, field.name)) for field in fields(self))
        return f"Servers({', '.join(f'{name}={masked(str(value))}' for name, value in shown)})"


@contextmanager
def embedded(home: Path, *, report: Report | None = None, maxmemory: str = MAXMEMORY) -> Iterator[Servers]:
    """Start or join the pair of `home` and hold it; `report` is told of each step of a start.

    `maxmemory` (as Valkey writes it: "256mb") counts when the pair is started, not when it is joined.
    A child forked inside the block holds the pair too, until it ends.
    """
    place = Home.at(home).create()
    user = _join(place)
    try:
        yield _servers(place, _ready(place, report or _silent, maxmemory))
    finally:
        os.close(user)  # not LOCK_UN, which would also unlock what a forked child still holds


def up(home: Path, *, report: Report | None = None, maxmemory: str = MAXMEMORY) -> Servers:
    """Start or join the pair and have it stay, until `down`."""
    with embedded(home, report=report, maxmemory=maxmemory) as servers:
        Home.at(home).marker.touch(mode=0o600)
        return servers


def down(home: Path) -> bool:
    """Undo `up` and wait for the pair to stop; False when others still use it, and so keep it for a while."""
    place = Home.at(home)
    if not place.path.exists():
        return True
    place.marker.unlink(missing_ok=True)
    users, in_use_since = place.lock("users"), None
    while is_held(place.lock("supervisor")):
        # Held, but not exclusively (which would be the supervisor, stopping the servers): somebody uses them.
        if is_held(users, shared=False) and not is_held(users):
            in_use_since = in_use_since or time.monotonic()
            if time.monotonic() - in_use_since > _SETTLED_SECONDS:
                return False
        else:
            in_use_since = None
        time.sleep(0.02)
    return True


def running(home: Path) -> Servers | None:
    """The pair if it is running; it is neither started nor held."""
    place = Home.at(home)
    state = _ready_state(place)
    return None if state is None else _servers(place, state)


def masked(url: str) -> str:
    """The URL with its password as `***`, in the user part or as a parameter; to be printed instead of it."""
    hidden = re.sub(r"^([^:/?#]+://[^:@/?#]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&](?:ssl)?password=)[^&#]*", r"\1***", hidden)


def _silent(_: str) -> None:
    """Nobody wants to know."""


def _join(home: Home) -> int:
    """Hold the pair; waits while the supervisor stops an earlier one."""
    while (user := take(home.lock("users"), shared=True, wait=60)) is None:
        pass
    return user


def _ready_state(home: Home) -> State | None:
    """What the supervisor says, if it lives; asked first, for a new one removes the state of an old one."""
    if not is_held(home.lock("supervisor")):
        return None
    state = home.state()
    return state if state is not None and state.phase is Phase.READY else None


def _ready(home: Home, report: Report, maxmemory: str) -> State:
    """Wait until a supervisor says that the pair is ready; start one if there is none, nor anybody at it."""
    started, said = False, ""
    while (ready := _ready_state(home)) is None:
        if is_held(home.lock("supervisor")):
            state = home.state()
            if state is not None and state.message != said:
                report(said := state.message)
        elif started:
            raise ServerFailed(_why(home))
        else:
            started = _start(home, maxmemory)
        time.sleep(_POLL_SECONDS)
    return ready


def _start(home: Home, maxmemory: str) -> bool:
    """Start a supervisor, under a lock lest two first users start two; False: another user is at it."""
    lock = take(home.lock("start"), wait=0)
    if lock is None:
        return False
    try:
        if is_held(home.lock("supervisor")):
            return False
        home.forget()
        _spawn(home, maxmemory)
    finally:
        os.close(lock)
    return True


def _spawn(home: Home, maxmemory: str) -> None:
    """Run the supervisor until it has detached itself and holds its lock."""
    from storage.embedded.pg import refuse_other_major

    refuse_other_major(home)
    code = Path(__file__).resolve().parent.parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "storage.embedded.supervisor", str(home.path), "--maxmemory", maxmemory]
    (home.log / "supervisor.log").touch(mode=0o600)
    with (home.log / "supervisor.log").open("ab") as log:
        done = subprocess.run(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
        )
    if done.returncode != 0:
        raise ServerFailed(_why(home))


def _why(home: Home) -> str:
    """What the supervisor said before it ended, or the end of its log when it had no time to."""
    state = home.state()
    if state is not None and state.phase is Phase.FAILED:
        return state.message
    log = home.log / "supervisor.log"
    return f"the supervisor of the embedded servers ended. The end of {log}:\n{tail(log)}"


def _servers(home: Home, state: State) -> Servers:
    passwords = home.passwords()
    postgres, redis = f"127.0.0.1:{state.postgres_port}", f"127.0.0.1:{state.redis_port}/0"

    def database(role: str, name: str = "warmbars", scheme: str = "postgresql") -> str:
        return f"{scheme}://{role}:{passwords[role]}@{postgres}/{name}"

    return Servers(
        database_url=database("wb_app"),
        owner_url=database("wb_owner"),
        reader_url=database("wb_reader"),
        prefect_url=database("wb_prefect", "prefect", "postgresql+asyncpg"),
        redis_url=f"redis://wb_app:{passwords['redis_app']}@{redis}",
        redis_reader_url=f"redis://wb_reader:{passwords['redis_reader']}@{redis}",
        home=home.path,
        supervisor_pid=state.supervisor_pid,
        postgres_pid=state.postgres_pid,
        redis_pid=state.redis_pid,
    )
