"""`warmbars flow serve` for real, once a session: its Prefect server is the one that every test of the flows uses."""

import atexit
import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

# Read when Prefect is imported, which the test modules do.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="warmbars-prefect-")
os.environ.pop("PREFECT_API_URL", None)

from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_BATCH_INTERVAL, temporary_settings

from flows.cli import app
from storage.embedded import Servers, running
from storage.settings import Settings
from tests.storage.servers import processes_in, until

Cli = Callable[..., Result]

atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from flows.serve import serve
from storage.settings import load_settings
sys.exit(serve(load_settings(), port=int(sys.argv[1]), report=lambda text: print(text, flush=True)))
"""
MARKET = """
[sources.simulated]
kind = "simulated"
symbols = 2
sessions = 5
"""


@dataclass
class Served:
    """A running `warmbars flow serve`, working in `directory`, its data beside it."""

    directory: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, directory: Path, deployments: str, **variables: str) -> "Served":
        directory.mkdir()
        (directory / "prefect.yaml").write_text(deployments)
        (directory / "warmbars.toml").write_text(MARKET)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "WARMBARS_"))}
        environment = kept | {"PYTHONPATH": str(ROOT), "WARMBARS_HOME": str(directory / "home")} | variables
        with (directory / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(free_port())],
                cwd=directory,
                env=environment,
                stdout=log,
                stderr=log,
            )
        return cls(directory, process)

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def said(self) -> str:
        return (self.directory / "serve.log").read_text()

    @property
    def address(self) -> str:
        found = re.search(r"Prefect's UI: (\S+)", self.said)
        assert found is not None
        return found.group(1)

    def wait(self, words: str, seconds: float = 240) -> None:
        """Wait until it said so."""
        deadline = time.monotonic() + seconds
        while words not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        """Its exit code after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(120)

    def secrets(self) -> list[str]:
        """Passwords of its servers."""
        return re.findall(r'": "([^"]+)"', (self.home / "secrets.json").read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resting(deployments: str) -> str:
    """The same deployments with schedules that do not fire, whatever time it is."""
    return deployments.replace("timezone: America/New_York}", "timezone: America/New_York, active: false}")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One with its own Prefect server, which it takes along when it ends, and nothing else."""
    directory = tmp_path_factory.mktemp("prefect") / "served"
    program = Served.start(directory, resting((ROOT / "prefect.yaml").read_text()))
    try:
        program.wait("executing run, ingest, refresh, publish")
        servers = running(program.home)
        assert servers is not None
        yield program
        said, secrets = program.said, program.secrets()
        assert program.end(signal.SIGINT) == 130, program.said
        until(lambda: not processes_in(directory))
        assert_nothing_is_told(program.home, said, secrets, servers)
    finally:
        program.process.kill()
        program.process.wait()


def assert_nothing_is_told(home: Path, said: str, secrets: list[str], servers: Servers) -> None:
    """No password is printed or logged, and none is needed to read what is."""
    assert servers.prefect_url.split(":")[2].split("@")[0] in secrets
    logs = [said, *(path.read_text(errors="replace") for path in (home / "log").iterdir())]
    assert not [secret for secret in secrets for log in logs if secret in log]


PREFECT_LEAKS = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def prefect(served: Served) -> Iterator[str]:
    """The address of the Prefect API, which is what flows and clients of the test use."""
    api = f"{served.address}/api"
    with temporary_settings({PREFECT_API_URL: api, PREFECT_LOGGING_TO_API_BATCH_INTERVAL: 0.1}):
        yield api
    gc.collect()  # Prefect's engine leaves clients unclosed; not to be found in somebody else's test


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, and a terminal of known width without settings of its own."""
    for name in [name for name in os.environ if name.startswith("WARMBARS_") and name != "WARMBARS_SHARED"]:
        monkeypatch.delenv(name)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def program(place: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The program in that directory, on the session's servers, with an empty store."""
    monkeypatch.setenv("WARMBARS_HOME", str(settings.home))
    monkeypatch.setenv("WARMBARS_NAMESPACE", settings.namespace)
    return warmbars


def warmbars(*args: str) -> Result:
    """What the program answers."""
    return CliRunner().invoke(app, list(args))
