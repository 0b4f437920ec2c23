"""`ingest`, `refresh`, `publish`: one step each. `run`, which is all of them, is beside."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import choices
from flows.cli.app import PIPELINE, AsJson, command
from flows.cli.connect import connected
from flows.cli.console import complain, out, print_json, warn
from transforms.errors import ConfigurationError

if TYPE_CHECKING:
    from flows.sources_of import Named
    from flows.steps import Ingested
    from storage.settings import Settings, SourceSettings

_FILES = "files"
"""Name of the source of files given on the command line."""


@command(
    PIPELINE,
    "warmbars ingest trades.parquet",
    "warmbars ingest 'bars/*.csv' --map 'Adj Close=close' --granularity 1d",
    "warmbars ingest simulated",
)
def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, directories or globs of Parquet or CSV; the name of a configured source; "
            "or [bold]simulated[/].",
            show_default=False,
        ),
    ],
    dataset: Annotated[
        choices.Dataset | None, typer.Option(help="What the rows are; told from the columns when left out.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="THEIRS=OURS", help="Their column and ours; may be repeated."),
    ] = None,
    granularity: Annotated[
        choices.Granularity | None, typer.Option(help="Length of the bars; told from their spacing when left out.")
    ] = None,
    label: Annotated[
        choices.Label | None, typer.Option(help="Whether a bar is stamped at its start or its end.")
    ] = None,
    mode: Annotated[
        choices.Mode | None,
        typer.Option(help="Upsert by key, or replace whole symbol-days; ticks replace, the rest upserts."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Name of the source the rows are kept under. [{_FILES}]")
    ] = None,
    price_basis: Annotated[choices.PriceBasis | None, typer.Option(help="How the vendor adjusted the prices.")] = None,
    market: Annotated[
        str | None, typer.Option(metavar="CODE", help="Exchange calendar of symbols first seen here, such as XNYS.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Zone of times that name none, such as America/New_York.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Validate raw rows and store them; what changed is left dirty for [bold]refresh[/].

    A row that breaks a rule is set aside with its reason; the rest goes through. The same file again changes
    nothing. A file that cannot be read is named, the others still go, and the exit code is 1.
    """
    options: dict[str, Any] = {
        "dataset": dataset,
        "columns": choices.mapping(columns) if columns else None,
        "granularity": granularity,
        "label": label,
        "mode": mode,
        "price_basis": price_basis,
        "market": market,
        "time_zone": time_zone,
    }
    given = {name: value for name, value in options.items() if value is not None}
    with connected("ingesting") as (deps, say):
        from flows import steps
        from flows.sources_of import sources_of

        as_of = datetime.now(UTC)
        named = [_named(argument, deps.settings, source, given) for argument in sources]
        done = steps.ingest(deps, sources_of(deps, named, as_of), as_of, say)
    if as_json:
        print_json(ingested_as_json(done))
    else:
        _print_ingested(done)
        if mode != "upsert" and any(f.dataset == "ticks" and f.written.windows for f in done.files):
            out().print(
                "Trades replace whole symbol-days, whose bars are now made of these alone; --mode upsert adds to them.",
                style="dim",
            )
    exit_unless_read(done)


def _named(argument: str, settings: "Settings", name: str | None, given: dict[str, Any]) -> "Named":
    """The source an argument of `ingest` means: a configured one with these options, or files."""
    if argument in settings.sources:
        return name or argument, _with(argument, settings.sources[argument].model_dump() | given)
    if argument == "simulated":
        return name or argument, _with(argument, {"kind": "simulated", **given})
    return name or _FILES, _with(argument, {"path": argument, **given})


def _with(argument: str, values: dict[str, Any]) -> "SourceSettings":
    from pydantic import ValidationError

    from storage.settings import SourceSettings

    try:
        return SourceSettings(**values)
    except ValidationError as exc:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise ConfigurationError(f"{argument}: {wrong}") from exc


