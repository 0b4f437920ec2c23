"""`status`: what is stored, what is stale, what is waiting."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows.cli.app import LOOK, AsJson, command
from flows.cli.connect import connected, must_exist
from flows.cli.console import out, print_json

if TYPE_CHECKING:
    from flows.status_page import Status
    from flows.wiring import Deps

RUNS = 8


@command(LOOK, "warmbars status", "warmbars status --json")
def status(as_json: AsJson = False) -> None:
    """Show datasets and their newest rows, what waits to be refreshed or published, the cache, the last runs.

    Also the settings that were changed since the last refresh, and how many symbols the next one will compute again.
    """
    from storage.settings import load_settings

    settings = load_settings()
    if settings.database_url is None:
        must_exist(settings)
    with connected("looking") as (deps, _):
        found = gather(deps, datetime.now(UTC))
    if as_json:
        print_json(_as_json(found))
        return
    from flows.status_page import status_page

    out().print(status_page(found))


def gather(deps: "Deps", as_of: datetime) -> "Status":
    """Everything `status` shows."""
    from flows.changed_settings import pending
    from flows.retention import show as kept
    from flows.status_page import Cache, Status
    from storage.cache.sweeper import to_republish
    from storage.market.status import StatusStore

    store = StatusStore(deps.database)
    versions = deps.outbox.versions()
    cache = Cache(
        namespace=deps.keys.namespace,
        entries=deps.cache.count(),
        memory=deps.cache.memory(),
        checked=deps.reader().checked(),
        behind=len(to_republish(deps.client, deps.keys, versions)),
    )
    return Status(
        as_of=as_of,
        home=str(deps.settings.home.absolute()),
        own_database=deps.settings.database_url is not None,
        own_cache=deps.settings.redis_url is not None,
        symbols=store.symbols(),
        raw=store.raw(),
        derived=store.derived(deps.settings.intervals),
        rejected=store.rejected(),
        dirty=store.dirty(as_of),
        changed=pending(deps),
        kept=kept(deps),
        unpublished=store.unpublished(),
        cache=cache,
        runs=deps.runs.last(RUNS),
    )


def _as_json(found: "Status") -> dict[str, Any]:
    values = asdict(found)
    values["cache"]["memory"]["share"] = found.cache.memory.share
    for holding in (*values["raw"], *values["derived"]):
        newest = holding["newest"]
        aged = isinstance(newest, datetime)
        holding["staleness_seconds"] = (found.as_of - newest).total_seconds() if aged else None
    return values
