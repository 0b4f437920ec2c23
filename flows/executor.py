"""Scheduled runs of our deployments, executed in this process when they fall due.

Prefect's own `serve` and its process worker start a process a run, seven seconds before the first line of ours;
here a run starts at its second, with everything connected. Otherwise it is what they do: the run is taken by
proposing Pending (so the server's concurrency limit holds, and of two executors one gets it), then Prefect's
engine runs the flow on that very run, so that states, logs, artifacts and heartbeats are where they belong.

One run of a deployment at a time. A scheduled run that falls due meanwhile is skipped, and of several that were
missed (the machine was off) the newest alone is executed: each works on everything that is due, so one catches up.
Runs that somebody asked for are all executed, one after the other.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import Abort
from prefect.flow_engine import run_flow
from prefect.logging import get_logger
from prefect.states import Cancelled, Crashed, Pending
from prefect.utilities.engine import propose_state

from flows.deployments import Registered
from flows.pipeline import Stop

POLL_SECONDS: Final = 2.0
"""How long a run that was asked for waits at most; scheduled ones are known beforehand and start on time."""
MOST_RUNS: Final = 200
"""Runs the server returns at once."""
_OURS: Final = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_ENDED: Final = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED)
_logger: logging.Logger = get_logger("warmbars.serve")


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do about the due runs of one deployment."""

    start: FlowRun | None
    skip: tuple[FlowRun, ...] = ()
    why: str = ""


def choose(due: Sequence[FlowRun], *, busy: bool) -> Choice:
    """Which of a deployment's due runs, oldest first, to start and which to skip; the others wait."""
    asked = [run for run in due if not run.auto_scheduled]
    scheduled = [run for run in due if run.auto_scheduled]
    if busy:
        return Choice(None, tuple(scheduled), "the run before it was still going")
    if asked or not scheduled:
        return Choice(asked[0] if asked else None)
    *missed, newest = scheduled
    return Choice(newest, tuple(missed), f"missed; the run of {_due_at(newest):%Y-%m-%d %H:%M} UTC catches up")


