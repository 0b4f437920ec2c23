"""The pipeline as Prefect flows: ingest, refresh, publish, run, which is the three in a row, and forecast.

A flow decides when and how often, a step (flows/steps.py, flows/forecast.py) decides what. A task is a source or a
step, never a symbol: Prefect costs a few milliseconds a task, a step commits batch by batch by itself.

Flows are asynchronous and steps work in a thread. So a run that is cancelled, or waits to retry, ends at once
or at the next batch, and Prefect's heartbeat costs nothing (a synchronous flow waits a second for it).
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any, Final, TypeVar
from uuid import UUID

from anyio import CancelScope
from prefect import Task, flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Cancelled, Completed, Failed

from flows import forecast as forecasting
from flows import steps
from flows.artifacts import Section, leave, section
from flows.forecast import Forecasted
from flows.sources import Source
from flows.sources_of import configured, sources_of
from flows.steps import Ingested, Published, Refreshed
from flows.wiring import Deps, wire
from storage.settings import load_settings
from transforms.errors import PipelineError, TransientError

T = TypeVar("T")
VERSION: Final = version("warmbars")
RETRY_DELAYS: Final = [2.0, 10.0, 60.0]
"""Seconds before the second, third and fourth attempt."""
MOST_FAILURES: Final = 5
"""Failures told in a run's state; its summary has them all."""

_held: ContextVar[Deps | None] = ContextVar("held", default=None)


class Stopped(PipelineError):
    """A step was asked to end and did, between two batches: what it committed stays, the rest is still due."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run is cancelled; the message of `asyncio.Task.cancel`. The run then ends as Cancelled, and says so."""

    reason: str


@contextmanager
def held(deps: Deps) -> Iterator[None]:
    """Have the flows of this context use `deps`, where each would otherwise wire and unwire its own."""
    token = _held.set(deps)
    try:
        yield
    finally:
        _held.reset(token)


