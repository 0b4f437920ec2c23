"""Server processes that end with the supervisor, however it ends, and run as somebody harmless.

On Linux the kernel signals a server when its parent dies (PR_SET_PDEATHSIG). Elsewhere a shell waits beside
each server on a pipe that only the supervisor holds open, and signals it when the pipe ends.

As root, a server runs as another user, and the data directory may lie below one which that user cannot enter
(`/root`, 0700). Opening up parent directories is not ours to do; instead the server starts *in* its directory
and is told to use `/proc/self/cwd`, which needs no permission on the way there.
"""

import ctypes
import errno
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from storage.embedded.home import bound, tail, take
from transforms.errors import ServerFailed

LINUX = sys.platform == "linux"
HERE = Path("/proc/self/cwd")
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")  # nothing that could hold a secret
PREDECESSOR_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1
# Of two ends of its input: a line, the server has ended; end of file, we are dead.
_WATCHDOG = 'read -r ended || kill -s "$2" "$1"'


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs and as whom (None: ourselves), the lock all its processes inherit, its pid file."""

    directory: Path
    log: Path
    lock: Path
    account: Account | None
    pid_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, what it finds on standard input, and open files it is given."""

    words: Sequence[str | Path]
    stdin: bytes = b""
    files: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return Path(self.words[0]).name


def account_for(directory: Path) -> Account | None:
    """None (ourselves) unless we are root: then the owner of the data, else `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return None
    if directory.exists() and (owner := directory.stat().st_uid) != 0:
        try:
            return _account(pwd.getpwuid(owner))
        except KeyError:  # made elsewhere, by a user this machine does not know: `own` hands it over
            pass
    for name in ("postgres", "nobody"):
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise ServerFailed(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as. "
        "Create one (useradd --system postgres), or run warmbars as an ordinary user."
    )


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def own(directory: Path, account: Account | None) -> None:
    """Hand a data directory and all in it to the user that will run the server; never anything above it."""
    if account is None or directory.stat().st_uid == account.uid:
        return
    for folder, _, files in os.walk(directory, topdown=False):
        for name in (*files, "."):
            os.chown(os.path.join(folder, name), account.uid, account.gid, follow_symlinks=False)


def argument(directory: Path, account: Account | None) -> Path:
    """How a server that was started in `directory` should call it."""
    return HERE if account is not None and HERE.exists() else directory


class Child:
    """A started server and the part of its log that is its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log
        self._log_start = log_start
        self._watchdog: subprocess.Popen[bytes] | None = None

    def watch(self, death: signal.Signals) -> None:
        """Where the kernel does not signal orphans: a shell that does."""
        command = ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self.pid), death.name.removeprefix("SIG")]
        self._watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, env=_environment())

    def returncode(self) -> int | None:
        """None while it runs."""
        code = self._process.poll()
        if code is not None and self._watchdog is not None:
            self._watchdog.communicate(b"done\n")
            self._watchdog = None
        return code

    def said(self, lines: int = 25) -> str:
        return tail(self._log, self._log_start, lines)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        deadline = time.monotonic() + seconds
        while self.returncode() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.returncode() is not None


def launch(name: str, command: Command, place: Place, death: signal.Signals) -> Child:
    """Start a server in its place; it gets the signal `death` when this process dies."""
    bound(place.log)
    with place.log.open("ab") as log:
        place.log.chmod(0o600)
        log_start = log.seek(0, os.SEEK_END)
        process = _spawn(command, place, death, log.fileno())
    child = Child(name, process, place.log, log_start)
    if not LINUX:
        child.watch(death)
    return child


def run(command: Command, place: Place) -> None:
    """Run a tool of the server in the server's place to its end; `ServerFailed` with its output if it fails."""
    process = _spawn(command, place, signal.SIGTERM, subprocess.PIPE)
    output = process.communicate()[0].decode(errors="replace").strip()
    if process.returncode != 0:
        raise ServerFailed(f"{command.name} failed (exit code {process.returncode}):\n{output}")


