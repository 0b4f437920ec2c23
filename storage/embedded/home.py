"""The data directory of the embedded servers: its files, its locks, what the supervisor says about itself.

    users.lock       shared by every program that uses the pair, exclusive while the supervisor stops it
    start.lock       exclusive while a program starts a supervisor
    supervisor.lock  exclusive for the life of the supervisor
    postgres.lock, valkey.lock
                     exclusive, inherited by every process of that server: free only when the last one is gone
    state.json       what the supervisor last said: phase, message, pids, ports; void once it is gone
    ports.json       the ports chosen at the first start, kept while they are free
    secrets.json     0600, the password of every role of both servers
    provisioned      digest of the secrets, and of the code, that the roles in the database were made with
    up               there between `up` and `down`: the pair stays although nobody uses it
    log/ pg<major>/ valkey/

Locks are flocks: the kernel drops them however their holder dies, so a file left behind means nothing.
"""

import fcntl
import json
import os
import secrets
import stat
import tempfile
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from transforms.errors import ConfigurationError

PASSWORDS = ("postgres", "wb_owner", "wb_app", "wb_reader", "wb_prefect", "redis_app", "redis_reader")
MAXMEMORY = "1gb"
LOG_BYTES = 8 * 1024 * 1024


class Phase(StrEnum):
    """Where the pair is in its life; `STARTING` also while a crashed server is brought back."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class State:
    """What the supervisor last said; pids and ports are 0 until they are known."""

    phase: Phase
    message: str = ""
    supervisor_pid: int = 0
    postgres_pid: int = 0
    postgres_port: int = 0
    redis_pid: int = 0
    redis_port: int = 0


@dataclass(frozen=True, slots=True)
class Home:
    """Paths and small files of one data directory. `path` is absolute and free of symbolic links."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Self:
        return cls(path.expanduser().resolve())

    def create(self) -> Self:
        """Make the directory, 0700, when it is missing; refuse one in which every user may write."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            if self.path.stat().st_mode & stat.S_IWOTH:
                raise ConfigurationError(f"{self.path} cannot hold secrets: every user may write in it. {_ELSEWHERE}")
            self.log.mkdir(mode=0o700, exist_ok=True)
        except OSError as exc:
            raise ConfigurationError(f"cannot keep data in {self.path}: {exc}. {_ELSEWHERE}") from exc
        return self

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def marker(self) -> Path:
        return self.path / "up"

    def postgres(self, major: int) -> Path:
        return self.path / f"pg{major}"

    def lock(self, name: str) -> Path:
        return self.path / f"{name}.lock"

    def state(self) -> State | None:
        """None when nothing was ever said; of use only while `supervisor.lock` is held."""
        said = _read_json(self.path / "state.json")
        return State(**{**said, "phase": Phase(said["phase"])}) if said else None

    def say(self, state: State) -> None:
        _write(self.path / "state.json", json.dumps(asdict(state)))

    def forget(self) -> None:
        (self.path / "state.json").unlink(missing_ok=True)

    def ports(self) -> dict[str, int]:
        return _read_json(self.path / "ports.json") or {}

    def keep_port(self, name: str, port: int) -> None:
        _write(self.path / "ports.json", json.dumps(self.ports() | {name: port}))

    def passwords(self) -> dict[str, str]:
        """Passwords by role, for users of a running pair."""
        stored: dict[str, str] | None = _read_json(self.path / "secrets.json")
        if stored is None:
            raise ConfigurationError(
                f"{self.path}/secrets.json is gone. The next start of the servers makes new passwords: stop "
                "them (`warmbars down`, or end the programs that use them), then start again."
            )
        return stored

    def make_passwords(self) -> dict[str, str]:
        """Passwords by role; those that are missing are made, and stored before anybody can use them."""
        stored: dict[str, str] = _read_json(self.path / "secrets.json") or {}
        missing = {role: secrets.token_urlsafe(24) for role in PASSWORDS if role not in stored}
        if missing:
            stored |= missing
            _write(self.path / "secrets.json", json.dumps(stored, indent=2), durable=True)
        return stored

    def provisioned(self, passwords: dict[str, str]) -> bool:
        done = self.path / "provisioned"
        return done.exists() and done.read_text() == _digest(passwords)

    def set_provisioned(self, passwords: dict[str, str] | None) -> None:
        """Remember that the roles exist with these passwords; None: that they do not."""
        if passwords is None:
            (self.path / "provisioned").unlink(missing_ok=True)
        else:
            _write(self.path / "provisioned", _digest(passwords), durable=True)


_ELSEWHERE = "Set WARMBARS_HOME to a directory of your own on a local disk."
PROVISIONING = 1  # raise it when storage/embedded/roles.py changes: every data directory is then brought up to date


def _digest(passwords: dict[str, str]) -> str:
    """Of the code too, so that a changed right reaches every data directory at its next start."""
    code = Path(__file__).with_name("roles.py").read_bytes()
    return sha256(code + json.dumps(passwords, sort_keys=True).encode()).hexdigest()


def _read_json(path: Path) -> Any:
    """The content of a file of ours; None when it is missing or was cut short by a full disk or a crash."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file as a whole, 0600; `durable` also survives a power failure."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def take(path: Path, *, shared: bool = False, wait: float | None = None) -> int | None:
    """Lock the file and return its descriptor, None after `wait` seconds (None: wait for ever).

    Closing the descriptor gives the lock back, once no forked child holds a copy of it. A file that was
    replaced meanwhile (somebody removed the data directory) is not what others lock: it is opened again.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = None if wait is None else time.monotonic() + wait
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError as exc:
            raise ConfigurationError(f"{path} belongs to another user ({exc}). {_ELSEWHERE}") from exc
        try:
            fcntl.flock(descriptor, kind if deadline is None else kind | fcntl.LOCK_NB)
            if is_current(path, descriptor):
                return descriptor
        except BlockingIOError:
            if deadline is not None and time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.005)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_held(path: Path, *, shared: bool = True) -> bool:
    """Whether somebody holds the lock exclusively or, with `shared=False`, at all."""
    if not path.exists():
        return False
    descriptor = take(path, shared=shared, wait=0)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def is_current(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def bound(log: Path) -> None:
    """Keep a log small: beyond `LOG_BYTES` it is copied to `<name>.1` and emptied in place.

    In place, because the server holds it open for appending; lines written in between may be lost.
    """
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.with_name(f"{log.name}.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)


def tail(log: Path, start: int = 0, lines: int = 25) -> str:
    """The last lines of a log, of what was written after byte `start`."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(min(start, log.stat().st_size), log.stat().st_size - 65_536))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