def _print_ingested(done: "Ingested") -> None:
    from flows.page import ingested_table, seconds, total

    if any(report.error is None for report in done.files):
        out().print(ingested_table(done))
    totals = total(done.files)
    if totals.rejected:
        warn("rejected rows are kept with their rule and line in the table rejected_rows; warmbars status sums them up")
    if totals.written.windows:
        out().print(f"Done in {seconds(done.seconds)}. Next: warmbars refresh", style="dim")
    elif not done.failures:
        out().print(f"Done in {seconds(done.seconds)}; nothing changed.", style="dim")


def ingested_as_json(done: "Ingested") -> dict[str, Any]:
    """What became of each file."""
    files = []
    for report in done.files:
        fields = asdict(report)
        files.append({**fields, **fields.pop("written")})
        files[-1].pop("written")
    return {"files": files, "failures": len(done.failures), "seconds": done.seconds}


def exit_unless_read(done: "Ingested") -> None:
    """Name what could not be read, and end with exit code 1 if there was any."""
    for report in done.failures:
        complain(report.error or "")
    if done.failures:
        raise typer.Exit(1)


@command(PIPELINE, "warmbars refresh", "warmbars refresh --dry-run", "warmbars refresh --json")
def refresh(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute, and only say which rows and keys would change.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compute bars, indicators, sentiment and correlations where raw rows changed or time closed a bar.

    With [bold]--dry-run[/] everything that is due is computed and compared, and nothing written: what is told is what
    a refresh at this moment would do. Of changed settings and of the market it is said what they ask for, not computed.
    """
    if dry_run:
        _preview(as_json=as_json)
        return
    with connected("refreshing") as (deps, say):
        from flows import steps
        from flows.page import computed_table, count, seconds

        done = steps.refresh(deps, datetime.now(UTC), say)
    if as_json:
        print_json(asdict(done))
        return
    out().print(computed_table(done))
    changed = f"{count(done.windows, 'dirty window')}, {count(len(done.symbols), 'symbol')} changed"
    out().print(f"Done in {seconds(done.seconds)}: {changed}. Next: warmbars publish", style="dim")
    if done.busy:
        warn(f"left to another refresh that is at them: {', '.join(sorted(done.busy))}")


def _preview(*, as_json: bool) -> None:
    with connected("planning") as (deps, say):
        from flows.page import count, seconds
        from flows.preview import preview
        from flows.preview_page import preview_table

        found = preview(deps, datetime.now(UTC), say)
    if as_json:
        print_json({**asdict(found), "rows": found.rows})
        return
    if found.planned:
        out().print(preview_table(found))
    for change in found.settings:
        out().print(f"A refresh would also compute again, because a setting changed: {change}")
    if found.market:
        out().print(f"Of the market: {', '.join(found.market)}; keys at most: {', '.join(found.market_keys)}")
    if found.renewed:
        out().print(f"Keys to be sent again: {', '.join(found.renewed)}")
    told = f"{count(found.windows, 'dirty window')} of {count(len(found.symbols), 'symbol')}"
    if found.windows or found.settings:
        told = f"{told}; nothing written. Next: warmbars refresh"
    else:
        told = "nothing is due; warmbars status shows what time will close next"
    out().print(f"Planned in {seconds(found.seconds)}: {told}", style="dim")
    if found.busy:
        warn(f"not planned, another refresh is at them: {', '.join(sorted(found.busy))}")


@command(PIPELINE, "warmbars publish", "warmbars publish --sweep")
def publish(
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also compare the whole cache with the database and repair it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send what was refreshed to the cache. An older result never replaces a newer one."""
    with connected("publishing") as (deps, say):
        from flows import steps
        from flows.page import count, seconds

        done = steps.publish(deps, datetime.now(UTC), say)
        swept = steps.sweep(deps, say) if sweep else None
    if as_json:
        print_json({**asdict(done), "sweep": asdict(swept) if swept else None})
        return
    sent = f"{count(done.symbols, 'symbol')}: {count(done.written, 'key')} written, {done.kept:,} as they were"
    out().print(f"Published {sent}, {done.deleted:,} deleted, in {seconds(done.seconds)}.")
    if swept is not None:
        out().print(f"Sweep: {count(swept.symbols, 'symbol')} sent again, {count(swept.written, 'key')} repaired.")
    if done.refused:
        warn(f"the cache had something newer for {count(done.refused, 'symbol')} and kept it")
