"""The embedded Redis-protocol server: configuration, users, knowing when it is ready."""

import signal
import socket
from hashlib import sha256
from pathlib import Path

from storage.embedded.home import Home
from storage.embedded.process import Account, Child, Command, Place, launch, own

# wb_app: every command but those that administer the server or carry its data elsewhere.
APP_RIGHTS = "~* &* +@all -@admin -migrate -restore-asking -swapdb +role +client|list"
# wb_reader: reads, transactions (one MULTI reads several keys), the events channel, client-side caching.
READER_RIGHTS = (
    "%R~wb:* &wb:* &__redis__:invalidate -@all +@read +@connection +@transaction +fcall_ro "
    "+subscribe +psubscribe +unsubscribe +punsubscribe -@admin -@dangerous +info"
)


class Valkey:
    """One server of the pair (the other is `Postgres`). Appends every write to a file, synced each second."""

    name = "Valkey"
    key = "redis"
    death: signal.Signals = signal.SIGTERM
    stopping: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 10.0),)

    def __init__(self, home: Home, program: Path, account: Account | None, maxmemory: str) -> None:
        self.home = home
        self.data = home.valkey
        self._program = program
        self._account = account
        self._maxmemory = maxmemory
        self._passwords: dict[str, str] = {}
        self._port = 0

    def prepare(self, passwords: dict[str, str]) -> None:
        self._passwords = passwords
        self.data.mkdir(mode=0o700, exist_ok=True)
        own(self.data, self._account)

    def launch(self, port: int) -> Child:
        """Start it with its configuration on standard input, so that no path above its folder is opened."""
        self._port = port
        place = Place(self.data, self.home.log / "valkey.log", self.home.lock("valkey"), self._account)
        command = Command([self._program, "-"], stdin=self._configuration().encode())
        return launch(self.name, command, place, self.death)

    def ready(self, child: Child) -> bool:
        """Whether it answers PING; before that it refuses, or says that it is loading its file."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(f"AUTH wb_app {self._passwords['redis_app']}\r\nPING\r\n".encode())
                return _answer(connection, b"PONG")
        except OSError:
            return False

    def hint(self) -> str:
        return (
            f"Its whole log: {self.home.log}/valkey.log. The cache holds nothing that cannot be made again: "
            f"if its files are damaged, remove {self.data} and publish."
        )

    def _configuration(self) -> str:
        return "\n".join(
            [
                "bind 127.0.0.1",
                f"port {self._port}",
                'save ""',
                "appendonly yes",
                "appendfsync everysec",
                f"maxmemory {self._maxmemory}",
                "maxmemory-policy volatile-lru",
                "user default off",
                _user("wb_app", self._passwords["redis_app"], APP_RIGHTS),
                _user("wb_reader", self._passwords["redis_reader"], READER_RIGHTS),
            ]
        )


def _user(name: str, password: str, rights: str) -> str:
    return f"user {name} on #{sha256(password.encode()).hexdigest()} {rights}"


def _answer(connection: socket.socket, wanted: bytes) -> bool:
    """Read two lines, the answers to AUTH and PING."""
    received = b""
    while received.count(b"\r\n") < 2 and (chunk := connection.recv(4096)):
        received += chunk
    return wanted in received