def is_transient(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the same call may succeed later; nothing else is worth a retry."""
    return isinstance(state.data, TransientError)


@task(
    name="ingest source",
    task_run_name="ingest {source.name}",
    tags=["warmbars", "ingest"],
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
async def ingest_source(deps: Deps, source: Source, as_of: datetime) -> Ingested:
    """Validate and store what one source hands over."""
    return await _in_thread(steps.ingest, deps, [source], as_of)


@task(
    name="refresh",
    task_run_name="refresh as of {as_of:%Y-%m-%d %H:%M} UTC",
    tags=["warmbars", "refresh"],
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
async def refresh_due(deps: Deps, as_of: datetime) -> Refreshed:
    """Recompute what the due dirty windows reach."""
    return await _in_thread(steps.refresh, deps, as_of)


@task(
    name="publish",
    task_run_name="publish as of {as_of:%Y-%m-%d %H:%M} UTC",
    tags=["warmbars", "publish"],
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
async def publish_pending(deps: Deps, as_of: datetime) -> Published:
    """Send what changed to the cache, and again what the cache lost."""
    published = await _in_thread(steps.publish, deps, as_of)
    return _sum(published, await _in_thread(steps.sweep, deps))


@task(
    name="forecast",
    task_run_name="forecast as of {as_of:%Y-%m-%d %H:%M} UTC",
    tags=["warmbars", "forecast"],
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
async def forecast_due(deps: Deps, symbols: list[str] | None, as_of: datetime) -> Forecasted:
    """Forecast the next session of symbols whose daily bars changed."""
    return await _in_thread(partial(forecasting.forecast, symbols=symbols), deps, as_of)


def _run_name() -> str:
    """A run's name until it knows what it did: the deployment's, and the moment it works as of."""
    as_of = runtime.flow_run.parameters.get("as_of") or runtime.flow_run.scheduled_start_time
    return f"{_kind(runtime.flow_run.flow_name)} as of {_moment(as_of):%Y-%m-%d %H:%M} UTC"


@flow(name="warmbars-ingest", version=VERSION, flow_run_name=_run_name)
async def ingest(sources: list[str] | None = None, as_of: datetime | None = None) -> State[Any]:
    """Fetch, validate and store what the configured sources have; bad rows are set aside with their reason.

    Args:
        sources: Names of configured sources, such as "simulated" ([sources.NAME] in warmbars.toml). Empty: all.
        as_of: The moment to work as of, with its time zone; rows after it are rejected. Empty: now.
    """
    with _wired() as deps:
        return await _finished(_ingest(deps, sources, _moment(as_of)))


@flow(name="warmbars-refresh", version=VERSION, flow_run_name=_run_name)
async def refresh(as_of: datetime | None = None) -> State[Any]:
    """Recompute bars, indicators, sentiment and correlations that changed rows, or the passing of time, reach.

    Args:
        as_of: The moment to work as of, with its time zone; bars that end after it stay open. Empty: now.
    """
    with _wired() as deps:
        return await _finished(_sections(refresh_due(deps, _moment(as_of))))


@flow(name="warmbars-publish", version=VERSION, flow_run_name=_run_name)
async def publish(as_of: datetime | None = None) -> State[Any]:
    """Send results that changed to the cache, and again whatever the cache lost.

    Args:
        as_of: The moment up to which everything is then known to be checked, with its time zone. Empty: now.
    """
    with _wired() as deps:
        return await _finished(_sections(publish_pending(deps, _moment(as_of))))


@flow(name="warmbars-run", version=VERSION, flow_run_name=_run_name)
async def run(sources: list[str] | None = None, as_of: datetime | None = None) -> State[Any]:
    """Ingest the configured sources, refresh what that reached, publish it: raw rows in, warm keys out.

    Args:
        sources: Names of configured sources, such as "simulated" ([sources.NAME] in warmbars.toml). Empty: all.
        as_of: The moment to work as of, with its time zone; rows after it are rejected. Empty: now.
    """
    with _wired() as deps:
        return await _finished(_run(deps, sources, _moment(as_of)))


@flow(name="warmbars-forecast", version=VERSION, flow_run_name=_run_name)
async def forecast(symbols: list[str] | None = None, as_of: datetime | None = None) -> State[Any]:
    """Forecast return and volatility of the next session where daily bars changed, and publish it with its scores.

    Args:
        symbols: Symbols to forecast, such as "AAPL". Empty: every one that has daily bars.
        as_of: The moment to work as of, with its time zone; sessions that close after it are not used. Empty: now.
    """
    with _wired() as deps:
        return await _finished(_forecast(deps, symbols, _moment(as_of)))


async def _ingest(deps: Deps, names: Sequence[str] | None, as_of: datetime) -> list[Section]:
    """One source after the other; one that fails is reported, and the others still go."""
    done, failures = Ingested(), []
    for source in sources_of(deps, configured(deps, names or ()), as_of):
        try:
            report = await ingest_source(deps, source, as_of)
        except PipelineError as exc:
            failures.append(f"{source.name}: {exc}")
        else:
            done.files.extend(report.files)
    ingested = section(done)
    return [replace(ingested, failures=(*failures, *ingested.failures))]


async def _run(deps: Deps, names: Sequence[str] | None, as_of: datetime) -> list[Section]:
    ingested = await _ingest(deps, names, as_of)
    refreshed = section(await refresh_due(deps, as_of))
    return [*ingested, refreshed, section(await publish_pending(deps, as_of))]


async def _forecast(deps: Deps, symbols: list[str] | None, as_of: datetime) -> list[Section]:
    made = section(await forecast_due(deps, symbols or None, as_of))
    return [made, section(await publish_pending(deps, as_of))]


async def _sections(work: Awaitable[object]) -> list[Section]:
    return [section(await work)]


async def _finished(work: Awaitable[list[Section]]) -> State[Any]:
    """Do the work, leave its summary and name the run by it; the state the run ends in."""
    try:
        sections = await work
    except asyncio.CancelledError as exc:
        if exc.args and isinstance(exc.args[0], Stop):
            return Cancelled(message=exc.args[0].reason)
        raise
    words = "; ".join(part.words for part in sections)
    failures = [failure for part in sections for failure in part.failures]
    kind = _kind(runtime.flow_run.flow_name)
    await leave(kind, sections)
    async with get_client() as client:
        await client.set_flow_run_name(UUID(runtime.flow_run.id), f"{kind}: {words}")
    if failures:
        shown = "; ".join(failures[:MOST_FAILURES])
        return Failed(message=f"{len(failures)} failed, the rest went on ({words}): {shown}")
    return Completed(message=words, data=words)


async def _in_thread(step: Callable[..., T], *args: object) -> T:
    """Do a step in a thread, its progress into the run's log; cancelled, it ends before its next batch."""
    logger = get_run_logger()
    stopping = threading.Event()

    def progress(doing: str) -> None:
        if stopping.is_set():
            raise Stopped("asked to end")
        logger.info(doing)

    work = asyncio.ensure_future(asyncio.to_thread(step, *args, progress))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stopping.set()
        with CancelScope(shield=True):
            await asyncio.wait([work])
        work.exception()  # `Stopped`, or what it failed of meanwhile: the cancellation is what is reported
        raise


@contextmanager
def _wired() -> Iterator[Deps]:
    """What the process holds (`held`), else wired for this run by the settings of where it runs."""
    deps = _held.get()
    if deps is not None:
        yield deps
        return
    with wire(load_settings()) as own:
        yield own


def _moment(as_of: datetime | None) -> datetime:
    """In UTC, now when there is none; a time without a zone is taken as UTC."""
    moment = as_of or datetime.now(UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _kind(flow_name: str) -> str:
    return flow_name.removeprefix("warmbars-")


def _sum(first: Published, second: Published) -> Published:
    pairs = zip(astuple(first), astuple(second), strict=True)
    return Published(*(a + b for a, b in pairs))
