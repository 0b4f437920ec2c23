"""The embedded PostgreSQL: making its data directory, starting it, knowing when it is ready."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

from storage.embedded.binaries import postgres_major, programs
from storage.embedded.home import Home
from storage.embedded.process import Account, Child, Command, Place, argument, launch, own, run, settle
from transforms.errors import ServerFailed

SETTINGS = {
    "shared_buffers": "256MB",
    "max_connections": "60",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": "warmbars",
}


class Postgres:
    """One server of the pair, the other is `Valkey`.

    Settings are written to postgresql.conf when the data directory is made; users may edit them there.
    """

    name = "PostgreSQL"
    key = "postgres"
    death: signal.Signals = signal.SIGINT  # a fast shutdown: connections are ended, a checkpoint is written
    stopping: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))

    def __init__(self, home: Home, programs: Path, account: Account | None) -> None:
        self.home = home
        self.data = home.postgres(postgres_major())
        self._programs = programs
        self._account = account

    def prepare(self, passwords: dict[str, str]) -> None:
        """Make the data directory when there is none; a half-made one of a killed start is removed."""
        for left in self.home.path.glob("pg*.new-*"):
            settle(self.name, self._place(left))
            shutil.rmtree(left)
        if self.data.exists():
            own(self.data, self._account)
            if not self.home.provisioned(passwords):
                self._set_superuser_password(passwords["postgres"])
        else:
            self.home.set_provisioned(None)
            self._init(passwords["postgres"])

    def launch(self, port: int) -> Child:
        """Start it on loopback only."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "logging_collector": "off",
        }
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        where = argument(self.data, self._account)
        command = Command([self._programs / "postgres", "-D", where, *flags])
        return launch(self.name, command, self._place(self.data), self.death)

    def ready(self, child: Child) -> bool:
        """As pg_ctl knows it: the eighth line of postmaster.pid, written by this very process."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(child.pid) and lines[7].strip() == "ready"

    def hint(self) -> str:
        return f"Its settings: {self.data}/postgresql.conf. Its whole log: {self.home.log}/postgres.log."

    def _place(self, directory: Path) -> Place:
        log, lock = self.home.log / "postgres.log", self.home.lock("postgres")
        return Place(directory, log, lock, self._account, pid_file=directory / "postmaster.pid")

    def _init(self, password: str) -> None:
        """`initdb` beside the final place, then rename: a data directory is there whole or not at all."""
        making = Path(tempfile.mkdtemp(prefix=f"{self.data.name}.new-", dir=self.home.path))
        own(making, self._account)
        with tempfile.TemporaryFile(dir=self.home.path) as given:
            given.write(password.encode() + b"\n")
            given.seek(0)
            if self._account is not None:
                os.fchown(given.fileno(), self._account.uid, self._account.gid)
            settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
            words: list[str | Path] = [
                *(self._programs / "initdb", "-D", argument(making, self._account), "-U", "postgres"),
                *("-A", "scram-sha-256", f"--pwfile=/dev/fd/{given.fileno()}", "-E", "UTF8"),
                *("--locale-provider=builtin", "--locale=C.UTF-8", *settings),
            ]
            run(Command(words, files=(given.fileno(),)), self._place(making))
        making.rename(self.data)

    def _set_superuser_password(self, password: str) -> None:
        """Without logging in: the password may be another one (secrets lost, or a start killed midway)."""
        where = argument(self.data, self._account)
        statement = f"ALTER ROLE postgres WITH LOGIN PASSWORD '{password}'\n"
        words: list[str | Path] = [self._programs / "postgres", "--single", "-D", where, "postgres"]
        run(Command(words, stdin=statement.encode()), self._place(self.data))


def refuse_other_major(home: Home) -> None:
    """Data of another PostgreSQL major cannot be opened, and starting beside it would look like lost data."""
    ours = postgres_major()
    others = [int(found.name[2:]) for found in home.path.glob("pg*") if found.name[2:].isdigit()]
    if not others or home.postgres(ours).exists():
        return
    theirs = max(others)
    raise ServerFailed(
        f"{home.postgres(theirs)} was written by PostgreSQL {theirs}, and this warmbars brings {ours}.\n"
        f"Go back to the warmbars that brings {theirs}, or carry the data over (OWNER_URL is wb_owner's):\n"
        f"  1. with the old warmbars:  warmbars up; pg_dump -Fc -n warmbars -f bars.dump OWNER_URL\n"
        f"                             warmbars down\n"
        f"  2. mv {home.postgres(theirs)} ELSEWHERE  (keep it until you are content)\n"
        f"  3. with this warmbars:     warmbars up; pg_restore --clean --if-exists -d OWNER_URL bars.dump\n"
        f"pg_dump and pg_restore lie with the server's programs, here in {programs()}."
    )
