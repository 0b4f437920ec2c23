"""`warmbars flow serve`: a Prefect server beside our data, and one long-lived process that executes its schedules.

Importing this costs nothing: Prefect is imported when `serve` has told it, by environment variables, where its
server and its files are.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from inspect import isawaitable
from pathlib import Path
from types import FrameType
from typing import Final

from flows.prefect_server import DATABASE_VARIABLES, PrefectServer
from flows.wiring import Deps, wire
from storage.embedded import embedded, masked
from storage.embedded.home import Home, take
from storage.settings import Settings
from transforms.errors import ConfigurationError, ServerFailed

Report = Callable[[str], None]

HEARTBEAT_SECONDS: Final = 30
"""Prefect's least. An asynchronous run pays one event for it; without it nobody elsewhere notices a dead run."""

FLUSH_SECONDS: Final = 10.0
"""How long the end waits for logs and events to reach a server that may have gone."""


def serve(settings: Settings, *, port: int | None = None, report: Report = print) -> int:
    """Execute the schedules of prefect.yaml until SIGINT or SIGTERM; the exit code, 130 or 143.

    The server is that of PREFECT_API_URL, else one of our own on `port` (None: 4200, or a free one) whose database
    is `prefect` in the embedded PostgreSQL. On a signal, what is being executed ends at its next batch and is
    marked Cancelled, then our server stops; a second signal ends the process at once. `report` is told what happens.
    """
    if find_spec("prefect") is None:
        raise ConfigurationError("Prefect is not installed; add it with: pip install 'warmbars[prefect]'")
    signals = _Signals()
    with signals.installed(), ExitStack() as stack:
        try:
            home = Home.at(settings.home).create()
            stack.enter_context(_alone(home))
            server = _server(stack, settings, home, port, report)
            _point_prefect(home, server)
            deps = stack.enter_context(wire(settings, report))
            _execute(deps, server, signals, report)
        except _Interrupted:
            pass
    return 128 + signals.received


def _server(stack: ExitStack, settings: Settings, home: Home, port: int | None, report: Report) -> PrefectServer | None:
    """Start a server unless there is one to use; it gets ready while we import Prefect."""
    if os.environ.get("PREFECT_API_URL"):
        return None
    own = next(filter(None, map(os.environ.get, DATABASE_VARIABLES)), None)
    url = own or stack.enter_context(embedded(settings.home, report=report)).prefect_url
    report("starting the Prefect server")
    return stack.enter_context(PrefectServer(home, url, port))


def _point_prefect(home: Home, server: PrefectServer | None) -> None:
    """Prefect reads this when it is imported: where its server is, and that nothing is sent to anybody else."""
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_SECONDS))
    if server is not None:
        os.environ["PREFECT_API_URL"] = server.api_url
        os.environ["PREFECT_HOME"] = str(home.path / "prefect")
        for name in ("PREFECT_API_KEY", "PREFECT_PROFILE"):
            os.environ.pop(name, None)
    else:
        os.environ.setdefault("PREFECT_HOME", str(home.path / "prefect"))


def _execute(deps: Deps, server: PrefectServer | None, signals: "_Signals", report: Report) -> None:
    """Run the executor in a thread: the engine would replace the handlers of signals in the main one."""
    from prefect.settings import get_current_settings

    import flows.executor  # noqa: F401  (slow, and the server is as slow to start)

    if server is not None:
        server.wait()
    report(f"Prefect's UI: {masked(get_current_settings().ui_url or '')}")
    with ThreadPoolExecutor(1, thread_name_prefix="executor") as thread:
        done = thread.submit(asyncio.run, _serve(deps, server, signals, report))
        done.result()


async def _serve(deps: Deps, server: PrefectServer | None, signals: "_Signals", report: Report) -> None:
    import httpx
    from prefect.client.orchestration import get_client

    from flows.deployments import find, register
    from flows.executor import Executor
    from flows.pipeline import held

    stop = asyncio.Event()
    path = find(here := Path.cwd())
    owner = f"taken by warmbars flow serve on {socket.gethostname()} in {deps.settings.home.resolve()}"
    with signals.handled(lambda: report("ending after the current batch (again: at once)"), stop), held(deps):
        async with get_client() as client:
            try:
                registered = await register(client, path, here, list(deps.settings.sources))
            except httpx.HTTPError as exc:
                address = masked(str(client.api_url))
                raise ServerFailed(f"the deployments cannot be registered at {address}: {exc}") from exc
            report(f"executing {', '.join(d.name for d in registered)} by {path}; Ctrl-C ends it")
            check = server.check if server is not None else _nothing
            await Executor(client, registered, owner, check=check).run(stop)
        await _flush()


async def _flush() -> None:
    """Let what is queued reach the server while there is one: logs, and events, which are the states of tasks."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        drained = worker.drain_all(timeout=FLUSH_SECONDS)
        if isawaitable(drained):
            await drained


def _nothing() -> None:
    """A server that is not ours may come and go."""


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """One process a data directory: a second would take the first one's runs for its own."""
    lock = take(home.lock("serve"), wait=0)
    if lock is None:
        raise ConfigurationError(f"another `warmbars flow serve` is at work in {home.path}")
    try:
        yield
    finally:
        os.close(lock)


class _Interrupted(BaseException):
    """A signal came while there was nothing yet to end in order."""


class _Signals:
    """The first SIGINT or SIGTERM asks to end, the second ends the process."""

    def __init__(self) -> None:
        self.received = 0
        self._ask: Callable[[], object] | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Be the process' handler of both."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def handled(self, say: Callable[[], None], stop: asyncio.Event) -> Iterator[None]:
        """From here on a signal sets `stop`, on the event loop that calls this."""
        loop = asyncio.get_running_loop()

        def end() -> None:
            say()
            stop.set()

        self._ask = lambda: loop.call_soon_threadsafe(end)
        if self.received:  # while the thread of this loop was starting
            end()
        try:
            yield
        finally:
            self._ask = None

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received:
            os._exit(128 + number)  # our server ends by itself, and the run is buried at the next start
        self.received = number
        if self._ask is None:
            raise _Interrupted
        self._ask()
