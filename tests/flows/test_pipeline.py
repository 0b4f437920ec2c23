"""The flows, run for real: what states they end in, what is retried, and what is left in the Prefect UI."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.utilities.callables import parameter_schema

from flows import artifacts, pipeline, steps
from flows.steps import FileReport, Ingested, Published, Refreshed
from flows.wiring import Deps
from storage.market.raw import Written
from storage.settings import Settings, SourceSettings
from tests.flows.conftest import PREFECT_LEAKS
from tests.storage.market.rows import minutes
from transforms.errors import StoreUnavailable, UnknownMarket

pytestmark = [pytest.mark.prefect, pytest.mark.postgres, pytest.mark.redis, PREFECT_LEAKS]
AS_OF = datetime(2024, 1, 3, 23, tzinfo=UTC)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """One readable file, as a source called `vendor`."""
    minutes(30).drop("source", "granularity", "adjusted_close").write_csv(tmp_path / "minutes.csv")
    vendor = SourceSettings(kind="files", path=str(tmp_path / "minutes.csv"))
    return settings.model_copy(update={"sources": {"vendor": vendor}})


@pytest.fixture
def wired(deps: Deps, prefect: str) -> Iterator[Deps]:
    """What the flows use, on a Prefect server."""
    with pipeline.held(deps):
        yield deps


def ended(flow: Coroutine[Any, Any, Any]) -> tuple[State[Any], FlowRun]:
    """Run a flow; the state it returned, and what the server knows of the run."""

    async def run() -> tuple[State[Any], FlowRun]:
        state = await flow
        async with get_client() as client:
            return state, await client.read_flow_run(state.state_details.flow_run_id)

    return asyncio.run(run())


def shown(run: FlowRun) -> str:
    """The summary that the Prefect UI shows with a run."""

    async def read() -> str:
        async with get_client() as client:
            this = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
            (artifact,) = await client.read_artifacts(flow_run_filter=this)
            assert artifact.type == "markdown"
            assert artifact.key == f"warmbars-{run.name.split(':')[0]}"
            return str(artifact.data)

    return asyncio.run(read())


def failing(times: int, error: Exception) -> Callable[..., Refreshed]:
    """A refresh that fails so many times; how often it was called is its attribute."""

    def refresh(*_: object) -> Refreshed:
        refresh.calls += 1  # type: ignore[attr-defined]
        if refresh.calls <= times:  # type: ignore[attr-defined]
            raise error
        return Refreshed()

    refresh.calls = 0  # type: ignore[attr-defined]
    return refresh


def test_a_run_takes_raw_rows_to_warm_keys_and_says_so(wired: Deps) -> None:
    state, run = ended(pipeline.run(as_of=AS_OF, return_state=True))
    assert state.is_completed()
    assert run.state is not None
    assert run.state.message is not None
    assert run.name == f"run: {run.state.message}"
    assert run.state.message.startswith("30 rows stored; ")
    assert wired.reader().bars("AAA", "5m").origin == "cache"
    summary = shown(run)
    assert "| vendor | minutes.csv | bars | 30 | 0 | 30 | 0 |" in summary
    assert "| bars_1m | 30 |" in summary
    assert "| symbols | 2 |" in summary


def test_each_step_is_a_flow_of_its_own(wired: Deps) -> None:
    names = []
    for flow in (pipeline.ingest, pipeline.refresh, pipeline.publish):
        state, run = ended(flow(as_of=AS_OF, return_state=True))
        assert state.is_completed(), state
        assert shown(run)
        names.append(run.name.split(":")[0])
    assert names == ["ingest", "refresh", "publish"]
    assert not wired.outbox.pending()
    state, _ = ended(pipeline.run(as_of=AS_OF, return_state=True))
    assert state.message == "0 rows stored; 0 rows of 0 symbols refreshed; 0 keys of 0 symbols published"


def test_a_forecast_without_enough_history_says_so(wired: Deps) -> None:
    ended(pipeline.run(as_of=AS_OF, return_state=True))
    state, run = ended(pipeline.forecast(as_of=AS_OF, return_state=True))
    assert state.is_completed(), state
    assert run.name == "forecast: 1 symbols due, 0 changed; 0 keys of 0 symbols published"
    assert "| AAA has no forecast |  | log_return: 0 sessions have one, 250 are needed;" in shown(run)


def test_a_publish_repairs_what_the_cache_lost(wired: Deps) -> None:
    ended(pipeline.run(as_of=AS_OF, return_state=True))
    for key in wired.client.scan_iter(match=f"wb:1:{wired.settings.namespace}:*"):
        wired.client.delete(key)
    state, _ = ended(pipeline.publish(as_of=AS_OF, return_state=True))
    assert state.message is not None
    assert "of 2 symbols published" in state.message


def test_a_file_that_cannot_be_read_fails_the_run_and_stops_nothing(wired: Deps, tmp_path: Path) -> None:
    gone = SourceSettings(kind="files", path=str(tmp_path / "gone.csv"))
    settings = wired.settings.model_copy(update={"sources": {"gone": gone, **wired.settings.sources}})
    with pipeline.held(replace(wired, settings=settings)):
        state, run = ended(pipeline.run(as_of=AS_OF, return_state=True))
    assert state.is_failed()
    assert state.message is not None
    assert "gone.csv: no such file" in state.message
    assert "30 rows stored" in state.message
    assert "## Failed" in shown(run)
    assert wired.reader().bars("AAA", "5m").origin == "cache"


@pytest.mark.parametrize("name", ["vendors", "/etc/passwd", "https://example.org/bars.csv"])
def test_only_configured_sources_can_be_named(wired: Deps, name: str) -> None:
    state, _ = ended(pipeline.ingest([name], AS_OF, return_state=True))
    assert state.is_failed()
    assert state.message is not None
    assert f"no source is called {name}" in state.message
    assert "vendor" in state.message


@pytest.mark.parametrize(
    ("error", "calls", "completed"),
    [
        (StoreUnavailable("away for a moment"), 3, True),
        (UnknownMarket("there is no such exchange"), 1, False),
        (RuntimeError("a mistake"), 1, False),
    ],
)
def test_only_what_may_pass_by_itself_is_retried(
    wired: Deps, monkeypatch: pytest.MonkeyPatch, error: Exception, calls: int, completed: bool
) -> None:
    refresh = failing(2, error)
    monkeypatch.setattr(steps, "refresh", refresh)
    monkeypatch.setattr(pipeline, "refresh_due", pipeline.refresh_due.with_options(retry_delay_seconds=0))
    state, _ = ended(pipeline.refresh(as_of=AS_OF, return_state=True))
    assert (refresh.calls, state.is_completed()) == (calls, completed)  # type: ignore[attr-defined]


def test_retries_wait_longer_each_time() -> None:
    for task in (pipeline.ingest_source, pipeline.refresh_due, pipeline.publish_pending, pipeline.forecast_due):
        assert (task.retries, task.retry_delay_seconds) == (3, [2.0, 10.0, 60.0])


def test_a_stopped_run_ends_at_its_next_batch_as_cancelled(wired: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    began = asyncio.Event()

    def endless(deps: Deps, as_of: datetime, progress: steps.Progress) -> Refreshed:
        while True:
            progress("the next batch")
            batches.append(1)
            loop.call_soon_threadsafe(began.set)

    async def stopped() -> State[Any]:
        nonlocal loop
        loop = asyncio.get_running_loop()
        run = asyncio.create_task(pipeline.refresh(as_of=AS_OF, return_state=True))
        await began.wait()
        run.cancel(pipeline.Stop("enough"))
        return await run

    loop: asyncio.AbstractEventLoop
    monkeypatch.setattr(steps, "refresh", endless)
    state = asyncio.run(stopped())
    assert state.is_cancelled()
    assert state.message == "enough"
    done = len(batches)
    asyncio.run(asyncio.sleep(0.05))
    assert len(batches) == done


@pytest.mark.parametrize("flow", [pipeline.ingest, pipeline.refresh, pipeline.publish, pipeline.run, pipeline.forecast])
def test_an_analyst_can_fill_in_every_parameter(flow: Any) -> None:
    assert flow.description
    for name, parameter in parameter_schema(flow).properties.items():
        assert parameter["description"], name
        assert parameter["default"] is None
        assert {choice["type"] for choice in parameter["anyOf"]} in ({"array", "null"}, {"string", "null"})


def test_a_value_cannot_break_out_of_its_table() -> None:
    table = artifacts.table(["a", "b"], [["x | y\n| z", 12345], ["<script>", ""]])
    assert table.splitlines() == ["| a | b |", "| --- | --- |", "| x \\| y \\| z | 12,345 |", "| &lt;script> |  |"]


def test_a_long_list_of_files_is_cut_failures_first() -> None:
    files = [FileReport("v", f"{n:03}.csv", "bars", 1, 0, Written(inserted=1)) for n in range(300)]
    files.append(FileReport("v", "zzz.csv", "?", 0, 0, Written(), error="zzz.csv: broken"))
    part = artifacts.section(Ingested(files))
    lines = part.table.splitlines()
    assert len(lines) == 2 + artifacts.MOST_FILES + 1
    assert "zzz.csv: broken" in lines[2]
    assert "and 101 more" in lines[-1]
    assert part.failures == ("v: zzz.csv: broken",)
    assert part.words == "300 rows stored"


def test_symbols_left_to_another_run_are_named() -> None:
    part = artifacts.section(Refreshed(symbols={"AAA"}, rows={"bars_1m": 3}, busy={"BBB"}))
    assert part.words == "3 rows of 1 symbols refreshed"
    assert "left to another run: BBB" in part.table
    assert artifacts.section(Published(symbols=1, written=5)).words == "5 keys of 1 symbols published"
