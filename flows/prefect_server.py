"""A Prefect server of our own: a process on the loopback address that ends with the one that started it.

It reads its database's address from a pipe, so that no process list or environment shows the password. The pipe
stays open while we live; when it ends, however we ended, the server stops itself.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from storage.embedded.home import Home, bound, tail
from transforms.errors import ConfigurationError, ServerFailed

PORT: Final = 4200
"""Prefect's own default, taken while it is free."""
DATABASE_VARIABLES: Final = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
"""Where Prefect looks for its database; the first wins."""
RETENTION: Final = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 24 * 3600),
}
"""A run a minute is some ten thousand a month, with their logs: kept for 30 days unless the environment says more."""
READY_SECONDS: Final = 300.0
"""The first start makes some hundred tables and indexes; on a busy machine that took half a minute."""
STOP_SECONDS: Final = 15.0
_CHILD: Final = """
import json, os, runpy, signal, sys, threading, time
given = b""
while not given.endswith(b"\\n"):
    given += os.read(0, 65536)
os.environ.update(json.loads(given))
def end_with_parent():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(15)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
sys.argv = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", sys.argv[1]]
runpy.run_module("prefect", run_name="__main__")
"""

Report = Callable[[str], None]


class PrefectServer:
    """A started server; leaving the context stops it, and nothing else."""

    def __init__(self, home: Home, database_url: str, port: int | None = None) -> None:
        """Start it; `port` None takes 4200, or any other when that is taken."""
        self.port = _port(port)
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = home.log / "prefect.log"
        bound(self._log)
        self._log.touch(mode=0o600)
        self._log_start = self._log.stat().st_size
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD, str(self.port)],
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: the server is needed until our runs have ended
            )
        self.pid = self._process.pid
        self._tell(_settings(home, self.address, self.port, database_url))

    @property
    def api_url(self) -> str:
        """Where clients talk to it."""
        return f"{self.address}/api"

    def wait(self) -> None:
        """Return when it answers; raises `ServerFailed` with the end of its log when it does not."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise ServerFailed(f"the Prefect server does not answer.{self._said()}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raise `ServerFailed` when it has ended."""
        if self._process.poll() is not None:
            raise ServerFailed(f"the Prefect server ended (code {self._process.returncode}).{self._said()}")

    def stop(self) -> None:
        """Ask it to end, and see to it."""
        assert self._process.stdin is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _tell(self, settings: dict[str, str]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended at once; `wait` says why
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _said(self) -> str:
        return f" The end of {self._log}:\n{tail(self._log, self._log_start)}"


def _settings(home: Home, address: str, port: int, database_url: str) -> dict[str, str]:
    """Nothing is sent to anybody, nothing written outside of `home`, and no web page but its own may call it."""
    place = home.path / "prefect"
    return {
        "PREFECT_HOME": str(place),
        DATABASE_VARIABLES[0]: database_url,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{address}/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(place / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **{name: value for name, value in RETENTION.items() if name not in os.environ},
    }


def _environment() -> dict[str, str]:
    """Ours but for what would make it somebody else's server or client."""
    left_out = {"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_HOME", *DATABASE_VARIABLES}
    return {name: value for name, value in os.environ.items() if name not in left_out}


def _port(wanted: int | None) -> int:
    """The wanted port, which has to be free: whoever has it would be taken for our server."""
    for candidate in (PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", candidate))
            return int(probe.getsockname()[1])
    raise ConfigurationError(f"port {wanted} of 127.0.0.1 is taken; name another one for the Prefect server")