class Executor:
    """Takes the runs of some deployments. `owner` names this process' data directory and machine on its runs."""

    def __init__(
        self,
        client: PrefectClient,
        deployments: Sequence[Registered],
        owner: str,
        *,
        check: Callable[[], None],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`check` raises when there is no point in going on (a server of ours that ended)."""
        self._client = client
        self._deployments = {deployment.id: deployment for deployment in deployments}
        self._owner = owner
        self._check = check
        self._poll_seconds = poll_seconds
        self._running: dict[UUID, tuple[FlowRun, asyncio.Task[None]]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Execute what falls due until `stop` is set; what is being executed then ends at its next batch."""
        await self._bury()
        try:
            while not stop.is_set():
                pause = await self._turn()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
        finally:
            await self._end(Stop("warmbars flow serve was stopped; the next run goes on from here"))

    async def _bury(self) -> None:
        """Runs that a killed process of ours left behind would hold their deployment's only slot for ever."""
        states = FlowRunFilterState(type=FlowRunFilterStateType(any_=_OURS))
        for run in await self._client.read_flow_runs(
            deployment_filter=self._filter(), flow_run_filter=FlowRunFilter(state=states)
        ):
            taken = run.state is not None and run.state.message == self._owner
            if taken or run.infrastructure_pid == self._owner:
                _logger.warning("%s: the process that executed it is gone", run.name)
                await self._client.set_flow_run_state(
                    run.id, Crashed(message="the process that executed it is gone"), force=True
                )

    async def _turn(self) -> float:
        """Start and skip what is due, cancel what somebody cancelled; seconds until there is more to do."""
        self._check()
        try:
            await self._cancel_cancelled()
            return await self._take()
        except httpx.HTTPError as exc:
            _logger.warning("Prefect's server does not answer, trying again: %s", exc)
            return self._poll_seconds

    async def _take(self) -> float:
        now = datetime.now(UTC)
        runs = await self._client.get_scheduled_flow_runs_for_deployments(
            list(self._deployments), scheduled_before=now + timedelta(seconds=self._poll_seconds), limit=MOST_RUNS
        )
        due = [run for run in runs if _due_at(run) <= now]
        for deployment, group in groupby(sorted(due, key=_by_deployment), key=lambda run: run.deployment_id):
            assert deployment is not None
            choice = choose(list(group), busy=deployment in self._running)
            for run in choice.skip:
                await self._skip(run, choice.why)
            if choice.start is not None and len(runs) < MOST_RUNS:  # else there may be a newer one
                self._start(deployment, choice.start)
        if len(runs) == MOST_RUNS:
            return 0.0
        coming = [(_due_at(run) - now).total_seconds() for run in runs if _due_at(run) > now]
        return min([self._poll_seconds, *coming])

    async def _skip(self, run: FlowRun, why: str) -> None:
        await self._client.set_flow_run_state(run.id, Cancelled(name="Skipped", message=why))

    def _start(self, deployment: UUID, run: FlowRun) -> None:
        task = asyncio.create_task(self._execute(self._deployments[deployment], run))
        self._running[deployment] = run, task
        task.add_done_callback(lambda _: self._running.pop(deployment))

    async def _execute(self, deployment: Registered, run: FlowRun) -> None:
        try:
            state = await propose_state(self._client, Pending(message=self._owner), run.id)
            if not state.is_pending():
                _logger.info("%s: not started, the server says: %s", run.name, state)
                return
            await self._client.update_flow_run(run.id, infrastructure_pid=self._owner)
            engine = run_flow(deployment.flow, flow_run=run, return_type="state")
            ended = await cast("Coroutine[Any, Any, State[Any]]", engine)
            if ended.is_cancelling():  # too late: its work was done
                await self._settle(run, Cancelled(message="cancelled when its work was done"))
        except Abort as exc:
            _logger.info("%s: not started, the server says: %s", run.name, exc)
        except asyncio.CancelledError as exc:  # outside of the flow's own code, which would have ended the run
            why = exc.args[0].reason if exc.args and isinstance(exc.args[0], Stop) else "cancelled"
            await self._settle(run, Cancelled(message=why))
        except Exception:
            # The engine reports what a flow raises as the run's state: this is the engine, or the way to the server.
            _logger.exception("%s: could not be executed", run.name)
            await self._settle(run, Crashed(message="not executed; the log of warmbars flow serve says why"))

    async def _settle(self, run: FlowRun, state: State[Any]) -> None:
        """See to it that a run that nobody executes any more does not stay as if somebody did."""
        with suppress(httpx.HTTPError):
            if (await self._client.read_flow_run(run.id)).state_type not in _ENDED:
                await self._client.set_flow_run_state(run.id, state, force=True)

    async def _cancel_cancelled(self) -> None:
        """Runs of ours that somebody cancelled in the UI end at their next batch."""
        if not self._running:
            return
        cancelling = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING]))
        found = await self._client.read_flow_runs(
            deployment_filter=self._filter(), flow_run_filter=FlowRunFilter(state=cancelling)
        )
        wanted = {run.id for run in found}
        for run, task in self._running.values():
            if run.id in wanted and not task.cancelling():
                task.cancel(Stop("cancelled in Prefect"))

    async def _end(self, why: Stop) -> None:
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            if not task.cancelling():
                task.cancel(why)
        if tasks:
            await asyncio.wait(tasks)

    def _filter(self) -> DeploymentFilter:
        return DeploymentFilter(id=DeploymentFilterId(any_=list(self._deployments)))


def _due_at(run: FlowRun) -> datetime:
    due = run.next_scheduled_start_time or run.expected_start_time
    assert due is not None
    return due


def _by_deployment(run: FlowRun) -> tuple[str, datetime]:
    return str(run.deployment_id), _due_at(run)
