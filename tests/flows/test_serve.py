"""`warmbars flow serve`: what it registers, what it executes, what it skips, and how it ends."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.server.schemas.schedules import CronSchedule
from prefect.states import Cancelling, Pending, Running, Scheduled

from flows import pipeline, steps
from flows.deployments import Deployment, Registered, read, register
from flows.executor import Executor, choose
from flows.prefect_server import PrefectServer
from flows.serve import serve
from flows.steps import Refreshed
from flows.wiring import Deps
from storage.embedded import Servers, running
from storage.embedded.home import Home
from storage.settings import Settings
from tests.flows.conftest import PREFECT_LEAKS, ROOT, Served, free_port
from tests.storage.servers import processes_in, until
from transforms.errors import ConfigurationError, ServerFailed

pytestmark = [pytest.mark.prefect, pytest.mark.postgres, pytest.mark.redis, PREFECT_LEAKS]
FILE = ROOT / "prefect.yaml"
DEPLOYMENTS = {deployment.name: deployment for deployment in read(FILE)}
OTHER = """
deployments:
  - name: {name}
    entrypoint: flows.pipeline.{flow}
    concurrency_limit: {{limit: 1, collision_strategy: CANCEL_NEW}}
    work_pool: {{name: warmbars}}
"""
NOWHERE = "postgresql+asyncpg://wb_prefect:secret@127.0.0.1:1/prefect"
NOW = datetime(2026, 3, 9, 15, tzinfo=UTC)


class Client:
    """A few questions to the Prefect server, each on an event loop of its own."""

    def __init__(self, api: str) -> None:
        self.api = api

    def ask(self, question: Callable[[PrefectClient], Any]) -> Any:
        async def asked() -> Any:
            async with get_client() as client:
                return await question(client)

        return asyncio.run(asked())

    def run(self, deployment: str, **parameters: Any) -> FlowRun:
        async def create(client: PrefectClient) -> FlowRun:
            known = await client.read_deployment_by_name(f"warmbars-{deployment}")
            return await client.create_flow_run_from_deployment(known.id, parameters=parameters)

        return self.ask(create)

    def ended(self, run: FlowRun) -> FlowRun:
        return self.ask(lambda client: ended(client, run.id))


async def ended(client: PrefectClient, run: UUID, seconds: float = 60) -> FlowRun:
    """Wait for a run to end."""
    return await reached(client, run, lambda now: now.state is not None and now.state.is_final(), seconds)


async def reached(client: PrefectClient, run: UUID, wanted: Callable[[FlowRun], bool], seconds: float = 60) -> FlowRun:
    deadline = time.monotonic() + seconds
    while not wanted(now := await client.read_flow_run(run)):
        assert time.monotonic() < deadline, now.state
        await asyncio.sleep(0.05)
    return now


@pytest.fixture
def client(prefect: str) -> Client:
    return Client(prefect)


class TestFile:
    """prefect.yaml."""

    def test_it_has_a_deployment_for_each_step_and_one_for_all(self) -> None:
        assert list(DEPLOYMENTS) == ["run", "ingest", "refresh", "publish", "forecast"]
        for deployment in DEPLOYMENTS.values():
            assert deployment.flow().name == f"warmbars-{deployment.name}"
            assert deployment.description
            assert "warmbars" in deployment.tags
            assert deployment.work_pool.name == "warmbars"
            limit = deployment.concurrency_limit
            assert limit is not None
            assert (limit.limit, limit.collision_strategy) == (1, "CANCEL_NEW")

    @pytest.mark.parametrize(
        ("day", "opens", "closes"),
        [("2026-03-09", "13:30", "20:05"), ("2026-03-06", "14:30", "21:05")],  # after and before the change to DST
    )
    def test_a_session_has_a_run_a_minute_and_the_rest_of_the_day_one_an_hour(
        self, day: str, opens: str, closes: str
    ) -> None:
        times = fires("run", day)
        assert (times[0][11:], times[-1][11:], len(times)) == (opens, closes, 30 + 6 * 60 + 6)
        hourly = [fires(name, day) for name in ("ingest", "refresh", "publish")]
        assert [len(found) for found in hourly] == [16, 16, 16]
        assert all(a < b < c for a, b, c in zip(*hourly, strict=True))
        assert not {at for found in hourly for at in found} & set(times)

    def test_forecasts_are_made_once_after_the_last_run_of_a_session(self) -> None:
        assert fires("forecast", "2026-03-09") == ["2026-03-09 20:20"]
        assert fires("forecast", "2026-03-07") == []

    def test_weekends_have_no_session(self) -> None:
        assert fires("run", "2026-03-07") == []
        assert len(fires("ingest", "2026-03-07")) == 24

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("tags: [warmbars, session]", "tagz: [warmbars, session]", "tagz"),
            ("entrypoint: flows.pipeline.run", "entrypoint: flows/pipeline.py:run", "entrypoint"),
            ("entrypoint: flows.pipeline.run", "entrypoint: flows.pipeline.held", "is not a flow"),
            ("parameters: {}", "parameters: {sources: 7}", "wrong parameters"),
            ("deployments:", "deployment:", "no deployments"),
        ],
    )
    def test_what_is_wrong_in_it_is_named(self, tmp_path: Path, old: str, new: str, said: str) -> None:
        wrong = tmp_path / "prefect.yaml"
        wrong.write_text(FILE.read_text().replace(old, new, 1))
        with pytest.raises(ConfigurationError, match=said):
            [deployment.flow() for deployment in read(wrong)]


def fires(name: str, day: str) -> list[str]:
    """When a deployment's schedules fire on a day of New York, in UTC."""
    start = datetime.fromisoformat(f"{day}T05:00:00+00:00")
    start -= timedelta(hours=1) if day >= "2026-03-08" else timedelta()
    times: list[datetime] = []
    for schedule in DEPLOYMENTS[name].schedules:
        cron = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
        times += asyncio.run(cron.get_dates(n=500, start=start, end=start + timedelta(days=1, seconds=-1)))
    return sorted(f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" for at in times)


class TestChoice:
    """Which of the due runs are executed."""

    @staticmethod
    def due(*minutes_ago: int, asked: bool = False) -> list[FlowRun]:
        at = [NOW - timedelta(minutes=ago) for ago in minutes_ago]
        return [FlowRun(id=uuid4(), flow_id=uuid4(), auto_scheduled=not asked, next_scheduled_start_time=t) for t in at]

    def test_of_sixty_missed_ones_the_newest_catches_up(self) -> None:
        runs = self.due(*range(60, 0, -1))
        choice = choose(runs, busy=False)
        assert choice.start is runs[-1]
        assert choice.skip == tuple(runs[:-1])
        assert "14:59 UTC catches up" in choice.why

    def test_what_falls_due_while_one_is_going_is_skipped(self) -> None:
        runs = self.due(1)
        assert choose(runs, busy=True).skip == tuple(runs)

    def test_what_was_asked_for_is_never_skipped(self) -> None:
        first, second = self.due(5, 3, asked=True)
        (scheduled,) = self.due(4)
        runs = [first, scheduled, second]
        assert choose(runs, busy=True).skip == (scheduled,)
        assert choose(runs, busy=False).start is first
        assert choose(runs, busy=False).skip == ()

    def test_nothing_due_is_nothing_to_do(self) -> None:
        assert choose([], busy=False).start is None


class TestRegistered:
    """What the server knows after a start."""

    @pytest.mark.parametrize("wanted", DEPLOYMENTS.values(), ids=list(DEPLOYMENTS))
    def test_the_server_has_what_the_file_says(self, client: Client, served: Served, wanted: Deployment) -> None:
        known = client.ask(lambda c: c.read_deployment_by_name(f"warmbars-{wanted.name}/{wanted.name}"))
        assert (known.entrypoint, known.work_pool_name) == (wanted.entrypoint, "warmbars")
        assert set(known.tags) == set(wanted.tags)
        assert known.description == wanted.description
        assert known.global_concurrency_limit.limit == 1
        assert known.concurrency_options.collision_strategy == "CANCEL_NEW"
        found = {(s.slug, s.schedule.cron, s.schedule.timezone) for s in known.schedules}
        assert found == {(s.slug, s.cron, s.timezone) for s in wanted.schedules}
        ((step, options),) = known.pull_steps[0].items()
        assert (step.rsplit(".")[-1], options) == ("set_working_directory", {"directory": str(served.directory)})

    def test_configured_sources_are_offered_and_nothing_else_is_taken(self, client: Client) -> None:
        known = client.ask(lambda c: c.read_deployment_by_name("warmbars-ingest/ingest"))
        array, _ = known.parameter_openapi_schema["properties"]["sources"]["anyOf"]
        assert array["items"] == {"type": "string", "enum": ["simulated"]}
        with pytest.raises(PrefectHTTPStatusError, match="422|409"):
            client.run("ingest/ingest", sources=["/etc/passwd"])

    def test_a_schedule_paused_in_the_ui_stays_paused(self, client: Client, tmp_path: Path) -> None:
        file = tmp_path / "prefect.yaml"
        schedule = (
            '    schedules: [{slug: a, cron: "0 0 1 1 *", timezone: UTC}, {slug: b, cron: "0 0 2 1 *", timezone: UTC}]'
        )
        file.write_text(OTHER.format(name="paused", flow="publish") + schedule)

        async def paused(c: PrefectClient) -> dict[str | None, bool]:
            (registered,) = await register(c, file, file.parent, [])
            known = await c.read_deployment(registered.id)
            (first,) = [s for s in known.schedules if s.slug == "a"]
            await c.update_deployment_schedule(registered.id, first.id, active=False)
            await register(c, file, file.parent, [])
            known = await c.read_deployment(registered.id)
            return {s.slug: s.active for s in known.schedules}

        assert client.ask(paused) == {"a": False, "b": True}


class TestServed:
    """The program itself."""

    def test_a_run_is_executed_in_its_process(self, client: Client, served: Served) -> None:
        run = client.ended(client.run("run/run"))
        assert run.state is not None
        assert run.state.is_completed(), run.state
        assert run.name == f"run: {run.state.message}"
        assert "keys of 3 symbols published" in run.name
        assert set(run.tags) == {"warmbars", "session"}
        assert str(served.home) in (run.infrastructure_pid or "")
        this = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        (artifact,) = client.ask(lambda c: c.read_artifacts(flow_run_filter=this))
        assert (artifact.key, artifact.description) == ("warmbars-run", run.state.message)
        of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
        until(lambda: any("refreshing" in log.message for log in client.ask(lambda c: c.read_logs(of_run))))

    def test_a_second_one_in_the_same_directory_is_refused(self, served: Served) -> None:
        with pytest.raises(ConfigurationError, match="another `warmbars flow serve`"):
            serve(Settings(home=served.home))

    def test_ended_by_a_signal_it_cancels_its_run_and_leaves_the_server(
        self, client: Client, served: Served, servers: Servers, tmp_path: Path
    ) -> None:
        """On an existing Prefect server, and servers of one's own: none of them is its to stop."""
        market = '{"many": {"kind": "simulated", "symbols": 10, "sessions": 60}}'
        directory = tmp_path / "stopped"
        program = Served.start(
            directory,
            OTHER.format(name="stopped", flow="run"),
            PREFECT_API_URL=client.api,
            WARMBARS_DATABASE_URL=servers.database_url,
            WARMBARS_REDIS_URL=servers.redis_url,
            WARMBARS_NAMESPACE="stopped",
            WARMBARS_SOURCES=market,
            WARMBARS_INGEST_BATCH_ROWS="1000",
        )
        program.wait("executing stopped")
        run = client.run("run/stopped")
        program.wait("rows\n")
        assert program.end(signal.SIGTERM) == 143, program.said
        found = client.ended(run)
        assert (found.state_type, found.state and found.state.message) == (
            StateType.CANCELLED,
            "warmbars flow serve was stopped; the next run goes on from here",
        )
        until(lambda: not processes_in(directory))
        assert served.process.poll() is None
        assert "Traceback" not in program.said


def as_by_schedule(served: Served, deployment: UUID) -> None:
    """Have a deployment's runs look as if its schedule had made them, which no request can ask for."""
    servers = running(served.home)
    assert servers is not None
    with psycopg.connect(servers.prefect_url.replace("+asyncpg", "")) as connection:
        connection.execute("UPDATE flow_run SET auto_scheduled = true WHERE deployment_id = %s", [deployment])


class TestExecutor:
    """The executor alone, in this process, with deployments of its own."""

    OWNER = "taken by a test"

    @pytest.fixture(autouse=True)
    def wired(self, deps: Deps) -> Iterator[None]:
        with pipeline.held(deps):
            yield

    @asynccontextmanager
    async def executing(self, client: PrefectClient, registered: list[Registered]) -> AsyncIterator[None]:
        stop = asyncio.Event()
        executor = Executor(client, registered, self.OWNER, check=lambda: None, poll_seconds=0.1)
        work = asyncio.create_task(executor.run(stop))
        try:
            yield
        finally:
            stop.set()
            await work

    async def registered(self, client: PrefectClient, place: Path, name: str) -> list[Registered]:
        file = place / "prefect.yaml"
        file.write_text(OTHER.format(name=name, flow="refresh"))
        return await register(client, file, place, [])

    def test_of_missed_runs_one_catches_up_and_the_others_say_so(
        self, client: Client, served: Served, tmp_path: Path
    ) -> None:
        async def caught_up(c: PrefectClient) -> list[FlowRun]:
            registered = await self.registered(c, tmp_path, "missed")
            hours = [timedelta(hours=ago) for ago in (4, 3, 2, 1)]
            states = [Scheduled(scheduled_time=datetime.now(UTC) - ago) for ago in hours]
            runs = [await c.create_flow_run_from_deployment(registered[0].id, state=state) for state in states]
            as_by_schedule(served, registered[0].id)
            async with self.executing(c, registered):
                return [await ended(c, run.id) for run in runs]

        *others, newest = client.ask(caught_up)
        assert newest.state_type == StateType.COMPLETED
        assert {run.state_name for run in others} == {"Skipped"}
        assert all("catches up" in run.state.message for run in others)

    def test_a_run_of_a_killed_process_is_buried_and_the_next_one_starts(self, client: Client, tmp_path: Path) -> None:
        async def buried(c: PrefectClient) -> list[FlowRun]:
            registered = await self.registered(c, tmp_path, "buried")
            taken = await c.create_flow_run_from_deployment(registered[0].id)
            await c.set_flow_run_state(taken.id, Pending(message=self.OWNER))
            await c.update_flow_run(taken.id, infrastructure_pid=self.OWNER)
            await c.set_flow_run_state(taken.id, Running())
            waiting = await c.create_flow_run_from_deployment(registered[0].id)
            async with self.executing(c, registered):
                return [await ended(c, run.id) for run in (taken, waiting)]

        killed, following = client.ask(buried)
        assert (killed.state_type, killed.state.message) == (
            StateType.CRASHED,
            "the process that executed it is gone",
        )
        assert following.state_type == StateType.COMPLETED, following.state

    def test_a_run_of_somebody_else_is_left_alone(self, client: Client, tmp_path: Path) -> None:
        async def left(c: PrefectClient) -> list[FlowRun]:
            registered = await self.registered(c, tmp_path, "left")
            theirs = await c.create_flow_run_from_deployment(registered[0].id)
            await c.set_flow_run_state(theirs.id, Pending(message="taken by another"))
            ours = await c.create_flow_run_from_deployment(registered[0].id)
            async with self.executing(c, registered):
                found = await ended(c, ours.id)
            return [await c.read_flow_run(theirs.id), found]

        theirs, ours = client.ask(left)
        assert theirs.state_type == StateType.PENDING
        assert (ours.state_type, ours.state.message) == (
            StateType.CANCELLED,
            "Deployment concurrency limit reached.",
        )

    def test_a_run_cancelled_in_the_ui_ends_at_its_next_batch(
        self, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def endless(deps: Deps, as_of: datetime, progress: steps.Progress) -> Refreshed:
            while True:
                progress("the next batch")
                time.sleep(0.01)

        async def cancelled(c: PrefectClient) -> FlowRun:
            registered = await self.registered(c, tmp_path, "cancelled")
            run = await c.create_flow_run_from_deployment(registered[0].id)
            async with self.executing(c, registered):
                await reached(c, run.id, lambda now: now.state_type == StateType.RUNNING)
                await c.set_flow_run_state(run.id, Cancelling())
                return await ended(c, run.id)

        monkeypatch.setattr(steps, "refresh", endless)
        run = client.ask(cancelled)
        assert (run.state_type, run.state.message) == (StateType.CANCELLED, "cancelled in Prefect")


class TestServer:
    """The server's process."""

    def test_one_that_cannot_start_says_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFECT_SERVER_API_KEEPALIVE_TIMEOUT", "a while")
        home = Home.at(tmp_path / "home").create()
        with PrefectServer(home, NOWHERE, free_port()) as server, pytest.raises(ServerFailed, match="a while"):
            server.wait()
        assert "secret" not in (home.log / "prefect.log").read_text()

    def test_a_port_that_is_taken_is_refused(self, tmp_path: Path) -> None:
        home = Home.at(tmp_path / "home").create()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(ConfigurationError, match="is taken"):
                PrefectServer(home, NOWHERE, taken.getsockname()[1])
