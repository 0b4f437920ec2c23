"""`retention`: how far back raw rows are kept."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import choices
from flows.cli.app import DATA, AsJson, app, command
from flows.cli.connect import connected
from flows.cli.console import out, print_json
from flows.cli.edge import Group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.retention import Applied, Kept
    from storage.market.retention import Hold

retention = typer.Typer(cls=Group, help="How far back raw rows are kept.", no_args_is_help=True)
app.add_typer(retention, name="retention", rich_help_panel=DATA)

_DATE = ["%Y-%m-%d"]
_EVERY = ("ticks", "bars", "sentiment")


@command(DATA, "warmbars retention show", "warmbars retention show --json", on=retention)
def show(as_json: AsJson = False) -> None:
    """Show the setting and the horizon of each dataset, and what is held."""
    with connected("looking") as (deps, _):
        from flows import retention as retaining

        kept = retaining.show(deps)
    if as_json:
        print_json([asdict(each) for each in kept])
    else:
        _print_kept(kept)


@command(DATA, "warmbars retention apply --dry-run", "warmbars retention apply", on=retention)
def apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete raw rows that are older than the setting `retention` says; bars and all that was computed stay.

    The horizon moves forward to the beginning of a session's day, never back. From then on rows below it are set aside
    (the rule `below_retention`), and what was computed there is never computed again.
    """
    with connected("applying retention") as (deps, say):
        from flows import retention as retaining

        done = retaining.apply(deps, datetime.now(UTC), say, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "datasets": [asdict(each) for each in done]})
    elif done:
        _print_applied(done, dry_run=dry_run)
    else:
        out().print("Everything is kept: the setting `retention` names no dataset.")


@command(
    DATA,
    'warmbars retention hold --from 2024-01-02 --to 2024-03-28 --reason "backfill from the new vendor"',
    "warmbars retention hold --dataset sentiment --from 2024-01-02 --to 2024-01-31 --reason audit --for 30",
    on=retention,
)
def hold(
    first: Annotated[
        datetime, typer.Option("--from", formats=_DATE, metavar="DATE", help="First day.", show_default=False)
    ],
    last: Annotated[
        datetime, typer.Option("--to", formats=_DATE, metavar="DATE", help="Last day, included.", show_default=False)
    ],
    reason: Annotated[str, typer.Option(help="What it is for.", show_default=False)],
    dataset: Annotated[
        choices.Retained | None, typer.Option(help="Of which dataset; of all when left out.", show_default=False)
    ] = None,
    days: Annotated[int, typer.Option("--for", min=1, metavar="DAYS", help="After so many days it ends.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Keep a stretch of days open: nothing in it is deleted, and rows below the horizon are let in.

    For a backfill of days that have expired: hold, ingest, refresh, release. Bring whole days, since a day is computed
    again from the raw rows it has then; bars are made of ticks and bars, so hold both.
    """
    until = datetime.now(UTC) + timedelta(days=days)
    with connected("holding") as (deps, _):
        from flows import retention as retaining

        made = retaining.hold(deps, [dataset] if dataset else _EVERY, first.date(), last.date(), reason, until)
    if as_json:
        print_json([asdict(each) for each in made])
    else:
        _print_holds(made)


@command(DATA, "warmbars retention release 3", on=retention)
def release(
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER...", help="Of the holds.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """End holds; what they kept below the horizon goes with the next `retention apply`."""
    with connected("releasing") as (deps, _):
        ended = [deps.retention.release(number) for number in numbers]
    if as_json:
        print_json([asdict(each) for each in ended])
    else:
        out().print(f"Released: {', '.join(str(each.id) for each in ended)}.")


def _print_kept(kept: "Sequence[Kept]") -> None:
    from flows.page import plain_table

    table = plain_table("raw rows", "kept for", "horizon")
    for each in kept:
        for_how_long = "ever" if each.keeps is None else _days(each.keeps)
        table.add_row(each.dataset, for_how_long, _moment(each.horizon) or "none")
    out().print(table)
    holds = [one for each in kept for one in each.holds]
    if holds:
        out().print()
        _print_holds(holds)


def _print_holds(holds: "Sequence[Hold]") -> None:
    from flows.page import plain_table

    table = plain_table("hold", "of", "from", "to", "ends", "reason")
    table.columns[-1].justify = "left"
    for each in holds:
        stretch = (_moment(each.starts_at), _moment(each.ends_at), _moment(each.expires_at))
        table.add_row(str(each.id), each.dataset, *stretch, each.reason)
    out().print(table)


def _print_applied(done: "Sequence[Applied]", *, dry_run: bool) -> None:
    from flows.page import plain_table

    table = plain_table("raw rows", "kept for", "horizon before", "horizon", "would go" if dry_run else "deleted")
    for each in done:
        moments = (_moment(each.before) or "none", _moment(each.horizon))
        table.add_row(each.dataset, _days(each.keeps), *moments, f"{each.deleted:,}")
    out().print(table)


def _days(length: timedelta) -> str:
    return f"{length / timedelta(days=1):g} d"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