def _spawn(command: Command, place: Place, death: signal.Signals, stdout: int) -> subprocess.Popen[bytes]:
    lock = _lock_family(place, command.name)
    try:
        with tempfile.TemporaryFile() as given:
            given.write(command.stdin)
            given.seek(0)
            return subprocess.Popen(
                [str(word) for word in command.words],
                cwd=place.directory,
                stdin=given,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                pass_fds=[lock, *command.files],
                env=_environment(),
                preexec_fn=_die_with_parent(death) if LINUX else None,
                **_identity(place.account),
            )
    except (OSError, subprocess.SubprocessError) as exc:
        user = f" as user {place.account.name}" if place.account else ""
        raise ServerFailed(f"{command.name} would not start{user}: {exc}") from exc
    finally:
        os.close(lock)


def settle(name: str, place: Place) -> None:
    """Return once no process of an earlier server, or of its tools, is left."""
    os.close(_lock_family(place, name))


def runs_as(command: Sequence[str | Path], account: Account | None) -> bool:
    """Whether that user can run the command; False when the file or a directory above it is closed to it."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd="/", capture_output=True, check=False, env=_environment(), **_identity(account)
        )
    except PermissionError as exc:
        if exc.errno == errno.EPERM and account is not None:
            raise ServerFailed(f"cannot become user {account.name}: is CAP_SETUID missing? ({exc})") from exc
        return False
    return done.returncode == 0


def stop(child: Child, signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Ask, then insist: each signal is given its seconds, and SIGKILL ends the list."""
    for number, seconds in (*signals, (signal.SIGKILL, 30.0)):
        if child.returncode() is not None:
            return
        child.signal(number)
        if child.wait(seconds):
            return
    raise ServerFailed(f"{child.name} (pid {child.pid}) does not even end on SIGKILL")


def _lock_family(place: Place, name: str) -> int:
    """Take the lock that all processes of a server share; those of a predecessor are waited for, then killed.

    A predecessor may still write its last checkpoint, or be backends that outlived their killed postmaster.
    Once they are gone, a pid file is stale, whatever process bears that number now.
    """
    lock = take(place.lock, wait=PREDECESSOR_SECONDS)
    if lock is None:
        _kill_holders(place.lock)
        lock = take(place.lock, wait=30.0)
    if lock is None:
        raise ServerFailed(f"processes of an earlier {name} hold {place.lock} and do not end")
    pid_file = place.pid_file
    if pid_file is not None and pid_file.exists() and not _is_foreign(pid_file, place.directory):
        pid_file.unlink()
    return lock


def _is_foreign(pid_file: Path, directory: Path) -> bool:
    """Whether a server that is none of ours works there (somebody ran pg_ctl by hand); it is left alone."""
    import psutil

    try:
        process = psutil.Process(int(pid_file.read_text().split(maxsplit=1)[0]))
        return process.name() == "postgres" and Path(process.cwd()) == directory
    except (ValueError, IndexError, psutil.NoSuchProcess):
        return False


def _kill_holders(path: Path) -> None:
    """SIGKILL the processes that have the lock file open: nothing but our own servers ever does."""
    import psutil

    for process in psutil.process_iter():
        try:
            held = process.pid != os.getpid() and any(file.path == str(path) for file in process.open_files())
        except psutil.Error:  # it ended, or is not ours to look at
            continue
        if held:
            process.kill()


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C"}


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _identity(account: Account | None) -> _Identity:
    return _Identity() if account is None else _Identity(user=account.uid, group=account.gid, extra_groups=[])


def _die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """For the child, after it changed its user (which would undo it) and before it becomes the server."""
    libc, parent = ctypes.CDLL(None), os.getpid()

    def prepare() -> None:
        if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0 or os.getppid() != parent:
            os._exit(1)

    return prepare
