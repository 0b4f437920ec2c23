"""The deployments of prefect.yaml: read, checked, and registered with a Prefect server."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import yaml  # type: ignore[import-untyped]
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transforms.errors import ConfigurationError

FILE = "prefect.yaml"


class _Part(BaseModel):
    """Unknown keys are refused: left out in silence, they would do nothing here and something in `prefect deploy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(_Part):
    """A cron line in a time zone; `slug` is what a pause in the Prefect UI is remembered by."""

    slug: str
    cron: str
    timezone: str
    active: bool = True

    def create(self, paused: frozenset[str]) -> DeploymentScheduleCreate:
        """As Prefect wants it; paused where somebody paused it."""
        active = self.active and self.slug not in paused
        cron = CronSchedule(cron=self.cron, timezone=self.timezone)
        return DeploymentScheduleCreate(schedule=cron, active=active, slug=self.slug)


class Limit(_Part):
    """Runs at a time, and what becomes of one too many."""

    limit: int = Field(ge=1)
    collision_strategy: Literal["CANCEL_NEW", "ENQUEUE"]

    def options(self) -> ConcurrencyOptions:
        """As Prefect wants it."""
        return ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(self.collision_strategy))


class WorkPool(_Part):
    """Where process workers look for the runs."""

    name: str


class Deployment(_Part):
    """One deployment of prefect.yaml; the keys are Prefect's. `entrypoint` is a module and a flow in it."""

    name: str
    entrypoint: str = Field(pattern=r"^\w+(\.\w+)+$")
    description: str | None = None
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: tuple[Schedule, ...] = ()
    concurrency_limit: Limit | None = None
    work_pool: WorkPool

    def flow(self) -> Flow[..., Any]:
        """The flow it runs, which accepts its parameters."""
        module, _, name = self.entrypoint.rpartition(".")
        found = getattr(import_module(module), name, None)
        if not isinstance(found, Flow):
            raise ConfigurationError(f"deployment {self.name}: {self.entrypoint} is not a flow")
        try:
            found.validate_parameters(self.parameters)
        except ParameterTypeError as exc:
            raise ConfigurationError(f"deployment {self.name}: wrong parameters: {exc}") from exc
        return found


@dataclass(frozen=True, slots=True)
class Registered:
    """A deployment the server knows."""

    id: UUID
    name: str
    flow: Flow[..., Any]


def find(directory: Path) -> Path:
    """prefect.yaml in `directory`, else the one this code came with: in a checkout's root, in a wheel beside it."""
    for place in (directory, *Path(__file__).parents[:2]):
        if (place / FILE).is_file():
            return (place / FILE).resolve()
    raise ConfigurationError(f"there is no {FILE} in {directory.absolute()}; copy the one of the project there")


def read(path: Path) -> list[Deployment]:
    """The deployments of a file; a wrong one is named with what is wrong about it."""
    try:
        content = yaml.safe_load(path.read_text())
        return [Deployment(**deployment) for deployment in content["deployments"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as exc:
        raise ConfigurationError(f"{path}: no deployments can be read from it: {exc}") from exc
    except ValidationError as exc:
        wrong = "\n".join(f"  {'.'.join(map(str, e['loc']))}: {e['msg']}; got {e['input']!r}" for e in exc.errors())
        raise ConfigurationError(f"{path}: a deployment is wrong:\n{wrong}") from exc


async def register(client: PrefectClient, path: Path, directory: Path, sources: Sequence[str]) -> list[Registered]:
    """Create or update the deployments of a file.

    Process workers execute them in `directory`; `sources` are offered wherever a flow takes some.
    """
    deployments = read(path)
    flows = [deployment.flow() for deployment in deployments]
    for pool in {deployment.work_pool.name for deployment in deployments}:
        await _make_pool(client, pool)
    return [
        Registered(await _register(client, deployment, flow, directory, sources), deployment.name, flow)
        for deployment, flow in zip(deployments, flows, strict=True)
    ]


async def _make_pool(client: PrefectClient, name: str) -> None:
    template = ProcessWorker.get_default_base_job_template()
    try:
        await client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))
    except ObjectAlreadyExists:
        return


async def _register(
    client: PrefectClient, deployment: Deployment, flow: Flow[..., Any], directory: Path, sources: Sequence[str]
) -> UUID:
    paused = await _paused(client, f"{flow.name}/{deployment.name}")
    limit = deployment.concurrency_limit
    return await client.create_deployment(
        await client.create_flow(flow),
        deployment.name,
        version=flow.version,
        description=deployment.description or flow.description,
        entrypoint=deployment.entrypoint,
        parameters=deployment.parameters,
        parameter_openapi_schema=_schema(flow, sources),
        enforce_parameter_schema=True,
        schedules=[schedule.create(paused) for schedule in deployment.schedules],
        concurrency_limit=limit.limit if limit else None,
        concurrency_options=limit.options() if limit else None,
        tags=list(deployment.tags),
        work_pool_name=deployment.work_pool.name,
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(directory)}}],
    )


async def _paused(client: PrefectClient, name: str) -> frozenset[str]:
    """Slugs of the schedules that somebody paused in the UI, or that were registered so."""
    try:
        known = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return frozenset()
    return frozenset(schedule.slug for schedule in known.schedules if schedule.slug and not schedule.active)


def _schema(flow: Flow[..., Any], sources: Sequence[str]) -> dict[str, Any]:
    """The flow's parameters; where it takes sources, the UI offers the configured ones and refuses others."""
    schema = parameter_schema(flow).model_dump(exclude_unset=True)
    for choice in schema["properties"].get("sources", {}).get("anyOf", []):
        if choice.get("type") == "array":
            choice["items"] = {"type": "string", "enum": list(sources)}
    return schema
